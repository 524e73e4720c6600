"""What a refusal says, without Django: the push stream says it too."""

from __future__ import annotations

from typing import Any

from apps.core.domain.redaction import redact_text
from apps.core.errors import Problem


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
