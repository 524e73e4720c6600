"""Groups, what is granted to them on single objects, and where a right comes from."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction
from django.db.utils import DatabaseError
from django.utils import timezone
from guardian.shortcuts import get_group_perms

from apps.audit.models import Event
from apps.core.access import Action as A  # noqa: N817 -- a table reads better with short names
from apps.core.context import ActionContext
from apps.core.errors import Problem
from apps.evals.models import EvalCase, EvalRun, EvalSet
from apps.identity import services
from apps.identity.domain.access import GRANTABLE
from apps.identity.groups import GroupMember, TenantGroup
from apps.identity.models import Agent, AgentToken, Membership, Team, Tenant, User
from apps.identity.permissions import can, require
from apps.packs.models import Layer, Pack, PackGroupPermission, PackVersion
from tests import factories as make


def refused(code: str, call: Any, **arguments: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        call(**arguments)
    assert caught.value.code == code, caught.value
    return caught.value


def granted(tenant: Tenant, obj: Any, *actions: str, until: Any = None) -> ActionContext:
    """A person without any role, in a group to which this is granted."""
    group = make.group(tenant, user := make.user())
    services.grant(ctx=make.system(tenant.pk), group_id=group.pk, obj=obj, actions=[*actions], until=until)
    return make.member_context(user, tenant)


@pytest.mark.django_db
def test_a_grant_shows_its_object_and_what_stands_under_it_and_nothing_else() -> None:
    tenant = make.tenant("acme")
    mine, theirs = make.own_pack(tenant, "mine"), make.own_pack(tenant, "theirs")
    drafts = [make.version(tenant, slug, "tenant:acme") for slug in ("mine", "theirs")]
    sets = [make.eval_set(tenant, pack, 2) for pack in (mine, theirs)]
    ctx = granted(tenant, mine, "view")
    assert set(Pack.objects.restrict(ctx)) == {mine}
    assert set(Layer.objects.restrict(ctx)) == {drafts[0].layer}
    assert set(PackVersion.objects.restrict(ctx)) == {drafts[0]}
    assert set(EvalSet.objects.restrict(ctx)) == {sets[0]}
    assert set(EvalCase.objects.restrict(ctx)) == set(sets[0].cases.all())
    assert not Membership.objects.restrict(ctx) and not Agent.objects.restrict(ctx) and not TenantGroup.objects.restrict(ctx)
    assert not PackVersion.objects.restrict(ctx, A.AUTHOR)


@pytest.mark.django_db
def test_a_grant_on_a_team_or_an_agent_reaches_what_is_theirs() -> None:
    tenant = make.tenant("acme")
    team = make.team(tenant)
    inside, outside = make.agent(tenant, "inside", team=team), make.agent(tenant, "outside")
    for agent in (inside, outside):
        make.agent_token(agent)
    make.own_pack(tenant, "desk")
    layers = {
        scope: make.version(tenant, "desk", scope).layer for scope in ("team:acme/support", "agent:acme/inside", "agent:acme/outside")
    }
    ctx = granted(tenant, team, "operate")
    assert set(Team.objects.restrict(ctx)) == {team} and set(Agent.objects.restrict(ctx, A.OPERATE)) == {inside}
    assert {token.agent for token in AgentToken.objects.restrict(ctx)} == {inside}
    assert set(Layer.objects.restrict(ctx)) == {layers["team:acme/support"], layers["agent:acme/inside"]}
    assert not Pack.objects.restrict(ctx)
    alone = granted(tenant, outside, "operate")
    assert set(Agent.objects.restrict(alone)) == {outside} and set(Layer.objects.restrict(alone)) == {layers["agent:acme/outside"]}
    assert services.suspend_agent(ctx=alone, slug="outside").status == "suspended"
    refused("not_found", services.suspend_agent, ctx=alone, slug="inside")


@pytest.mark.django_db
def test_invisible_is_404_and_visible_but_not_granted_is_403() -> None:
    tenant = make.tenant("acme")
    pack, other = make.own_pack(tenant, "mine"), make.own_pack(tenant, "other")
    ctx = granted(tenant, pack, "view")
    for obj, code in ((pack, "permission_denied"), (other, "not_found")):
        refused(code, require, ctx=ctx, action=A.AUTHOR, tenant_id=tenant.pk, on=obj)
    version = {"ctx": ctx, "scope": "tenant:acme", "content": make.content()}
    from apps.packs.services.versions import create_version

    refused("permission_denied", create_version, pack_slug="mine", **version)
    refused("not_found", create_version, pack_slug="other", **version)
    # Of teams and agents nothing is learnt by asking for a scope that is there, or is not.
    make.team(tenant, "support")
    for scope in ("team:acme/support", "team:acme/none"):
        refused("permission_denied", create_version, pack_slug="mine", **{**version, "scope": scope})
    writer = granted(tenant, pack, "author")
    assert create_version(pack_slug="mine", **{**version, "ctx": writer}).layer.pack == pack


@pytest.mark.django_db
def test_a_shared_pack_is_shown_by_a_grant_and_the_tenants_own_layers_of_it_are_changed() -> None:
    acme, other, platform = make.tenant("acme"), make.tenant("other"), make.platform()
    shared, unlisted = make.own_pack(platform, "shared"), make.own_pack(platform, "second")
    above = make.version(platform, "shared", "global")
    for tenant in (acme, other):
        make.subscription(tenant, shared)
    ours, theirs = (make.version(tenant, "shared", f"tenant:{tenant.slug}") for tenant in (acme, other))
    ctx = granted(acme, shared, "author")
    assert set(Pack.objects.restrict(ctx)) == {shared} and unlisted not in Pack.objects.restrict(ctx)
    assert set(PackVersion.objects.restrict(ctx)) == {above, ours} and theirs not in PackVersion.objects.restrict(ctx)
    assert set(PackVersion.objects.restrict(ctx, A.AUTHOR)) == {ours}
    assert not Pack.objects.restrict(ctx, A.AUTHOR)
    refused("permission_denied", require, ctx=ctx, action=A.AUTHOR, tenant_id=platform.pk, on=shared)
    refused("permission_denied", services.grant, ctx=make.context(acme.pk, "tenant_admin"), group_id=make.group(acme).pk,
            obj=make.eval_set(platform, shared), actions=["view"])  # fmt: skip


@pytest.mark.django_db
def test_nobody_grants_a_right_they_lack_or_for_longer_than_they_hold_it() -> None:
    tenant = make.tenant("acme")
    pack, group = make.own_pack(tenant, "desk"), make.group(tenant)
    give = {"group_id": group.pk, "obj": pack}
    for role in ("manager", "auditor", "author"):
        refused("permission_denied", services.grant, ctx=make.role_context(tenant, role), actions=["view"], **give)
    ends = timezone.now() + timedelta(days=10)
    brief = make.role_context(tenant, "tenant_admin", until=ends)
    assert refused("invalid", services.grant, ctx=brief, actions=["view"], **give).errors[0].pointer == "/until"
    refused("invalid", services.grant, ctx=brief, actions=["view"], until=ends + timedelta(seconds=1), **give)
    assert not PackGroupPermission.objects.exists()
    services.grant(ctx=brief, actions=["force"], until=ends, **give)
    # A team's admin grants on the team's objects alone, and a token what it may itself.
    team = make.team(tenant)
    of_team = make.role_context(tenant, "tenant_admin", team=team)
    refused("permission_denied", services.grant, ctx=of_team, actions=["view"], **give)
    services.grant(ctx=of_team, group_id=group.pk, obj=make.agent(tenant, "in-team", team=team), actions=["operate"])
    narrow = make.role_context(tenant, "tenant_admin")
    narrow.scopes = frozenset({"manage_members", "view"})
    refused("permission_denied", services.grant, ctx=narrow, actions=["author"], **give)
    # To put somebody into the group is to hand on what it holds.
    refused("permission_denied", services.add_group_member, ctx=narrow, group_id=group.pk, email="a@example.test")
    refused("invalid", services.add_group_member, ctx=brief, group_id=group.pk, email="a@example.test")
    refused("permission_denied", services.add_group_member, ctx=of_team, group_id=group.pk, email="a@example.test")
    assert services.add_group_member(ctx=brief, group_id=group.pk, email="a@example.test", until=ends).until == ends


@pytest.mark.django_db
@pytest.mark.parametrize("action", sorted(set(A) - {action for actions in GRANTABLE.values() for action in actions}))
def test_what_governs_the_tenant_is_not_granted(action: A) -> None:
    tenant = make.tenant()
    pack = make.own_pack(tenant)
    group = make.group(tenant)
    refused("invalid", services.grant, ctx=make.system(tenant.pk), group_id=group.pk, obj=pack, actions=[action])
    assert not PackGroupPermission.objects.exists()


@pytest.mark.django_db
def test_another_tenants_objects_and_groups_are_out_of_reach_even_for_sql() -> None:
    own, other = make.tenant(), make.tenant()
    mine, theirs = make.own_pack(own), make.own_pack(other)
    group, foreign = make.group(own), make.group(other)
    admin = make.role_context(own, "tenant_admin")
    refused("not_found", services.grant, ctx=admin, group_id=group.pk, obj=theirs, actions=["view"])
    refused("not_found", services.grant, ctx=admin, group_id=foreign.pk, obj=mine, actions=["view"])
    refused("not_found", services.add_group_member, ctx=admin, group_id=foreign.pk, email="a@example.test")
    sample = services.grant(ctx=admin, group_id=group.pk, obj=mine, actions=["view"])[0]
    for wrong in ({"content_object": theirs}, {"group_id": foreign.group_id}):
        fields = {"tenant": own, "group_id": group.group_id, "permission_id": sample.permission_id, "content_object": mine, **wrong}
        with pytest.raises(IntegrityError), transaction.atomic():
            PackGroupPermission.objects.create(**fields)
            connection.check_constraints()
    for change in ("content_object_id = content_object_id", "tenant_id = tenant_id"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE packs_packgrouppermission SET {change}")
    for table in ("guardian_groupobjectpermission", "guardian_userobjectpermission"):
        with connection.cursor() as cursor:
            cursor.execute("SELECT has_table_privilege(%s, 'INSERT, UPDATE, DELETE')", [table])
            assert cursor.fetchone() == (False,)


@pytest.mark.django_db
def test_ends_and_revocation_hold_at_once() -> None:
    tenant = make.tenant()
    pack = make.own_pack(tenant)
    ctx = granted(tenant, pack, "author", until=timezone.now() + timedelta(hours=1))
    assert can(ctx, A.AUTHOR, tenant_id=tenant.pk, on=pack)
    PackGroupPermission.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert not can(ctx, A.AUTHOR, tenant_id=tenant.pk, on=pack) and not Pack.objects.restrict(ctx)
    ctx = granted(tenant, pack, "author", "evaluate")
    rows = {row.permission.codename: row for row in PackGroupPermission.objects.live()}
    assert set(rows) == {"view", "author", "evaluate"}
    services.revoke(ctx=make.system(tenant.pk), grant_id=rows["author"].pk)
    assert {act for act in A if can(ctx, act, tenant_id=tenant.pk, on=pack)} == {A.VIEW, A.EVALUATE}
    # Nobody may do what they may not see.
    services.revoke(ctx=make.system(tenant.pk), grant_id=rows["view"].pk)
    assert not PackGroupPermission.objects.live().exists()


@pytest.mark.django_db
def test_to_see_lasts_as_long_as_the_longest_act() -> None:
    tenant = make.tenant()
    pack, group, system = make.own_pack(tenant), make.group(tenant), make.system(tenant.pk)
    soon, late = (timezone.now() + timedelta(days=days) for days in (1, 9))

    def ends(*actions: str, until: Any) -> dict[str, Any]:
        services.grant(ctx=system, group_id=group.pk, obj=pack, actions=actions, until=until)
        return dict(PackGroupPermission.objects.values_list("permission__codename", "until"))

    assert ends("author", until=late) == {"view": late, "author": late}
    assert ends("evaluate", until=soon) == {"view": late, "author": late, "evaluate": soon}
    assert ends("evaluate", until=None) == {"view": None, "author": late, "evaluate": None}
    assert ends("evaluate", until=soon)["view"] == late


@pytest.mark.django_db
def test_a_group_is_made_renamed_and_deleted_with_all_that_hangs_on_it() -> None:
    tenant = make.tenant()
    admin = make.role_context(tenant, "tenant_admin")
    group = services.create_group(ctx=admin, name=" Desk people ", description="Who looks after the desk")
    assert group.name == "Desk people" and group.group.name == str(group.pk)
    refused("slug_taken", services.create_group, ctx=admin, name="Desk people")
    refused("invalid", services.create_group, ctx=admin, name="two\nlines")
    services.update_group(ctx=admin, group_id=group.pk, name="Desk")
    member = services.add_group_member(ctx=admin, group_id=group.pk, email="New@example.test")
    refused("wrong_state", services.add_group_member, ctx=admin, group_id=group.pk, email="new@example.test")
    token = make.api_token(member.user, tenant)
    pack = make.own_pack(tenant)
    services.grant(ctx=admin, group_id=group.pk, obj=pack, actions=["author"])
    assert set(get_group_perms(group.group, pack)) == {"author", "view"}
    services.delete_group(ctx=admin, group_id=group.pk, reason="over")
    assert not TenantGroup.objects.exists() and not GroupMember.objects.exists() and not Group.objects.exists()
    assert not PackGroupPermission.objects.exists()
    assert token and member.user.tokens.get().revoked_at is not None
    assert list(Event.objects.filter(tenant_id=tenant.pk, action__startswith="identity.").order_by("seq").values_list("action", flat=True)) == [
        "identity.group_created", "identity.group_changed", "identity.user_created", "identity.group_member_added",
        "identity.access_granted", "identity.group_deleted",
    ]  # fmt: skip
    for role in ("manager", "viewer"):
        refused("permission_denied", services.create_group, ctx=make.role_context(tenant, role), name="Mine")


@pytest.mark.django_db
def test_a_grant_needs_no_query_where_a_role_answers(django_assert_num_queries: Any) -> None:
    tenant = make.tenant("acme")
    pack = make.own_pack(tenant)
    version = make.version(tenant, pack.slug, "tenant:acme")
    layer = Layer.objects.select_related("pack", "agent").get(pk=version.layer_id)
    role, member = make.role_context(tenant, "author"), granted(tenant, pack, "author")
    with django_assert_num_queries(0):
        assert can(role, A.AUTHOR, tenant_id=tenant.pk, on=layer)
        assert not can(role, A.FORCE, tenant_id=tenant.pk, on=layer)
    with django_assert_num_queries(1):
        assert can(member, A.AUTHOR, tenant_id=tenant.pk, on=layer)
    assert not EvalRun.objects.restrict(member) and isinstance(member.user_id, type(User().pk))
