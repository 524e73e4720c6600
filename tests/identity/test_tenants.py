from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from apps.audit.models import Event
from apps.audit.services import verify_tenant
from apps.core import events
from apps.core.context import ActionContext
from apps.core.errors import Problem
from apps.identity import services
from apps.identity.models import Agent, AgentToken, Membership, Organisation, Tenant
from apps.identity.selectors import platform_id, roles_of
from apps.identity.tokens import authenticate
from tests import factories as make


def refused(code: str, call: Any, **arguments: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        call(**arguments)
    assert caught.value.code == code, caught.value
    return caught.value


def platform_admin() -> ActionContext:
    return make.context(platform_id(), "tenant_admin")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, UUID]]]:
    """What this test's own subscribers hear; the rooms' own are left out."""
    found: list[tuple[str, dict[str, UUID]]] = []
    monkeypatch.setattr(events, "_subscribers", {})
    for event in ("identity.tenant_saved", "identity.agent_saved"):
        events.subscribe(event)(lambda ctx, event=event, **ids: found.append((event, ids)))
    return found


@pytest.mark.django_db
def test_platform_makes_a_tenant_with_its_first_admin_in_one_transaction(heard: list[tuple[str, dict[str, UUID]]]) -> None:
    ctx = platform_admin()
    services.create_organisation(ctx=ctx, slug="acme-org", name="Acme")
    tenant = services.create_tenant(
        ctx=ctx, organisation="acme-org", slug="acme", name="Acme", tier="enterprise", admin_email="first@acme.test"
    )
    first = Membership.objects.get(tenant=tenant)
    assert {grant.role for grant in roles_of(first.user, tenant.pk)} == {"tenant_admin"}
    assert heard == [("identity.tenant_saved", {"tenant_id": tenant.pk})]
    # Both chains know; what happened inside the tenant is the tenant's own affair; the log names the person who caused it.
    own = Event.objects.filter(tenant_id=tenant.pk).order_by("seq")
    assert [event.action for event in own] == ["identity.tenant_created", "identity.user_created", "identity.member_added"]
    assert {event.actor_id for event in own} == {ctx.actor.id}
    assert [event.action for event in Event.objects.filter(tenant_id=platform_id()).order_by("seq")] == [
        "identity.organisation_created",
        "identity.tenant_created",
    ]
    assert verify_tenant(tenant.pk) is None and verify_tenant(platform_id()) is None


@pytest.mark.django_db
def test_a_subscriber_that_fails_undoes_the_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(ctx: ActionContext, tenant_id: UUID) -> None:
        raise Problem("invalid", "no presets")

    monkeypatch.setattr(events, "_subscribers", {"identity.tenant_saved": [fails]})
    ctx = platform_admin()
    services.create_organisation(ctx=ctx, slug="acme-org", name="Acme")
    refused("invalid", services.create_tenant, ctx=ctx, organisation="acme-org", slug="acme", name="Acme", tier="team")
    assert not Tenant.objects.filter(slug="acme").exists()
    assert not Event.objects.filter(action="identity.tenant_created").exists()
    assert ctx.pending == [] and ctx.changes == []


@pytest.mark.django_db
def test_tenants_are_made_by_platform_only() -> None:
    tenant = make.tenant()
    for ctx in (make.context(tenant.pk, "tenant_admin"), make.context(platform_id(), "manager"), make.context(platform_id(), "auditor")):
        refused("permission_denied", services.create_organisation, ctx=ctx, slug="x", name="X")
        refused(
            "permission_denied", services.create_tenant, ctx=ctx, organisation=tenant.organisation.slug, slug="x", name="X", tier="team"
        )
    refused("invalid", services.create_tenant, ctx=platform_admin(), organisation="nowhere", slug="x", name="X", tier="team")
    refused("slug_taken", services.create_organisation, ctx=platform_admin(), slug=tenant.organisation.slug, name="X")
    assert Tenant.objects.count() == 2 and Organisation.objects.count() == 2


@pytest.mark.django_db
def test_a_personal_tenant_never_pools(heard: list[tuple[str, dict[str, UUID]]]) -> None:
    personal = make.tenant(tier="personal")
    refused("invalid", services.update_tenant, ctx=make.context(personal.pk, "tenant_admin"), slug=personal.slug, pooling_opt_in=True)
    team = make.tenant(tier="team")
    services.update_tenant(ctx=make.context(team.pk, "tenant_admin"), slug=team.slug, pooling_opt_in=True)
    services.update_tenant(ctx=platform_admin(), slug=team.slug, tier="personal")
    team.refresh_from_db()
    assert (team.tier, team.pooling_opt_in) == ("personal", False)
    assert heard == [("identity.tenant_saved", {"tenant_id": team.pk})]


@pytest.mark.django_db
def test_the_tier_decides_who_approves_so_a_tenant_cannot_lower_its_own() -> None:
    tenant = make.tenant(tier="enterprise")
    ctx = make.context(tenant.pk, "tenant_admin")
    assert refused("permission_denied", services.update_tenant, ctx=ctx, slug=tenant.slug, tier="personal").errors[0].pointer == "/tier"
    assert services.update_tenant(ctx=ctx, slug=tenant.slug, name="New name", tier="enterprise").name == "New name"
    refused("unknown_key", services.update_tenant, ctx=ctx, slug=tenant.slug, slug_="x")
    refused("not_found", services.update_tenant, ctx=make.context(make.tenant().pk, "tenant_admin"), slug=tenant.slug, name="x")


@pytest.mark.django_db
def test_a_suspended_tenant_is_shut_and_opens_again() -> None:
    tenant = make.tenant()
    person, token = make.user(tenant, "tenant_admin"), make.agent_token(make.agent(tenant))
    assert authenticate(f"Bearer {token}")
    services.suspend_tenant(ctx=platform_admin(), slug=tenant.slug, reason="unpaid")
    assert roles_of(person, tenant.pk) == frozenset()
    refused("not_authenticated", authenticate, header=f"Bearer {token}")
    refused("wrong_state", services.suspend_tenant, ctx=platform_admin(), slug=tenant.slug)
    services.activate_tenant(ctx=platform_admin(), slug=tenant.slug)
    assert authenticate(f"Bearer {token}")
    refused("permission_denied", services.suspend_tenant, ctx=make.context(tenant.pk, "tenant_admin"), slug=tenant.slug)


@pytest.mark.django_db
def test_a_deleted_tenant_is_hidden_for_good_and_its_tokens_are_revoked() -> None:
    tenant = make.tenant()
    person = make.user(tenant, "tenant_admin")
    tokens = [make.agent_token(make.agent(tenant)), make.api_token(person, tenant)]
    services.delete_tenant(ctx=make.context(tenant.pk, "tenant_admin", user=person), slug=tenant.slug)
    for token in tokens:
        refused("not_authenticated", authenticate, header=f"Bearer {token}")
    assert AgentToken.objects.get().revoked_at is not None
    assert not Tenant.objects.restrict(platform_admin()).filter(pk=tenant.pk).exists()
    for act in (services.activate_tenant, services.delete_tenant):
        refused("not_found", act, ctx=platform_admin(), slug=tenant.slug)
    refused("slug_taken", services.create_tenant, ctx=platform_admin(), organisation="platform", slug=tenant.slug, name="X", tier="team")


@pytest.mark.django_db
def test_platform_itself_stays() -> None:
    for act in (services.suspend_tenant, services.delete_tenant):
        refused("wrong_state", act, ctx=platform_admin(), slug="platform")
    refused("wrong_state", services.update_tenant, ctx=platform_admin(), slug="platform", tier="personal")


@pytest.mark.django_db
def test_agents_are_made_changed_suspended_and_retired(heard: list[tuple[str, dict[str, UUID]]]) -> None:
    tenant = make.tenant()
    team = make.team(tenant)
    admin, operator = make.context(tenant.pk, "tenant_admin"), make.context(tenant.pk, "operator")
    agent = services.create_agent(ctx=admin, slug="helpdesk-1", team="support", domain="hr-ops", autonomy="A2", default_pack="hr-ops-pack")
    assert (agent.team, agent.autonomy, agent.status) == (team, "A2", "active")
    assert services.update_agent(ctx=admin, slug="helpdesk-1", team=None, autonomy="A1").team is None
    token = make.agent_token(agent)
    services.suspend_agent(ctx=operator, slug="helpdesk-1", reason="odd answers")
    refused("not_authenticated", authenticate, header=f"Bearer {token}")
    services.activate_agent(ctx=operator, slug="helpdesk-1")
    assert authenticate(f"Bearer {token}").agent == "helpdesk-1"
    refused("permission_denied", services.retire_agent, ctx=operator, slug="helpdesk-1")
    services.retire_agent(ctx=admin, slug="helpdesk-1")
    refused("not_authenticated", authenticate, header=f"Bearer {token}")
    refused("wrong_state", services.activate_agent, ctx=operator, slug="helpdesk-1")
    refused("wrong_state", services.update_agent, ctx=admin, slug="helpdesk-1", name="x")
    # Made, then changed: its status is nothing to presets.
    assert heard == [("identity.agent_saved", {"agent_id": agent.pk})] * 2


@pytest.mark.django_db
def test_what_an_agent_cannot_be() -> None:
    tenant = make.tenant()
    admin = make.context(tenant.pk, "tenant_admin")
    services.create_agent(ctx=admin, slug="one")
    refused("slug_taken", services.create_agent, ctx=admin, slug="one")
    for fields, pointer in (
        ({"slug": "Two!"}, "/slug"),
        ({"slug": "two", "autonomy": "A9"}, "/autonomy"),
        ({"slug": "two", "domain": "HR"}, "/domain"),
        ({"slug": "two", "default_pack": "no slug"}, "/default_pack"),
        ({"slug": "two", "team": "nowhere"}, "/team"),
        ({"slug": "two", "model_policy": {"temperature": 0.5}}, "/temperature"),
    ):
        assert refused("invalid", services.create_agent, ctx=admin, **fields).errors[0].pointer == pointer
    refused("unknown_key", services.create_agent, ctx=admin, slug="two", status="retired")
    refused("permission_denied", services.create_agent, ctx=make.context(tenant.pk, "manager"), slug="two")
    refused("not_found", services.suspend_agent, ctx=make.context(make.tenant().pk, "tenant_admin"), slug="one")
    assert Agent.objects.count() == 1


@pytest.mark.django_db
def test_a_teams_admin_moves_an_agent_only_between_teams_of_theirs() -> None:
    tenant = make.tenant()
    mine = make.team(tenant, "mine")
    make.team(tenant, "theirs")
    ctx = make.context(tenant.pk, "tenant_admin", team=mine)
    services.create_agent(ctx=ctx, slug="a", team="mine")
    refused("permission_denied", services.create_agent, ctx=ctx, slug="b")
    refused("permission_denied", services.update_agent, ctx=ctx, slug="a", team="theirs")
    refused("permission_denied", services.update_agent, ctx=ctx, slug="a", team=None)
    assert Agent.objects.get().team == mine
