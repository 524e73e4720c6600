from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from apps.audit.models import Event
from apps.core.access import Action
from apps.core.context import system_context
from apps.core.errors import Problem
from apps.core.generations import Watcher, watcher
from apps.identity import services
from apps.identity.domain.tokens import scopes_within
from apps.identity.models import AgentToken, ApiToken, Membership
from apps.identity.tokens import authenticate, flush_last_used
from tests import factories as make


def refused(code: str, call: Any, **arguments: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        call(**arguments)
    assert caught.value.code == code, caught.value
    return caught.value


@pytest.fixture
def remembering(settings: Any) -> Iterator[Watcher]:
    """The process trusts its memory, as it does while its watcher is alive."""
    settings.CACHE_STALENESS_S = 3600.0
    watcher.fresh()
    yield watcher
    watcher.forget()


@pytest.mark.django_db
def test_one_indexed_read_and_then_none(remembering: Watcher, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    header = f"Bearer {make.agent_token(make.agent(make.tenant()))}"
    with django_assert_num_queries(1):
        first = authenticate(header)
    with django_assert_num_queries(0):
        assert authenticate(header) == first


@pytest.mark.django_db
def test_a_wrong_secret_is_refused_whether_or_not_the_prefix_is_known(remembering: Watcher) -> None:
    token = make.agent_token(make.agent(make.tenant()))
    wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
    for header in (f"Bearer {wrong}", f"Basic {token}", "Bearer mc_x_y", "", f"Bearer {token}x", f"bearer {token} {token}"):
        refused("not_authenticated", authenticate, header=header)
    assert authenticate(f"bearer {token}")
    refused("not_authenticated", authenticate, header=f"Bearer {wrong}")


@pytest.mark.django_db
def test_expired_revoked_and_ended_tokens_are_refused(remembering: Watcher) -> None:
    tenant = make.tenant()
    agent, person = make.agent(tenant), make.user(tenant, "viewer")
    now = timezone.now()
    live = [make.agent_token(agent, expires_at=now + timedelta(minutes=5)), make.api_token(person, tenant)]
    assert [authenticate(f"Bearer {token}").actor.id for token in live] == [agent.pk, person.pk]
    for dead in (
        make.agent_token(agent, expires_at=now - timedelta(seconds=1)),
        make.agent_token(agent, revoked_at=now),
        make.agent_token(make.agent(tenant, status="suspended")),
        make.agent_token(make.agent(tenant, status="retired")),
        make.api_token(person, tenant, expires_at=now),
        make.api_token(make.user(tenant, "viewer", email="gone@example.test"), tenant, revoked_at=now),
    ):
        refused("not_authenticated", authenticate, header=f"Bearer {dead}")


@pytest.mark.django_db
def test_what_is_remembered_ends_with_the_token_and_with_the_role(remembering: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = make.tenant()
    soon = timezone.now() + timedelta(milliseconds=1500)
    expiring = f"Bearer {make.agent_token(make.agent(tenant), expires_at=soon)}"
    person = make.user()
    Membership.objects.create(tenant=tenant, user=person, role="manager", until=soon)
    Membership.objects.create(tenant=tenant, user=person, role="viewer")
    by_person = f"Bearer {make.api_token(person, tenant)}"
    assert authenticate(expiring) and {grant.role for grant in authenticate(by_person).roles} == {"manager", "viewer"}
    while timezone.now() <= soon:
        pass
    refused("not_authenticated", authenticate, header=expiring)
    assert {grant.role for grant in authenticate(by_person).roles} == {"viewer"}


@pytest.mark.django_db
def test_a_change_of_roles_agents_or_tenant_reaches_remembered_tokens() -> None:
    tenant = make.tenant()
    admin = make.context(tenant.pk, "tenant_admin")
    membership = services.add_member(ctx=admin, email="p@example.test", role="viewer")
    token = services.issue_api_token(ctx=admin, email="p@example.test").secret
    agent = services.create_agent(ctx=admin, slug="a")
    agent_token = services.issue_agent_token(ctx=admin, agent="a").secret
    assert {grant.role for grant in authenticate(f"Bearer {token}").roles} == {"viewer"}
    assert authenticate(f"Bearer {agent_token}").default_pack == ""
    services.change_member(ctx=admin, membership_id=membership.pk, role="author")
    services.update_agent(ctx=admin, slug=agent.slug, default_pack="hr-ops-pack")
    assert {grant.role for grant in authenticate(f"Bearer {token}").roles} == {"author"}
    assert authenticate(f"Bearer {agent_token}").default_pack == "hr-ops-pack"


@pytest.mark.django_db
def test_last_use_is_written_in_batches() -> None:
    tenant = make.tenant()
    agent_header = f"Bearer {make.agent_token(make.agent(tenant))}"
    person_header = f"Bearer {make.api_token(make.user(tenant, 'viewer'), tenant)}"
    before = timezone.now()
    authenticate(agent_header)
    authenticate(person_header)
    flush_last_used()
    for used in (AgentToken.objects.get().last_used_at, ApiToken.objects.get().last_used_at):
        assert used is not None and used >= before


@pytest.mark.django_db
def test_the_secret_is_shown_once_and_only_its_hash_is_kept() -> None:
    tenant = make.tenant()
    make.agent(tenant, "a")
    issued = services.issue_agent_token(ctx=make.context(tenant.pk, "tenant_admin"), agent="a", name="gateway")
    secret = issued.secret.split("_", 2)[2]
    row = AgentToken.objects.values().get()
    assert not [name for name, value in row.items() if secret in str(value)]
    assert timedelta(days=364) < row["expires_at"] - timezone.now() <= timedelta(days=365)
    assert authenticate(f"Bearer {issued.secret}").agent == "a"


@pytest.mark.django_db
def test_who_may_issue_and_revoke() -> None:
    tenant = make.tenant()
    team = make.team(tenant)
    make.agent(tenant, "in-none")
    make.agent(tenant, "in-team", team=team)
    make.agent(tenant, "old", status="retired")
    team_admin, manager = make.context(tenant.pk, "tenant_admin", team=team), make.context(tenant.pk, "manager")
    refused("permission_denied", services.issue_agent_token, ctx=manager, agent="in-none")
    refused("permission_denied", services.issue_agent_token, ctx=team_admin, agent="in-none")
    issued = services.issue_agent_token(ctx=team_admin, agent="in-team")
    assert list(AgentToken.objects.all()) == [issued.token], "what was refused left nothing"
    refused("wrong_state", services.issue_agent_token, ctx=make.context(tenant.pk, "tenant_admin"), agent="old")
    refused("permission_denied", services.revoke_token, ctx=manager, token_id=issued.token.pk)
    refused("not_found", services.revoke_token, ctx=make.context(make.tenant().pk, "tenant_admin"), token_id=issued.token.pk)
    assert authenticate(f"Bearer {issued.secret}").agent == "in-team"
    services.revoke_token(ctx=team_admin, token_id=issued.token.pk)
    refused("not_authenticated", authenticate, header=f"Bearer {issued.secret}")
    refused("wrong_state", services.revoke_token, ctx=team_admin, token_id=issued.token.pk)


@pytest.mark.django_db
def test_one_issues_and_revokes_ones_own_token() -> None:
    tenant = make.tenant()
    person = make.user(tenant, "author")
    ctx = make.context(tenant.pk, "author", user=person)
    issued = services.issue_api_token(ctx=ctx, scopes=["view"], name="laptop")
    principal = authenticate(f"Bearer {issued.secret}")
    assert (principal.actor.id, principal.scopes) == (person.pk, frozenset({"view"}))
    # The narrow token begets no other.
    refused("permission_denied", services.issue_api_token, ctx=principal.context("r"))
    refused("permission_denied", services.issue_api_token, ctx=ctx, email=make.user(tenant, "viewer").email)
    services.revoke_token(ctx=ctx, token_id=issued.token.pk)


@pytest.mark.django_db
def test_nobody_hands_on_what_they_lack() -> None:
    tenant = make.tenant()
    admin_user, manager = make.user(tenant, "tenant_admin"), make.user(tenant, "manager")
    admin = make.context(tenant.pk, "tenant_admin", user=admin_user)
    # Nobody approves in somebody else's name: four eyes would be two.
    refused("permission_denied", services.issue_api_token, ctx=admin, email=manager.email, scopes=["approve"])
    for_manager = services.issue_api_token(ctx=admin, email=manager.email).token
    assert "approve" not in for_manager.scopes and "author" in for_manager.scopes
    # A narrowed admin's token, for its own person, is narrowed too.
    narrowed = make.context(tenant.pk, "tenant_admin", user=admin_user)
    narrowed.scopes = frozenset({"view", "manage_tokens"})
    assert services.issue_api_token(ctx=narrowed).token.scopes == ["manage_tokens", "view"]
    refused("permission_denied", services.issue_api_token, ctx=narrowed, scopes=["force"])
    # The installation's own command line hands out what the person holds.
    system = system_context("issue_token", tenant_id=tenant.pk, channel="cli")
    assert services.issue_api_token(ctx=system, email=manager.email).token.scopes == []
    refused("permission_denied", services.issue_api_token, ctx=system, email=manager.email, scopes=["force"])
    refused("invalid", services.issue_api_token, ctx=system, email=make.user().email)


@pytest.mark.django_db
def test_how_long_a_token_lasts_and_what_it_may_name() -> None:
    tenant = make.tenant()
    make.agent(tenant, "a")
    ctx = make.context(tenant.pk, "tenant_admin")
    for expires_at in (timezone.now(), timezone.now() + timedelta(days=731)):
        refused("invalid", services.issue_agent_token, ctx=ctx, agent="a", expires_at=expires_at)
    found = refused("invalid", services.issue_agent_token, ctx=ctx, agent="a", scopes=["resolve", "fly"])
    assert [error.pointer for error in found.errors] == ["/scopes/1"]
    refused("permission_denied", services.issue_agent_token, ctx=ctx, agent="a", scopes=["view"])


@given(st.lists(st.sampled_from([action.value for action in Action])), st.sets(st.sampled_from(list(Action))), st.booleans())
def test_stored_scopes_never_exceed_what_is_allowed(wanted: list[str], allowed: set[Action], narrowed: bool) -> None:
    try:
        granted = scopes_within(wanted, allowed, narrowed=narrowed)
    except Problem:
        assert set(wanted) - {action.value for action in allowed} or (narrowed and not allowed)
        return
    assert set(granted) <= {action.value for action in allowed}
    # [] means everything the role allows: only for one who asked for no limit and need not be limited.
    assert granted or (not wanted and not narrowed)


@pytest.mark.django_db(transaction=True)
def test_a_revocation_in_another_process_is_heard_within_a_second(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CACHE_WATCHER, settings.CACHE_STALENESS_S, settings.CACHE_POLL_S = True, 1.0, 0.5
    tenant = make.tenant()
    make.agent(tenant, "a")
    ctx = make.context(tenant.pk, "tenant_admin")
    issued = services.issue_agent_token(ctx=ctx, agent="a")
    try:
        assert authenticate(f"Bearer {issued.secret}")
        # This process does not learn of its own write: it stands for one that did not make it.
        monkeypatch.setattr(watcher, "forget", lambda: None)
        services.revoke_token(ctx=ctx, token_id=issued.token.pk)
        revoked_at = time.monotonic()
        with pytest.raises(Problem):
            while time.monotonic() - revoked_at < 1.0:
                authenticate(f"Bearer {issued.secret}")
    finally:
        watcher.stop()


PASSWORD = "correct horse battery"


@pytest.mark.django_db
def test_signing_in_and_out_is_recorded(client: Client) -> None:
    tenant = make.tenant()
    person = make.user(tenant, "viewer", password=PASSWORD)
    assert client.login(username=person.email, password=PASSWORD)
    client.logout()
    assert list(Event.objects.filter(tenant_id=tenant.pk).order_by("seq").values_list("action", "actor_id")) == [
        ("identity.signed_in", person.pk),
        ("identity.signed_out", person.pk),
    ]


@pytest.mark.django_db
def test_who_signs_in_on_the_page_itself_comes_home(client: Client) -> None:
    person = make.user(make.tenant(), "viewer", password=PASSWORD)
    answer = client.post("/admin/login/", {"username": person.email, "password": PASSWORD}, follow=True)
    assert (answer.redirect_chain, answer.status_code) == ([("/admin/", 302)], 200)


@pytest.mark.django_db(transaction=True)
def test_a_sign_in_that_cannot_be_recorded_does_not_happen(client: Client, owner_sql: Any) -> None:
    person = make.user(make.tenant(), "viewer", password=PASSWORD)
    form = {"username": person.email, "password": PASSWORD, "next": "/admin/tenant/"}
    client.raise_request_exception = False
    owner_sql("REVOKE INSERT ON audit_event FROM mc_app")
    assert client.post("/admin/login/", form).status_code == 500
    owner_sql("GRANT INSERT ON audit_event TO mc_app")
    assert "/admin/login/" in client.get("/admin/tenant/")["Location"]
    assert client.post("/admin/login/", form)["Location"] == "/admin/tenant/"
