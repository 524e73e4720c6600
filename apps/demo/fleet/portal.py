"""The portal as its clients see it: one HTTP client for all tokens, which stands back while the portal is away."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 4.0


class Away(Exception):  # noqa: N818 -- it says what is the matter
    """The portal cannot be reached, or is too busy: ask again after `wait_s` seconds."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"The portal is away; asking again in {wait_s:.1f} s.")
        self.wait_s = wait_s


class Refused(Exception):  # noqa: N818 -- it says what is the matter
    """The portal does not take the token (any more)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `body` is None where there was no JSON."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """The code of a refusal, else ""."""
        return str(self.body.get("code", "")) if self.status >= 400 and isinstance(self.body, dict) else ""


class Portal:
    """One portal at a URL. After a failure every call is spared until the wait is over, which doubles from failure to failure."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(
            base_url=f"{url.rstrip('/')}/api/v1/",
            timeout=httpx.Timeout(30.0, connect=3.0),
            # Loopback, mostly: no proxy of the environment stands in between.
            trust_env=False,
            headers={"User-Agent": "mission-control-demo"},
        )
        self._failures = 0
        self._spared_until = 0.0

    @property
    def away(self) -> bool:
        """Whether the last request failed."""
        return self._failures > 0

    def call(
        self,
        token: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request. Raises Away (no connection, 429, 502, 503, 504) and Refused (401); any other status is an answer."""
        if (rest := self._spared_until - time.monotonic()) > 0:
            raise Away(rest)
        try:
            response = self.http.request(
                method, path, json=body, params=params, headers={"Authorization": f"Bearer {token}", **(headers or {})}
            )
        except httpx.TransportError:
            raise self._away() from None
        if response.status_code in (429, 502, 503, 504):
            raise self._away(response.headers.get("Retry-After", ""))
        self._failures = 0
        if response.status_code == 401:
            raise Refused(path)
        is_json = "json" in response.headers.get("Content-Type", "")
        return Answer(response.status_code, response.json() if is_json and response.content else None, response.headers)

    def _away(self, retry_after: str = "") -> Away:
        wait = min(_FIRST_WAIT_S * 2**self._failures, _LONGEST_WAIT_S)
        if retry_after.isdigit():
            wait = min(max(wait, float(retry_after)), _LONGEST_WAIT_S)
        self._failures += 1
        self._spared_until = time.monotonic() + wait
        return Away(wait)

    def close(self) -> None:
        self.http.close()
