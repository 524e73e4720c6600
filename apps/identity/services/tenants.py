"""Organisations and tenants: made and closed by the people of `platform`, described by their own admins."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext, Topic, in_tenant
from apps.core.errors import problem
from apps.core.events import acting_in, publish
from apps.core.generations import bump
from apps.core.history import revise
from apps.identity.domain.platform import platform_id
from apps.identity.models import AgentToken, ApiToken, Organisation, Tenant, TenantStatus, Tier
from apps.identity.permissions import manages_platform, require
from apps.identity.services.people import add_member
from apps.identity.services.rows import assign, save, validate


def create_organisation(*, ctx: ActionContext, slug: str, name: str) -> Organisation:
    """A new organisation, without tenants. Raises Problem `invalid`, `slug_taken`, `permission_denied`."""
    with ctx.transaction():
        _require_platform(ctx)
        organisation = Organisation(slug=slug, name=name.strip())
        validate(organisation, "slug", "name")
        save(organisation, taken={"identity_organisation_slug_key": problem("slug_taken", f"The slug '{slug}' is taken.", pointer="/slug")})
        record(ctx, "identity.organisation_created", organisation, data={"slug": slug})
        return organisation


def update_organisation(*, ctx: ActionContext, slug: str, **changes: Any) -> Organisation:
    """Renames it. Raises Problem `not_found`, `permission_denied`, `invalid`, `unknown_key`."""
    with ctx.transaction():
        organisation: Organisation = Organisation.objects.select_for_update(of=("self",)).visible(ctx, slug=slug)
        _require_platform(ctx)
        moved = assign(organisation, changes, ("name",))
        if moved:
            save(organisation, fields=[*moved], taken={})
            record(ctx, "identity.organisation_changed", organisation, data={"changes": moved})
        return organisation


def create_tenant(
    *, ctx: ActionContext, organisation: str, slug: str, name: str, tier: str, pooling_opt_in: bool = False, admin_email: str = ""
) -> Tenant:
    """A new tenant of an organisation (its slug). Its presets are written by those who subscribed to `identity.tenant_saved`, and its
    first tenant admin is `admin_email`'s person, both in the same transaction.

    Raises Problem `permission_denied`, `invalid`, `slug_taken`.
    """
    with ctx.transaction():
        _require_platform(ctx)
        owner = Organisation.objects.restrict(ctx).filter(slug=organisation).first()
        if owner is None:
            raise problem("invalid", f"There is no organisation '{organisation}'.", pointer="/organisation")
        tenant = Tenant(organisation=owner, slug=slug, name=name.strip(), tier=tier, pooling_opt_in=pooling_opt_in)
        validate(tenant, "slug", "name", "tier")
        _check_pooling(tenant)
        save(tenant, taken={"identity_tenant_slug_key": problem("slug_taken", f"The slug '{slug}' is taken.", pointer="/slug")})
        data = {"slug": slug, "tier": tier, "organisation": owner.slug, "pooling_opt_in": pooling_opt_in}
        record(ctx, "identity.tenant_created", tenant, data=data, tenants=[tenant.pk])
        if admin_email:
            with acting_in(ctx, tenant.pk) as inside:
                add_member(ctx=inside, email=admin_email, role="tenant_admin")
        publish(ctx, "identity.tenant_saved", tenant_id=tenant.pk)
        bump(ctx, Topic.TOKENS, tenant.pk)
        return tenant


def update_tenant(*, ctx: ActionContext, slug: str, **changes: Any) -> Tenant:
    """Changes name or pooling; the tier only as `platform`, since it decides how many must approve. A tenant that becomes personal leaves
    the pool, and one of another tier gets that tier's presets (`identity.tenant_saved`).

    Raises Problem `not_found`, `permission_denied`, `invalid`, `unknown_key`.
    """
    with ctx.transaction():
        tenant = _managed(ctx, slug)
        if changes.get("tier", tenant.tier) != tenant.tier:
            if not manages_platform(ctx):
                raise problem("permission_denied", "The tier is changed by the people of the tenant 'platform'.", pointer="/tier")
            _refuse_platform(tenant, "has its tier for good")
            if changes["tier"] == Tier.PERSONAL and "pooling_opt_in" not in changes:
                changes["pooling_opt_in"] = False
        moved = assign(tenant, changes, ("name", "tier", "pooling_opt_in"))
        _check_pooling(tenant)
        if moved:
            save(tenant, fields=[*moved], taken={})
            record(ctx, "identity.tenant_changed", tenant, data={"slug": slug, "changes": moved}, tenants=[tenant.pk])
            bump(ctx, Topic.TOKENS, tenant.pk)
        if "tier" in moved:
            publish(ctx, "identity.tenant_saved", tenant_id=tenant.pk)
        return tenant


def suspend_tenant(*, ctx: ActionContext, slug: str, reason: str = "") -> Tenant:
    """Shuts a tenant for people and harnesses until it is activated; tokens stay. Raises Problem `not_found`, `permission_denied`,
    `wrong_state`."""
    return _set_status(ctx, slug, TenantStatus.SUSPENDED, reason)


def activate_tenant(*, ctx: ActionContext, slug: str, reason: str = "") -> Tenant:
    """Opens a suspended tenant again. Raises Problem `not_found`, `permission_denied`, `wrong_state`."""
    return _set_status(ctx, slug, TenantStatus.ACTIVE, reason)


def delete_tenant(*, ctx: ActionContext, slug: str, reason: str = "") -> Tenant:
    """Deletes by status: tokens are revoked and everything is hidden, for good; `purge_tenant` removes the rows. Raises Problem
    `not_found`, `permission_denied`, `wrong_state`."""
    return _set_status(ctx, slug, TenantStatus.DELETED, reason)


_ACTS = {TenantStatus.ACTIVE: "activated", TenantStatus.SUSPENDED: "suspended", TenantStatus.DELETED: "deleted"}


def _set_status(ctx: ActionContext, slug: str, status: TenantStatus, reason: str) -> Tenant:
    with ctx.transaction():
        tenant = _managed(ctx, slug)
        if status is not TenantStatus.DELETED:
            _require_platform(ctx)
        _refuse_platform(tenant, "is always active")
        if tenant.status == status or tenant.status == TenantStatus.DELETED:
            raise problem("wrong_state", f"The tenant '{slug}' is {tenant.status} already.")
        before, tenant.status = tenant.status, status
        tenant.save(update_fields=["status"])
        revoked = 0
        if status is TenantStatus.DELETED:
            # What is in a tenant is written as that tenant, also by `platform`.
            with in_tenant(tenant.pk):
                for model in (AgentToken, ApiToken):
                    revoked += revise(model.objects.filter(tenant=tenant, revoked_at__isnull=True), revoked_at=timezone.now())
        data = {"slug": slug, "from": before, "to": status.value, "tokens_revoked": revoked}
        record(ctx, f"identity.tenant_{_ACTS[status]}", tenant, data=data, reason=reason, tenants=[tenant.pk])
        bump(ctx, Topic.TOKENS, tenant.pk)
        return tenant


def _managed(ctx: ActionContext, slug: str) -> Tenant:
    tenant: Tenant = Tenant.objects.select_for_update(of=("self",)).visible(ctx, slug=slug)
    require(ctx, Action.MANAGE_TENANT, tenant_id=tenant.pk)
    return tenant


def _require_platform(ctx: ActionContext) -> None:
    if not manages_platform(ctx):
        raise problem("permission_denied", "Organisations and tenants are managed by the tenant admins of 'platform'; switch to it first.")


def _refuse_platform(tenant: Tenant, why: str) -> None:
    if tenant.pk == platform_id():
        raise problem("wrong_state", f"The tenant 'platform' {why}.")


def _check_pooling(tenant: Tenant) -> None:
    if tenant.tier == Tier.PERSONAL and tenant.pooling_opt_in:
        raise problem("invalid", "A personal tenant never pools.", pointer="/pooling_opt_in")
