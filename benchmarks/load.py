"""Harnesses that send until they are told to stop, never lose count of what was acknowledged, and repeat what was not."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

# What an answer may be while something is being killed: the harness sends the batch again.
AGAIN = frozenset({429, 502, 503, 504})
GIVE_UP_S = 120.0


# Spans of a trace: an agent, which comes last, and its calls of a model.
TRACE, TOKENS_A_CALL = 5, 100


class Way(NamedTuple):
    """One way into the portal. Of spans an empty answer says that all are stored; of items a receipt counts them."""

    path: str
    media_type: str
    taken: int


RUNS = Way("/api/v1/telemetry/runs", "application/json", 202)
EVENTS = Way("/api/v1/telemetry/events", "application/json", 202)
SPANS = Way("/api/v1/otlp/v1/traces", "application/x-protobuf", 200)


@dataclass
class Sender(threading.Thread):
    """One harness with a connection of its own; `per_s` batches of `items` a second at the most. It keeps what was acknowledged: `runs` by
    number (True: final), `events` and `traces` how many, `taken` items of numbered batches."""

    port: int
    token: str
    label: str
    items: int
    per_s: float
    stopping: threading.Event
    runs: list[bool] = field(default_factory=list)
    events: int = 0
    traces: int = 0
    batches: int = 0
    taken: int = 0
    repeated: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(name=self.label, daemon=True)
        self._random = random.Random(self.label)
        self._connection = self._connect()
        self._last: tuple[Way, bytes, int] | None = None

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        while not self.stopping.is_set() and not self.faults:
            begun = time.monotonic()
            try:
                self._one()
            except (OSError, RuntimeError, ValueError, KeyError) as error:
                self.faults.append(f"{self.label}: {error!r}")
            self.stopping.wait(max(0.0, 1 / self.per_s - (time.monotonic() - begun)))
        self._connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def _one(self) -> None:
        choice = self._random.random()
        if choice < 0.2 and self._last is not None:
            # On purpose: a harness that did not hear the answer.
            way, body, count = self._last
            answer = self._until_taken(way, body)
            self.repeated += count
            self._expect(way, answer, accepted=0, count=count)
            return
        open_runs = [number for number, final in enumerate(self.runs) if not final] if choice < 0.4 else []
        if open_runs:
            numbers = open_runs[: self.items]
            self._send(RUNS, "runs", [self._run(number, final=True) for number in numbers])
            for number in numbers:
                self.runs[number] = True
        elif choice < 0.65:
            # Every fourth run is told as begun, and completed by a later batch.
            numbers = range(len(self.runs), len(self.runs) + self.items)
            self._send(RUNS, "runs", [self._run(number, final=number % 4 != 0) for number in numbers])
            self.runs += [number % 4 != 0 for number in numbers]
        elif choice < 0.82:
            self._send(EVENTS, "events", [self._event(number) for number in range(self.events, self.events + self.items)])
            self.events += self.items
        else:
            numbers = range(self.traces, self.traces + max(1, self.items // TRACE))
            body = self._spans(numbers)
            answer = self._until_taken(SPANS, body)
            self._last = SPANS, body, TRACE * len(numbers)
            self._expect(SPANS, answer, accepted=None, count=TRACE * len(numbers))
            self.traces += len(numbers)

    def _send(self, way: Way, kind: str, items: list[dict[str, Any]]) -> None:
        self.batches += 1
        body = json.dumps({"producer": self.label, "seq": self.batches, kind: items}).encode()
        answer = self._until_taken(way, body)
        self._last = way, body, len(items)
        self.taken += len(items)
        self._expect(way, answer, accepted=None, count=len(items))

    def _expect(self, way: Way, answer: bytes, *, accepted: int | None, count: int) -> None:
        """Nothing is refused. Of a batch that was sent again without our knowing its fate, all may be duplicates."""
        if way is SPANS:
            if answer:
                self.faults.append(f"{self.label}: {count} spans sent, answered {answer[:500]!r}")
            return
        receipt = json.loads(answer)
        found = receipt["accepted"]
        if (
            receipt["rejected"]
            or found + receipt["duplicates"] != count
            or (found != accepted if accepted is not None else found not in (0, count))
        ):
            self.faults.append(f"{self.label}: {count} items sent, answered {json.dumps(receipt)[:500]}")

    def _until_taken(self, way: Way, body: bytes) -> bytes:
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            try:
                self._connection.request("POST", way.path, body, {"Authorization": f"Bearer {self.token}", "Content-Type": way.media_type})
                response = self._connection.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException):
                self.answers["no answer"] += 1
                self._connection.close()
                self._connection = self._connect()
                time.sleep(0.2)
                continue
            self.answers[str(response.status)] += 1
            if response.status == way.taken:
                return text
            if response.status not in AGAIN:
                raise RuntimeError(f"{response.status}: {text[:300]!r}")
            pause = response.getheader("Retry-After")
            self.without_retry_after += pause is None
            time.sleep(min(float(pause or 1), 2.0))
        raise TimeoutError(f"not taken within {GIVE_UP_S:.0f} s; {dict(self.answers)}")

    # Built from their number alone, so that a harness which repeats an item repeats its content.

    def _run(self, number: int, *, final: bool) -> dict[str, Any]:
        body = {
            "run_id": f"{self.label}-r{number}",
            "final": final,
            "started_at": MOMENT,
            "pack": "bench-pack",
            "tier": f"T{number % 3 + 1}",
            "root_task_id": f"{self.label}-t{number // 10}",
            "provider": "openai",
            "model_id": "gpt-5-mini",
            "input": f"question {number} " + "words " * 40,
        }
        if final:
            body |= {"status": "completed", "success": number % 9 != 0, "latency_ms": 500 + number % 700, "output": f"answer {number}"}
        return body

    def _event(self, number: int) -> dict[str, Any]:
        return {
            "event_id": f"{self.label}-e{number}",
            "run_id": f"{self.label}-r{number // 3}",
            "action": "tool_call",
            "message": f"step {number}",
            "created_at": MOMENT,
        }

    @property
    def trace_prefix(self) -> str:
        """With which the ids of its traces begin, in hexadecimal."""
        return blake2b(self.label.encode(), digest_size=8).hexdigest()

    def _spans(self, numbers: range) -> bytes:
        request = ExportTraceServiceRequest()
        scope = request.resource_spans.add().scope_spans.add()
        for number in numbers:
            trace = bytes.fromhex(self.trace_prefix) + (number + 1).to_bytes(8, "big")
            for place in range(1, TRACE + 1):
                root = place == TRACE
                span = scope.spans.add(
                    trace_id=trace,
                    span_id=place.to_bytes(8, "big"),
                    parent_span_id=b"" if root else TRACE.to_bytes(8, "big"),
                    name="invoke_agent desk" if root else "chat gpt-5-mini",
                    start_time_unix_nano=MOMENT_NS,
                    end_time_unix_nano=MOMENT_NS + 10**9,
                )
                span.attributes.add(key="gen_ai.operation.name").value.string_value = "invoke_agent" if root else "chat"
                if not root:
                    span.attributes.add(key="gen_ai.request.model").value.string_value = "gpt-5-mini"
                    span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = TOKENS_A_CALL
        return request.SerializeToString()


NOW = datetime.now(UTC)
MOMENT, MOMENT_NS = NOW.isoformat(), int(NOW.timestamp()) * 10**9
