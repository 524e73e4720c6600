"""Decoding batches: strict types, precise rejections, and a bad item never costs a good one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import Problem
from apps.telemetry.domain.contract import body_hash, decode_events, decode_runs, encode_item, hash_body
from apps.telemetry.domain.items import MAX_INT

RUN: dict[str, Any] = {"run_id": "r-1", "started_at": "2026-03-14T09:26:53Z"}
EVENT: dict[str, Any] = {"event_id": "e-1", "action": "tool.call"}


def runs_body(*runs: Any, **envelope: Any) -> bytes:
    return json.dumps({"producer": "gw-1", "seq": 12, "runs": runs, **envelope}).encode()


def raw_body(*runs: bytes) -> bytes:
    return b'{"producer":"gw-1","seq":1,"runs":[' + b",".join(runs) + b"]}"


def with_field(extra: bytes, run_id: str = "bad") -> bytes:
    return b'{"run_id":"' + run_id.encode() + b'","started_at":"2026-03-14T09:26:53Z",' + extra + b"}"


GOOD = [with_field(b'"tier":"T1"', "good-1"), with_field(b'"tier":"T2"', "good-2")]


def test_a_batch_of_good_runs() -> None:
    batch = decode_runs(
        runs_body(RUN, {**RUN, "run_id": "r-2", "final": False, "cost_usd": "0.25", "tier": "T3", "checks": {"ci_passed": True}})
    )
    assert (batch.producer, batch.seq, batch.rejected) == ("gw-1", 12, [])
    (first, one), (second, two) = batch.items
    assert (first, one.run_id, one.final, one.success) == (0, "r-1", True, None)
    assert (second, two.final, two.cost_micros, two.tier, two.checks) == (1, False, 250_000, "T3", {"ci_passed": True})
    assert batch.bodies == [encode_item(one), encode_item(two)]


# field -> (what is sent, code, pointer inside the item)
BAD_FIELDS = [
    (b'"latency_ms":"12"', "invalid", "/latency_ms"),
    (b'"latency_ms":-1', "invalid", "/latency_ms"),
    (b'"latency_ms":1.0', "invalid", "/latency_ms"),
    (b'"tokens_in":9007199254740992', "invalid", "/tokens_in"),
    (b'"tokens_in":' + b"9" * 5000, "invalid", "/tokens_in"),
    (b'"pack_version":2147483648', "invalid", "/pack_version"),
    (b'"tier":"T4"', "invalid", "/tier"),
    (b'"success":1', "invalid", "/success"),
    (b'"final":null', "invalid", "/final"),
    (b'"user_ref":""', "invalid", "/user_ref"),
    (b'"user_ref":"' + b"u" * 201 + b'"', "invalid", "/user_ref"),
    (b'"mcp_servers":["a",""]', "invalid", "/mcp_servers/1"),
    (b'"ended_at":"2026-03-14T09:26:53"', "invalid", "/ended_at"),
    (b'"ended_at":1773480413', "invalid", "/ended_at"),
    (b'"ended_at":"0001-01-01T00:00:00+10:00"', "invalid", "/ended_at"),
    (b'"cost_usd":-0.01', "invalid", "/cost_usd"),
    (b'"cost_usd":"NaN"', "invalid", "/cost_usd"),
    (b'"cost_usd":"Infinity"', "invalid", "/cost_usd"),
    (b'"cost_usd":1e999999', "invalid", "/cost_usd"),
    (b'"cost_usd":"9007199254.740992"', "invalid", "/cost_usd"),
    (b'"cost_usd":"one"', "invalid", "/cost_usd"),
    (b'"metadata":[1]', "invalid", "/metadata"),
    (b'"metadata":{"n":1e400}', "invalid", "/metadata"),
    (b'"metadata":{"n":' + b"9" * 5000 + b"}", "invalid", "/metadata"),
    (b'"metadata":{"a":"' + b"x" * 16384 + b'"}', "too_large", "/metadata"),
    (b'"output":"' + b"x" * 262145 + b'"', "invalid", "/output"),
    (b'"output":"' + "é".encode() * 131073 + b'"', "too_large", "/output"),
    (b'"output":"a\\u0000b"', "invalid", "/output"),
    (b'"metadata":{"a":["\\u0000"]}', "invalid", "/metadata"),
    (b'"metadata":{"\\u0000":1}', "invalid", "/metadata"),
    (b'"output":"\\ud800"', "invalid", "/output"),
    (b'"output":"\\udc00\\ud800 x"', "invalid", "/output"),
    (b'"output":"\xff"', "invalid", "/output"),
    (b'"output":"\xed\xa0\x80"', "invalid", "/output"),
    (b'"metadata":{"a":' + b"[" * 70 + b"]" * 70 + b"}", "invalid", "/metadata"),
    (b'"metadata":{"a":' + b"[" * 5000 + b"]" * 5000 + b',"b":"[{"}', "invalid", "/metadata"),
    (b'"latencyms":12', "unknown_key", "/latencyms"),
    (b'"a/b~c":12', "unknown_key", "/a~1b~0c"),
]


@pytest.mark.parametrize(("field", "code", "pointer"), BAD_FIELDS, ids=[f"{index}-{field[2]}" for index, field in enumerate(BAD_FIELDS)])
def test_a_bad_item_is_named_and_costs_no_good_one(field: bytes, code: str, pointer: str) -> None:
    batch = decode_runs(raw_body(GOOD[0], with_field(field), GOOD[1]))
    assert [(index, item.run_id) for index, item in batch.items] == [(0, "good-1"), (2, "good-2")]
    assert [(found.index, found.code, found.pointer) for found in batch.rejected] == [(1, code, f"/runs/1{pointer}")]
    assert batch.rejected[0].detail.endswith(".")


@pytest.mark.parametrize(
    ("item", "pointer"),
    [(b"{}", "/runs/1/run_id"), (b'{"run_id":"x"}', "/runs/1/started_at"), (b"17", "/runs/1"), (b"null", "/runs/1"), (b'["r"]', "/runs/1")],
)
def test_items_without_their_essentials(item: bytes, pointer: str) -> None:
    batch = decode_runs(raw_body(GOOD[0], item))
    assert [(found.code, found.pointer) for found in batch.rejected] == [("invalid", pointer)]
    assert len(batch.items) == 1


def test_legal_escapes_beside_a_lone_surrogate_are_kept() -> None:
    good = with_field(rb'"output":"\\ud800 \ud83d\ude00 \n \"[{"', "good")
    batch = decode_runs(raw_body(good, with_field(rb'"output":"\ud83d"')))
    assert [(item.run_id, item.output) for _, item in batch.items] == [("good", '\\ud800 😀 \n "[{')]
    assert [found.index for found in batch.rejected] == [1]


def test_a_key_that_looks_like_a_secret_is_refused_and_not_repeated() -> None:
    secret = "gh" + "p_" + "a1B2" * 9
    batch = decode_runs(runs_body({**RUN, "run_id": secret}, RUN))
    assert [(found.index, found.pointer) for found in batch.rejected] == [(0, "/runs/0/run_id")]
    assert secret not in str(batch.rejected)
    unknown = decode_runs(runs_body({**RUN, secret: 1}))
    assert secret not in str(unknown.rejected)
    with pytest.raises(Problem):
        decode_runs(runs_body(RUN, producer=secret))


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"", "bad_encoding", ""),
        (b"{", "bad_encoding", ""),
        (b"\xef\xbb\xbf{}", "bad_encoding", ""),
        (b'{"runs":[{"run_id":"a"]}', "bad_encoding", ""),
        (b"[" * 100_000, "invalid", ""),
        (b'{"runs":' + b"[" * 100_000, "bad_encoding", ""),
        (b'"' + b'\\"' * 100_000, "bad_encoding", ""),
        (b"[]", "invalid", ""),
        (b"{}", "invalid", "/runs"),
        (b'{"runs":[]}', "invalid", "/runs"),
        (b'{"runs":{}}', "invalid", "/runs"),
        (b'{"runs":[' + b"1," * 1000 + b"1]}", "invalid", "/runs"),
        (runs_body(RUN, seq=-1), "invalid", "/seq"),
        (runs_body(RUN, seq=None), "invalid", "/seq"),
        (runs_body(RUN, producer=None), "invalid", "/producer"),
        (runs_body(RUN, producer=7), "invalid", "/producer"),
        (runs_body(RUN, producer="a\0b"), "invalid", "/producer"),
        (runs_body(RUN, tenant="acme"), "unknown_key", "/tenant"),
    ],
)
def test_a_bad_envelope_refuses_the_whole_batch(body: bytes, code: str, pointer: str) -> None:
    with pytest.raises(Problem) as raised:
        decode_runs(body)
    assert (raised.value.code, raised.value.errors[0].pointer) == (code, pointer)


def test_a_thousand_items_are_taken() -> None:
    assert len(decode_runs(runs_body(*[RUN] * 1000)).items) == 1000


@pytest.mark.parametrize(
    ("sent", "micros"),
    [
        (b"0.1", 100_000),
        (b'"0.1"', 100_000),
        (b"0", 0),
        (b"-0.0", 0),
        (b"3", 3_000_000),
        (b"1.1e-3", 1100),
        (b"0.0000005", 0),
        (b"0.0000015", 2),
        (b"0.00000050000001", 1),
        (b'"9007199254.740991"', MAX_INT),
        (b"1e-999999", 0),
    ],
)
def test_costs_are_exact_micro_dollars(sent: bytes, micros: int) -> None:
    ((_, item),) = decode_runs(raw_body(with_field(b'"cost_usd":' + sent))).items
    assert item.cost_micros == micros


@given(st.integers(0, MAX_INT))
def test_no_micro_dollar_is_lost(micros: int) -> None:
    text = f"{micros // 10**6}.{micros % 10**6:06}"
    for sent in (text, f'"{text}"'):
        ((_, item),) = decode_runs(raw_body(with_field(b'"cost_usd":' + sent.encode()))).items
        assert item.cost_micros == micros


def test_times_become_utc() -> None:
    ((_, item),) = decode_runs(runs_body({**RUN, "started_at": "2026-03-14T10:26:53.5+01:00"})).items
    assert (item.started_at, item.started_at.tzinfo) == (datetime(2026, 3, 14, 9, 26, 53, 500_000, UTC), UTC)


SAME = [
    {**RUN, "cost_usd": "0.10", "metadata": {"a": 1, "b": {"c": 2, "d": 3}}},
    {"metadata": {"b": {"d": 3, "c": 2}, "a": 1}, "cost_usd": 0.1, **RUN, "final": True, "output": None},
    {**RUN, "started_at": "2026-03-14T10:26:53+01:00", "cost_usd": "0.1000000", "metadata": {"a": 1, "b": {"c": 2, "d": 3}}},
]


def test_equal_content_has_an_equal_hash_however_it_is_written() -> None:
    batch = decode_runs(runs_body(*SAME))
    assert len({body_hash(item) for _, item in batch.items}) == 1
    assert {hash_body(body) for body in batch.bodies} == {body_hash(batch.items[0][1])}


@pytest.mark.parametrize(
    "change", [{"final": False}, {"output": "x"}, {"agent": "other"}, {"metadata": {"a": 2}}, {"cost_usd": "0.100001"}]
)
def test_other_content_has_another_hash(change: dict[str, Any]) -> None:
    batch = decode_runs(runs_body(SAME[0], {**SAME[0], **change}))
    one, two = (body_hash(item) for _, item in batch.items)
    assert (len(one), one == two) == (16, False)


def test_events() -> None:
    body = {
        "producer": "gw",
        "seq": 0,
        "events": [EVENT, {**EVENT, "seq": 3, "message": "ok", "payload": {"a": [1]}}, {"event_id": "e"}, {**EVENT, "final": True}],
    }
    batch = decode_events(json.dumps(body).encode())
    assert [(index, item.action, item.seq) for index, item in batch.items] == [(0, "tool.call", None), (1, "tool.call", 3)]
    assert [(found.index, found.code, found.pointer) for found in batch.rejected] == [
        (2, "invalid", "/events/2/action"),
        (3, "unknown_key", "/events/3/final"),
    ]


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda children: st.one_of(st.lists(children, max_size=3), st.dictionaries(st.text(), children, max_size=3)),
    max_leaves=8,
)
VALUES = st.one_of(JSON, st.text(max_size=5), st.just("2026-01-01T00:00:00Z"))
FIELDS = st.sampled_from(
    ["run_id", "started_at", "tier", "latency_ms", "cost_usd", "input", "metadata", "checks", "mcp_servers", "other", "final"]
)


@given(st.lists(st.dictionaries(FIELDS, VALUES, max_size=6), min_size=1, max_size=4))
def test_every_item_is_either_kept_or_rejected(runs: list[dict[str, Any]]) -> None:
    batch = decode_runs(raw_body(*[json.dumps(run).encode() for run in runs], GOOD[0]))
    kept = [index for index, _ in batch.items]
    assert sorted([*kept, *(found.index for found in batch.rejected)]) == list(range(len(runs) + 1))
    assert kept[-1] == len(runs)
    # What is kept survives its own canonical form, so that the hash is one of content.
    again = decode_runs(raw_body(*batch.bodies))
    assert [item for _, item in again.items] == [item for _, item in batch.items]
