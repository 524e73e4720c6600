"""Reads of identity that several rooms share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from apps.core.access import Action
from apps.core.context import ActionContext, RoleGrant, in_tenant
from apps.core.errors import problem
from apps.identity.domain.platform import PLATFORM_ID as PLATFORM_ID
from apps.identity.domain.platform import platform_id as platform_id
from apps.identity.domain.roles import actions_of
from apps.identity.models import AgentToken, ApiToken, Delegation, Membership, OidcProvider, Team, Tenant, User


def roles_of(user: User, tenant_id: UUID) -> frozenset[RoleGrant]:
    """The roles that a person holds in a tenant now; none once the membership, the person or the tenant has ended. Asked within a
    transaction of that tenant."""
    if not user.is_active:
        return frozenset()
    return roles_in(tenant_id, [user.pk]).get(user.pk, frozenset())


def roles_in(tenant_id: UUID, user_ids: Iterable[UUID] | None = None, *, services: bool = True) -> dict[UUID, frozenset[RoleGrant]]:
    """Who holds which roles in a tenant now, by membership or by delegation; of all its people, or of these; of service accounts too unless
    they are left out. The one place that loads roles: who is inactive, or whose membership has ended, holds none and lends none."""
    wanted = None if user_ids is None else list(user_ids)
    found: dict[UUID, set[RoleGrant]] = {}
    with in_tenant(tenant_id), connection.cursor() as cursor:
        cursor.execute(
            _ROLES, {"tenant": tenant_id, "now": timezone.now(), "all": wanted is None, "wanted": wanted or [], "services": services}
        )
        for user_id, role, team_id, via in cursor.fetchall():
            found.setdefault(user_id, set()).add(RoleGrant(role, team_id, via))
    return {user_id: frozenset(grants) for user_id, grants in found.items()}


# Each table is read once, under its policy; what then is compared many times over are those rows alone.
_ROLES = """
WITH lent AS MATERIALIZED (
    SELECT to_user_id, from_user_id, role, team_id FROM identity_delegation
    WHERE tenant_id = %(tenant)s AND revoked_at IS NULL AND until > %(now)s AND (%(all)s OR to_user_id = ANY(%(wanted)s))
), own AS MATERIALIZED (
    SELECT m.user_id, m.role, m.team_id FROM identity_membership m
    JOIN identity_tenant t ON t.id = m.tenant_id AND t.status = 'active'
    JOIN identity_user u ON u.id = m.user_id AND u.is_active AND (%(services)s OR u.service_of_id IS NULL)
    WHERE m.tenant_id = %(tenant)s AND (m.until IS NULL OR m.until > %(now)s)
      AND (%(all)s OR m.user_id = ANY(%(wanted)s) OR m.user_id IN (SELECT from_user_id FROM lent))
)
SELECT user_id, role, team_id, NULL::uuid FROM own WHERE %(all)s OR user_id = ANY(%(wanted)s)
UNION ALL
SELECT to_user_id, role, team_id, from_user_id FROM lent
WHERE EXISTS (SELECT FROM own WHERE own.user_id = lent.to_user_id)
  AND EXISTS (SELECT FROM own WHERE own.user_id = lent.from_user_id AND own.role = lent.role
              AND (own.team_id IS NULL OR own.team_id = lent.team_id))
"""


def role_ends(user: User, tenant_id: UUID) -> list[datetime]:
    """When something that `roles_of` answers now ends by itself: the person's memberships, what was delegated to them, and the
    memberships that it rests on."""
    now = timezone.now()
    with in_tenant(tenant_id):
        lent = Delegation.objects.filter(tenant_id=tenant_id, to_user=user, revoked_at__isnull=True, until__gt=now)
        lenders = list(lent.values_list("until", "from_user_id"))
        people = [user.pk, *(lender for _, lender in lenders)]
        ends = Membership.objects.filter(user__in=people, tenant_id=tenant_id, until__gt=now).values_list("until", flat=True)
        return [*(until for until, _ in lenders), *ends]


@dataclass(frozen=True, slots=True)
class InGroup:
    """That a person is in a group of a tenant now; `group_id` is the key of Django's group."""

    tenant_id: UUID
    group_id: int
    until: datetime | None


def groups_of(user: User) -> list[InGroup]:
    """The groups that a person is in now, of all tenants; none once the membership, the person or the tenant has ended."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id, group_id, until FROM identity_groups_of(%s)", [user.pk])
        return [InGroup(*row) for row in cursor.fetchall()]


def tenants_of(user: User) -> list[Tenant]:
    """The active tenants in which a person holds a role or is in a group, by slug: id, slug, name and tier of each. For before a tenant is known."""
    return list(Tenant.objects.raw("SELECT id, slug, name, tier FROM identity_tenants_of(%s)", [user.pk]))


def tenant_by_slug(slug: str) -> Tenant:
    """Its id, slug, name, tier and status, for before a tenant is known. Raises Problem `not_found`."""
    found = list(Tenant.objects.raw("SELECT id, slug, name, tier, status FROM identity_tenant_by_slug(%s)", [slug]))
    if not found:
        raise problem("not_found", f"There is no tenant '{slug}'.")
    tenant: Tenant = found[0]
    return tenant


def provider_in_use(slug: str) -> OidcProvider | None:
    """The provider by which one may sign in: it and its tenant are switched on. For before a tenant is known."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT identity_provider_tenant(%s)", [slug])
        (tenant_id,) = cursor.fetchone()
    if tenant_id is None:
        return None
    with in_tenant(tenant_id):
        found: OidcProvider | None = OidcProvider.objects.filter(slug=slug).first()
    return found


def sign_in_choices() -> list[tuple[str, str]]:
    """Slug and name of each provider by which one may sign in."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT slug, name FROM identity_sign_in_choices()")
        return cursor.fetchall()


def active_person(person_id: UUID | str) -> User | None:
    """The person of a session, whatever the tenant."""
    return next(iter(User.objects.raw("SELECT * FROM identity_person(%s)", [person_id])), None)


def person_to_sign_in(email: str) -> User | None:
    """Whoever has this address (as addresses are stored), switched off or not, whatever the tenant."""
    return next(iter(User.objects.raw("SELECT * FROM identity_person_to_sign_in(%s)", [email])), None)


def id_by_email(email: str) -> UUID | None:
    """The id of the person with this address (as addresses are stored), whatever the tenant; their row is seen by those that know them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT identity_person_at(%s)", [email])
        found: UUID | None = cursor.fetchone()[0]
    return found


def team_by_slug(ctx: ActionContext, slug: str | None) -> Team | None:
    """The team of the context's tenant that a request names, or None when it names none. Raises Problem `invalid` at `/team`."""
    if not slug:
        return None
    team: Team | None = Team.objects.restrict(ctx).filter(slug=slug, tenant_id=ctx.tenant_id).first()
    if team is None:
        raise problem("invalid", f"The tenant has no team '{slug}'.", pointer="/team")
    return team


def actions_in(roles: Iterable[RoleGrant]) -> frozenset[Action]:
    """Every action that these roles allow, tenant-wide or for a team."""
    return frozenset(action for grant in roles for action in actions_of(grant.role, delegated=grant.via is not None))


def live_tokens(now: datetime) -> Q:
    """Those that are neither revoked nor expired."""
    return Q(revoked_at__isnull=True) & (Q(expires_at__isnull=True) | Q(expires_at__gt=now))


def expiring_tokens(within: timedelta, now: datetime) -> Q:
    """Live tokens that end within this time."""
    return live_tokens(now) & Q(expires_at__lte=now + within)


def unused_tokens(since: timedelta, now: datetime) -> Q:
    """Live tokens that nobody has used for so long, and that are as old."""
    long_ago = now - since
    return live_tokens(now) & Q(created_at__lte=long_ago) & (Q(last_used_at__isnull=True) | Q(last_used_at__lte=long_ago))


def visible_token(ctx: ActionContext, token_id: UUID | str, *, lock: bool = False) -> AgentToken | ApiToken:
    """The agent's or person's token with this id. Raises Problem `not_found`."""
    for model, holder in ((AgentToken, "agent"), (ApiToken, "user")):
        rows = model.objects.select_related(holder, "successor").restrict(ctx)
        try:
            found = (rows.select_for_update(of=("self",)) if lock else rows).filter(pk=token_id).first()
        except ValidationError:
            break
        if found is not None:
            token: AgentToken | ApiToken = found
            return token
    raise problem("not_found", "There is no such token.")
