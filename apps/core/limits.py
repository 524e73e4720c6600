"""How often one may ask. The buckets are the process's own: no round trip, and with several processes the limits add up."""

from __future__ import annotations

import math
import time
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest

from apps.core.domain.buckets import Buckets
from apps.core.errors import Problem, problem

BURST_S = 2.0
REMEMBERED = 50_000

# By the integer of the id, which is hashed at once.
_holders: Buckets[int] = Buckets(burst_s=BURST_S, limit=REMEMBERED)
_tenants: Buckets[int] = Buckets(burst_s=BURST_S, limit=REMEMBERED)
_strangers: Buckets[str] = Buckets(burst_s=BURST_S, limit=REMEMBERED)


def charge(holder: UUID, tenant_id: UUID, *, harness: bool) -> None:
    """Counts a request against its token (or the person of a session) and its tenant. Raises Problem `rate_limited`."""
    now = time.monotonic()
    rate = settings.RATE_TOKEN_PER_S if harness else settings.RATE_PEOPLE_PER_S
    wait = _holders.take(holder.int, rate, now)
    if wait:
        raise _limited(f"This token may ask {rate:g} times a second.", wait)
    wait = _tenants.take(tenant_id.int, settings.RATE_TENANT_PER_S, now)
    if wait:
        raise _limited(f"All tokens of this tenant together may ask {settings.RATE_TENANT_PER_S:g} times a second.", wait)


def refuse_guessing(address: str) -> None:
    """Raises Problem `rate_limited` where an address has used up its failures: a token nobody knows is not even looked up."""
    wait = _strangers.wait(address, settings.RATE_FAILURES_PER_S, time.monotonic())
    if wait:
        raise _guessed(wait)


def count_failure(address: str) -> None:
    """Counts a token that was refused. Raises Problem `rate_limited` in the place of that refusal once there are too many."""
    wait = _strangers.take(address, settings.RATE_FAILURES_PER_S, time.monotonic())
    if wait:
        raise _guessed(wait)


def address_of(request: HttpRequest) -> str:
    """Who is at the other end: the last hop before a proxy that is trusted, else the peer."""
    if settings.TRUST_PROXY:
        last: str = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
        if last:
            return last[:64]
    peer: str = request.META.get("REMOTE_ADDR", "")
    return peer


def forget() -> None:
    """As a process that has just begun."""
    for buckets in (_holders, _tenants, _strangers):
        buckets.clear()


def _guessed(wait: float) -> Problem:
    return _limited("Too many tokens from this address were refused.", wait)


def _limited(words: str, wait: float) -> Problem:
    seconds = max(1, math.ceil(wait))
    return problem("rate_limited", f"{words} Ask again in {seconds} s.", retry_after=seconds)
