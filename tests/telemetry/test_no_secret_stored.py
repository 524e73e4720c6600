"""The same seeded secrets through every way in; then every byte that is stored, written, pushed, logged or shown is searched for them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from apps.core.context import EVERY_USER, in_tenant
from apps.evals.models import EvalResult
from apps.fleet.models import ActionRequest, Command, Harness, Suggestion
from apps.telemetry.models import Event, ModelHealth, OpenTraces, Run, RunScore
from tests.telemetry.archived import aged
from tests.telemetry.secrets_sent import BY_POLICY, SECRETS, UNDER_A_KEY, WAYS, furnished, new_harness
from tests.telemetry.secrets_sought import archived, exported, in_redis, shown, stored_bytes, work_through

NEEDLES = [UNDER_A_KEY, *(needle for _, needle in SECRETS.values())]


def test_no_secret_is_stored_logged_or_answered(
    owner_connection: psycopg.Connection[Any],
    owner_sql: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    settings: Any,
    tmp_path: Path,
) -> None:
    settings.EXPORTS_STORE, settings.ARCHIVE_STORE = str(tmp_path / "exports"), str(tmp_path / "archives")
    caplog.set_level(logging.DEBUG)
    said: list[tuple[str, bytes]] = []
    tenant, many = furnished(), len(SECRETS)
    for name, (secret, _) in SECRETS.items():
        sender = new_harness(tenant)
        for way in WAYS:
            for number, response in enumerate(way(sender, secret), start=1):
                assert response.status_code < 500, (way, number, response.content)
                said.append((f"answer {number} of {way.__name__} to {name}", b"%r %b" % (sorted(response.items()), response.content)))
    # What waits for background work lies in the database as well.
    said += stored_bytes(owner_connection)
    work_through(tenant, datetime.now(UTC) + timedelta(hours=1))
    with in_tenant(tenant.pk, EVERY_USER):
        assert [model.objects.filter(flags__contains=["redacted"]).count() for model in (Run, Event, Harness)] == [
            5 * many,
            13 * many,
            many,
        ]
        assert [model.objects.count() for model in (Command, EvalResult, Suggestion)] == [many] * 3
        assert ActionRequest.objects.count() == 2 * many - len(BY_POLICY)
        assert RunScore.objects.count() == 5 * many and ModelHealth.objects.exists() and not OpenTraces.objects.exists()
    said += exported(tenant, tmp_path / "exports")
    said += shown(tenant)
    said += in_redis()
    said += archived(tenant.pk, aged(owner_sql), tmp_path / "archives")
    assert caplog.records
    out, err = capfd.readouterr()
    said += [
        ("log", caplog.text.encode()),
        ("log records", repr([vars(record) for record in caplog.records]).encode()),
        ("output", (out + err).encode()),
    ]
    said += stored_bytes(owner_connection)
    assert sum(len(text) for _, text in said) > 1_000_000
    hits = {
        (where, needle) for where, text in said for needle in NEEDLES if needle.encode() in text or needle.encode().hex().encode() in text
    }
    assert not hits, sorted(hits)
