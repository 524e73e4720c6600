"""Lending a role while one is away."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext, Topic
from apps.core.errors import problem
from apps.core.generations import bump
from apps.identity.domain.delegation import Held, check_may_delegate, covers
from apps.identity.models import Delegation, Membership, Tenant
from apps.identity.permissions import lacking, require
from apps.identity.selectors import roles_in, team_by_slug
from apps.identity.services.rows import validate

MAX_REASON = 2000


def delegate(*, ctx: ActionContext, to_user: str, role: str, until: datetime, team: str | None = None, reason: str = "") -> Delegation:
    """Lends one of one's own roles to another member of the tenant (an e-mail address) until then: the whole role, or for one team (its
    slug). The delegate may do what the role may, but manage members, tenants or tokens and reveal secrets.

    Raises Problem `permission_denied`, `invalid`, `wrong_state` (lent to them already).
    """
    with ctx.transaction():
        found = team_by_slug(ctx, team)
        team_id = found.pk if found else None
        if ctx.user_id is None:
            raise problem("permission_denied", "Roles are handed over by the people who hold them.")
        if len(reason) > MAX_REASON:
            raise problem("invalid", f"A reason is at most {MAX_REASON} characters.", pointer="/reason")
        Tenant.objects.select_for_update().get(pk=ctx.tenant_id)
        named = Membership.objects.filter(tenant_id=ctx.tenant_id, user__email__iexact=to_user.strip()).select_related("user").first()
        held = roles_in(ctx.tenant_id, [ctx.user_id, *([named.user_id] if named else [])], services=False)
        now = timezone.now()
        check_may_delegate(
            from_user=ctx.user_id,
            to_user=named.user_id if named else UUID(int=0),
            role=role,
            team_id=team_id,
            held=[Held(grant.role, grant.team_id, grant.via) for grant in held.get(ctx.user_id, ())],
            to_member=named is not None and bool(held.get(named.user_id)),
            until=until,
            now=now,
        )
        assert named is not None
        # A token with narrow scopes lends no more than it may do.
        if missing := lacking(ctx, role, tenant_id=ctx.tenant_id, team_id=team_id):
            names = ", ".join(action.value.replace("_", " ") for action in missing)
            raise problem("permission_denied", f"This token may not hand over the role '{role}': it may not do these itself: {names}.")
        same = Delegation.objects.filter(from_user_id=ctx.user_id, to_user_id=named.user_id, role=role, team=found, tenant_id=ctx.tenant_id)
        if same.filter(revoked_at__isnull=True, until__gt=now).exists():
            raise problem("wrong_state", "They stand in for you in this role already; end that delegation first.", pointer="/to_user")
        made = Delegation(
            tenant_id=ctx.tenant_id, from_user_id=ctx.user_id, to_user=named.user, team=found, role=role, until=until, reason=reason.strip()
        )
        validate(made, "role")
        made.save(force_insert=True)
        record(ctx, "identity.delegated", made, data=_facts(made), reason=reason)
        bump(ctx, Topic.TOKENS, ctx.tenant_id)
        return made


def end_delegation(*, ctx: ActionContext, delegation_id: UUID | str, reason: str = "") -> Delegation:
    """Takes a lent role back at once: whose role it is may, and who manages members.

    Raises Problem `not_found`, `permission_denied`, `wrong_state` (ended already).
    """
    with ctx.transaction():
        found: Delegation = Delegation.objects.select_for_update(of=("self",)).visible(ctx, pk=delegation_id)
        if found.from_user_id != ctx.user_id or ctx.scopes is not None:
            require(ctx, Action.MANAGE_MEMBERS, tenant_id=found.tenant_id, team_id=found.team_id)
        if found.revoked_at is not None or found.until <= timezone.now():
            raise problem("wrong_state", "This delegation has ended already.")
        _end(ctx, found, reason)
        return found


def end_uncovered(ctx: ActionContext, user_id: UUID) -> None:
    """Ends what a person lends and no longer holds, and what is lent to one who left the tenant: it must not come back by itself."""
    now = timezone.now()
    live = Delegation.objects.select_for_update().filter(tenant_id=ctx.tenant_id, revoked_at__isnull=True, until__gt=now)
    for found in [*live.filter(from_user_id=user_id), *live.filter(to_user_id=user_id)]:
        held = roles_in(ctx.tenant_id, [found.from_user_id, found.to_user_id])
        lender = [Held(grant.role, grant.team_id, grant.via) for grant in held.get(found.from_user_id, ())]
        if not covers(lender, found.role, found.team_id) or not held.get(found.to_user_id):
            _end(ctx, found, "The role that was lent, or the delegate's place in the tenant, ended.")


def _end(ctx: ActionContext, found: Delegation, reason: str) -> None:
    found.revoked_at = timezone.now()
    found.save(update_fields=["revoked_at"])
    record(ctx, "identity.delegation_ended", found, data=_facts(found), reason=reason)
    bump(ctx, Topic.TOKENS, found.tenant_id)


def _facts(row: Delegation) -> dict[str, object]:
    return {"from": row.from_user_id, "to": row.to_user_id, "role": row.role, "team": row.team_id, "until": row.until.isoformat()}
