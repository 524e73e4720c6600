"""How models do: by window, from roll-ups, redacted, and to people of the tenant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from apps.evals.tasks import score_runs
from apps.telemetry.models import ModelHealth, RunScore
from apps.telemetry.tasks import model_health_task, roll_up_task
from tests import factories as make
from tests.telemetry.sending import harness, run
from tests.telemetry.test_reading import reader

pytestmark = pytest.mark.django_db

SECRET = "sk-proj-" + "Zq8Xn2Lm4Rt6Vb1Kc9Wd3Fg7"


def test_each_window_has_its_figures() -> None:
    sender, now = harness(), datetime.now(UTC)
    model = {"provider": "openai", "model_id": "gpt-5"}
    sender.send(
        run(**model, latency_ms=100, cost_usd="0.01", created_at=now.isoformat()),
        run(**model, latency_ms=300, cost_usd=None, success=False, error_code=f"bad key {SECRET}", created_at=now.isoformat()),
        run(**model, latency_ms=None, success=None, created_at=(now - timedelta(hours=5)).isoformat()),
        run(**model, success=False, error_code="older", created_at=(now - timedelta(days=3)).isoformat()),
        run(provider="openai", created_at=now.isoformat()),
    )
    score_runs()
    roll_up_task()
    model_health_task()
    get = reader(sender)
    hour, day, week = (get("models/health/", window=window).json()["results"][0] for window in ("1h", "24h", "7d"))
    assert (hour["provider"], hour["model_id"], hour["window"]) == ("openai", "gpt-5", "1h")
    assert (hour["total_calls"], hour["success_calls"], hour["failed_calls"]) == (2, 1, 1)
    assert (hour["avg_latency_ms"], hour["avg_cost_usd"]) == (200, "0.010000")
    scores = RunScore.objects.filter(row__model_id="gpt-5", row__created_at__gte=now).values_list("score", flat=True)
    assert hour["quality_score"] == round(sum(scores) / 2) / 100
    assert ([each["total_calls"] for each in (day, week)], week["failed_calls"]) == ([3, 4], 2)
    assert hour["last_error"].startswith("bad key") and SECRET not in hour["last_error"]
    assert hour["last_used_at"] == hour["last_error_at"] == week["last_used_at"]
    assert get("models/health/", provider="other").json()["results"] == []
    assert get("models/health/", window="2h").status_code == 422
    assert get("models/health/").json()["results"][0].keys() == hour.keys()


def test_another_tenant_and_an_agent_see_none_of_it() -> None:
    sender = harness()
    sender.send(run(provider="openai", model_id="gpt-5"))
    roll_up_task()
    model_health_task()
    assert ModelHealth.objects.count() == 3
    assert reader(harness())("models/health/").json()["results"] == []
    assert Client().get("/api/v1/models/health/", headers=make.bearer(sender.token)).json()["results"] == []


def test_an_older_error_that_comes_late_is_not_the_last_one() -> None:
    sender, now = harness(), datetime.now(UTC)
    model: dict[str, Any] = {"provider": "openai", "model_id": "gpt-5", "success": False}
    for error, ago in (("newer", 1), ("older", 9)):
        sender.send(run(**model, error_code=error, created_at=(now - timedelta(minutes=ago)).isoformat()))
        roll_up_task()
    assert set(ModelHealth.objects.values_list("last_error", flat=True)) == {"newer"}
