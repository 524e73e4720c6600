"""Sign-ins and sign-outs are written to the log, or do not happen."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import connection, transaction
from django.dispatch import receiver
from django.http import HttpRequest

from apps.audit.services import record
from apps.core.context import system_context
from apps.identity.models import User
from apps.identity.selectors import person_to_sign_in, platform_id
from apps.identity.sessions import context_for_session

# Django's own receiver would write the row where no tenant sees it. It is found by this name, be it connected before ours or after.
IN_PLACE_OF_DJANGOS = "update_last_login"
user_logged_in.disconnect(dispatch_uid=IN_PLACE_OF_DJANGOS)


@receiver(user_logged_in, dispatch_uid=IN_PLACE_OF_DJANGOS)
def signed_in(sender: type[User], request: HttpRequest, user: User, **_: Any) -> None:
    """Raises when the record fails, and with it the sign-in: Django keeps no session of a request that failed."""
    _record(request, user, "identity.signed_in")
    with connection.cursor() as cursor:
        cursor.execute("SELECT identity_signed_in(%s)", [user.pk])


@receiver(user_logged_out, dispatch_uid="identity.signed_out")
def signed_out(sender: type[User], request: HttpRequest, user: User | None, **_: Any) -> None:
    if isinstance(user, User):
        _record(request, user, "identity.signed_out")


def record_wrong_password(*, email: str, tries: int, last: bool) -> None:
    """A wrong password for an account that exists, in the chain of `platform`; `last` where the next is not tried any more. For an
    unknown address the same is done and taken back, so that the time tells nothing: a log of invented names would serve nobody."""
    user = person_to_sign_in(email)
    ctx = system_context("sign-in", tenant_id=platform_id(), channel="admin")
    with transaction.atomic():
        with ctx.transaction():
            record(ctx, "identity.sign_in_blocked" if last else "identity.sign_in_failed", user or User(), data={"tries": tries})
        if user is None:
            transaction.set_rollback(True)


def _record(request: HttpRequest, user: User, action: str) -> None:
    if not hasattr(request, "user"):
        request.user = user
    ctx = getattr(request, "ctx", None) or context_for_session(request)
    with ctx.transaction():
        record(ctx, action, user)
