"""The sign-in page: a button for each provider; e-mail and password where that is on, with a limit on guesses."""

from __future__ import annotations

import math
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.forms import AuthenticationForm

from apps.identity import lockout
from apps.identity.oidc.session import begin_at
from apps.identity.selectors import sign_in_choices
from apps.identity.services.sign_ins import record_wrong_password


class LimitedForm(AuthenticationForm):
    """After AXES_FAILURE_LIMIT wrong passwords for one account from one address even the right one is not tried for a while. Nothing that
    it says or does depends on whether there is such an account."""

    def clean(self) -> dict[str, Any]:
        email = str(self.cleaned_data.get("username", ""))
        refusal: ValidationError | None = None
        with transaction.atomic():
            lockout.one_at_a_time(self.request, email)
            try:
                found: dict[str, Any] = super().clean()
            except ValidationError as error:
                refusal = error
        if refusal is None:
            return found
        tries, locked = getattr(self.request, "axes_failures_since_start", None), getattr(self.request, "axes_locked_out", False)
        if tries is not None:
            record_wrong_password(email=lockout.account(self.request, {"username": email}), tries=tries, last=locked)
        if not locked:
            raise refusal
        again = lockout.open_again(self.request, email)
        self.request.retry_after_s = max(1, math.ceil((again - timezone.now()).total_seconds()))
        minutes = math.ceil(self.request.retry_after_s / 60)
        words = f"Too many wrong passwords. Try again at {again:%H:%M} UTC, in {minutes} minute{'s' if minutes != 1 else ''}."
        raise ValidationError(words, code="rate_limited")


admin.site.login_form = LimitedForm


def sign_in_view(request: HttpRequest) -> HttpResponse:
    """The admin's own page, with the providers of all active tenants on it."""
    if request.method == "POST" and not settings.LOCAL_LOGIN:
        raise PermissionDenied("Sign-in by password is switched off.")
    after = request.GET.get("next", "/admin/")
    buttons = [{"name": name, "url": begin_at(slug, after=after)} for slug, name in sign_in_choices()]
    response = admin.site.login(request, {"providers": buttons, "local_login": settings.LOCAL_LOGIN})
    if (wait := getattr(request, "retry_after_s", None)) is not None:
        response.status_code, response["Retry-After"] = 429, str(wait)
    return response
