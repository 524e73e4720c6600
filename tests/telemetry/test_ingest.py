"""Storage exactly once: what a harness may send again, in what order, and what becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from apps.packs.models import ServedPack
from apps.telemetry.models import Event, Producer, Run, UnscoredBatch
from tests import factories
from tests.telemetry.sending import event, harness, run

pytestmark = pytest.mark.django_db


def codes(receipt: dict[str, object]) -> list[tuple[int, str]]:
    return [(found["index"], found["code"]) for found in receipt["rejected"]]  # type: ignore[attr-defined]


def ledger_size() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM telemetry_ledger")
        return int(cursor.fetchone()[0])


def test_a_run_is_stored_as_it_was_sent() -> None:
    sender = harness()
    sent = run("r-1", cost_usd="0.0125", checks={"ci_passed": True}, mcp_servers=["files"], pack_version=3)
    assert sender.send(sent) == {"accepted": 1, "duplicates": 0, "rejected": [], "commands": []}
    stored = Run.objects.get()
    assert (stored.run_id, stored.tenant_id, stored.agent_id, stored.final) == ("r-1", sender.tenant.pk, sender.agent.pk, True)
    assert (stored.cost_micros, stored.checks, stored.mcp_servers, stored.arm) == (12_500, {"ci_passed": True}, ["files"], "champion")
    assert (stored.day, stored.flags, stored.redactions) == (datetime.now(UTC).date(), [], [])
    assert UnscoredBatch.objects.get().row_ids == [stored.pk]


def test_a_repeated_batch_is_all_duplicates() -> None:
    sender = harness()
    runs, events = [run(), run()], [event(), event(), event()]
    sender.send(*runs)
    sender.send_events(*events)
    assert sender.send(*runs)["duplicates"] == 2
    assert sender.send_events(*events)["duplicates"] == 3
    assert (Run.objects.count(), Event.objects.count(), UnscoredBatch.objects.count()) == (2, 3, 1)


def test_a_final_run_never_changes() -> None:
    sender = harness()
    sender.send(run("r-1", started_at="2099-01-01T00:00:00Z", output="first"))
    receipt = sender.send(run("r-1", started_at="2099-01-01T00:00:00Z", output="second"), run("r-2"))
    assert receipt["accepted"] == 1
    assert codes(receipt) == [(0, "duplicate_conflict")]
    assert receipt["rejected"][0]["pointer"] == "/runs/0/run_id"
    assert Run.objects.get(run_id="r-1").output == "first"
    with pytest.raises(IntegrityError, match="a final run never changes"), transaction.atomic():
        Run.objects.filter(run_id="r-1").update(output="third")


def test_a_run_that_is_not_final_is_completed_in_its_null_fields() -> None:
    sender = harness()
    begun = run("r-1", final=False, output=None, success=None, latency_ms=None, status="running")
    ended = run("r-1", started_at=begun["started_at"], output="done", success=True, latency_ms=700, status="completed")
    assert sender.send(begun)["accepted"] == 1
    assert not UnscoredBatch.objects.exists()
    assert sender.send(ended)["accepted"] == 1
    stored = Run.objects.get()
    assert (stored.final, stored.output, stored.success, stored.latency_ms) == (True, "done", True, 700)
    assert stored.status == "running"
    assert UnscoredBatch.objects.get().row_ids == [stored.pk]
    # Each of the two deliveries may come again.
    assert sender.send(begun, ended) == {"accepted": 0, "duplicates": 2, "rejected": [], "commands": []}


def test_repeats_within_a_batch_are_settled_in_its_order() -> None:
    sender = harness()
    begun = run("grows", final=False, output=None)
    ended = run("grows", started_at=begun["started_at"], output="done")
    same = run("same")
    receipt = sender.send(begun, same, same, ended, {**same, "output": "other"}, {**ended, "output": "late"})
    assert (receipt["accepted"], receipt["duplicates"]) == (3, 1)
    assert codes(receipt) == [(4, "duplicate_conflict"), (5, "duplicate_conflict")]
    assert Run.objects.get(run_id="grows").output == "done"
    assert Run.objects.get(run_id="same").output == same["output"]


def test_the_same_id_belongs_to_each_tenant_and_kind_apart() -> None:
    first, second = harness(), harness()
    for sender in (first, second):
        assert sender.send(run("x"))["accepted"] == 1
        assert sender.send_events(event("x"))["accepted"] == 1
    assert (Run.objects.count(), Event.objects.count()) == (2, 2)


def test_bad_items_never_cost_good_ones() -> None:
    sender = harness()
    bad_tier = run(tier="T9")
    unknown = run(colour="red")
    nul = run(output="a\x00b")
    receipt = sender.send(run(), bad_tier, run(), unknown, nul, {"started_at": "now"}, run())
    assert receipt["accepted"] == 3
    assert [index for index, _ in codes(receipt)] == [1, 3, 4, 5]
    assert receipt["rejected"][1] == {**receipt["rejected"][1], "code": "unknown_key", "pointer": "/runs/3/colour"}
    assert Run.objects.count() == 3


def test_what_is_older_than_the_hot_window_is_refused_and_counted() -> None:
    sender = harness()
    now = datetime.now(UTC)
    late, too_late = (now - timedelta(days=8, hours=23)).isoformat(), (now - timedelta(days=9, minutes=1)).isoformat()
    receipt = sender.send(run(started_at=late), run(started_at=too_late), producer="gw-1", seq=1)
    assert (receipt["accepted"], codes(receipt)) == (1, [(1, "too_old")])
    assert codes(sender.send_events(event(created_at=too_late), producer="gw-1", seq=2)) == [(0, "too_old")]
    producer = Producer.objects.get()
    assert (producer.accepted, producer.rejected, producer.too_old) == (1, 2, 2)
    # Late items belong to the day of their receipt.
    assert Run.objects.get().day == now.date()


def test_claims_of_a_payload_are_flagged_and_never_believed() -> None:
    sender, other = harness(), harness()
    sender.send(run("r-1", tenant=other.tenant.slug, agent=other.agent.slug, arm="challenger"), run("r-2", tenant=sender.tenant.slug))
    liar, honest = Run.objects.get(run_id="r-1"), Run.objects.get(run_id="r-2")
    assert (liar.tenant_id, liar.agent_id, liar.arm) == (sender.tenant.pk, sender.agent.pk, "champion")
    assert (liar.flags, honest.flags) == (["mismatch"], [])
    assert not Run.objects.filter(tenant=other.tenant).exists()


def test_a_digest_that_resolve_never_served_is_flagged() -> None:
    served = f"sha256:{'a' * 64}"
    sender = harness()
    ServedPack.objects.create(tenant=sender.tenant, digest=served, pack="hr-ops-pack", lineage=[])
    sender.send(run("known", effective_digest=served), run("unknown", effective_digest=f"sha256:{'b' * 64}"), run("none"))
    # Served to somebody else.
    harness().send(run("strange", effective_digest=served))
    flags = {row.run_id: row.flags for row in Run.objects.all()}
    assert flags == {"known": [], "unknown": ["untraced"], "none": [], "strange": ["untraced"]}


def test_gaps_of_a_producer_show() -> None:
    sender = harness()
    for seq in (3, 4, 7, 4):
        sender.send(run(), producer="gw-1", seq=seq)
    producer = Producer.objects.get()
    assert (producer.ranges, producer.last_seq, producer.accepted) == ([[3, 4], [7, 7]], 7, 4)


def test_a_batch_of_garbage_is_quick_and_changes_nothing() -> None:
    sender = harness()
    garbage = [{"run_id": f"r-{n}", "started_at": "never", "junk": [n] * 20} for n in range(1000)]
    begun = datetime.now(UTC)
    receipt = sender.send(*garbage)
    assert datetime.now(UTC) - begun < timedelta(seconds=2)
    assert (receipt["accepted"], len(receipt["rejected"])) == (0, 1000)
    assert (Run.objects.count(), ledger_size(), UnscoredBatch.objects.count(), Producer.objects.count()) == (0, 0, 0, 0)


def test_a_person_cannot_send_telemetry() -> None:
    sender = harness()
    person = factories.user(sender.tenant, "tenant_admin")
    response = sender.post("runs", {"runs": [run()]}, HTTP_AUTHORIZATION=f"Bearer {factories.api_token(person, sender.tenant)}")
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    assert not Run.objects.exists()
