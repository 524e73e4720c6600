"""Resolve, warm: against an empty view behind the same middleware, over tenants and over scopes."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import msgspec

from benchmarks.seeding import PACK, shared_pack, tenants, zipf
from benchmarks.stage import memory_mib, web
from benchmarks.wrk import Load, load

BODY_BYTES = 20 * 1024
PATH = f"/api/v1/resolve?pack={PACK}"


def run() -> Iterator[tuple[str, str]]:
    """Rows of (what, figure)."""
    pack = shared_pack(body_bytes=BODY_BYTES)
    few = tenants(pack, 10)
    with web() as (port, process):
        size, _ = _answer(port, few[0])
        yield "Resolved body", f"{size / 1024:.1f} KiB"
        _warm(port, few)
        empty = load(port, "/healthz", few)
        ten = load(port, PATH, zipf(few, 20_000))
        same = load(port, PATH, [few[1]], etag=_answer(port, few[1])[1])
        yield "Empty view, same middleware", _shown(empty)
        yield (
            "Resolve, 200, 10 tenants",
            f"{_shown(ten)}; {ten.rate / empty.rate:.0%} of the empty view's rate, p99 {ten.p99_ms / empty.p99_ms:.1f} times its",
        )
        yield "Resolve, 304", f"{_shown(same)}; {same.rate / ten.rate:.0%} of the 200's rate"
        yield "Memory of the web process, 10 tenants", f"{memory_mib(process.pid):.0f} MiB"
    many = few + tenants(pack, 9_990)
    draws = zipf(many, 200_000)
    with web() as (port, process):
        _warm(port, many)
        all_of_them = load(port, PATH, draws, seconds=10)
        again = load(port, PATH, zipf(few, 20_000))
        yield (
            "Resolve, 200, 10,000 tenants (Zipf over all, one in ten with its own layer)",
            f"{_shown(all_of_them)}; {all_of_them.rate / again.rate - 1:+.1%} against 10 tenants in the same process",
        )
        yield "Memory of the web process, 10,000 tenants", f"{memory_mib(process.pid):.0f} MiB"
    yield from _scopes()


def _scopes() -> Iterator[tuple[str, str]]:
    """Three live layers against seven, bodies of one size: the fold is memoised, so that only a first answer differs."""
    three = tenants(shared_pack("bench-three", body_bytes=BODY_BYTES), 10, layered_every=1, scopes=("tenant", "agent"))
    pack = shared_pack("bench-seven", body_bytes=BODY_BYTES - 1500, above_tenant=3)
    seven = tenants(pack, 10, layered_every=1, scopes=("tenant", "team", "agent", "user"))
    low_path, high_path = "/api/v1/resolve?pack=bench-three&user=u-1", "/api/v1/resolve?pack=bench-seven&user=u-1"
    with web() as (port, _):
        sizes = [max(len(_get(port, token, path)) for token in tokens) for tokens, path in ((three, low_path), (seven, high_path))]
        low, high = load(port, low_path, three), load(port, high_path, seven)
        yield f"Resolve, 3 live layers ({sizes[0] / 1024:.1f} KiB)", _shown(low)
        yield f"Resolve, 7 live layers ({sizes[1] / 1024:.1f} KiB)", f"{_shown(high)}; {high.rate / low.rate - 1:+.1%}"


def _warm(port: int, tokens: list[str]) -> None:
    for token in tokens:
        _get(port, token)


def _answer(port: int, token: str) -> tuple[int, str]:
    body = _get(port, token)
    return len(body), str(msgspec.json.decode(body)["etag"])


def _get(port: int, token: str, path: str = PATH) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        body: bytes = response.read()
        return body


def _shown(found: Load) -> str:
    failed = f", {found.errors} FAILED" if found.errors else ""
    return f"{found.rate:,.0f} requests/s, p50 {found.p50_ms:.2f} ms, p99 {found.p99_ms:.2f} ms{failed}"
