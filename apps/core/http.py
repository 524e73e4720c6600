"""problem+json (RFC 9457) and the few HTTP helpers that every kind of view shares."""

from __future__ import annotations

from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse

from apps.core.context import ActionContext
from apps.core.domain.redaction import redact_text
from apps.core.errors import PROBLEM_TYPE, Problem, problem


def database_away() -> Problem:
    """The database did not answer, or took the connection away: nothing was changed, and a repetition may well succeed."""
    return problem("unavailable", "The database is not available just now; try again.", retry_after=1)


def problem_body(error: Problem, request_id: str) -> dict[str, Any]:
    """The body of a refusal (RFC 9457), without secrets: what it says may repeat what was sent."""
    return {
        "type": f"urn:mission-control:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": redact_text(error.detail)[0],
        "errors": [
            {"pointer": redact_text(found.pointer)[0], "code": found.code, "detail": redact_text(found.detail)[0]} for found in error.errors
        ],
        "request_id": request_id,
        **error.extra,
    }


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
