"""Passwords of people who sign in with one: changed by themselves, or set by the operator."""

from __future__ import annotations

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from apps.audit.services import record
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.identity.models import User
from apps.identity.services.accounts import tell_tenants
from apps.identity.services.people import normal_email


def change_own_password(*, ctx: ActionContext, password: str) -> User:
    """Sets the password of the person who asks. The caller has checked the old one; their other sessions end. Raises Problem `invalid`,
    `permission_denied` (not a person, or one who signs in by OIDC only)."""
    with ctx.transaction():
        if ctx.user_id is None:
            raise problem("permission_denied", "Only people have passwords.")
        user = User.objects.select_for_update().filter(pk=ctx.user_id).first()
        if user is None:
            raise problem("permission_denied", "You hold no role in any tenant yet; ask a tenant admin for one first.")
        if not user.has_usable_password():
            raise problem("permission_denied", "You sign in by your organisation's provider; your password is changed there.")
        _save(user, password, pointer="/new_password1")
        record(ctx, "identity.password_changed", user)
        return user


def set_password(*, ctx: ActionContext, email: str, password: str) -> User:
    """Gives a person a password, or another one; their sessions end. For the operator's command line only, recorded in every tenant that
    they belong to. Raises Problem `not_found`, `invalid`, `permission_denied`, `wrong_state` (a service account; switched off)."""
    with ctx.transaction():
        if ctx.actor.kind != "system":
            raise problem("permission_denied", "Passwords of others are set by the operator: `manage.py changepassword`.")
        user = User.objects.select_for_update().filter(email=normal_email(email)).first()
        if user is None:
            raise problem("not_found", f"There is nobody with the e-mail address {email}.")
        if user.kind == "service":
            raise problem("wrong_state", "A service account has tokens and no password.")
        if not user.is_active:
            raise problem("wrong_state", "This account is switched off; `manage.py deactivate_person --undo` switches it on.")
        _save(user, password, pointer="/password")
        tell_tenants(ctx, user, "identity.password_set")
        return user


def _save(user: User, password: str, *, pointer: str) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise problem("invalid", " ".join(error.messages), pointer=pointer) from None
    user.set_password(password)
    user.save(update_fields=["password"])
