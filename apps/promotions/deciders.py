"""Who may decide a promotion, and which promotions wait for one's decision: one rule for the inbox, the reminders and the page."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from apps.core.access import Action
from apps.core.context import ActionContext, RoleGrant
from apps.identity.holdings import granted_people
from apps.identity.permissions import can
from apps.identity.selectors import roles_in
from apps.packs.models import Layer
from apps.promotions.domain import approvals as rules
from apps.promotions.domain.expiry import Limits, expires_at
from apps.promotions.models import Promotion, State
from apps.promotions.selectors import authors_of_each, demand_of, given_of_each

Grants = Mapping[UUID, frozenset[RoleGrant]]
AS_MANAGER = RoleGrant(rules.MANAGER)


def limits() -> Limits:
    """As the installation is set."""
    return Limits(timedelta(days=settings.APPROVAL_DEMAND_DAYS), timedelta(days=settings.APPROVAL_KEPT_DAYS))


def expiry_of(promotion: Promotion) -> datetime | None:
    """When it expires unless it is decided; None where it does not wait."""
    return expires_at(promotion.awaiting_since, limits()) if promotion.awaiting_since else None


def holders_of(layer: Layer, user_ids: Collection[UUID] | None = None) -> Grants:
    """Who holds which roles in the layer's tenant, all its people or these. Who may approve on this layer by a grant alone counts as a
    manager there, never as a tenant admin."""
    held = dict(roles_in(layer.tenant_id, user_ids, services=False))
    for person in granted_people(layer.tenant_id, layer, Action.APPROVE):
        if user_ids is None or person in user_ids:
            held[person] = held.get(person, frozenset()) | {AS_MANAGER}
    return held


def roles_here(ctx: ActionContext, layer: Layer) -> frozenset[RoleGrant]:
    """The same of who acts; a token's scopes narrow it."""
    if not ctx.groups or layer.tenant_id != ctx.tenant_id:
        return ctx.roles
    by_grant = can(replace(ctx, roles=frozenset()), Action.APPROVE, tenant_id=layer.tenant_id, team_id=layer.team_id, on=layer)
    return ctx.roles | {AS_MANAGER} if by_grant else ctx.roles


def capacities(grants: Iterable[RoleGrant], layer: Layer) -> list[rules.Capacity]:
    """In which somebody with these roles may speak about a layer of their tenant: first in their own name, then for each who lent one."""
    found: dict[UUID | None, set[str]] = {None: set()}
    for grant in sorted(grants, key=lambda grant: (grant.role, str(grant.via or ""))):
        if grant.team_id in (None, layer.team_id):
            found.setdefault(grant.via, set()).add(grant.role)
    return [rules.Capacity(frozenset(roles), via) for via, roles in found.items()]


@dataclass(frozen=True, slots=True)
class Case:
    """A promotion with all that says who may decide it."""

    promotion: Promotion
    demand: rules.Demand
    authors: frozenset[UUID]
    given: Sequence[rules.Approval]
    sole_manager_is_author: bool

    def capacity(self, user_id: UUID, grants: Iterable[RoleGrant], *, now: datetime | None = None) -> rules.Capacity | None:
        """In which the person may bring it on by an approval; None where they may not."""
        return rules.capacity(
            self.demand,
            self.given,
            user_id=user_id,
            capacities=capacities(grants, self.promotion.layer),
            current_binding=self.promotion.binding,
            authors=self.authors,
            sole_manager_is_author=self.sole_manager_is_author,
            now=now,
        )


def cases_of(promotions: Sequence[Promotion], holders: Grants | None = None) -> list[Case]:
    """Of promotions of one tenant that have been judged, by three queries however many they are. `holders`: who holds which role in it."""
    if not promotions:
        return []
    holders = roles_in(promotions[0].tenant_id, services=False) if holders is None else holders
    authors, given = authors_of_each(promotions), given_of_each(promotions)
    return [
        Case(each, demand_of(each), authors[each.pk], given[each.pk], _only_authors(each.layer, authors[each.pk], holders))
        for each in promotions
    ]


def case_of(promotion: Promotion) -> Case:
    return cases_of([promotion])[0]


def every_manager_is_author(promotion: Promotion, authors: frozenset[UUID]) -> bool:
    """Whether no manager of the layer's tenant is free of authorship, so that a tenant admin stands in."""
    return _only_authors(promotion.layer, authors, roles_in(promotion.tenant_id, services=False))


def _only_authors(layer: Layer, authors: frozenset[UUID], holders: Grants) -> bool:
    # Who holds it by delegation frees nobody: what its lender made they may not approve either.
    free = any(
        grant.role == rules.MANAGER and grant.via is None and grant.team_id in (None, layer.team_id)
        for user_id, grants in holders.items()
        if user_id not in authors
        for grant in grants
    )
    return not free and not granted_people(layer.tenant_id, layer, Action.APPROVE) - authors


def deciders(promotion: Promotion) -> dict[UUID, rules.Capacity]:
    """Who can still decide it, and in which capacity: nobody who has answered, nor an author where authors don't count."""
    holders = holders_of(promotion.layer)
    (case,) = cases_of([promotion], holders)
    found = {user_id: case.capacity(user_id, grants) for user_id, grants in holders.items()}
    return {user_id: capacity for user_id, capacity in found.items() if capacity is not None}


def waiting_for(ctx: ActionContext) -> dict[UUID, rules.Capacity]:
    """The promotions of the context's tenant that this person may decide now, each with the capacity in which."""
    if ctx.user_id is None:
        return {}
    rows = Promotion.objects.restrict(ctx, Action.APPROVE).filter(tenant_id=ctx.tenant_id, state=State.AWAITING_APPROVAL)
    promotions = list(rows.select_related("layer__tenant").defer("verdict", "blast", "thresholds", "risk_reasons", "reason"))
    user_id, now = ctx.user_id, timezone.now()
    granted = set(
        Promotion.objects.restrict(replace(ctx, roles=frozenset()), Action.APPROVE).values_list("pk", flat=True) if ctx.groups else ()
    )
    found = {
        case.promotion.pk: case.capacity(user_id, ctx.roles | {AS_MANAGER} if case.promotion.pk in granted else ctx.roles, now=now)
        for case in cases_of(promotions)
    }
    return {promotion_id: capacity for promotion_id, capacity in found.items() if capacity is not None}
