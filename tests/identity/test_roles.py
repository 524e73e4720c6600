"""The role table, copied by hand from the design's table of roles: `domain.md`, 2."""

from __future__ import annotations

import pytest

from apps.core.access import Action as A  # noqa: N817 -- a table reads better with short names
from apps.core.errors import Problem
from apps.identity.models import Agent, Membership, Team
from apps.identity.permissions import can, require
from apps.identity.selectors import platform_id
from tests import factories as make

VIEW = {A.VIEW, A.PROMPT_READ}
# The prompt library's users read, write and delete; its admins link as well; its agents read.
AUTHOR = VIEW | {A.AUTHOR, A.EVALUATE, A.REQUEST_PROMOTION, A.PROMPT_WRITE, A.PROMPT_DELETE}
HARNESS = {A.RESOLVE, A.TELEMETRY, A.HEARTBEAT, A.SUGGEST, A.REQUEST_ACTION, A.ANSWER_EVALUATION}
TABLE = {
    "viewer": VIEW,
    "author": AUTHOR,
    "operator": VIEW | {A.OPERATE, A.ROLL_BACK},
    "manager": AUTHOR | {A.APPROVE, A.PROMOTE, A.ROLL_BACK},
    # All in the tenant: everything but what a harness does with its own token.
    "tenant_admin": set(A) - HARNESS,
    "auditor": VIEW | {A.AUDIT, A.EXPORT},
    "agent": HARNESS | {A.PROMPT_READ},
}


@pytest.mark.django_db
@pytest.mark.parametrize("action", list(A))
@pytest.mark.parametrize("role", list(TABLE))
def test_a_role_allows_what_the_table_says_and_nothing_outside_its_tenant(role: str, action: A) -> None:
    own, other = make.tenant(), make.tenant()
    ctx = make.context(own.pk, role)
    assert can(ctx, action, tenant_id=own.pk) == (action in TABLE[role])
    assert not can(ctx, action, tenant_id=other.pk)
    sees_the_library = action is A.VIEW and A.VIEW in TABLE[role]
    assert can(ctx, action, tenant_id=platform_id()) == sees_the_library


@pytest.mark.django_db
def test_a_role_in_a_team_counts_for_that_teams_objects_and_for_looking_at_the_tenant() -> None:
    tenant = make.tenant()
    mine, theirs = make.team(tenant, "support"), make.team(tenant, "sales")
    ctx = make.context(tenant.pk, "tenant_admin", team=mine)
    in_mine, in_theirs, in_none = make.agent(tenant, team=mine), make.agent(tenant, team=theirs), make.agent(tenant)
    assert can(ctx, A.OPERATE, tenant_id=tenant.pk, team_id=mine.pk)
    assert not can(ctx, A.OPERATE, tenant_id=tenant.pk, team_id=theirs.pk)
    assert not can(ctx, A.OPERATE, tenant_id=tenant.pk)
    assert set(Agent.objects.restrict(ctx)) == {in_mine, in_theirs, in_none}
    assert set(Agent.objects.restrict(ctx, A.OPERATE)) == {in_mine}
    assert set(Team.objects.restrict(ctx, A.MANAGE_MEMBERS)) == {mine}


@pytest.mark.django_db
def test_scopes_of_a_token_narrow_its_roles_and_never_widen_them() -> None:
    tenant = make.tenant()
    ctx = make.context(tenant.pk, "author")
    ctx.scopes = frozenset({"view", "approve"})
    assert {action for action in A if can(ctx, action, tenant_id=tenant.pk)} == {A.VIEW}


@pytest.mark.django_db
def test_invisible_is_not_found_and_visible_but_not_allowed_is_forbidden() -> None:
    own, other = make.tenant(), make.tenant()
    ctx = make.context(own.pk, "viewer")
    for tenant_id, code in ((own.pk, "permission_denied"), (platform_id(), "permission_denied"), (other.pk, "not_found")):
        with pytest.raises(Problem) as caught:
            require(ctx, A.AUTHOR, tenant_id=tenant_id)
        assert caught.value.code == code


@pytest.mark.django_db
def test_a_context_without_roles_sees_nothing() -> None:
    tenant = make.tenant()
    make.user(tenant, "viewer")
    assert not Membership.objects.restrict(make.context(tenant.pk)).exists()
    assert not can(make.context(platform_id()), A.VIEW, tenant_id=platform_id())
