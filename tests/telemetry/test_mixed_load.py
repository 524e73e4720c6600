"""Two minutes of `benchmarks/mixed.py`: web, worker and database are killed under load, and what was acknowledged is stored, exactly."""

from __future__ import annotations

import pytest

from benchmarks.mixed import trial
from tests.embedded.portal import Portal

pytestmark = pytest.mark.e2e


def test_what_was_acknowledged_is_stored_exactly_though_everything_is_killed_once() -> None:
    portal = Portal()
    try:
        portal.start(timeout_s=180)
        # Few batches a second: what counts is what happens around the kills, and other tests run beside this one.
        found = trial(portal, seconds=60, senders=3, items=20, per_s=4)
        told = portal.output
    finally:
        portal.close()
    assert found.wrong == []
    assert len(found.killed) == 3 and not any(killed.startswith("0 ") for killed in found.killed)
    # The harnesses noticed: otherwise nothing was tried.
    assert found.answers["no answer"] > 0 and found.answers["503"] > 0
    assert found.repeated > 0 and found.completed > 0 and found.events > 0
    for name in ("web process", "worker process", "PostgreSQL"):
        assert f"{name} ended" in told
