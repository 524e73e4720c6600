"""What a span says beside its fields: times, failures, messages, and what is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from tests.telemetry.spans import NOW_NS, PARENT, batch_of, event_of, run_of, span


def test_times_are_exact_to_the_microsecond() -> None:
    event = event_of(span("chat", {"gen_ai.request.model": "m"}, start=NOW_NS + 1_234_567, end=NOW_NS + 2_000_000_000, **PARENT))
    assert event.created_at is not None
    assert (event.created_at.microsecond, event.latency_ms) == (1234, 1998)
    # A clock that was set back between the two.
    assert event_of(span("chat", {"gen_ai.request.model": "m"}, end=NOW_NS - 5, **PARENT)).latency_ms == 0


def test_what_a_failed_span_says() -> None:
    thrown = ("exception", {"exception.type": "TimeoutError", "exception.message": "no answer", "exception.stacktrace": "at x"})
    event = event_of(span("chat", {"gen_ai.request.model": "m", "gen_ai.completion": "half"}, error="", events=[thrown], **PARENT))
    assert (event.status, event.message) == ("failed", "no answer")
    assert event.payload is not None
    assert (event.payload["error"], event.payload["output"]) == ("TimeoutError", "half")
    assert event.payload["exceptions"] == [{"type": "TimeoutError", "message": "no answer", "stacktrace": "at x"}]
    run = run_of(span("invoke_agent", {"gen_ai.operation.name": "invoke_agent", "error.type": "quota"}))
    assert (run.success, run.error_code, run.status) == (False, "quota", "failed")


@pytest.mark.parametrize(
    ("events", "given", "said"),
    [
        (
            [
                ("gen_ai.system.message", {"content": "be kind"}),
                ("gen_ai.user.message", {"content": "hi"}),
                ("gen_ai.choice", {"message": "hello"}),
            ],
            '[{"role":"system","content":"be kind"},{"role":"user","content":"hi"}]',
            '[{"message":"hello"}]',
        ),
        (
            [("gen_ai.content.prompt", {"gen_ai.prompt": "hi"}), ("gen_ai.content.completion", {"gen_ai.completion": "hello"})],
            "hi",
            "hello",
        ),
        (
            [("gen_ai.client.inference.operation.details", {"gen_ai.input.messages": "hi", "gen_ai.output.messages": "hello"})],
            "hi",
            "hello",
        ),
    ],
)
def test_messages_in_events(events: list[Any], given: str, said: str) -> None:
    event = event_of(span("chat", {"gen_ai.request.model": "m"}, events=events, **PARENT))
    assert event.payload is not None
    assert (event.payload["input"], event.message) == (given, said)


@pytest.mark.parametrize("attributes", [{}, {"http.request.method": "GET"}, {"db.system.name": "postgresql"}, {"mc.pack": "p"}])
def test_other_spans_are_ignored(attributes: dict[str, Any]) -> None:
    batch = batch_of(span("GET /", attributes))
    assert (batch.ignored, batch.events.items, batch.runs.items, batch.roots) == (1, [], [], [])


def test_nesting_without_end_is_bounded() -> None:
    deep: Any = "x"
    for _ in range(20):
        deep = [deep] if isinstance(deep, dict) else {"a": deep}
    event = event_of(span("chat", {"gen_ai.request.model": "m", "other": deep}, **PARENT))
    assert event.payload is not None and str(event.payload["attributes"]["other"]).count("[") < 10


@pytest.mark.parametrize("depth", [60, 66, 500, 900, 990, 1500])
def test_checks_that_are_too_deep_are_left_out_and_cost_nothing_else(depth: int) -> None:
    checks = '{"a":' + "[" * depth + "]" * depth + "}"
    agents = [span("a", {"gen_ai.operation.name": "invoke_agent", "mc.checks": given}) for given in (checks, '{"ok": "\\u0000"}')]
    (_, deep), (_, shallow) = batch_of(*agents).runs.items
    assert (deep.checks is None) == (depth > 64) == ("checks" in (deep.metadata or {}).get("cut", ()))
    assert shallow.checks == {"ok": "\N{REPLACEMENT CHARACTER}"}
