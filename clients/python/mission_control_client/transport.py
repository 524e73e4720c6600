"""One HTTP request, and how long to wait before the next."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from .errors import RefusedError, UnavailableError

# A body below this is not worth compressing.
GZIP_FROM_BYTES = 1024
LONGEST_RETRY_AFTER_S = 300.0
USER_AGENT = "mission-control-client/0.1"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status below 400, and what came with it."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Backoff:
    """Exponential, with jitter: between half and all of 0.25, 0.5, 1, … seconds, `longest_s` at the most; never less than was asked for."""

    def __init__(self, *, first_s: float = 0.25, longest_s: float = 30.0) -> None:
        self.first_s, self.longest_s = first_s, longest_s
        self.failures = 0

    def wait_s(self, at_least: float | None = None) -> float:
        """How long to wait after one more failure."""
        full = min(self.first_s * 2.0 ** min(self.failures, 30), self.longest_s)
        self.failures += 1
        return max(full * random.uniform(0.5, 1.0), at_least or 0.0)  # noqa: S311 -- no secret

    def reset(self) -> None:
        self.failures = 0


class Transport:
    """Requests to `<base_url>/api/v1/…` with the token. Safe to share among threads."""

    def __init__(self, base_url: str, token: str, *, timeout_s: float = 10.0, verify: Any = True) -> None:
        base = base_url.rstrip("/")
        self.base = base if base.endswith("/api/v1") else f"{base}/api/v1"
        self.authorization = f"Bearer {token}"
        self.verify = verify
        self.http = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 3.0)),
            verify=verify,
            headers={"User-Agent": USER_AGENT, "Authorization": self.authorization},
        )

    def get(self, path: str, *, params: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """Raises UnavailableError, RefusedError."""
        return self._send(self.http.build_request("GET", f"{self.base}/{path}", params=params, headers=headers))

    def post(self, path: str, body: bytes) -> Answer:
        """`body` is JSON. Raises UnavailableError, RefusedError."""
        headers = {"Content-Type": "application/json"}
        if len(body) >= GZIP_FROM_BYTES:
            body = gzip.compress(body, 5, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return self._send(self.http.build_request("POST", f"{self.base}/{path}", content=body, headers=headers))

    def _send(self, request: httpx.Request) -> Answer:
        try:
            response = self.http.send(request)
        except httpx.HTTPError as error:
            raise UnavailableError(f"{request.method} {request.url.path}: {error!r}") from None
        except RuntimeError as error:
            # The client was closed by another thread.
            raise UnavailableError(f"{request.method} {request.url.path}: {error}") from None
        return read(response)

    def close(self) -> None:
        self.http.close()


def read(response: httpx.Response) -> Answer:
    """What a response means. Raises UnavailableError for 429 and 5xx, RefusedError for any other status that is neither 2xx nor 304."""
    status = response.status_code
    body: Any = None
    if "json" in response.headers.get("Content-Type", "") and response.content:
        try:
            body = response.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise UnavailableError(f"{status} with what should be JSON and is not") from None
    if 200 <= status < 300 or status == 304:
        return Answer(status, body, response.headers)
    problem = body if isinstance(body, dict) else {}
    code, detail = str(problem.get("code", "")), str(problem.get("detail", response.reason_phrase))
    if status == 429 or status >= 500:
        raise UnavailableError(f"{status} {code}: {detail}", retry_after(response.headers))
    raise RefusedError(status, code, detail, problem)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; a date, or anything else, counts as none."""
    try:
        return min(max(float(headers.get("Retry-After", "")), 0.0), LONGEST_RETRY_AFTER_S)
    except ValueError:
        return None
