"""What the database itself keeps apart: raw SQL in a tenant's transaction, and the ways in, under the production policies."""

from __future__ import annotations

import json
import time
from importlib import import_module
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client

from apps.core.context import in_tenant
from apps.core.errors import Problem
from apps.core.generations import watcher
from apps.identity import services
from apps.identity.models import (
    Acquaintance,
    Agent,
    AgentToken,
    ApiToken,
    GroupRole,
    Membership,
    OidcProvider,
    Organisation,
    Team,
    Tenant,
    User,
)
from apps.identity.selectors import platform_id
from apps.identity.tokens import authenticate
from apps.packs.services.versions import create_version
from tests import factories as make
from tests.isolation import in_production

PASSWORD = "correct horse battery"
OWNED = (Team, Membership, Acquaintance, Agent, AgentToken, ApiToken, OidcProvider, GroupRole)


def count(statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.rowcount


def furnished(slug: str) -> Tenant:
    tenant = make.tenant(slug)
    make.agent_token(make.agent(tenant, team=make.team(tenant)))
    make.api_token(make.user(tenant, "viewer", email=f"ann@{slug}.test"), tenant)
    make.provider(tenant, f"{slug}-sso", groups={"staff": "viewer"})
    return tenant


@pytest.mark.django_db
def test_nobody_sees_another_tenants_people_agents_and_tokens_whatever_the_sql() -> None:
    acme, _ = furnished("acme"), furnished("other")
    make.user(make.platform(), "tenant_admin", email="root@platform.test")
    accounts = set(User.objects.values_list("email", flat=True))
    with in_production():
        for model in (*OWNED, User, Tenant, Organisation):
            assert not model._default_manager.exists(), "nothing without a tenant"
        with in_tenant(acme.pk):
            for model in OWNED:
                assert {row.tenant_id for row in model._default_manager.all()} == {acme.pk}, model
            assert [user.email for user in User.objects.all()] == ["ann@acme.test"]
            assert {tenant.slug for tenant in Tenant.objects.all()} == {"acme", "platform"}
            assert {row.slug for row in Organisation.objects.all()} == {"org-acme", "platform"}
            # A tenant is described by its own people, and made, shut and named an organisation by `platform`'s.
            assert count("UPDATE identity_tenant SET name = name") == 1
            assert count("UPDATE identity_organisation SET name = name WHERE slug <> 'org-acme'") == 0
        # Who manages the installation manages its tenants and accounts, not what is in the tenants.
        with in_tenant(platform_id()):
            assert {tenant.slug for tenant in Tenant.objects.all()} == {"acme", "other", "platform"}
            assert count("UPDATE identity_tenant SET name = name") == count("UPDATE identity_organisation SET name = name") == 3
            assert {user.email for user in User.objects.all()} == accounts
            for model in OWNED:
                assert not model._default_manager.exclude(tenant_id=platform_id()).exists(), model


@pytest.mark.django_db
def test_a_tenant_knows_whom_it_made_or_gave_a_role_also_when_the_role_is_gone() -> None:
    one, two = make.tenant("one"), make.tenant("two")
    person = make.user(one, "viewer", email="ann@one.test")
    ctx = make.context(two.pk, "tenant_admin")

    def seen() -> set[str]:
        with in_production(), in_tenant(two.pk):
            return {user.email for user in User.objects.exclude(pk=ctx.user_id)}

    assert seen() == set()
    with in_production():
        membership = services.add_member(ctx=ctx, email=person.email, role="viewer")
        assert str(membership) == "ann@one.test as viewer" and membership.user_id == person.pk, "one person, in two tenants"
        services.remove_member(ctx=ctx, membership_id=membership.pk)
        services.create_user(ctx=ctx, email="new@two.test")
    assert seen() == {"ann@one.test", "new@two.test"}


@pytest.mark.django_db
def test_somebody_signs_in_chooses_a_tenant_and_looks_around(client: Client) -> None:
    one, two = make.tenant("one"), make.tenant("two")
    person = make.user(one, "viewer", email="ann@one.test", password=PASSWORD)
    Membership.objects.create(tenant=two, user=person, role="tenant_admin")
    make.user(two, "author", email="bob@two.test")
    assert client.post("/admin/login/?next=/admin/", {"username": person.email, "password": PASSWORD})["Location"] == "/admin/"
    assert User.objects.get(pk=person.pk).last_login is not None
    assert client.get("/api/v1/me/").json()["tenant"]["slug"] == "one"
    assert [row["email"] for row in client.get("/api/v1/members/").json()["results"]] == ["ann@one.test"]
    client.get("/admin/tenant/", {"tenant": str(two.pk)})
    assert client.get("/api/v1/me/").json()["tenant"]["slug"] == "two"
    assert {row["email"] for row in client.get("/api/v1/members/").json()["results"]} == {"ann@one.test", "bob@two.test"}
    page = client.get("/admin/identity/user/").content.decode()
    assert "bob@two.test" in page and client.get("/admin/identity/tenant/").status_code == 200
    token = client.post("/api/v1/tokens/", {"name": "mine"}, content_type="application/json").json()["token"]
    assert Client().get("/api/v1/me/", headers=make.bearer(token)).json()["tenant"]["slug"] == "two"
    assert client.get("/admin/tenant/", {"tenant": str(make.tenant("three").pk)}).status_code == 302
    assert client.get("/api/v1/me/").json()["tenant"]["slug"] == "two"


@pytest.mark.django_db
def test_an_older_hash_of_a_password_is_made_anew_at_sign_in(client: Client, settings: Any) -> None:
    person = make.user(make.tenant(), "viewer", password=PASSWORD)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher", *settings.PASSWORD_HASHERS]
    assert client.post("/admin/login/", {"username": person.email, "password": PASSWORD}).status_code == 302
    assert client.get("/api/v1/me/").status_code == 200
    renewed = User.objects.get(pk=person.pk)
    assert renewed.password.startswith("scrypt$") and renewed.check_password(PASSWORD)


@pytest.mark.django_db
def test_a_person_without_any_role_signs_in_and_sees_nothing(client: Client) -> None:
    person = make.user(email="nobody@example.test", password=PASSWORD)
    assert client.post("/admin/login/", {"username": person.email, "password": PASSWORD}).headers["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200
    me = client.get("/api/v1/me/").json()
    assert (me["tenant"], me["actions"]) == (None, [])
    assert client.get("/api/v1/members/").json()["results"] == []
    changed = {"old_password": PASSWORD, "new_password1": "another horse battery", "new_password2": "another horse battery"}
    assert client.post("/admin/password_change/", changed).status_code == 302
    assert User.objects.get(pk=person.pk).check_password("another horse battery"), "one's own password is changed without a role too"


@pytest.mark.django_db
def test_platform_makes_shuts_opens_and_deletes_a_tenant(client: Client) -> None:
    out = StringIO()
    call_command("create_admin", "--email", "root@example.test", "--print-once", stdout=out)
    password = out.getvalue().split("with the password ")[1].split(" ")[0]
    assert client.post("/admin/login/", {"username": "root@example.test", "password": password}).status_code == 302

    def send(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return client.generic(method, f"/api/v1/{path}", "" if body is None else json.dumps(body), content_type="application/json")

    assert send("POST", "organisations/", {"slug": "acme-org", "name": "Acme"}).status_code == 201
    new = {"organisation": "acme-org", "slug": "acme", "name": "Acme", "tier": "team", "admin_email": "ann@acme.test"}
    assert send("POST", "tenants/", new).status_code == 201
    assert [row["slug"] for row in send("GET", "tenants/").json()["results"]] == ["acme", "platform"]
    assert send("GET", "agents/acme-bot/").status_code == 404
    acme = Tenant.objects.get(slug="acme")
    ann = User.objects.get(email="ann@acme.test")
    agent = f"Bearer {make.agent_token(make.agent(acme, 'bot'))}"
    person = f"Bearer {make.api_token(ann, acme)}"
    browser = Client()
    browser.force_login(ann, backend="apps.identity.backends.RoleBackend")

    def answers() -> list[Any]:
        found = [Client().get("/api/v1/me/", headers={"Authorization": header}).status_code for header in (agent, person)]
        return [*found, browser.get("/api/v1/me/").json()["tenant"] is not None]

    assert answers() == [200, 200, True]
    assert send("POST", "tenants/acme/suspend/", {"reason": "unpaid"}).status_code == 200 and answers() == [401, 401, False]
    assert send("POST", "tenants/acme/activate/", {}).status_code == 200 and answers() == [200, 200, True]
    assert send("PATCH", "tenants/acme/", {"tier": "enterprise"}).status_code == 200
    assert send("DELETE", "tenants/acme/").status_code == 204 and answers() == [401, 401, False]
    assert not AgentToken.objects.filter(tenant=acme, revoked_at__isnull=True).exists()
    assert not ApiToken.objects.filter(tenant=acme, revoked_at__isnull=True).exists()
    assert send("GET", "tenants/acme/").status_code == 404


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("shut", ["suspend_tenant", "delete_tenant"])
def test_another_process_refuses_the_tokens_of_a_shut_tenant_within_a_second(
    settings: Any, monkeypatch: pytest.MonkeyPatch, shut: str
) -> None:
    settings.CACHE_WATCHER, settings.CACHE_STALENESS_S, settings.CACHE_POLL_S = True, 1.0, 0.5
    acme = make.tenant("acme")
    headers = [f"Bearer {make.agent_token(make.agent(acme))}", f"Bearer {make.api_token(make.user(acme, 'viewer'), acme)}"]
    with in_production():
        try:
            assert all(authenticate(header).tenant_id == acme.pk for header in headers)
            # This process does not learn of its own write: it stands for one that did not make it.
            monkeypatch.setattr(watcher, "forget", lambda: None)
            getattr(services, shut)(ctx=make.system(platform_id()), slug="acme")
            shut_at = time.monotonic()
            for header in headers:
                with pytest.raises(Problem, match="not_authenticated"):
                    while time.monotonic() - shut_at < 5.0:
                        authenticate(header)
        finally:
            watcher.stop()


@pytest.mark.django_db(transaction=True)
def test_the_migration_has_tenants_know_the_people_whom_their_rows_name(owner_connection: Any) -> None:
    acme, other = make.tenant("acme"), make.tenant("other")
    member, former = make.user(acme, "viewer"), make.user(acme, "author")
    make.own_pack(acme, "desk")
    ctx = make.context(acme.pk, "author", user=former)
    create_version(ctx=ctx, pack_slug="desk", scope="tenant:acme", content=make.content())
    Membership.objects.filter(user=former).delete()
    make.user(other, "viewer")
    owner_connection.execute("DELETE FROM identity_acquaintance")
    owner_connection.execute(import_module("apps.identity.migrations.0004_row_security_users").KNOWN_SO_FAR)
    assert set(Acquaintance.objects.filter(tenant=acme).values_list("user_id", flat=True)) == {member.pk, former.pk}
    assert Acquaintance.objects.count() == 3
