"""problem+json (RFC 9457) and the few HTTP helpers that every kind of view shares."""

from __future__ import annotations

import msgspec
from django.http import HttpRequest, HttpResponse

from apps.core.context import ActionContext
from apps.core.errors import PROBLEM_TYPE, Problem, problem
from apps.core.refusals import problem_body


def database_away() -> Problem:
    """The database did not answer, or took the connection away: nothing was changed, and a repetition may well succeed."""
    return problem("unavailable", "The database is not available just now; try again.", retry_after=1)


def problem_response(error: Problem, request: HttpRequest) -> HttpResponse:
    body = msgspec.json.encode(problem_body(error, request_id_of(request)))
    response = HttpResponse(body, status=error.status, content_type=PROBLEM_TYPE)
    if error.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    if error.status == 405 and (said := getattr(getattr(request.resolver_match, "func", None), "documentation", None)):
        response["Allow"] = "GET, HEAD" if said.method == "GET" else said.method
    if "retry_after" in error.extra:
        response["Retry-After"] = str(error.extra["retry_after"])
    return response


def request_id_of(request: HttpRequest) -> str:
    return str(getattr(request, "request_id", ""))


def context_of(request: HttpRequest) -> ActionContext:
    """The context that the middleware or the authentication put on the request. Raises AttributeError where nobody has signed in."""
    found: ActionContext = request.ctx  # type: ignore[attr-defined]
    return found
