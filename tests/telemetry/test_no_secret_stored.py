"""The same seeded secrets through every way in; then every byte that is stored, logged or answered is searched for them.

A way in is a function of a harness and a secret that sends it wherever that way takes text, and gives the responses: a new one is a line in
WAYS.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.test import Client

from apps.telemetry.domain.items import EventItem, RunItem
from apps.telemetry.models import Event, Run
from apps.telemetry.services import add_pattern, set_policy
from tests import factories as make
from tests.telemetry.sending import Harness, harness

# What is sent, and what of it must not be found anywhere. Put together here, so that no scanner of this repository takes them for real.
_T = "Zq7Xw2Lp9Rt4Vb6Nc1"
SECRETS = {
    "openai": ("sk" + "-proj-" + _T * 2 + "aA", _T * 2),
    "anthropic": ("sk" + "-ant-api03-" + _T * 3, _T * 3),
    "github": ("gh" + "p_" + _T * 2, _T * 2),
    "aws": ("AK" + "IA" + "QWERTYUIOPASDF23", "QWERTYUIOPASDF23"),
    "jwt": ("ey" + "J" + _T + ".ey" + "J" + _T * 2 + "." + _T, "J" + _T + ".ey"),
    "pem": ("-----BEGIN PRIV" + "ATE KEY-----\n" + _T * 4 + "\n-----END PRIV" + "ATE KEY-----", _T * 4),
    "connection": ("postgres://app:" + "pW" + _T + "@db/app", "pW" + _T),
    "own token": ("mc" + "_abcdefabcdef_" + _T * 2 + "x", _T * 2 + "x"),
    "assignment": ("DB_PASS" + "WORD=" + "tulip42" + _T, "tulip42" + _T),
    "card": ("4012 8888" + " 8888 1881", "8888 1881"),
    "tenant's own": ("EMP-" + "482" + "913", "482913"),
    "e-mail": ("anna.quetzal" + "@acme.example", "anna.quetzal"),
}
# A value that only its key gives away.
UNDER_A_KEY = "plain-" + "quetzal-feathers"


def _texts(kind: type, but: set[str], secret: str) -> dict[str, Any]:
    """The secret in every field that takes text."""
    annotations = kind.__annotations__
    return {name: f"x {secret} y" for name, shape in annotations.items() if shape.startswith(("Name", "Id", "Text")) and name not in but}


def _deep(secret: str) -> dict[str, Any]:
    """In keys, nested, in JSON inside of a string, as the arguments and results of a tool of MCP hold it."""
    inside = json.dumps({"headers": {"note": secret, "password": UNDER_A_KEY}, "lines": [f"\t{secret}\n"]})
    return {
        secret: 1,
        "arguments": {"q": [secret, {"deep": secret}], "password": UNDER_A_KEY},
        "result": inside,
        "twice": json.dumps({"in": inside}),
    }


def _post(sender: Harness, kind: str, body: Any, **environ: Any) -> Any:
    return sender.post(kind, body, **environ)


def json_runs(sender: Harness, secret: str) -> Iterator[Any]:
    at = datetime.now(UTC).isoformat()
    good = {
        "run_id": f"r-{sender.agent.slug}",
        "started_at": at,
        **_texts(RunItem, {"run_id"}, secret),
        "mcp_servers": [secret],
        "safety_flags": [secret],
    }
    good |= {"metadata": _deep(secret), "checks": {"no_secrets": True, **_deep(secret)}}
    in_json = {"run_id": f"j-{sender.agent.slug}", "started_at": at, "input": _deep(secret), "output": [secret, _deep(secret)]}
    yield _post(sender, "runs", {"runs": [good, in_json], "producer": "gw-1", "seq": 1})
    # Too old: not stored, and said in the log.
    yield _post(sender, "runs", {"runs": [{**good, "run_id": "old", "started_at": "2020-01-01T00:00:00Z"}], "producer": "gw-1", "seq": 9})
    yield _post(sender, "runs", {"runs": [{**good, "final": False, "run_id": "open"}]})
    yield _post(sender, "runs", {"runs": [{**good, "run_id": "open"}]})
    bad = [
        {"run_id": secret},
        {"tier": secret},
        {secret: 1},
        {"latency_ms": secret},
        {"started_at": secret},
        {"pack_version": {secret: secret}},
    ]
    yield _post(sender, "runs", {"runs": [{"run_id": f"b-{index}", "started_at": at, **each} for index, each in enumerate(bad)]})
    yield from _broken(sender, "runs", {"run_id": "b", "started_at": at}, secret)


def json_events(sender: Harness, secret: str) -> Iterator[Any]:
    good = {"event_id": f"e-{sender.agent.slug}", **_texts(EventItem, {"event_id"}, secret), "payload": _deep(secret)}
    yield _post(sender, "events", {"events": [good], "producer": "gw-1", "seq": 2})
    bad = [{"event_id": secret}, {"tier": secret}, {secret: 1}, {"seq": secret}, {"created_at": secret}]
    yield _post(sender, "events", {"events": [{"event_id": f"b-{index}", "action": "a", **each} for index, each in enumerate(bad)]})
    yield from _broken(sender, "events", {"event_id": "b", "action": "a"}, secret)


def _broken(sender: Harness, kind: str, item: dict[str, Any], secret: str) -> Iterator[Any]:
    """Envelopes and requests that are refused as a whole."""
    yield _post(sender, kind, {kind: [item], "producer": secret, "seq": 3})
    yield _post(sender, kind, {kind: [item], secret: 1})
    yield _post(sender, kind, {kind: secret})
    yield _post(sender, kind, secret.encode())
    yield _post(sender, kind, {kind: [item]}, CONTENT_TYPE=f"text/{secret.splitlines()[0]}")
    yield _post(sender, kind, {kind: [item]}, HTTP_AUTHORIZATION=f"Bearer {secret.splitlines()[0]}")


def questions(sender: Harness, secret: str) -> Iterator[Any]:
    """What is asked for is not stored, and must not be logged."""
    person = make.bearer(make.api_token(make.user(sender.tenant, "viewer"), sender.tenant))
    for path in ("runs/", "events/", "resolve"):
        yield Client().get(f"/api/v1/{path}", {"run_id": secret, "pack": secret}, headers=person)
    yield Client().post(
        "/api/v1/redaction/try/", {"text": secret}, content_type="application/json", headers={**person, "Idempotency-Key": "k"}
    )


WAYS: list[Callable[[Harness, str], Iterator[Any]]] = [json_runs, json_events, questions]


def stored_bytes(conn: psycopg.Connection[Any]) -> Iterator[tuple[str, bytes]]:
    """Every row of every table, as text, by the owner: history, ledger, queues and answers kept for replays with them."""
    tables = conn.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
    )
    for (table,) in tables.fetchall():
        with conn.cursor() as cursor, cursor.copy(f"COPY (SELECT t::text FROM {table} t) TO STDOUT".encode()) as copy:
            yield table, b"".join(bytes(chunk) for chunk in copy)


def test_no_secret_is_stored_logged_or_answered(
    owner_connection: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[tuple[str, bytes]] = []
    for secret, _ in SECRETS.values():
        sender = harness()
        system = make.system(sender.tenant.pk)
        set_policy(ctx=system, changes={"redact_email": True, "redact_phone": True})
        add_pattern(ctx=system, name="staff_number", pattern=r"EMP-(\d{6})")
        for way in WAYS:
            said += [
                (f"answer of {way.__name__}", b"%r %b" % (sorted(response.items()), response.content)) for response in way(sender, secret)
            ]
    assert Run.objects.filter(flags__contains=["redacted"]).count() == 3 * len(SECRETS)
    assert Event.objects.filter(flags__contains=["redacted"]).count() == len(SECRETS)
    assert caplog.records
    out, err = capfd.readouterr()
    said += [
        ("log", caplog.text.encode()),
        ("log records", repr([vars(record) for record in caplog.records]).encode()),
        ("output", (out + err).encode()),
    ]
    said += stored_bytes(owner_connection)
    assert sum(len(text) for _, text in said) > 100_000
    needles = [UNDER_A_KEY, *(needle for _, needle in SECRETS.values())]
    hits = [
        (where, needle) for where, text in said for needle in needles if needle.encode() in text or needle.encode().hex().encode() in text
    ]
    assert hits == []
