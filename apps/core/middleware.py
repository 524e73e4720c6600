"""Middleware: a request id for everybody, a short way for harnesses, a context and a transaction for the admin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import structlog
from django.contrib import messages
from django.core.exceptions import DisallowedHost
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import Resolver404, resolve
from django.utils.module_loading import import_string

from apps.core.domain.redaction import redact_text
from apps.core.errors import Problem, problem
from apps.core.http import database_away, problem_response
from apps.core.ids import new_id

log = structlog.get_logger(__name__)
GetResponse = Callable[[HttpRequest], HttpResponse]
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIdMiddleware:
    """Takes over a well-formed X-Request-ID without a secret, or makes one; it stands in every answer, error and audit event."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        sent = request.META.get("HTTP_X_REQUEST_ID", "")
        plain = REQUEST_ID.fullmatch(sent) and (sent.isdigit() or not redact_text(sent)[1])
        request_id = sent if plain else new_id().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        response = self.get_response(request)
        response.headers["X-Request-ID"] = request_id
        return response


class HostMiddleware:
    """Answers only to the names in ALLOWED_HOSTS: the API with a problem, everything else with a page. Whether the process is up, anybody
    may ask by any name."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            request.get_host()
        except DisallowedHost:
            if request.path_info.startswith("/api/"):
                words = "The portal does not answer to the name in the Host header; ask by one that it is set up for (ALLOWED_HOSTS)."
                return problem_response(problem("wrong_host", words), request)
            if request.path_info != "/healthz":
                return render(request, "wrong_host.html", status=400)
        return self.get_response(request)


class HarnessMiddleware:
    """Answers harness routes at once: they need nothing of what stands further in, and their errors are always problems."""

    PREFIXES = ("/api/v1/resolve", "/api/v1/telemetry/", "/api/v1/otlp/", "/api/v1/heartbeat", "/api/v1/stream", "/healthz")

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(self.PREFIXES):
            return self.get_response(request)
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return problem_response(problem("not_found", "There is no such route."), request)
        request.resolver_match = match
        try:
            response: HttpResponse = match.func(request, *match.args, **match.kwargs)
        except Problem as error:
            return problem_response(error, request)
        except (OperationalError, InterfaceError):
            log.exception("harness.database_away", path=request.path_info, request_id=request.request_id)  # type: ignore[attr-defined]
            return problem_response(database_away(), request)
        except Exception:
            log.exception("harness.failed", path=request.path_info, request_id=request.request_id)  # type: ignore[attr-defined]
            return problem_response(problem("error", "The request failed; its request_id is in our log."), request)
        return response


class _Undone(Exception):  # noqa: N818 -- nothing went wrong
    """Takes the transaction of a request back while its response stands."""


def _said(request: HttpRequest) -> Iterator[str]:
    """The words of a query string."""
    for name, values in request.GET.lists():
        yield name
        yield from values


class AdminContextMiddleware:
    """In the admin every request of a signed-in person has a context in one tenant, and is one transaction."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.context_for = import_string("apps.identity.sessions.context_for_session")

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith("/admin/") or not request.user.is_authenticated:
            return self.get_response(request)
        ctx = self.context_for(request)
        request.ctx = ctx  # type: ignore[attr-defined]
        try:
            with ctx.transaction():
                response = self.get_response(request)
                if response.status_code >= 500 or getattr(request, "refused", False):
                    raise _Undone
        except _Undone:
            pass
        return response

    def process_view(self, request: HttpRequest, view: object, args: object, kwargs: object) -> HttpResponse | None:
        """U+0000 is in nothing that PostgreSQL holds: an address with it leads nowhere."""
        if not hasattr(request, "ctx") or not any("\x00" in text for text in (request.path, *_said(request))):
            return None
        return self.process_exception(request, problem("invalid", "The address holds a character that is in no name: U+0000."))

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A refusal in the admin is a sentence on the page one came from, and changes nothing."""
        if not isinstance(exception, Problem) or not request.path_info.startswith("/admin/"):
            return None
        request.refused = True  # type: ignore[attr-defined]
        messages.error(request, exception.detail)
        for found in exception.errors[:10]:
            messages.error(request, f"{found.pointer}: {found.detail}" if found.pointer else found.detail)
        referer = request.META.get("HTTP_REFERER", "")
        inside = referer.startswith(f"{request.scheme}://{request.get_host()}/admin/")
        return redirect(referer if inside and request.method == "POST" else "admin:index")
