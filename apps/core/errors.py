"""Errors that people and harnesses read: one exception, one table of codes (`api.md`, Codes)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

PROBLEM_TYPE = "application/problem+json"

# code -> (HTTP status, title)
CODES: dict[str, tuple[int, str]] = {
    "invalid": (422, "The request is not valid"),
    "unknown_key": (422, "Unknown key"),
    "constraint_violation": (422, "A constraint of an ancestor is broken"),
    "locked_section": (422, "The section is locked by an ancestor"),
    "not_available": (422, "Not available yet"),
    "slug_taken": (409, "The slug is taken"),
    "stale_parent": (409, "The parent is no longer the champion"),
    "stale_etag": (412, "The resource has changed"),
    "wrong_layer": (422, "The version belongs to another layer"),
    "no_champion": (409, "Nothing is live on this chain"),
    "no_valid_pack": (409, "No valid pack on this chain"),
    "not_a_former_champion": (409, "Not a former champion"),
    "quarantined": (409, "The version is quarantined"),
    "own_promotion": (409, "Own promotion"),
    "approval_stale": (409, "The approval is stale"),
    "already_decided": (409, "Already decided"),
    "promotion_in_progress": (409, "A promotion is in progress"),
    "rollout_in_progress": (409, "A rollout is in progress"),
    "evidence_missing": (409, "Evidence is missing"),
    "hard_rule": (409, "A hard rule forbids it"),
    "too_old": (422, "Too old"),
    "duplicate_conflict": (409, "The id is known with another body"),
    "bad_encoding": (400, "The body cannot be decoded"),
    "wrong_host": (400, "Wrong host name"),
    "too_large": (413, "Too large"),
    "unsupported_media_type": (415, "Unsupported media type"),
    "budget_exceeded": (409, "The budget is exceeded"),
    "model_locked": (403, "The model is locked"),
    "rate_limited": (429, "Too many requests"),
    "idempotency_conflict": (422, "The idempotency key was used for another request"),
    "lease_expired": (409, "The lease has expired"),
    "wrong_state": (409, "Not possible in this state"),
    "approval_required": (409, "An approval is required"),
    "not_authenticated": (401, "Not authenticated"),
    "permission_denied": (403, "Permission denied"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "not_acceptable": (406, "Not acceptable"),
    "unavailable": (503, "Unavailable"),
    "error": (500, "Something went wrong on our side"),
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One finding: `pointer` is an RFC 6901 JSON pointer into what was sent ("" is the whole)."""

    pointer: str
    code: str
    detail: str


@dataclass(eq=False)
class Problem(Exception):  # noqa: N818 -- the name of RFC 9457
    """A refusal with a code of `api.md`. Raised from domain, services or views; rendered as problem+json or an admin message."""

    code: str
    detail: str
    errors: Sequence[FieldError] = ()
    extra: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    @property
    def status(self) -> int:
        return CODES[self.code][0]

    @property
    def title(self) -> str:
        return CODES[self.code][1]


def problem(code: str, detail: str, *, pointer: str | None = None, errors: Sequence[FieldError] = (), **extra: object) -> Problem:
    """Builds a Problem; `pointer` is short for one finding. Raises KeyError for a code that `api.md` does not know."""
    if code not in CODES:
        raise KeyError(code)
    found = [FieldError(pointer, code, detail), *errors] if pointer is not None else list(errors)
    return Problem(code, detail, found, dict(extra))
