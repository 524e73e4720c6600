"""Two writers at once, a database that fails in the middle, and how much work a batch is: with real commits."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.db import connection, connections

from apps.telemetry.models import Run
from tests.telemetry.sending import Harness, event, harness, run

pytestmark = pytest.mark.django_db(transaction=True)
OwnerSql = Callable[..., list[tuple[Any, ...]]]


def in_thread(call: Callable[[], Any]) -> Any:
    """Runs on a connection of its own, which is gone afterwards."""
    try:
        return call()
    finally:
        connections.close_all()


def stored() -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM telemetry_run), (SELECT count(*) FROM telemetry_ledger)")
        runs, keys = cursor.fetchone()
    return runs, keys


def test_two_writers_of_the_same_keys_store_each_once() -> None:
    sender = harness()
    runs = [run(f"r-{n}") for n in range(300)]
    shuffled = random.Random(7)
    batches = [shuffled.sample(runs, 120) for _ in range(16)]
    with ThreadPoolExecutor(4) as pool:
        receipts = list(pool.map(lambda batch: in_thread(lambda: sender.send(*batch)), batches))
    sent = {item["run_id"] for batch in batches for item in batch}
    assert sum(receipt["accepted"] for receipt in receipts) == len(sent)
    assert sum(receipt["accepted"] + receipt["duplicates"] for receipt in receipts) == 16 * 120
    assert not any(receipt["rejected"] for receipt in receipts)
    assert stored() == (len(sent), len(sent))


def test_two_writers_completing_the_same_runs_do_not_lock_each_other_out() -> None:
    sender = harness()
    begun = [run(f"r-{n}", final=False, output=None, latency_ms=None) for n in range(60)]
    sender.send(*begun)
    with_output = [{**item, "output": "text", "final": False} for item in begun]
    with_latency = [{**item, "latency_ms": 5, "final": False} for item in reversed(begun)]
    with ThreadPoolExecutor(2) as pool:
        for receipt in pool.map(lambda batch: in_thread(lambda: sender.send(*batch)), [with_output, with_latency]):
            assert (receipt["accepted"], receipt["rejected"]) == (60, [])
    assert Run.objects.filter(output="text", latency_ms=5, final=False).count() == 60


def test_a_failure_after_the_copy_stores_nothing_and_the_same_batch_succeeds_later(owner_sql: OwnerSql) -> None:
    sender = harness()
    batch = {"runs": [run(), run()], "producer": "gw-1", "seq": 1}
    owner_sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$"
    )
    owner_sql("CREATE TRIGGER fail BEFORE INSERT ON telemetry_unscoredbatch FOR EACH ROW EXECUTE FUNCTION fail()")
    response = sender.post("runs", batch)
    assert (response.status_code, response.json()["code"], response["Retry-After"]) == (503, "unavailable", "1")
    assert "disk full" not in response.content.decode()
    assert stored() == (0, 0)
    owner_sql("DROP TRIGGER fail ON telemetry_unscoredbatch")
    assert sender.post("runs", batch).json()["accepted"] == 2
    assert stored() == (2, 2)


def test_a_session_killed_between_copy_and_commit_stores_nothing(owner_connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    sender = harness()
    batch = {"runs": [run(), run(), run()]}
    with owner_connection.transaction():
        # The queue is written after the copy: there the batch has to wait.
        owner_connection.execute("LOCK TABLE telemetry_unscoredbatch IN ACCESS EXCLUSIVE MODE")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(in_thread, lambda: sender.post("runs", batch))
            kill_the_waiting()
            assert answer.result(timeout=30).status_code == 503
    assert stored() == (0, 0)
    assert sender.post("runs", batch).json()["accepted"] == 3
    assert stored() == (3, 3)


def kill_the_waiting() -> None:
    """Ends the session of ours that waits for a lock."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as session:
        for _ in range(200):
            found = session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user"
                " AND wait_event_type = 'Lock' AND query LIKE '%telemetry_unscoredbatch%'"
            ).fetchall()
            if found:
                return
            time.sleep(0.05)
    pytest.fail("no batch came to wait")


def test_a_day_without_a_partition_gets_one(owner_sql: OwnerSql) -> None:
    sender = harness()
    for parent in ("telemetry_run", "telemetry_event", "telemetry_runscore"):
        for (part,) in owner_sql(f"SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = '{parent}'::regclass"):
            owner_sql(f"DROP TABLE {part}")
    assert sender.send(run())["accepted"] == 1
    assert sender.send_events(event())["accepted"] == 1


@pytest.mark.parametrize("shape", ["new", "repeated", "completed"])
def test_the_work_of_a_batch_does_not_grow_with_its_items(shape: str, tmp_path: Any) -> None:
    sender = harness()
    # The first batch warms what is remembered of tokens and makes the staging table.
    sender.send(run())
    few, many = messages(sender, shape, 3, tmp_path), messages(sender, shape, 300, tmp_path)
    assert few == many
    # BEGIN, the tenant, the ledger, the staging table, COPY, the insert, what a completed run has, the queues, …: were it less, the trace would
    # not be one.
    assert 4 <= few <= 18


def messages(sender: Harness, shape: str, count: int, folder: Any) -> int:
    """How many statements a batch of `count` runs sends to the server, as libpq sees them."""
    runs = [run(final=shape != "completed", output=None) for _ in range(count)]
    if shape != "new":
        sender.send(*runs)
    if shape == "completed":
        runs = [{**item, "final": True, "output": "done"} for item in runs]
    path = folder / f"{shape}-{count}"
    with path.open("wb") as file:
        session = connection.connection.pgconn
        session.trace(file.fileno())
        sender.send(*runs)
        session.untrace()
    lines = [line.split("\t") for line in path.read_text(errors="replace").splitlines()]
    return sum(fields[1:2] == ["F"] and fields[3:4] in (["Execute"], ["Query"]) for fields in lines)
