"""People, teams and memberships."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext, Topic
from apps.core.errors import problem
from apps.core.generations import bump
from apps.core.history import revise
from apps.identity.domain.roles import MEMBER_ROLES
from apps.identity.models import ApiToken, GroupMember, Membership, OidcProvider, Team, Tenant, User
from apps.identity.permissions import can, lacking, require
from apps.identity.selectors import id_by_email, team_by_slug
from apps.identity.services.delegations import end_uncovered
from apps.identity.services.rows import assign, save, validate


def create_user(*, ctx: ActionContext, email: str, name: str = "", password: str | None = None) -> User:
    """A person, without any role. Without a password they sign in by OIDC, or once an operator has set one.

    Raises Problem `invalid`, `slug_taken` (the address is known), `permission_denied`.
    """
    with ctx.transaction():
        require(ctx, Action.MANAGE_MEMBERS, tenant_id=ctx.tenant_id)
        return create_person(ctx, email, name, password)


def create_person(ctx: ActionContext, email: str, name: str, password: str | None = None) -> User:
    """For services whose caller has been asked for its rights. Raises Problem `invalid`, `slug_taken`."""
    user = User(email=normal_email(email), name=name.strip())
    if user.email.endswith(".service.invalid"):
        raise problem("invalid", "Addresses under service.invalid are those of service accounts.", pointer="/email")
    if password is not None:
        try:
            validate_password(password, user)
        except ValidationError as error:
            raise problem("invalid", " ".join(error.messages), pointer="/password") from None
    user.set_password(password)
    validate(user, "email", "name")
    save(
        user,
        taken={"identity_user_email_key": problem("slug_taken", "There is a person with this e-mail address already.", pointer="/email")},
    )
    record(ctx, "identity.user_created", user, data={"local": password is not None})
    return user


def normal_email(email: str) -> str:
    """As addresses are stored: without surrounding blanks, in lower case."""
    return User.objects.normalize_email(email.strip()).lower()


def create_team(*, ctx: ActionContext, slug: str, name: str) -> Team:
    """A team of the context's tenant. Raises Problem `invalid`, `slug_taken`, `permission_denied`."""
    with ctx.transaction():
        require(ctx, Action.MANAGE_MEMBERS, tenant_id=ctx.tenant_id)
        team = Team(tenant_id=ctx.tenant_id, slug=slug, name=name.strip())
        validate(team, "slug", "name")
        save(team, taken={"identity_team_slug": problem("slug_taken", f"The tenant has a team '{slug}' already.", pointer="/slug")})
        record(ctx, "identity.team_created", team, data={"slug": slug})
        return team


def update_team(*, ctx: ActionContext, slug: str, **changes: Any) -> Team:
    """Renames it. Raises Problem `not_found`, `permission_denied`, `invalid`, `unknown_key`."""
    with ctx.transaction():
        team: Team = Team.objects.select_for_update().visible(ctx, slug=slug, tenant_id=ctx.tenant_id)
        require(ctx, Action.MANAGE_MEMBERS, tenant_id=team.tenant_id, team_id=team.pk)
        moved = assign(team, changes, ("name",))
        if moved:
            save(team, fields=[*moved], taken={})
            record(ctx, "identity.team_changed", team, data={"slug": slug, "changes": moved})
        return team


def add_member(
    *,
    ctx: ActionContext,
    email: str,
    role: str,
    team: str | None = None,
    until: datetime | None = None,
    user_ref: str = "",
    name: str = "",
    source: OidcProvider | None = None,
) -> Membership:
    """Gives a person (made when the address is new) a role in the context's tenant, or for the objects of one team (its slug).
    `source` is the provider whose group map gives it.

    Nobody can grant a role whose actions they lack themselves; a harness reference (`user_ref`) is given by who manages the members of the
    whole tenant. Raises Problem `permission_denied`, `invalid`, `wrong_state` (has it).
    """
    with ctx.transaction():
        found = team_by_slug(ctx, team)
        team_id = found.pk if found else None
        require(ctx, Action.MANAGE_MEMBERS, tenant_id=ctx.tenant_id, team_id=team_id)
        _require_grantable(ctx, role, team_id)
        if user_ref:
            _require_whole_tenant(ctx)
        _check_until(until)
        _lock(ctx)
        # Somebody whom this tenant does not know yet is seen here from the membership on.
        user_id = id_by_email(normal_email(email)) or create_person(ctx, email, name).pk
        membership = Membership(
            tenant_id=ctx.tenant_id, user_id=user_id, team=found, role=role, until=until, user_ref=user_ref, source=source
        )
        validate(membership, "role", "user_ref")
        elsewhere = problem("invalid", "This is a service account of another tenant.", pointer="/email")
        save(membership, taken={"identity_membership_once": _held(role), "identity_service_at_home": elsewhere})
        membership.user = User.objects.get(pk=user_id)
        record(ctx, "identity.member_added", membership, data=_facts(membership))
        bump(ctx, Topic.TOKENS, ctx.tenant_id)
        return membership


def change_member(*, ctx: ActionContext, membership_id: UUID | str, **changes: Any) -> Membership:
    """Changes role, end or harness reference. Both the old role and the new one must be within what `ctx` may do itself; the reference is
    changed by who manages the members of the whole tenant.

    Raises Problem `not_found`, `permission_denied`, `invalid`, `unknown_key`, `wrong_state` (the last tenant admin).
    """
    with ctx.transaction():
        membership = _governed(ctx, membership_id)
        _require_grantable(ctx, membership.role, membership.team_id)
        if "role" in changes:
            _require_grantable(ctx, changes["role"], membership.team_id)
        if changes.get("user_ref", membership.user_ref) != membership.user_ref:
            _require_whole_tenant(ctx)
        if changes.get("until") != membership.until:
            _check_until(changes.get("until"))
        if changes.get("role", membership.role) != membership.role or (membership.until is None and changes.get("until") is not None):
            _keep_an_admin(membership)
        moved = assign(membership, changes, ("role", "until", "user_ref"))
        if moved:
            save(membership, fields=[*moved], taken={"identity_membership_once": _held(membership.role)})
            moved.pop("user_ref", None)
            record(ctx, "identity.member_changed", membership, data={**_facts(membership), "changes": moved})
            end_uncovered(ctx, membership.user_id)
            bump(ctx, Topic.TOKENS, membership.tenant_id)
        return membership


def remove_member(*, ctx: ActionContext, membership_id: UUID | str, reason: str = "") -> None:
    """Takes the role away; with a person's last role, or group, in the tenant their tokens there are revoked.

    Raises Problem `not_found`, `permission_denied`, `wrong_state` (the last tenant admin).
    """
    with ctx.transaction():
        membership = _governed(ctx, membership_id)
        _require_grantable(ctx, membership.role, membership.team_id)
        # What a group map gave, its provider takes away, were it the last: who left the organisation must not stay in.
        if membership.source_id is None or ctx.actor.kind != "system":
            _keep_an_admin(membership)
        revoked = revoke_tokens_of_leaver(membership)
        record(ctx, "identity.member_removed", membership, data={**_facts(membership), "tokens_revoked": revoked}, reason=reason)
        user_id = membership.user_id
        membership.delete()
        end_uncovered(ctx, user_id)
        bump(ctx, Topic.TOKENS, ctx.tenant_id)


def revoke_tokens_of_leaver(leaving: Membership | GroupMember) -> int:
    """With a person's last role, or group, in the tenant their tokens there are revoked. Gives how many."""
    for model in (Membership, GroupMember):
        held = model.objects.filter(tenant_id=leaving.tenant_id, user_id=leaving.user_id)
        if held.exclude(pk=leaving.pk).exists():
            return 0
    tokens = ApiToken.objects.filter(tenant_id=leaving.tenant_id, user_id=leaving.user_id, revoked_at__isnull=True)
    return revise(tokens, revoked_at=timezone.now())


def _governed(ctx: ActionContext, membership_id: UUID | str) -> Membership:
    """The membership, under the tenant's lock, if `ctx` governs it."""
    visible: Membership = Membership.objects.visible(ctx, pk=membership_id)
    require(ctx, Action.MANAGE_MEMBERS, tenant_id=visible.tenant_id, team_id=visible.team_id)
    _lock(ctx)
    membership: Membership = Membership.objects.select_for_update().visible(ctx, pk=membership_id)
    return membership


def _lock(ctx: ActionContext) -> None:
    """One change of memberships at a time in a tenant: two admins must not remove each other."""
    Tenant.objects.select_for_update().get(pk=ctx.tenant_id)


def _require_grantable(ctx: ActionContext, role: str, team_id: UUID | None) -> None:
    if role not in MEMBER_ROLES:
        raise problem("invalid", f"The role is one of {', '.join(MEMBER_ROLES)}.", pointer="/role")
    missing = lacking(ctx, role, tenant_id=ctx.tenant_id, team_id=team_id)
    if missing:
        names = ", ".join(action.value.replace("_", " ") for action in missing)
        raise problem("permission_denied", f"You cannot govern the role '{role}': you may not do these yourself: {names}.", pointer="/role")


def _require_whole_tenant(ctx: ActionContext) -> None:
    if not can(ctx, Action.MANAGE_MEMBERS, tenant_id=ctx.tenant_id):
        raise problem(
            "permission_denied",
            "A harness reference opens that user's content: it is set by who manages the members of the whole tenant.",
            pointer="/user_ref",
        )


def _check_until(until: datetime | None) -> None:
    if until is not None and until <= timezone.now():
        raise problem("invalid", "The role must end in the future; to end it now, remove the membership.", pointer="/until")


def _keep_an_admin(membership: Membership) -> None:
    """Raises Problem `wrong_state` where nobody would be left to govern the tenant once this membership is gone."""
    if membership.role != "tenant_admin" or membership.team_id is not None:
        return
    others: QuerySet[Membership] = Membership.objects.filter(
        tenant_id=membership.tenant_id, role="tenant_admin", team__isnull=True, user__is_active=True
    ).exclude(pk=membership.pk)
    # An admin for good is followed by another for good, not by one who leaves on a known day.
    lasting = Q(until__isnull=True) if membership.until is None else Q(until__isnull=True) | Q(until__gt=timezone.now())
    if not others.filter(lasting).exists():
        raise problem("wrong_state", "This is the tenant's last tenant admin; make another person tenant admin first.")


def _held(role: str) -> Any:
    return problem("wrong_state", f"This person is {role.replace('_', ' ')} there already.", pointer="/role")


def _facts(membership: Membership) -> dict[str, Any]:
    return {
        "user": membership.user_id,
        "role": membership.role,
        "team": membership.team_id,
        "until": membership.until.isoformat() if membership.until else None,
        **({"source": membership.source_id} if membership.source_id else {}),
    }
