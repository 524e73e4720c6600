"""Service accounts, passwords that the operator sets, and people who are switched off everywhere."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection, transaction
from django.test import Client

from apps.audit.models import Event
from apps.audit.services import verify_tenant
from apps.core.access import Action
from apps.identity import services
from apps.identity.models import ApiToken, Membership, Tenant, User
from apps.identity.permissions import can
from apps.identity.services.oidc import Claims, sign_in
from apps.identity.services.passwords import set_password
from apps.identity.tokens import authenticate
from tests import factories as make
from tests.admin.office import PASSWORD, list_url, url
from tests.admin.test_acts import press, words
from tests.identity.test_tokens import refused
from tests.packs.test_two_processes import BOUND_S, _get, _until, two

__all__ = ["two"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Tenant:
    return make.tenant("acme")


def actions(tenant: Tenant) -> list[str]:
    return list(Event.objects.filter(tenant_id=tenant.pk).order_by("seq").values_list("action", flat=True))


def account(acme: Tenant, role: str = "manager") -> User:
    admin = make.context(acme.pk, "tenant_admin")
    return services.create_service_account(ctx=admin, slug="ci", name="CI", role=role).user


def test_a_service_account_works_by_tokens_and_never_approves(acme: Tenant, client: Client) -> None:
    admin = make.context(acme.pk, "tenant_admin")
    ci = account(acme)
    assert (ci.email, ci.kind, str(ci)) == ("ci@acme.service.invalid", "service", "CI (service account)")
    for secret in (
        services.issue_api_token(ctx=make.system(acme.pk), email=ci.email).secret,
        make.api_token(ci, acme, scopes=["approve", "view"]),
        make.api_token(ci, acme, scopes=["approve"]),
    ):
        principal = authenticate(f"Bearer {secret}")
        assert not can(principal.context("r"), Action.APPROVE, tenant_id=acme.pk)
    assert can(
        authenticate(f"Bearer {services.issue_api_token(ctx=admin, email=ci.email).secret}").context("r"), Action.PROMOTE, tenant_id=acme.pk
    )
    listed = client.get("/api/v1/tokens/?kind=service", headers=make.bearer(make.api_token(make.user(acme, "viewer"), acme))).json()
    assert {row["kind"] for row in listed["results"]} == {"service"} and len(listed["results"]) == 4


def test_a_service_account_has_no_other_way_in(acme: Tenant, client: Client) -> None:
    ci = account(acme)
    client.post("/admin/login/", {"username": ci.email, "password": "x"})
    assert "_auth_user_id" not in client.session
    refused("wrong_state", set_password, ctx=make.system(make.platform().pk), email=ci.email, password=PASSWORD)
    claims = Claims(subject="s", email=ci.email, verified=True)
    refused("slug_taken", sign_in, provider=make.provider(acme, "acme-sso"), claims=claims)
    never = "identity_user_service_never_signs_in"
    # The last sign-in is written by a function of the owner alone.
    for change, why in (
        ("password = 'pbkdf2$x'", never),
        ("issuer = 'https://id.test', subject = 's'", never),
        ("last_login = now()", "denied"),
    ):
        with (
            pytest.raises(DatabaseError, match=why),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(f"UPDATE identity_user SET {change} WHERE id = %s", [ci.pk])


def test_a_service_account_stays_in_its_tenant(acme: Tenant) -> None:
    ci, other = account(acme), make.tenant("other")
    refused("invalid", services.add_member, ctx=make.context(other.pk, "tenant_admin"), email=ci.email, role="viewer")
    with pytest.raises(DatabaseError, match="its own tenant only"), transaction.atomic():
        make.api_token(ci, other)
    refused("invalid", services.create_user, ctx=make.context(acme.pk, "tenant_admin"), email="x@acme.service.invalid")
    refused("slug_taken", services.create_service_account, ctx=make.system(acme.pk), slug="ci", name="CI", role="viewer")
    refused("invalid", services.create_service_account, ctx=make.system(acme.pk), slug="No Slug", name="CI", role="viewer")
    refused("permission_denied", services.create_service_account, ctx=make.context(acme.pk, "manager"), slug="x", name="X", role="viewer")
    # The same name in another tenant is another account.
    assert services.create_service_account(ctx=make.system(other.pk), slug="ci", name="CI", role="viewer").user.pk != ci.pk


def test_service_accounts_by_api_and_in_the_admin(acme: Tenant, client: Client) -> None:
    admin = make.user(acme, "tenant_admin", password=PASSWORD)
    bearer = make.bearer(make.api_token(admin, acme))
    body = {"slug": "exporter", "name": "Exporter", "role": "auditor"}
    made = client.post("/api/v1/service-accounts/", body, content_type="application/json", headers=bearer)
    assert made.status_code == 201 and made.json()["email"] == "exporter@acme.service.invalid"
    assert [row["id"] for row in client.get("/api/v1/service-accounts/", headers=bearer).json()["results"]] == [made.json()["id"]]
    kinds = {row["email"]: row["kind"] for row in client.get("/api/v1/members/", headers=bearer).json()["results"]}
    assert kinds == {admin.email: "person", "exporter@acme.service.invalid": "service"}
    stranger = make.bearer(make.api_token(make.user(make.tenant(), "tenant_admin"), Tenant.objects.latest("created_at")))
    assert client.get("/api/v1/service-accounts/", headers=stranger).json()["results"] == []
    assert client.login(username=admin.email, password=PASSWORD)
    done = press(client, list_url(Membership) + "act/add-service/", slug="ci", name="CI", role="author")
    ci = User.objects.get(email="ci@acme.service.invalid")
    assert done["Location"] == url(ci) and "service account" in words(client.get(url(ci)))
    assert {user.email for user in client.get(list_url(User) + "?kind=service").context["cl"].result_list} == {
        "ci@acme.service.invalid",
        "exporter@acme.service.invalid",
    }


def test_who_is_switched_off_is_out_of_every_tenant(acme: Tenant) -> None:
    other, house = make.tenant("other"), make.platform()
    ann = make.user(acme, "tenant_admin", email="ann@acme.test", password=PASSWORD)
    Membership.objects.create(tenant=other, user=ann, role="viewer")
    secrets = [make.api_token(ann, tenant) for tenant in (acme, other)]
    client = Client()
    assert client.login(username=ann.email, password=PASSWORD) and client.get("/admin/").status_code == 200
    assert all(authenticate(f"Bearer {secret}") for secret in secrets)
    for ctx in (make.context(acme.pk, "tenant_admin"), make.context(house.pk, "manager")):
        refused("permission_denied", services.deactivate_person, ctx=ctx, user_id=ann.pk)
    keeper = make.context(house.pk, "tenant_admin")
    services.deactivate_person(ctx=keeper, user_id=ann.pk, reason="Left the company.")
    for secret in secrets:
        refused("not_authenticated", authenticate, header=f"Bearer {secret}")
    assert client.get("/admin/")["Location"].startswith("/admin/login/")
    assert not Client().login(username=ann.email, password=PASSWORD) and not ApiToken.objects.filter(revoked_at__isnull=True).exists()
    told = {tenant.slug: Event.objects.get(tenant_id=tenant.pk, action="identity.person_deactivated") for tenant in (acme, other, house)}
    assert told["acme"].data == told["other"].data == {"tokens_revoked": 1} and told["platform"].data == {"tokens_revoked": 0}
    assert told["other"].text.text["reason"] == "Left the company." and all(
        verify_tenant(event.tenant_id) is None for event in told.values()
    )
    refused("wrong_state", services.deactivate_person, ctx=keeper, user_id=ann.pk)
    services.activate_person(ctx=keeper, user_id=ann.pk)
    # Neither the old session, nor the tokens, nor the password come back.
    assert client.get("/admin/")["Location"].startswith("/admin/login/") and not Client().login(username=ann.email, password=PASSWORD)
    refused("not_authenticated", authenticate, header=f"Bearer {secrets[0]}")
    assert "identity.person_activated" in actions(acme) and "identity.person_activated" in actions(other)


def test_nobody_switches_themselves_or_the_last_operator_off(acme: Tenant) -> None:
    house = make.platform()
    keeper = make.user(house, "tenant_admin", email="keeper@platform.test")
    ctx = make.context(house.pk, "tenant_admin", user=keeper)
    assert "yourself" in refused("wrong_state", services.deactivate_person, ctx=ctx, user_id=keeper.pk).detail
    assert "last admin" in refused("wrong_state", services.deactivate_person, ctx=make.system(house.pk), user_id=keeper.pk).detail
    services.create_service_account(ctx=make.system(house.pk), slug="bot", name="Bot", role="tenant_admin")
    refused("wrong_state", services.deactivate_person, ctx=make.system(house.pk), user_id=keeper.pk)
    make.user(house, "tenant_admin")
    services.deactivate_person(ctx=make.system(house.pk), user_id=keeper.pk)
    refused("not_found", services.deactivate_person, ctx=make.system(house.pk), user_id=acme.pk)


def test_switching_off_in_the_admin_and_by_command(acme: Tenant) -> None:
    house = make.platform()
    keeper = make.user(house, "tenant_admin", email="keeper@platform.test", password=PASSWORD)
    admin = make.user(acme, "tenant_admin", email="admin@acme.test", password=PASSWORD)
    ann = make.user(acme, "viewer", email="ann@acme.test")
    client = Client()
    assert client.login(username=admin.email, password=PASSWORD)
    assert url(ann, "switch-off") not in client.get(url(ann)).content.decode()
    assert client.post(url(ann, "switch-off"), {"once": "1", "reason": "r"})["Location"] == "/admin/"
    ann.refresh_from_db()
    assert ann.is_active
    assert client.login(username=keeper.email, password=PASSWORD)
    assert url(ann, "switch-off") in client.get(url(ann)).content.decode()
    assert url(keeper, "switch-off") not in client.get(url(keeper)).content.decode()
    press(client, url(ann, "switch-off"), reason="Left.")
    ann.refresh_from_db()
    assert not ann.is_active and url(ann, "switch-on") in client.get(url(ann)).content.decode()
    call_command("deactivate_person", "Ann@acme.test", "--undo", stdout=StringIO())
    ann.refresh_from_db()
    assert ann.is_active
    out = StringIO()
    call_command("deactivate_person", "ann@acme.test", "--reason", "Left.", stdout=out)
    assert out.getvalue() == "ann@acme.test is switched off.\n"
    for wrong in ("nobody@acme.test", "ann@acme.test"):
        with pytest.raises(CommandError):
            call_command("deactivate_person", wrong)


def test_a_password_is_set_by_the_operator_and_recorded(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = make.user(acme, "viewer", email="ann@acme.test", password=PASSWORD)
    client = Client()
    assert client.login(username=ann.email, password=PASSWORD)
    out = StringIO()
    call_command("changepassword", "Ann@acme.test", "--print-once", stdout=out)
    new = out.getvalue().split("It is ")[1].split()[0]
    assert client.get("/admin/")["Location"].startswith("/admin/login/")
    assert Client().login(username=ann.email, password=new) and not Client().login(username=ann.email, password=PASSWORD)
    assert "identity.password_set" in actions(acme) and "identity.password_set" in actions(make.platform())
    assert new not in json.dumps(list(Event.objects.values("data", "text__text")), default=str)
    typed = iter(["something long enough", "something else again", "short", "short"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    for expected in ("not the same", "too short"):
        with pytest.raises(CommandError, match=expected):
            call_command("changepassword", "ann@acme.test")
    assert Client().login(username=ann.email, password=new)
    refused("permission_denied", set_password, ctx=make.context(acme.pk, "tenant_admin"), email=ann.email, password=PASSWORD)
    with pytest.raises(CommandError, match="nobody"):
        call_command("changepassword", "nobody@acme.test", "--print-once")


@pytest.mark.e2e
@pytest.mark.django_db(transaction=True)
def test_sessions_and_tokens_of_who_is_switched_off_die_in_both_processes(two: list[int]) -> None:
    acme = make.tenant("acme")
    ann = make.user(acme, "viewer", password=PASSWORD)
    token, client = make.api_token(ann, acme), Client()
    assert client.login(username=ann.email, password=PASSWORD)
    cookie = client.cookies["sessionid"].value

    def pages() -> list[tuple[int, int]]:
        return [(_get(port, "/api/v1/me/", token)[0], _page(port, cookie)) for port in two]

    assert pages() == [(200, 200), (200, 200)]
    services.deactivate_person(ctx=make.system(make.platform().pk), user_id=ann.pk)
    assert _until(lambda: pages() == [(401, 302), (401, 302)], 5) < 2 * BOUND_S


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return


def _page(port: int, cookie: str) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/admin/tenant/", headers={"Cookie": f"sessionid={cookie}"})
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        # The page of a tenant that was not named is a page that was not found: somebody is signed in.
        return 302 if "/login/" in error.headers.get("Location", "") else 200
