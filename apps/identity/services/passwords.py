"""A person's own password, where they sign in with one."""

from __future__ import annotations

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from apps.audit.services import record
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.identity.models import User


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
        try:
            validate_password(password, user)
        except ValidationError as error:
            raise problem("invalid", " ".join(error.messages), pointer="/new_password1") from None
        user.set_password(password)
        user.save(update_fields=["password"])
        record(ctx, "identity.password_changed", user)
        return user
