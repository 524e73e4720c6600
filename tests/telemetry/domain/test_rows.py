"""Rows for COPY: every text and JSON value is redacted at this one point; claims are compared, never believed."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from apps.core.domain.redaction import Redactor
from apps.telemetry.domain.contract import decode_events, decode_runs
from apps.telemetry.domain.items import EventItem, RunItem
from apps.telemetry.domain.rows import ARRAY_COLUMNS, CLAIMED, EVENT_COLUMNS, JSON_COLUMNS, RUN_COLUMNS, event_row, run_row

SECRET = "gh" + "p_" + "a1B2" * 9
MARK = "[redacted:github_token]"
NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
OURS: dict[str, Any] = {
    "row_id": UUID(int=1),
    "day": date(2026, 3, 14),
    "tenant_id": UUID(int=2),
    "team_id": None,
    "agent_id": UUID(int=3),
    "received_at": NOW,
    "producer": "gw-1",
    "producer_seq": 12,
}
TRUTH = {"tenant": {"acme"}, "agent": {"helpdesk-1", "acme/helpdesk-1"}, "arm": {"champion"}}


def run(**fields: Any) -> RunItem:
    body = {"runs": [{"run_id": "r-1", "started_at": "2026-03-14T09:26:53Z", **fields}]}
    return decode_runs(json.dumps(body).encode()).items[0][1]


def event(**fields: Any) -> EventItem:
    return decode_events(json.dumps({"events": [{"event_id": "e-1", "action": "output", **fields}]}).encode()).items[0][1]


def columns(item: RunItem | EventItem, **more: Any) -> dict[str, Any]:
    if isinstance(item, RunItem):
        return dict(zip(RUN_COLUMNS, run_row(item, **OURS, **more).values, strict=True))
    return dict(zip(EVENT_COLUMNS, event_row(item, **OURS, **more).values, strict=True))


TEXTS = [
    name
    for name in RunItem.__struct_fields__
    if name in RUN_COLUMNS and RunItem.__annotations__[name].startswith(("Name |", "Id |", "Text"))
]
EVENT_TEXTS = [name for name in EventItem.__struct_fields__ if EventItem.__annotations__[name].startswith(("Name", "Id |", "Text"))]


@pytest.mark.parametrize("name", [name for name in TEXTS if name not in ("arm", "rollout")])
def test_every_text_of_a_run_is_redacted(name: str) -> None:
    row = columns(run(**{name: f"x {SECRET} y"}))
    assert row[name] == f"x {MARK} y"
    assert (row["flags"], row["redactions"]) == (["redacted"], ["github_token"])


@pytest.mark.parametrize("name", [name for name in EVENT_TEXTS if name not in ("tenant", "team", "agent")])
def test_every_text_of_an_event_is_redacted(name: str) -> None:
    assert columns(event(**{name: f"x {SECRET} y"}))[name] == f"x {MARK} y"


def test_the_lists_of_texts_are_whole() -> None:
    assert {"input", "output", "persona", "skill", "error_code", "root_task_id"} <= set(TEXTS)
    assert {"message", "action", "phase", "mcp_tool", "run_id"} <= set(EVENT_TEXTS)


@pytest.mark.parametrize("name", ["checks", "metadata", "mcp_servers", "safety_flags", "input", "output"])
def test_every_json_value_of_a_run_is_redacted(name: str) -> None:
    value: Any = [SECRET] if name in ("mcp_servers", "safety_flags") else {"a": [{SECRET: SECRET}], "password": "x"}
    row = columns(run(**{name: value}))
    assert json.loads(row[name]) == ([MARK] if isinstance(value, list) else {"a": [{MARK: MARK}], "password": "[redacted:sensitive_key]"})


def test_the_payload_of_an_event_is_redacted() -> None:
    assert json.loads(columns(event(payload={"arguments": {"authorization": "x"}}))["payload"]) == {
        "arguments": {"authorization": "[redacted:sensitive_key]"}
    }


def test_a_redacted_name_still_fits_its_column() -> None:
    cleaned = columns(run(persona="p " * 80 + SECRET))["persona"]
    assert len(cleaned) == 200 - 17  # the mark is shorter than the token
    short = "AK" + "IA" + "QWERTYUIOPASDFGH"
    assert len(columns(run(persona="p " * 90 + short))["persona"]) == 200


def test_an_event_keeps_to_its_run_whose_id_passes_for_a_number_of_a_card() -> None:
    number, redactor = "4111111111111111", Redactor(phone=True, salt=b"salt")
    assert columns(run(run_id=number))["run_id"] == number
    row = columns(event(run_id=number, task_id=number), redactor=redactor)
    assert (row["run_id"], row["redactions"]) == (number, ["card_number"]) and row["task_id"].startswith("[redacted:card_number]")
    assert columns(event(run_id=f"a {number}"))["run_id"] == "a [redacted:card_number]"


def test_a_run_as_columns() -> None:
    row = columns(
        run(final=False, cost_usd="0.0012", mcp_servers=["hris"], metadata={"b": 1, "a": None}, output={"answer": 42}, input="plain"),
        arm="champion",
        rollout=None,
        flags=("untraced",),
    )
    given = {
        "id": UUID(int=1),
        "day": date(2026, 3, 14),
        "tenant_id": UUID(int=2),
        "agent_id": UUID(int=3),
        "run_id": "r-1",
        "final": False,
        "arm": "champion",
        "started_at": datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC),
        "cost_micros": 1200,
        "mcp_servers": '["hris"]',
        "metadata": '{"a":null,"b":1}',
        "output": '{"answer":42}',
        "input": "plain",
        "created_at": NOW,
        "received_at": NOW,
        "producer": "gw-1",
        "producer_seq": 12,
        "flags": ["untraced"],
        "redactions": [],
    }
    assert {name: value for name, value in row.items() if value is not None} == given


def test_json_and_array_columns_are_columns() -> None:
    assert set(RUN_COLUMNS) | set(EVENT_COLUMNS) >= JSON_COLUMNS | ARRAY_COLUMNS
    assert len(set(RUN_COLUMNS)) == len(RUN_COLUMNS)
    assert len(set(EVENT_COLUMNS)) == len(EVENT_COLUMNS)


def test_the_harness_s_time_of_creation_is_kept() -> None:
    assert columns(event(created_at="2026-03-14T10:00:00+01:00"))["created_at"] == datetime(2026, 3, 14, 9, tzinfo=UTC)
    assert columns(event())["created_at"] == NOW


def test_a_claim_never_becomes_a_column_and_a_false_one_is_stored_and_flagged() -> None:
    row = columns(run(tenant="globex", agent="helpdesk-1", arm="challenger", metadata={"a": 1}), arm="champion", truth=TRUTH)
    assert (row["arm"], row["tenant_id"], row["flags"]) == ("champion", UUID(int=2), ["mismatch"])
    assert json.loads(row["metadata"]) == {"a": 1, CLAIMED: {"tenant": "globex", "arm": "challenger"}}
    assert json.loads(columns(event(tenant="globex"), truth=TRUTH)["payload"]) == {CLAIMED: {"tenant": "globex"}}


def test_true_and_absent_claims_are_silent() -> None:
    row = columns(run(tenant="acme", agent="acme/helpdesk-1", arm="champion", rollout="any"), truth=TRUTH)
    assert (row["flags"], row["metadata"]) == ([], None)


def test_a_claim_is_redacted_too() -> None:
    row = columns(run(agent=SECRET), truth=TRUTH)
    assert (json.loads(row["metadata"])[CLAIMED], row["flags"]) == ({"agent": MARK}, ["mismatch", "redacted"])


def test_a_row_from_the_canonical_body_is_the_same_row() -> None:
    batch = decode_runs(json.dumps({"runs": [{"run_id": "r", "started_at": "2026-03-14T09:26:53Z", "output": f"line\n{SECRET}"}]}).encode())
    (_, item), body = batch.items[0], batch.bodies[0]
    assert run_row(item, **OURS, body=body) == run_row(item, **OURS)
    assert run_row(item, **OURS, body=body).redactions == ("github_token",)
