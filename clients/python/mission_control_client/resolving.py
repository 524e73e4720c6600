"""The last good answers of resolve, in memory and on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import RefusedError, UnavailableError
from .transport import Backoff, Transport

log = logging.getLogger("mission_control_client")

MAX_ON_DISK = 500
MAX_IN_MEMORY = 5_000


@dataclass(frozen=True, slots=True)
class Resolved:
    """What an agent is to run on. `stale`: the control plane could not be asked, and this was its last answer, `age_s` seconds ago.

    Shared among threads: read it, do not change it.
    """

    pack: str
    digest: str
    etag: str
    arm: str
    rollout: str | None
    content: Mapping[str, Any]
    rendered: Mapping[str, str]
    lineage: list[Mapping[str, Any]]
    stale: bool
    age_s: float
    body: Mapping[str, Any] = field(repr=False)


@dataclass(slots=True)
class _Entry:
    """`confirmed` is the wall clock at the last answer (it outlives the process), `fresh_until` this process's own."""

    body: dict[str, Any]
    etag: str
    confirmed: float
    fresh_until: float = float("-inf")
    used: float = 0.0
    of_user: bool = False


class Resolver:
    """Answers from memory for as long as the control plane said, asks again with the ETag, and serves the last good answer while it is away."""

    def __init__(self, transport: Transport, folder: Path, *, identity: str, max_stale_s: float | None) -> None:
        self._transport = transport
        self._folder = folder
        self._identity = identity
        self._max_stale_s = max_stale_s
        self._entries: dict[str, _Entry] = {}
        self._asking: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._backoff = Backoff(longest_s=10.0)
        self._spared_until = float("-inf")
        # Grows with every invalidation: an answer to a question put before one is not fresh.
        self._era = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def resolve(self, params: Mapping[str, str]) -> Resolved:
        """Raises RefusedError, and UnavailableError where there is no last good answer (or none as young as `max_stale_s`)."""
        key = hashlib.sha256(json.dumps([self._identity, sorted(params.items())]).encode()).hexdigest()[:40]
        entry = self._entries.get(key)
        if entry is not None and time.monotonic() < entry.fresh_until:
            return self._answer(entry, stale=False)
        with self._lock:
            asking = self._asking.setdefault(key, threading.Lock())
        # One asks, the others of this key wait for its answer.
        with asking:
            entry = self._entries.get(key) or self._from_disk(key, of_user="user" in params)
            if entry is not None and time.monotonic() < entry.fresh_until:
                return self._answer(entry, stale=False)
            try:
                return self._answer(self._ask(key, params, entry), stale=False)
            except UnavailableError:
                if entry is None or (self._max_stale_s is not None and time.time() - entry.confirmed > self._max_stale_s):
                    raise
                self._entries[key] = entry
                return self._answer(entry, stale=True)
            except RefusedError:
                self._forget(key)
                raise

    def invalidate(self) -> None:
        """What is remembered is asked for again before it is used."""
        with self._lock:
            self._era += 1
            for entry in self._entries.values():
                entry.fresh_until = float("-inf")
            # Who hears of a change has a connection: it is worth asking at once.
            self._spared_until = float("-inf")

    def serving(self, within_s: float) -> list[dict[str, str]]:
        """What was resolved within so many seconds: of each pack and arm the latest. What was resolved for a user is that user's."""
        since = time.monotonic() - within_s
        with self._lock:
            entries = sorted((e for e in self._entries.values() if e.used >= since and not e.of_user), key=lambda e: e.confirmed)
        found = {(e.body["pack"], e.body.get("arm") or "champion"): e.body["digest"] for e in entries}
        return [{"pack": pack, "digest": digest, "arm": arm} for (pack, arm), digest in sorted(found.items())]

    # Inside.

    def _ask(self, key: str, params: Mapping[str, str], entry: _Entry | None) -> _Entry:
        if (left := self._spared_until - time.monotonic()) > 0 and entry is not None:
            raise UnavailableError(f"The control plane did not answer; it is asked again in {left:.1f} s.")
        era = self._era
        try:
            answer = self._transport.get("resolve", params=params, headers={"If-None-Match": entry.etag} if entry else {})
            if answer.status == 304 and entry is None:
                raise UnavailableError("304 to a question without an ETag")
            if answer.status != 304 and not (isinstance(answer.body, dict) and {"pack", "digest"} <= answer.body.keys()):
                raise UnavailableError("an answer that is none of resolve's")
        except UnavailableError as error:
            self._spared_until = time.monotonic() + self._backoff.wait_s(error.retry_after)
            raise
        self._backoff.reset()
        if answer.status == 304 and entry is not None:
            entry.confirmed = time.time()
            self._touch(key)
        else:
            entry = _Entry(answer.body, answer.headers.get("ETag", ""), time.time(), of_user="user" in params)
            self._to_disk(key, entry)
        with self._lock:
            if len(self._entries) >= MAX_IN_MEMORY:
                self._make_room()
            self._entries[key] = entry
            if era == self._era:
                entry.fresh_until = time.monotonic() + float(entry.body.get("ttl_s") or 0)
        return entry

    def _make_room(self) -> None:
        """Forgets the half that was not used for longest; it is still on disk."""
        by_use = sorted(self._entries, key=lambda key: self._entries[key].used)
        for key in by_use[: len(by_use) // 2]:
            del self._entries[key]
            self._asking.pop(key, None)

    def _answer(self, entry: _Entry, *, stale: bool) -> Resolved:
        entry.used = time.monotonic()
        body = entry.body
        return Resolved(
            pack=body["pack"],
            digest=body["digest"],
            etag=entry.etag,
            arm=body.get("arm") or "champion",
            rollout=body.get("rollout"),
            content=body.get("content") or {},
            rendered=body.get("rendered") or {},
            lineage=body.get("lineage") or [],
            stale=stale,
            age_s=max(0.0, time.time() - entry.confirmed),
            body=body,
        )

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _from_disk(self, key: str, *, of_user: bool) -> _Entry | None:
        try:
            path = self._path(key)
            saved = json.loads(path.read_bytes())
            whole = {"pack", "digest"} <= saved["body"].keys()
            return _Entry(saved["body"], saved["etag"], path.stat().st_mtime, of_user=of_user) if whole else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _to_disk(self, key: str, entry: _Entry) -> None:
        fresh = self._path(key).with_suffix(".new")
        try:
            fresh.write_text(json.dumps({"etag": entry.etag, "body": entry.body}))
            fresh.chmod(0o600)
            fresh.replace(self._path(key))
            kept = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
            for path in kept[:-MAX_ON_DISK]:
                path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("The answer is not kept on disk: %s", error)

    def _touch(self, key: str) -> None:
        try:
            self._path(key).touch()
        except OSError as error:
            log.warning("The answer is not kept on disk: %s", error)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._entries.pop(key, None)
        self._path(key).unlink(missing_ok=True)
