"""Every error of the API is problem+json with a code of `api.md`."""

from __future__ import annotations

from typing import Any

import structlog
from django.core.exceptions import PermissionDenied
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404
from drf_standardized_errors.formatter import ExceptionFormatter
from rest_framework import exceptions
from rest_framework.response import Response

from apps.core.errors import PROBLEM_TYPE, FieldError, Problem, problem
from apps.core.http import database_away, request_id_of
from apps.core.refusals import problem_body

log = structlog.get_logger(__name__)

STATUS_CODES = {
    400: "bad_encoding",
    401: "not_authenticated",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
}


def as_problem(error: Exception, context: Any) -> Problem | None:
    """The Problem that an exception means, or None for a fault of ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Http404):
        return problem("not_found", "There is no such resource.")
    if isinstance(error, PermissionDenied):
        return problem("permission_denied", "You may not do this.")
    if isinstance(error, exceptions.ValidationError):
        flat = ExceptionFormatter(error, context, error).run()
        found = [FieldError(_pointer(entry["attr"]), "invalid", str(entry["detail"])) for entry in flat["errors"]]
        return problem("invalid", found[0].detail if len(found) == 1 else f"{len(found)} values are not valid.", errors=found)
    if isinstance(error, exceptions.APIException):
        made = problem(STATUS_CODES.get(error.status_code, "invalid"), str(error.detail))
        wait = getattr(error, "wait", None)
        if wait:
            made.extra["retry_after"] = int(wait)
        return made
    return None


def _pointer(attr: str | None) -> str:
    return "" if attr in (None, "non_field_errors") else "/" + str(attr).replace(".", "/")


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER."""
    request = context["request"]
    found = as_problem(error, context)
    if found is None and isinstance(error, (OperationalError, InterfaceError)):
        log.exception("api.database_away", path=request.path, request_id=request_id_of(request), exc_info=error)
        found = database_away()
    if found is None and isinstance(error, DataError):
        # What the parsers let through and PostgreSQL does not hold, such as a time 17 hours off UTC.
        log.warning("api.out_of_range", path=request.path, request_id=request_id_of(request), exc_info=error)
        found = problem("invalid", "A value is out of range, such as a number that is too large or a time more than 15 hours off UTC.")
    if found is None:
        log.exception("api.failed", path=request.path, request_id=request_id_of(request), exc_info=error)
        found = problem("error", "The request failed; its request_id is in our log.")
    response = Response(problem_body(found, request_id_of(request)), status=found.status, content_type=PROBLEM_TYPE)
    if found.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    if "retry_after" in found.extra:
        response["Retry-After"] = str(found.extra["retry_after"])
    return response
