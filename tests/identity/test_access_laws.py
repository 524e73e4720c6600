"""One answer to every access question: `can`, the sources that explain it and the rows of `restrict` agree, whatever people hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.core.access import Action as A  # noqa: N817 -- a table reads better with short names
from apps.evals.models import EvalSet
from apps.identity.domain.access import GRANTABLE
from apps.identity.domain.roles import MEMBER_ROLES
from apps.identity.groups import GroupMember, containers, permission
from apps.identity.holdings import access_of, people_with_access, place_of
from apps.identity.models import Agent, Membership, Team, Tenant
from apps.identity.permissions import can
from apps.packs.models import Layer, Pack, PackVersion
from tests import factories as make
from tests.identity.test_roles import TABLE

PAST, FUTURE = timezone.now() - timedelta(hours=1), timezone.now() + timedelta(days=300)
ENDS = st.sampled_from([None, PAST, FUTURE])
ROLES = st.lists(st.tuples(st.sampled_from(MEMBER_ROLES), st.sampled_from([None, 0, 1]), ENDS), max_size=2, unique_by=lambda each: each[:2])
# In which of two groups until when; what is granted to which group on which container until when.
GROUPS = st.dictionaries(st.sampled_from([0, 1]), ENDS)
GRANTS = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.integers(0, 8), st.sampled_from(sorted(set().union(*GRANTABLE.values()))), ENDS),
    max_size=5,
    unique_by=lambda each: each[:3],
)
ASKED = (A.VIEW, A.AUTHOR, A.EVALUATE, A.APPROVE, A.OPERATE, A.MANAGE_MEMBERS, A.AUDIT)


@dataclass
class Place:
    """A tenant with two teams, agents in one and in none, packs, layers at every kind of scope; the shared library beside it."""

    tenant: Tenant
    teams: list[Team]
    containers: list[Any]
    objects: list[Any]

    def above(self, obj: Any) -> set[Any]:
        """The containers that an object stands under, told by hand."""
        match obj:
            case Pack() | Team():
                return {obj}
            case Agent():
                return {obj, obj.team}
            case EvalSet():
                return {obj, obj.pack}
            case Layer():
                return {obj.pack, obj.team, obj.agent, obj.agent and obj.agent.team}
        return self.above(obj.layer)


@pytest.fixture
def place(db: None) -> Place:
    tenant, platform = make.tenant("acme"), make.platform()
    teams = [make.team(tenant, "support"), make.team(tenant, "sales")]
    agents = [make.agent(tenant, "in-support", team=teams[0]), make.agent(tenant, "alone")]
    packs = [make.own_pack(tenant, "desk"), make.own_pack(tenant, "till"), make.own_pack(platform, "shared")]
    make.subscription(tenant, packs[2])
    scopes = ["tenant:acme", "team:acme/support", "agent:acme/in-support", "agent:acme/alone"]
    versions = [make.version(tenant, pack.slug, scope) for pack in packs[::2] for scope in scopes]
    versions += [make.version(platform, "shared", "global"), make.version(tenant, "till", "team:acme/sales")]
    sets = [make.eval_set(tenant, pack, 1) for pack in packs[:2]]
    owned = [*packs, *teams, *agents, *sets]
    layers = [Layer.objects.select_related("pack", "team", "agent__team").get(pk=version.layer_id) for version in versions]
    return Place(tenant, teams, owned, [*owned, *layers, versions[1], versions[6], versions[8]])


def expected(place: Place, obj: Any, action: A, roles: Iterable[Any], grants: Iterable[Any]) -> bool:
    """The rules once more, without their code."""
    own = obj.tenant_id == place.tenant.pk
    team = {"Team": lambda: obj.pk, "Agent": lambda: obj.team_id, "Layer": lambda: obj.team_id}.get(type(obj).__name__, lambda: None)()
    if isinstance(obj, PackVersion):
        team = obj.layer.team_id
    for role, held_in, until in roles:
        if until == PAST or action not in TABLE[role]:
            continue
        if own and (held_in is None or action is A.VIEW or place.teams[held_in].pk == team):
            return True
        if not own and action is A.VIEW:
            return True
    return (own or action is A.VIEW) and any(act is action and container in place.above(obj) for container, act in grants)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(roles=ROLES, member_of=GROUPS, given_to=GRANTS, narrowed=st.sampled_from([None, frozenset({"view", "author"})]))
def test_can_explain_and_restrict_agree(place: Place, roles: Any, member_of: Any, given_to: Any, narrowed: Any) -> None:
    with transaction.atomic():
        tenant = place.tenant
        user = make.user()
        for role, team, until in roles:
            Membership.objects.create(tenant=tenant, user=user, role=role, team=None if team is None else place.teams[team], until=until)
        groups = [make.group(tenant), make.group(tenant)]
        for index, until in member_of.items():
            GroupMember.objects.create(tenant=tenant, group=groups[index], user=user, until=until)
        live = []
        for index, which, action, until in given_to:
            container = place.containers[which]
            table = containers()[container._meta.model_name]
            if action not in GRANTABLE[table.KIND]:
                continue
            table.objects.create(
                tenant=tenant, group_id=groups[index].group_id, permission=table._meta.get_field("permission").related_model.objects.get(
                    pk__in=permission(table, action)), content_object=container, until=until,
            )  # fmt: skip
            if until != PAST and member_of.get(index, PAST) != PAST:
                live.append((container, action))
        ctx = make.member_context(user, tenant)
        rows = {(model, act): set(model.objects.restrict(ctx, act)) for model in {type(obj) for obj in place.objects} for act in ASKED}
        for obj in place.objects:
            at = place_of(obj)
            (answer,) = access_of(tenant.pk, [user], obj)
            for act in ASKED:
                right = expected(place, obj, act, roles, live)
                told = f"{act} on {obj!r} of {obj.tenant}"
                assert can(ctx, act, tenant_id=obj.tenant_id, team_id=at.team_id, on=obj) == right, told
                assert answer.may(act) == right, told
                assert (obj in rows[type(obj), act]) == right, told
        sample = place.objects[len(live) % len(place.objects)]
        for act in ASKED:
            found = people_with_access(tenant.pk, sample, act).filter(pk=user.pk).exists()
            assert found == access_of(tenant.pk, [user], sample)[0].may(act), f"{act} on {sample!r}"
        # A token's scopes take away and never give.
        ctx.scopes = narrowed
        for obj in place.objects[:4]:
            for act in ASKED:
                may = (narrowed is None or act.value in narrowed) and expected(place, obj, act, roles, live)
                assert can(ctx, act, tenant_id=obj.tenant_id, team_id=place_of(obj).team_id, on=obj) == may
                assert (obj in type(obj).objects.restrict(ctx, act)) == may
        transaction.set_rollback(True)
