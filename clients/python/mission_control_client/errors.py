"""What a call can fail with."""

from __future__ import annotations

from typing import Any


class MissionControlError(Exception):
    """Everything that this package raises on its own account."""


class UnavailableError(MissionControlError):
    """The control plane cannot be reached, is too busy (429) or failed (5xx): the same call may succeed later.

    `retry_after` is the time in seconds that it asked for, or None.
    """

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class RefusedError(MissionControlError):
    """The control plane answered no. `status` and `code` say why (401 `not_authenticated`, 404 `not_found`, 409 `no_champion`, …); `problem`
    is the whole answer."""

    def __init__(self, status: int, code: str, detail: str, problem: dict[str, Any] | None = None) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.problem = problem or {}


class SpoolInUseError(MissionControlError):
    """Another process holds this spool folder: each process needs one of its own."""
