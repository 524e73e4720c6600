"""Telemetry on its way: numbered batches, kept until the portal has acknowledged them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from apps.demo.fleet.portal import Portal

Kind = Literal["runs", "events"]
MAX_ITEMS = 200
# Beyond this many items an agent stops working rather than lose what it has done.
FULL = 4_000


@dataclass(slots=True)
class Outbox:
    """One producer's batches, first in, first out. A batch that was sent once never changes, so that sending it again is a duplicate at most."""

    producer: str = field(default_factory=lambda: f"demo-{uuid4().hex[:12]}")
    seq: int = 0
    batches: deque[tuple[Kind, dict[str, Any]]] = field(default_factory=deque)
    open: dict[Kind, list[Mapping[str, Any]]] = field(default_factory=lambda: {"runs": [], "events": []})
    refused: list[str] = field(default_factory=list)

    def put(self, kind: Kind, *items: Mapping[str, Any]) -> None:
        self.open[kind] += items

    @property
    def full(self) -> bool:
        return sum(len(batch[kind]) for kind, batch in self.batches) + sum(map(len, self.open.values())) >= FULL

    def send(self, portal: Portal, token: str) -> int:
        """Sends all there is; how many items were acknowledged. What is not stays for the next time. Raises Away, Refused."""
        self._seal()
        acknowledged = 0
        while self.batches:
            kind, batch = self.batches[0]
            answer = portal.call(token, "POST", f"telemetry/{kind}", batch)
            if answer.status >= 500:
                # Not stored, and not the batch's fault: the next time again.
                break
            self.batches.popleft()
            if answer.status == 202:
                acknowledged += answer.body["accepted"] + answer.body["duplicates"]
                self.refused += [f"{entry['pointer']}: {entry['detail']}" for entry in answer.body["rejected"]]
            else:
                self.refused.append(f"{kind}: {answer.status} {answer.code}")
        return acknowledged

    def _seal(self) -> None:
        for kind in ("runs", "events"):
            items = self.open[kind]
            for start in range(0, len(items), MAX_ITEMS):
                self.seq += 1
                self.batches.append((kind, {"producer": self.producer, "seq": self.seq, kind: items[start : start + MAX_ITEMS]}))
            self.open[kind] = []
