"""Service accounts, and the end of a person's access everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext, Topic
from apps.core.errors import problem
from apps.core.events import acting_in
from apps.core.generations import bump
from apps.core.history import revise
from apps.identity.domain.platform import platform_id
from apps.identity.models import ApiToken, Membership, Tenant, User
from apps.identity.permissions import manages_platform, require
from apps.identity.services.people import add_member
from apps.identity.services.rows import save, validate

# A domain that no mail reaches (RFC 2606): nobody can hold the address.
SERVICE_DOMAIN = "service.invalid"


def create_service_account(*, ctx: ActionContext, slug: str, name: str, role: str, team: str | None = None) -> Membership:
    """An account of the context's tenant for a program, with a role there. It has no way to sign in, works by tokens alone and never
    approves. Raises Problem `permission_denied`, `invalid`, `slug_taken`."""
    with ctx.transaction():
        require(ctx, Action.MANAGE_MEMBERS, tenant_id=ctx.tenant_id)
        tenant = Tenant.objects.get(pk=ctx.tenant_id)
        # The tenant's own rules for slugs hold for the account's.
        validate(Tenant(slug=slug), "slug")
        account = User(email=f"{slug}@{tenant.slug}.{SERVICE_DOMAIN}", name=name.strip(), service_of=tenant)
        account.set_unusable_password()
        validate(account, "email", "name")
        taken = problem("slug_taken", f"The tenant has a service account '{slug}' already.", pointer="/slug")
        save(account, taken={"identity_user_email_key": taken})
        record(ctx, "identity.service_account_created", account, data={"slug": slug})
        return add_member(ctx=ctx, email=account.email, role=role, team=team)


def deactivate_person(*, ctx: ActionContext, user_id: UUID, reason: str = "") -> User:
    """Switches an account off in the whole installation: its sessions and tokens end, in every tenant, and its password with them. Its
    roles stay on record. For the people of `platform`.

    Raises Problem `permission_denied`, `not_found`, `wrong_state` (off already, oneself, the last admin of `platform`).
    """
    with ctx.transaction():
        if user_id == ctx.user_id:
            raise problem("wrong_state", "You cannot switch yourself off; another admin of 'platform' can.")
        user = _governed(ctx, user_id)
        if not user.is_active:
            raise problem("wrong_state", "This account is switched off already.")
        user.is_active = False
        # The sessions are bound to it: they stay ended, whatever happens to the account later.
        user.set_unusable_password()
        user.save(update_fields=["is_active", "password"])
        _keep_an_operator(user)
        for inside in _in_each_tenant(ctx, user):
            tokens = ApiToken.objects.filter(tenant_id=inside.tenant_id, user=user, revoked_at__isnull=True)
            revoked = revise(tokens, revoked_at=timezone.now())
            record(inside, "identity.person_deactivated", user, data={"tokens_revoked": revoked}, reason=reason)
            bump(inside, Topic.TOKENS, inside.tenant_id)
        return user


def activate_person(*, ctx: ActionContext, user_id: UUID, reason: str = "") -> User:
    """Switches an account on again. Its tokens stay revoked, and who signed in by password needs a new one.

    Raises Problem `permission_denied`, `not_found`, `wrong_state` (on already).
    """
    with ctx.transaction():
        user = _governed(ctx, user_id)
        if user.is_active:
            raise problem("wrong_state", "This account is switched on already.")
        user.is_active = True
        user.save(update_fields=["is_active"])
        for inside in _in_each_tenant(ctx, user):
            record(inside, "identity.person_activated", user, reason=reason)
            bump(inside, Topic.TOKENS, inside.tenant_id)
        return user


def tell_tenants(ctx: ActionContext, user: User, action: str) -> None:
    """Records what was done to an account in the chain of every tenant that it belongs to, and in the context's own."""
    for inside in _in_each_tenant(ctx, user):
        record(inside, action, user)


def _governed(ctx: ActionContext, user_id: UUID) -> User:
    if not manages_platform(ctx):
        raise problem("permission_denied", "Accounts are switched on and off by the people of the tenant 'platform'.")
    user = User.objects.select_for_update().filter(pk=user_id).first()
    if user is None:
        raise problem("not_found", "There is no such person.")
    return user


def _tenants_with(user_id: UUID) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM identity_tenants_with(%s)", [user_id])
        return [tenant_id for (tenant_id,) in cursor.fetchall()]


def _in_each_tenant(ctx: ActionContext, user: User) -> Iterator[ActionContext]:
    """A context in the context's own tenant, then in each where the account has, or had, a role or a token; each one's records say nothing
    of the others."""
    yield ctx
    for tenant_id in _tenants_with(user.pk):
        if tenant_id == ctx.tenant_id:
            continue
        with acting_in(ctx, tenant_id) as inside:
            yield inside


def _keep_an_operator(gone: User) -> None:
    admins = Membership.objects.filter(
        Q(until__isnull=True) | Q(until__gt=timezone.now()), tenant_id=platform_id(), role="tenant_admin", team__isnull=True
    )
    if admins.filter(user=gone).exists() and not admins.filter(user__is_active=True, user__service_of__isnull=True).exists():
        raise problem("wrong_state", "This is the last admin of the tenant 'platform'; make another person tenant admin there first.")
