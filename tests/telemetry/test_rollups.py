"""Figures by minute, hour and day: exactly what was stored, however the work is cut, repeated or broken off."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from importlib import import_module
from threading import Thread
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.core.context import system_context
from apps.evals.tasks import score_runs
from apps.telemetry.domain.sketch import bucket, sketch
from apps.telemetry.models import Rollup, Run, RunScore, UnrolledBatch
from apps.telemetry.selectors.rollups import forget_rollups, rolled_up_since, tenants_to_roll_up
from apps.telemetry.services.rolling import roll_up
from apps.telemetry.tasks import roll_up_task
from tests.telemetry.sending import Harness, event, harness, run

pytestmark = pytest.mark.django_db

MINUTE = "2099-01-01T10:{:02d}:{:02d}Z"


def add_up(sender: Harness, limit: int = 1000) -> int:
    return roll_up(ctx=system_context("telemetry.roll_up", tenant_id=sender.tenant.pk), limit=limit)


def figures(step: int = 60) -> list[dict[str, Any]]:
    return list(Rollup.objects.filter(step=step).order_by("start", "pack").values())


def test_runs_are_added_up_by_minute_hour_and_day() -> None:
    sender = harness()
    sender.send(
        run(created_at=MINUTE.format(1, 0), latency_ms=100, tokens_in=10, tokens_out=1, cost_usd="0.5", user_ref="u-1"),
        run(created_at=MINUTE.format(1, 59), latency_ms=300, success=False, tokens_in=5, cost_usd=None, user_ref="u-1"),
        run(created_at=MINUTE.format(2, 0), latency_ms=None, success=None, cost_usd="0.000001", user_ref="u-2"),
        run(created_at=MINUTE.format(2, 0), pack="other", latency_ms=0),
    )
    assert add_up(sender) == 4
    first, second, other = figures()
    assert (first["runs"], first["successes"], first["failures"], first["tokens_in"], first["tokens_out"]) == (2, 1, 1, 15, 1)
    assert (first["cost_micros"], first["cost_count"], first["latency_sum"], first["latency_count"]) == (500_000, 1, 400, 2)
    assert first["latencies"] == [[bucket(100), 1], [bucket(300), 1]]
    assert (second["runs"], second["successes"], second["failures"], second["latency_count"], second["latencies"]) == (1, 0, 0, 0, [])
    assert (other["pack"], other["latencies"], other["of_user"]) == ("other", [[bucket(0), 1]], False)
    for step in (3600, 86_400):
        whole, other = figures(step)
        assert (whole["runs"], whole["cost_micros"], whole["latencies"]) == (3, 500_001, first["latencies"])
        assert whole["start"] == datetime(2099, 1, 1, 10 if step == 3600 else 0, tzinfo=UTC)
        # Two users, told apart by the hour only.
        assert (whole["users"], len(whole["marks"])) == ((2, 2) if step == 3600 else (0, 0))
        assert (other["runs"], other["users"]) == (1, 0)


@given(values=st.lists(st.integers(0, 10_000) | st.integers(0, 2**53 - 1) | st.none(), min_size=1, max_size=12), cuts=st.integers(1, 4))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_databases_sketch_is_the_domains(values: list[int | None], cuts: int) -> None:
    sender = harness()
    size = math.ceil(len(values) / cuts)
    for at in range(0, len(values), size):
        sender.send(*[run(created_at=MINUTE.format(1, 0), latency_ms=value) for value in values[at : at + size]])
        add_up(sender)
    stored = Rollup.objects.get(tenant=sender.tenant, step=60)
    known = [value for value in values if value is not None]
    assert dict(stored.latencies) == sketch(known)
    assert (stored.runs, int(stored.latency_sum), stored.latency_count) == (len(values), sum(known), len(known))


def test_a_run_counts_once_and_when_it_is_final() -> None:
    sender = harness()
    begun = run("late", final=False, created_at=MINUTE.format(1, 0))
    sender.send(begun, run("whole", created_at=MINUTE.format(1, 0)))
    # Completed before it was looked at: its first batch must not count it as well.
    sender.send({**begun, "final": True, "tokens_in": 7})
    sender.send({**begun, "final": True, "tokens_in": 7})
    assert rolled_up_since(sender.tenant.pk) is not None
    assert add_up(sender) == 3
    assert [(each["runs"], each["tokens_in"]) for each in figures()] == [(2, 7)]
    assert add_up(sender) == 0
    assert (UnrolledBatch.objects.count(), rolled_up_since()) == (0, None)


def test_five_users_are_counted_and_then_no_longer_told_apart() -> None:
    sender = harness()
    for user in (*"abcab", "d", "e", "f"):
        sender.send(run(user_ref=user, created_at=MINUTE.format(1, 0)))
        add_up(sender)
        hour = Rollup.objects.get(step=3600)
        assert (hour.users == 5) is (hour.runs >= 7)
        assert len(hour.marks) == (0 if hour.users == 5 else hour.users)
        assert not {user} & {str(mark) for mark in hour.marks}
    assert (hour.users, hour.runs) == (5, 8)


def test_scores_are_added_when_they_come() -> None:
    sender = harness()
    sender.send(run(created_at=MINUTE.format(1, 0)), run(created_at=MINUTE.format(1, 0), success=False))
    add_up(sender)
    score_runs()
    score_runs()
    add_up(sender)
    (found,) = figures()
    expected = sum(RunScore.objects.values_list("score", flat=True))
    assert (found["runs"], found["score_count"], found["score_sum"], found["latency_count"]) == (2, 2, expected, 2)


def test_work_that_breaks_off_leaves_the_queue_and_no_figure() -> None:
    sender, other = harness(), harness()
    sender.send(run(user_ref="u"))
    sender.send_events(event())
    other.send(run())
    with pytest.raises(InterruptedError), transaction.atomic():
        assert add_up(sender) == 2
        raise InterruptedError
    assert (Rollup.objects.count(), UnrolledBatch.objects.count()) == (0, 3)
    assert set(tenants_to_roll_up()) == {sender.tenant.pk, other.tenant.pk}
    roll_up_task()
    assert sorted(Rollup.objects.filter(step=60).values_list("tenant_id", "runs")) == sorted([(sender.tenant.pk, 1), (other.tenant.pk, 1)])
    assert UnrolledBatch.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_killed_halfway_and_one_beside_it_count_nothing_twice() -> None:
    sender = harness()
    sender.send(run(created_at=MINUTE.format(1, 0)))
    assert add_up(sender) == 1
    sender.send(*[run(created_at=MINUTE.format(1, 0)) for _ in range(3)])
    process: list[int] = []

    def work() -> None:
        with pytest.raises(OperationalError):
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                process.append(cursor.fetchone()[0])
            add_up(sender)
        connection.close()

    worker = Thread(target=work)
    with system_context("test", tenant_id=sender.tenant.pk).transaction(), connection.cursor() as cursor:
        # The figures of its minute are held, so the worker stops in the midst of its statements.
        cursor.execute("SELECT 1 FROM telemetry_rollup FOR UPDATE")
        worker.start()
        for _ in range(500):
            cursor.execute("SELECT 1 FROM pg_locks WHERE pid = ANY(%s) AND NOT granted", [process])
            if cursor.fetchone():
                break
            time.sleep(0.01)
        assert add_up(sender) == 0
        cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s) pid", [process])
        worker.join(10)
    assert [each["runs"] for each in figures()] == [1]
    assert add_up(sender) == 3
    assert [each["runs"] for each in figures()] == [4]


def test_what_was_stored_before_there_were_roll_ups_is_queued_by_the_migration() -> None:
    sender = harness()
    sender.send(run("a"), run("b"), run("c", final=False))
    sender.send_events(event())
    score_runs()
    UnrolledBatch.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute(import_module("apps.telemetry.migrations.0007_rollups").BACKLOG)
    assert add_up(sender) == 6
    assert [(each["runs"], each["score_count"]) for each in figures(86_400)] == [(2, 2)]


def test_whole_batches_are_taken_up_to_the_limit() -> None:
    sender = harness()
    for size in (2, 2, 3):
        sender.send(*[run() for _ in range(size)])
    assert [add_up(sender, limit) for limit in (1, 3, 100)] == [2, 5, 0]
    assert sum(each["runs"] for each in figures()) == Run.objects.count() == 7


def test_what_is_old_goes_by_its_policy_and_what_is_hot_stays() -> None:
    now = timezone.now()
    for days in (0, 40, 500):
        sender = harness()
        sender.send(run(created_at=(now - timedelta(days=days)).isoformat(), user_ref="u"))
        add_up(sender)
    forget_rollups(now - timedelta(days=30), now - timedelta(days=30), now - timedelta(days=400))
    assert sorted((now - each.start).days // 30 for each in Rollup.objects.all()) == [0, 0, 0, 1, 1]
    assert [each.marks for each in Rollup.objects.filter(start__lt=now - timedelta(days=20))] == [[], []]
    forget_rollups(now, now, now)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM telemetry_facetcount WHERE hour < %s", [now - timedelta(days=20)])
        assert cursor.fetchone() == (0,)
    assert Rollup.objects.count() == 3
