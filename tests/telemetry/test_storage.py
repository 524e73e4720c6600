"""What stands in the database: no secret, partitions ahead, completion as the domain says, scores beside the runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DataError, IntegrityError, ProgrammingError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.core.context import system_context
from apps.telemetry.domain.merge import complete
from apps.telemetry.domain.rows import RUN_COLUMNS
from apps.telemetry.models import Run, RunScore, UnscoredBatch
from apps.telemetry.partitions import PARENTS, days_ready, make_partitions
from apps.telemetry.selectors.scoring import baseline_latencies, tenants_with_unscored_runs, unscored_final_runs
from apps.telemetry.services import Score, store_scores
from tests.telemetry.sending import Harness, event, harness, run

pytestmark = pytest.mark.django_db

OPENAI_KEY = "sk-proj-" + "Zq8Xn2Lm4Rt6Vb1Kc9Wd3Fg7"
PASSWORD = "correct7horse9battery"
DATABASE = "postgresql://app:hunter2Secret@db.internal/prod"
SECRETS = (OPENAI_KEY[8:], PASSWORD, "hunter2Secret")


def whole_database() -> str:
    """Every row of every table that the application can read, as text."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'"
            " AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND has_table_privilege(c.oid, 'SELECT')"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT t::text FROM {table} t")
            found += [row for (row,) in cursor.fetchall()]
    return "\n".join(found)


def test_a_seeded_secret_is_in_no_column() -> None:
    sender = harness()
    text = f"use {OPENAI_KEY} and {DATABASE}, password: {PASSWORD}"
    nested = {"headers": {"Authorization": f"Bearer {OPENAI_KEY}"}, "list": [{"password": PASSWORD}, text]}
    fields = dict.fromkeys(
        ("user_ref", "persona", "skill", "actor", "error_code", "status", "root_task_id", "task_id", "agent", "tenant"), text
    )
    fields = {name: value[:200] for name, value in fields.items()}
    sender.send(
        run("r-1", **fields, input=text, output=nested, metadata=nested, checks=nested, safety_flags=[text[:200]], mcp_servers=[text[:200]])
    )
    sender.send_events(event("e-1", message=text, payload=nested, phase=text[:200], mcp_tool=text[:200]))
    # A run that is completed takes the other way in.
    begun = run("r-2", final=False, output=None, metadata=None)
    sender.send(begun)
    sender.send({**begun, "final": True, "output": text, "metadata": nested})
    stored = whole_database()
    assert "r-1" in stored
    assert "e-1" in stored
    assert [secret for secret in SECRETS if secret in stored] == []
    assert "redacted" in Run.objects.get(run_id="r-2").flags


def test_an_id_that_holds_a_secret_is_refused_and_not_repeated() -> None:
    response = harness().post("runs", {"runs": [run(OPENAI_KEY)], "producer": "gw-1", "seq": 1})
    assert response.json()["rejected"][0]["code"] == "invalid"
    assert OPENAI_KEY not in response.content.decode()
    assert SECRETS[0] not in whole_database()


def test_partitions_are_made_ahead_and_the_application_has_no_way_into_them() -> None:
    today = datetime.now(UTC).date()
    assert days_ready(today) == 7
    assert make_partitions(9) == 2 * len(PARENTS)
    assert days_ready(today) == 9
    assert make_partitions(9) == 0
    part = f"telemetry_run_{today:%Y%m%d}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM information_schema.role_table_grants WHERE grantee = 'mc_app' AND table_name ~ '_2[0-9]{7}$'")
        assert cursor.fetchone() == (0,)
        for statement in (f"SELECT 1 FROM {part}", f"DROP TABLE {part}", "DELETE FROM telemetry_run", "TRUNCATE telemetry_run"):
            with pytest.raises(ProgrammingError), transaction.atomic():
                cursor.execute(statement)


@pytest.mark.parametrize("days", [-1, 32])
def test_partitions_are_not_made_without_end(days: int) -> None:
    with pytest.raises(CommandError):
        call_command("make_partitions", days=days)
    with pytest.raises(DataError), transaction.atomic():
        make_partitions(days)


OPTIONAL = {"output": ["a", "b"], "latency_ms": [1, 2], "success": [True, False], "checks": [{"x": 1}, {}], "persona": ["p", "q"]}


@given(
    deliveries=st.lists(
        st.fixed_dictionaries({"final": st.booleans()}, optional={name: st.sampled_from(values) for name, values in OPTIONAL.items()}),
        min_size=2,
        max_size=4,
    ),
    together=st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_database_completes_a_run_as_the_domain_does(deliveries: list[dict[str, Any]], together: bool) -> None:
    """One batch after the other, or all in one: the row is what `domain.merge` makes of them."""
    sender = harness()
    started = "2099-01-01T00:00:00Z"
    items = [{"run_id": "r", "started_at": started, **delivery} for delivery in deliveries]
    for batch in [items] if together else [[item] for item in items]:
        sender.send(*batch)
    names = (*OPTIONAL, "final")
    expected: dict[str, Any] = {name: deliveries[0].get(name) for name in names}
    for delivery in deliveries[1:]:
        expected.update(complete({**expected, "flags": [], "redactions": []}, {**delivery, "flags": [], "redactions": []}))
    stored = Run.objects.get(tenant=sender.tenant)
    assert {name: getattr(stored, name) for name in names} == expected


def test_the_model_has_the_columns_of_the_table_and_of_the_rows() -> None:
    with connection.cursor() as cursor:
        for model in (Run, RunScore):
            cursor.execute("SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", [model._meta.db_table])
            columns = {name for (name,) in cursor.fetchall()}
            assert columns == {field.column for field in model._meta.concrete_fields}
    assert set(RUN_COLUMNS) == {field.column for field in Run._meta.concrete_fields}


def score(sender: Harness, limit: int = 1000, points: int = 9000) -> int:
    ctx = system_context("scoring", tenant_id=sender.tenant.pk)
    with ctx.transaction():
        claimed = unscored_final_runs(limit, tenant_id=sender.tenant.pk)
        return store_scores(
            ctx=ctx, claimed=claimed, scores=[Score(found.row_id, points, 1200, {"success": 5500}) for found in claimed.runs]
        )


def test_final_runs_wait_for_their_score_and_get_one() -> None:
    sender, other = harness(), harness()
    begun = run("late", final=False, latency_ms=None)
    sender.send(run("a"), run("b"), begun)
    other.send(run("c"))
    assert tenants_with_unscored_runs() == [sender.tenant.pk, other.tenant.pk]
    assert score(sender) == 2
    sender.send({**begun, "final": True, "latency_ms": 3})
    assert score(sender) == 1
    assert tenants_with_unscored_runs() == [other.tenant.pk]
    found = RunScore.objects.get(run_id="late")
    assert (found.row.run_id, found.score, found.baseline_ms, found.latency_ms, found.parts) == ("late", 9000, 1200, 3, {"success": 5500})


def test_a_run_keeps_its_first_score_and_stays_queued_when_scoring_fails() -> None:
    sender = harness()
    sender.send(run("a"))
    with pytest.raises(IntegrityError), transaction.atomic():
        score(sender, points=10_001)
    assert UnscoredBatch.objects.count() == 1
    assert score(sender, points=5000) == 1
    stored = RunScore.objects.get()
    UnscoredBatch.objects.create(tenant=sender.tenant, day=stored.day, row_ids=[stored.pk], created_at=datetime.now(UTC))
    assert score(sender, points=7000) == 0
    assert (RunScore.objects.get().score, UnscoredBatch.objects.count()) == (5000, 0)


def test_runs_are_claimed_in_whole_batches_up_to_the_limit() -> None:
    sender = harness()
    for size in (2, 2, 3):
        sender.send(*[run() for _ in range(size)])
    claimed = [len(unscored_final_runs(limit, tenant_id=sender.tenant.pk).runs) for limit in (1, 2, 3, 4, 5, 100)]
    assert claimed == [2, 2, 4, 4, 7, 7]


def test_a_baseline_is_made_of_the_last_fifty_scored_runs_of_pack_and_tier() -> None:
    sender, other = harness(), harness()
    sender.send(
        *[run(latency_ms=n) for n in range(60)], run(latency_ms=None), run(tier="T1", latency_ms=777), run(pack="other", latency_ms=888)
    )
    sender.send(run(tier=None, latency_ms=555))
    other.send(run(latency_ms=999))
    assert baseline_latencies(sender.tenant.pk, [("hr-ops-pack", "T2")]) == {}
    score(sender)
    score(other)
    found = baseline_latencies(sender.tenant.pk, [("hr-ops-pack", "T2"), ("hr-ops-pack", "T1"), ("hr-ops-pack", ""), ("none", "T1")])
    assert found == {("hr-ops-pack", "T2"): list(range(59, 9, -1)), ("hr-ops-pack", "T1"): [777], ("hr-ops-pack", ""): [555]}


def test_the_owners_function_is_not_everybodys(owner_sql: Callable[..., list[tuple[Any, ...]]]) -> None:
    acl = owner_sql("SELECT proacl::text FROM pg_proc WHERE proname = 'telemetry_make_partitions'")[0][0]
    assert "mc_app=X" in acl
    assert not any(entry.startswith("=") for entry in acl.strip("{}").split(","))


def test_yesterdays_partition_is_there_for_a_clock_that_is_late() -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [f"telemetry_run_{yesterday:%Y%m%d}"])
        assert cursor.fetchone() == (True,)
