"""A role lent while one is away: to whom, for how long, and what it is worth."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from apps.audit.models import Event
from apps.core.access import Action
from apps.core.context import ActionContext, Actor, RoleGrant
from apps.core.errors import Problem
from apps.identity import services
from apps.identity.domain.delegation import DELEGABLE, LONGEST, Held, check_may_delegate
from apps.identity.domain.roles import MEMBER_ROLES, NOT_DELEGABLE, ROLE_ACTIONS, actions_of
from apps.identity.models import Delegation, Membership, Tenant, User
from apps.identity.permissions import can
from apps.identity.selectors import role_ends, roles_of
from tests import factories as make
from tests.identity.test_members import refused

NOW = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
TEAMS = [None, UUID(int=1), UUID(int=2)]
HELD = st.builds(Held, st.sampled_from(MEMBER_ROLES), st.sampled_from(TEAMS), st.sampled_from([None, UUID(int=9)]))


@given(
    st.lists(HELD, max_size=4),
    st.sampled_from(MEMBER_ROLES),
    st.sampled_from(TEAMS),
    st.sampled_from([UUID(int=7), UUID(int=8)]),
    st.booleans(),
    st.timedeltas(timedelta(days=-2), timedelta(days=120)),
)
def test_what_may_be_lent(held: list[Held], role: str, team: UUID | None, to: UUID, member: bool, length: timedelta) -> None:
    own = any(each.via is None and each.role == role and each.team_id in (None, team) for each in held)
    lawful = own and role in DELEGABLE and to != UUID(int=7) and member and timedelta(0) < length <= LONGEST
    try:
        check_may_delegate(
            from_user=UUID(int=7), to_user=to, role=role, team_id=team, held=held, to_member=member, until=NOW + length, now=NOW
        )
    except Problem as problem:
        assert not lawful and problem.code == ("invalid" if own and role in DELEGABLE else "permission_denied")
    else:
        assert lawful


def test_a_lent_role_never_outlasts_itself_by_what_it_does() -> None:
    assert {role: ROLE_ACTIONS[role] - actions_of(role, delegated=True) for role in DELEGABLE} == {
        "author": frozenset(),
        "operator": frozenset(),
        "manager": frozenset(),
        "tenant_admin": NOT_DELEGABLE,
    }


@pytest.fixture
def acme(db: None) -> Tenant:
    return make.tenant("acme")


def ctx_of(user: User, tenant: Tenant) -> ActionContext:
    return ActionContext(Actor("user", user.pk, user.email), tenant.pk, "api", roles_of(user, tenant.pk))


def lend(tenant: Tenant, lender: User, to: User, role: str = "manager", **more: Any) -> Delegation:
    return services.delegate(
        ctx=ctx_of(lender, tenant),
        to_user=to.email,
        role=role,
        **{"until": timezone.now() + timedelta(days=10), "reason": "Holiday.", **more},
    )


def test_the_delegate_holds_the_role_while_both_stand(acme: Tenant) -> None:
    boss, stand_in = make.user(acme, "manager"), make.user(acme, "viewer")
    make.user(acme, "tenant_admin")
    made = lend(acme, boss, stand_in)
    assert roles_of(stand_in, acme.pk) == {RoleGrant("viewer"), RoleGrant("manager", None, boss.pk)}
    assert can(ctx_of(stand_in, acme), Action.APPROVE, tenant_id=acme.pk)
    assert Event.objects.filter(tenant_id=acme.pk, action="identity.delegated").exists()
    # Each of these, alone, ends it.
    for rows, change, back in (
        (User.objects.filter(pk=boss.pk), {"is_active": False}, {"is_active": True}),
        (Membership.objects.filter(user=boss), {"role": "author"}, {"role": "manager"}),
        (Membership.objects.filter(user=boss), {"until": timezone.now() - timedelta(1)}, {"until": None}),
        (Membership.objects.filter(user=stand_in), {"until": timezone.now() - timedelta(1)}, {"until": None}),
    ):
        rows.update(**change)
        assert not [grant for grant in roles_of(stand_in, acme.pk) if grant.via], change
        rows.update(**back)
    assert len(roles_of(stand_in, acme.pk)) == 2
    services.end_delegation(ctx=ctx_of(boss, acme), delegation_id=made.pk)
    assert roles_of(stand_in, acme.pk) == {RoleGrant("viewer")}
    refused("wrong_state", services.end_delegation, ctx=ctx_of(boss, acme), delegation_id=made.pk)


def test_no_chains_no_strangers_and_no_power_that_lasts(acme: Tenant) -> None:
    admin, other_admin, stand_in, third = (make.user(acme, role) for role in ("tenant_admin", "tenant_admin", "author", "author"))
    stranger = make.user(make.tenant("other"), "manager")
    lend(acme, admin, stand_in, "tenant_admin")
    ctx = ctx_of(stand_in, acme)
    soon = timezone.now() + timedelta(days=1)
    chained = refused("permission_denied", services.delegate, ctx=ctx, to_user=third.email, role="tenant_admin", until=soon)
    assert "lent on" in chained.detail
    refused("permission_denied", services.delegate, ctx=ctx, to_user=third.email, role="manager", until=soon)
    for to in (stranger.email, "nobody@example.test", admin.email):
        refused("invalid", services.delegate, ctx=ctx_of(admin, acme), to_user=to, role="tenant_admin", until=soon)
    refused("wrong_state", services.delegate, ctx=ctx_of(admin, acme), to_user=stand_in.email, role="tenant_admin", until=soon)
    assert can(ctx, Action.FORCE, tenant_id=acme.pk)
    refused("permission_denied", services.add_member, ctx=ctx, email="x@example.test", role="tenant_admin")
    refused("permission_denied", services.issue_api_token, ctx=ctx, email=third.email)
    made = Delegation.objects.get()
    refused("permission_denied", services.end_delegation, ctx=ctx, delegation_id=made.pk)
    # Whoever manages members takes it back.
    services.end_delegation(ctx=ctx_of(other_admin, acme), delegation_id=made.pk, reason="Not needed.")
    with pytest.raises(IntegrityError), transaction.atomic():
        Delegation.objects.filter(pk=made.pk).update(revoked_at=None)


def test_a_role_that_is_lost_takes_the_delegation_with_it_for_good(acme: Tenant) -> None:
    boss, stand_in, admin = make.user(acme, "manager"), make.user(acme, "viewer"), make.user(acme, "tenant_admin")
    made = lend(acme, boss, stand_in)
    membership = Membership.objects.get(user=boss)
    services.change_member(ctx=ctx_of(admin, acme), membership_id=membership.pk, role="author")
    services.change_member(ctx=ctx_of(admin, acme), membership_id=membership.pk, role="manager")
    made.refresh_from_db()
    assert made.revoked_at is not None and roles_of(stand_in, acme.pk) == {RoleGrant("viewer")}


def test_a_role_may_be_lent_for_one_team_only(acme: Tenant) -> None:
    boss, stand_in, team = make.user(acme, "manager"), make.user(acme, "viewer"), make.team(acme)
    lend(acme, boss, stand_in, team="support")
    ctx = ctx_of(stand_in, acme)
    assert can(ctx, Action.APPROVE, tenant_id=acme.pk, team_id=team.pk) and not can(ctx, Action.APPROVE, tenant_id=acme.pk)
    of_team = make.user(acme, "manager", team=team)
    refused("permission_denied", services.delegate, ctx=ctx_of(of_team, acme), to_user=stand_in.email, role="manager", until=timezone.now())


def test_the_database_refuses_what_the_service_would(acme: Tenant) -> None:
    boss, stand_in = make.user(acme, "manager"), make.user(acme, "viewer")
    stranger = make.user(make.tenant("other"), "manager")
    good = {"tenant": acme, "from_user": boss, "to_user": stand_in, "role": "manager", "until": timezone.now() + timedelta(days=80)}
    for wrong in (
        {"to_user": boss},
        {"to_user": stranger},
        {"from_user": stand_in, "to_user": boss},
        {"role": "tenant_admin"},
        {"role": "auditor"},
        {"until": timezone.now() + timedelta(days=91)},
        {"until": timezone.now() - timedelta(days=1)},
        {"team": make.team(make.tenant("third"))},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            Delegation.objects.create(**{**good, **wrong})
    Delegation.objects.create(**good)


def test_a_token_knows_when_what_was_lent_ends(acme: Tenant, client: Client) -> None:
    boss, stand_in = make.user(acme, "manager"), make.user(acme, "viewer")
    token = make.api_token(stand_in, acme)

    def roles() -> list[tuple[str, str | None]]:
        body = client.get("/api/v1/me/", headers=make.bearer(token)).json()
        return [(each["role"], each["delegated_by"]) for each in body["roles"]]

    assert roles() == [("viewer", None)]
    made = lend(acme, boss, stand_in)
    from apps.core.generations import watcher

    watcher.forget()
    assert roles() == [("manager", boss.email), ("viewer", None)]
    assert role_ends(stand_in, acme.pk) == [made.until]
    ends = timezone.now() + timedelta(days=2)
    Membership.objects.filter(user=boss).update(until=ends)
    assert sorted(role_ends(stand_in, acme.pk)) == [ends, made.until]


def test_over_the_api(acme: Tenant, client: Client) -> None:
    people = {who: make.user(acme, role) for who, role in {"boss": "manager", "other": "viewer", "admin": "tenant_admin"}.items()}
    tokens = {who: make.api_token(person, acme) for who, person in people.items()}
    stranger = make.api_token(make.user(make.tenant("other"), "tenant_admin"), Tenant.objects.get(slug="other"))

    def call(token: str, method: str, path: str, body: Any = None) -> Any:
        return getattr(client, method)(f"/api/v1/{path}", body, content_type="application/json", headers=make.bearer(token))

    wanted = {
        "to_user": people["other"].email,
        "role": "manager",
        "until": (timezone.now() + timedelta(days=3)).isoformat(),
        "reason": "Away.",
    }
    assert call(tokens["other"], "post", "delegations/", wanted).status_code == 403
    made = call(tokens["boss"], "post", "delegations/", wanted)
    assert made.status_code == 201 and made.json()["live"] is True, made.content
    path = f"delegations/{made.json()['id']}/"
    listed = client.get(f"/api/v1/delegations/?to_user={people['other'].email}&live=true", headers=make.bearer(tokens["other"])).json()
    assert [each["from_user"] for each in listed["results"]] == [people["boss"].email]
    assert (
        client.get(f"/api/v1/delegations/?from_user={people['other'].email}", headers=make.bearer(tokens["admin"])).json()["results"] == []
    )
    assert call(stranger, "post", f"{path}end/", {}).status_code == 404
    assert call(tokens["other"], "post", f"{path}end/", {}).status_code == 403
    assert call(tokens["admin"], "post", f"{path}end/", {"reason": "Back."}).json()["live"] is False
