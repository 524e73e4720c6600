"""A person who signed in by OIDC is confirmed by the provider again when their time is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from apps.core.errors import problem
from apps.core.http import problem_response
from apps.identity.oidc.session import begin_url, is_due

GetResponse = Callable[[HttpRequest], HttpResponse]
# Ways out and back in.
OPEN = ("/oidc/", "/admin/login/", "/admin/logout/", "/static/")


class OidcRefreshMiddleware:
    """A page is fetched by way of the provider, unseen (`prompt=none`); a part of a page has the whole page do so; a form is held for the
    person to send again, with nothing that they typed lost; the API answers 401."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, arguments: Any, options: Any) -> HttpResponse | None:
        """After the check against forged requests, so that only a form of our own is held."""
        # Without a cookie the session is not looked at, and the answer does not vary by it.
        if settings.SESSION_COOKIE_NAME not in request.COOKIES or request.path_info.startswith(OPEN):
            return None
        if not request.user.is_authenticated or not is_due(request):
            return None
        if request.path_info.startswith("/api/"):
            if request.headers.get("Authorization"):
                return None
            return problem_response(problem("not_authenticated", "Your sign-in has to be confirmed: open any page of the portal."), request)
        if request.headers.get("HX-Request"):
            return HttpResponse(status=401, headers={"HX-Refresh": "true"})
        if request.method in ("GET", "HEAD"):
            return HttpResponseRedirect(begin_url(request, after=request.get_full_path(), silent=True))
        held = [
            (name, value)
            for name, values in request.POST.lists()
            for value in values
            if name != "csrfmiddlewaretoken" and "password" not in name
        ]
        context = {"held": held, "action": request.get_full_path(), "confirm": begin_url(request, after="/oidc/confirmed/", silent=True)}
        return render(request, "identity/held.html", context, status=401)
