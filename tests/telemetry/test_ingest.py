"""Storage exactly once: what a harness may send again, in what order, and what becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from apps.telemetry.models import Event, Producer, Run, UnscoredBatch
from tests.telemetry.sending import event, harness, run

pytestmark = pytest.mark.django_db


def test_a_run_is_stored_as_it_was_sent() -> None:
    sender = harness()
    sent = run("r-1", cost_usd="0.0125", checks={"ci_passed": True}, mcp_servers=["files"], pack_version=3, tokens_in=10, producer=None)
    assert sender.send(sent) == {"accepted": 1, "duplicates": 0, "rejected": [], "commands": []}
    stored = Run.objects.get()
    assert (stored.run_id, stored.tenant_id, stored.agent_id, stored.final) == ("r-1", sender.tenant.pk, sender.agent.pk, True)
    assert (stored.cost_micros, stored.checks, stored.mcp_servers, stored.arm) == (12_500, {"ci_passed": True}, ["files"], "champion")
    assert (stored.day, stored.flags, stored.redactions) == (datetime.now(UTC).date(), [], [])
    assert UnscoredBatch.objects.get().row_ids == [stored.pk]
