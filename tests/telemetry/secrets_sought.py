"""Everywhere that something which was sent may lie or be shown, as bytes to search."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import redis
import zstandard
from django.apps import apps
from django.conf import settings
from django.test import Client
from django.urls import reverse

from apps.core.context import EVERY_USER, in_tenant
from apps.evals.tasks import score_runs
from apps.fleet.domain.wire import STREAM
from apps.identity.models import Tenant
from apps.telemetry.services import exporting
from apps.telemetry.services.archiving import archive_day
from apps.telemetry.services.otlp import settle_traces
from apps.telemetry.tasks import model_health_task, roll_up_task
from tests import factories as make

Found = Iterator[tuple[str, bytes]]
# Whose lists, and newest row, are looked at in the admin.
SHOWN = (
    *("telemetry.run", "telemetry.event", "telemetry.modelhealth", "telemetry.producer", "fleet.harness", "fleet.actionrequest"),
    *("fleet.command", "evals.evalresult", "packs.packversion", "audit.event", "notices.notice"),
)
ANSWERED = ("runs/", "events/", "runs/facets/", "events/facets/", "models/health/", "snapshot/", "harnesses/", "actions/", "control/")


def work_through(tenant: Tenant, later: Any) -> None:
    """The background work on what came in: traces settled, runs scored, figures and what finds rows made. `later`: when traces are due."""
    while settle_traces(ctx=make.system(tenant.pk), now=later):
        pass
    score_runs()
    roll_up_task()
    model_health_task()


def stored_bytes(conn: psycopg.Connection[Any]) -> Found:
    """Every row of every table, as text, by the owner: history, ledger, queues and answers kept for replays with them."""
    tables = conn.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
    )
    for (table,) in tables.fetchall():
        with conn.cursor() as cursor, cursor.copy(f"COPY (SELECT t::text FROM {table} t) TO STDOUT".encode()) as copy:
            yield table, b"".join(bytes(chunk) for chunk in copy)


def exported(tenant: Tenant, folder: Path) -> Found:
    """Files of everything, as an auditor asks for them."""
    headers = make.bearer(make.api_token(make.user(tenant, "auditor"), tenant))
    for kind in ("runs", "events"):
        for file_format in ("csv", "jsonl"):
            body = {"kind": kind, "format": file_format, "filters": {}}
            asked = Client().post("/api/v1/exports/", body, content_type="application/json", headers=headers)
            assert not exporting.write_export(tenant_id=tenant.pk, export_id=asked.json()["id"])
    yield from _files(folder)


def archived(tenant_id: UUID, day: date, folder: Path) -> Found:
    archive_day(tenant_id=tenant_id, day=day)
    yield from _files(folder)


def _files(folder: Path) -> Found:
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        data = path.read_bytes()
        yield str(path.relative_to(folder)), zstandard.ZstdDecompressor().stream_reader(data).read() if path.suffix == ".zst" else data


def in_redis() -> Found:
    """The push stream, and whatever else lies there: the queues of background work."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    yield STREAM, repr(client.xrange(STREAM)).encode()
    for key in client.scan_iter():
        yield f"redis {key!r}", client.dump(key) or b""


def shown(tenant: Tenant) -> Found:
    """Pages of the admin and answers of the API."""
    person = make.user(tenant, "tenant_admin")
    browser = Client()
    browser.force_login(person, backend="apps.identity.backends.RoleBackend")
    paths = ["/admin/", reverse("orchestrations"), *(reverse("figures", query={"by": each}) for each in ("version", "model"))]
    for label in SHOWN:
        model = apps.get_model(label)
        name = label.replace(".", "_")
        paths.append(reverse(f"admin:{name}_changelist"))
        with in_tenant(tenant.pk, EVERY_USER):
            newest = model._default_manager.order_by("-pk").values_list("pk", flat=True).first()
        if newest is not None:
            paths.append(reverse(f"admin:{name}_change", args=[newest]))
    for path in paths:
        answer = browser.get(path)
        assert answer.status_code == 200, (path, answer)
        yield f"page {path}", answer.content
    reader = make.bearer(make.api_token(person, tenant))
    for path in ANSWERED:
        answer = Client().get(f"/api/v1/{path}", headers=reader)
        assert answer.status_code == 200, (path, answer.content)
        yield f"answer of {path}", answer.content
