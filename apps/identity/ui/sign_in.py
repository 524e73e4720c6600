"""The sign-in page: a button for each provider; e-mail and password where that is on, with a limit on guesses."""

from __future__ import annotations

import hashlib
from typing import Any

import structlog
from django.conf import settings
from django.contrib import admin
from django.core.cache import cache
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from redis.exceptions import RedisError
from unfold.forms import AuthenticationForm

from apps.identity.oidc.session import begin_at
from apps.identity.selectors import sign_in_choices
from apps.identity.services.sign_ins import record_wrong_password

log = structlog.get_logger(__name__)


class LimitedForm(AuthenticationForm):
    """After LOCAL_LOGIN_TRIES wrong passwords for one account from one address even the right one is not tried for a while."""

    def clean(self) -> dict[str, Any]:
        email = str(self.cleaned_data.get("username", "")).strip().lower()
        address = self.request.META.get("REMOTE_ADDR", "") if self.request else ""
        key = "sign-in:" + hashlib.sha256(f"{address}\n{email}".encode()).hexdigest()
        try:
            # Counted before the password is tried, so that guesses made at the same moment count as well.
            cache.add(key, 0, settings.LOCAL_LOGIN_WINDOW_S)
            tries = _count(key)
        except RedisError as error:
            log.exception("sign_in.no_limiter")
            raise ValidationError("Sign-in by password is not available just now; try again in a minute.") from error
        if tries > settings.LOCAL_LOGIN_TRIES:
            minutes = settings.LOCAL_LOGIN_WINDOW_S // 60
            raise ValidationError(f"Too many wrong passwords for this account. Try again in {minutes} minutes.", code="rate_limited")
        try:
            found: dict[str, Any] = super().clean()
        except ValidationError:
            record_wrong_password(email=email, tries=tries, last=tries == settings.LOCAL_LOGIN_TRIES)
            raise
        cache.delete(key)
        return found


def _count(key: str) -> int:
    try:
        return int(cache.incr(key))
    except ValueError:
        # It ended between the two commands.
        cache.set(key, 1, settings.LOCAL_LOGIN_WINDOW_S)
        return 1


admin.site.login_form = LimitedForm


def sign_in_view(request: HttpRequest) -> HttpResponse:
    """The admin's own page, with the providers of all active tenants on it."""
    if request.method == "POST" and not settings.LOCAL_LOGIN:
        raise PermissionDenied("Sign-in by password is switched off.")
    after = request.GET.get("next", "/admin/")
    buttons = [{"name": name, "url": begin_at(slug, after=after)} for slug, name in sign_in_choices()]
    return admin.site.login(request, {"providers": buttons, "local_login": settings.LOCAL_LOGIN})
