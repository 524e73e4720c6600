"""People who come from an OpenID provider, and the roles that its groups give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db import connection

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext, system_context
from apps.core.errors import problem
from apps.identity.models import Acquaintance, GroupRole, Membership, OidcProvider, User
from apps.identity.permissions import lacking, require
from apps.identity.selectors import id_by_email, team_by_slug
from apps.identity.services.people import add_member, create_person, normal_email, remove_member
from apps.identity.services.rows import assign, save, validate


@dataclass(frozen=True, slots=True)
class Claims:
    """What a provider says of a person, verified. No groups where the claim was absent."""

    subject: str
    email: str
    verified: bool
    name: str = ""
    groups: frozenset[str] = frozenset()


def sign_in(*, provider: OidcProvider, claims: Claims) -> User:
    """The person of these claims, with the roles that their groups give, no more; at sign-in and whenever the provider confirms them.

    Raises Problem `permission_denied` (address not verified, switched off here), `slug_taken` (the address is somebody else's), `invalid`.
    """
    ctx = system_context("oidc", tenant_id=provider.tenant_id, channel="admin")
    if not claims.email or not claims.verified:
        raise problem("permission_denied", f"{provider.name} does not say that your e-mail address is verified; ask its administrator.")
    if not 0 < len(claims.subject) <= 300:
        raise problem("invalid", f"{provider.name} gave no usable subject.")
    with ctx.transaction():
        user = _known_as(provider, claims.subject) or _first_time(ctx, provider, claims)
        active = user.is_active
        _apply_map(ctx, provider, user, claims.groups if active else frozenset())
    # Outside: what an inactive person loses stays lost.
    if not active:
        raise problem("permission_denied", "Your account is switched off here; ask a tenant admin.")
    return user


def _known_as(provider: OidcProvider, subject: str) -> User | None:
    """The person whom the provider's issuer names so, from now on known to its tenant."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT identity_person_of(%s, %s)", [provider.issuer, subject])
        (user_id,) = cursor.fetchone()
    if user_id is None:
        return None
    Acquaintance.objects.bulk_create([Acquaintance(tenant_id=provider.tenant_id, user_id=user_id)], ignore_conflicts=True)
    return User.objects.select_for_update().get(pk=user_id)


def _first_time(ctx: ActionContext, provider: OidcProvider, claims: Claims) -> User:
    """A new person; or one whom this very tenant has invited and who has had no way in yet. Nobody else's account is taken over."""
    user_id = id_by_email(normal_email(claims.email))
    if user_id is None:
        name = claims.name[:200] if claims.name.isprintable() else ""
        user = create_person(ctx, claims.email, name)
    else:
        found = User.objects.select_for_update().filter(pk=user_id).first()
        waiting = found is not None and found.issuer is None and found.last_login is None and not found.has_usable_password()
        waiting = waiting and found is not None and found.kind == "person"
        if found is None or not waiting or not _only_in(provider.tenant_id, user_id):
            raise problem(
                "slug_taken", "Your e-mail address belongs to another account here, which is not taken over; ask the operator to join them."
            )
        user = found
    user.issuer, user.subject = provider.issuer, claims.subject
    save(
        user,
        fields=["issuer", "subject"],
        taken={"identity_user_subject": problem("slug_taken", "Somebody signed in as you at the same moment; start again.")},
    )
    record(ctx, "identity.identity_bound", user, data={"provider": provider.pk, "issuer": provider.issuer})
    return user


def _only_in(tenant_id: UUID, user_id: UUID) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT identity_only_in(%s, %s)", [user_id, tenant_id])
        return bool(cursor.fetchone()[0])


def _apply_map(ctx: ActionContext, provider: OidcProvider, user: User, groups: frozenset[str]) -> None:
    """Gives what the map gives and takes what it no longer gives. Roles that people gave by hand stay as they are."""
    rows = GroupRole.objects.filter(provider=provider, group__in=groups).select_related("team")
    wanted = {(row.role, row.team_id): row for row in rows}
    held = list(Membership.objects.filter(tenant_id=provider.tenant_id, user=user))
    for key in wanted.keys() - {(row.role, row.team_id) for row in held}:
        row = wanted[key]
        add_member(ctx=ctx, email=user.email, role=row.role, team=row.team.slug if row.team else None, source=provider)
    for membership in held:
        if membership.source_id == provider.pk and (membership.role, membership.team_id) not in wanted:
            remove_member(ctx=ctx, membership_id=membership.pk, reason=f"No group at {provider.name} gives it any longer.")


CHANGEABLE = ("name", "secret_env", "scopes", "groups_claim", "verified_claim", "enabled")


def add_provider(*, ctx: ActionContext, slug: str, name: str, issuer: str, client_id: str, **more: Any) -> OidcProvider:
    """A provider for the context's tenant. For the operator only: it names an address that the portal calls, and a secret of its
    environment. Raises Problem `permission_denied`, `invalid`, `unknown_key`, `slug_taken`."""
    with ctx.transaction():
        _require_operator(ctx)
        provider = OidcProvider(tenant_id=ctx.tenant_id, slug=slug, name=name.strip(), issuer=issuer, client_id=client_id)
        assign(provider, more, CHANGEABLE)
        validate(provider, "slug", "name", "issuer", "client_id", "secret_env", "scopes", "groups_claim", "verified_claim")
        _check_address(issuer)
        if "openid" not in provider.scopes.split():
            raise problem("invalid", "The scopes must have 'openid' among them.", pointer="/scopes")
        taken = problem("slug_taken", f"There is a provider '{slug}' already.", pointer="/slug")
        twice = problem("slug_taken", "The tenant has this client of this issuer already.", pointer="/client_id")
        save(provider, taken={"identity_oidcprovider_slug_key": taken, "identity_oidcprovider_once": twice})
        record(ctx, "identity.provider_added", provider, data={"slug": slug, "issuer": issuer, "client_id": client_id})
        return provider


def switch_provider(*, ctx: ActionContext, provider_id: UUID | str, enabled: bool, reason: str = "") -> OidcProvider:
    """Off: nobody signs in by it, and its sessions end when they are to be confirmed. Raises Problem `not_found`, `permission_denied`."""
    with ctx.transaction():
        provider: OidcProvider = OidcProvider.objects.select_for_update().visible(ctx, pk=provider_id)
        require(ctx, Action.MANAGE_TENANT, tenant_id=provider.tenant_id)
        if assign(provider, {"enabled": enabled}, CHANGEABLE):
            save(provider, fields=["enabled"], taken={})
            record(ctx, f"identity.provider_{'enabled' if enabled else 'disabled'}", provider, data={"slug": provider.slug}, reason=reason)
        return provider


def map_group(*, ctx: ActionContext, provider_id: UUID | str, group: str, role: str, team: str | None = None) -> GroupRole:
    """From their next sign-in on, the people of a group hold a role. Nobody can hand on what they may not do themselves.

    Raises Problem `not_found`, `permission_denied`, `invalid`, `wrong_state` (it is there).
    """
    with ctx.transaction():
        provider: OidcProvider = OidcProvider.objects.visible(ctx, pk=provider_id)
        found = team_by_slug(ctx, team)
        require(ctx, Action.MANAGE_MEMBERS, tenant_id=provider.tenant_id, team_id=found.pk if found else None)
        row = GroupRole(tenant_id=provider.tenant_id, provider=provider, group=group.strip(), role=role, team=found)
        validate(row, "group", "role")
        _require_all_of(ctx, row)
        save(row, taken={"identity_grouprole_once": problem("wrong_state", "This group gives this role already.", pointer="/group")})
        record(ctx, "identity.group_mapped", row, data=_facts(row))
        return row


def unmap_group(*, ctx: ActionContext, group_role_id: UUID | str, reason: str = "") -> None:
    """The group gives the role no longer; whoever holds it by the map loses it when the provider confirms them next.

    Raises Problem `not_found`, `permission_denied`.
    """
    with ctx.transaction():
        row: GroupRole = GroupRole.objects.visible(ctx, pk=group_role_id)
        require(ctx, Action.MANAGE_MEMBERS, tenant_id=row.tenant_id, team_id=row.team_id)
        _require_all_of(ctx, row)
        record(ctx, "identity.group_unmapped", row, data=_facts(row), reason=reason)
        # Rows are never changed, so there is no right to lock one: of two who remove it, one does.
        if not GroupRole.objects.filter(pk=row.pk).delete()[0]:
            raise problem("not_found", "There is no such group role.")


def _require_operator(ctx: ActionContext) -> None:
    require(ctx, Action.MANAGE_TENANT, tenant_id=ctx.tenant_id)
    if ctx.actor.kind != "system":
        raise problem("permission_denied", "Providers are added by the operator: `manage.py oidc_provider`.")


def _require_all_of(ctx: ActionContext, row: GroupRole) -> None:
    missing = lacking(ctx, row.role, tenant_id=row.tenant_id, team_id=row.team_id)
    if missing:
        names = ", ".join(action.value.replace("_", " ") for action in missing)
        raise problem("permission_denied", f"You cannot govern the role '{row.role}': you may not do these yourself: {names}.")


def _check_address(issuer: str) -> None:
    parts = urlsplit(issuer)
    if parts.scheme != "https" and not (parts.scheme == "http" and settings.OIDC_ALLOW_HTTP):
        raise problem("invalid", "The issuer is an https:// address.", pointer="/issuer")
    if not parts.hostname or parts.query or parts.fragment or parts.username:
        raise problem("invalid", "The issuer is an address without query, fragment or login.", pointer="/issuer")


def _facts(row: GroupRole) -> dict[str, Any]:
    return {"provider": row.provider_id, "group": row.group, "role": row.role, "team": row.team_id}
