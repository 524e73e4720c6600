"""Scores of runs, and the queue of what waits for one."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from apps.core.models import TenantOwned
from apps.core.querysets import RestrictedManager
from apps.telemetry.models.reported import Run, reference, text


class RunScore(models.Model):
    """The online score of a final run (formula and task: evals), with what baselines and charts need of the run beside it."""

    # The key is the run's own.
    row = models.OneToOneField(
        Run, on_delete=models.DO_NOTHING, primary_key=True, db_column="id", db_constraint=False, related_name="score", verbose_name="run"
    )
    day = models.DateField()
    tenant = reference("identity.Tenant")
    team = reference("identity.Team", null=True)
    agent = reference("identity.Agent")
    run_id = models.CharField(max_length=200)
    pack = text()
    pack_version = models.PositiveIntegerField(null=True)
    effective_digest = text()
    arm = text()
    # Empty where the run has none: baselines are looked up by equality.
    tier = models.CharField(max_length=2, blank=True)
    latency_ms = models.BigIntegerField(null=True)
    # Hundredths of a point, 0..10000.
    score = models.PositiveIntegerField()
    # Median latency that the run was compared with; null when there were too few runs.
    baseline_ms = models.BigIntegerField(null=True)
    parts = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    objects = RestrictedManager()

    SHARED = False
    TEAM_PATH = "team_id"
    GRANT_PATHS = Run.GRANT_PATHS

    class Meta:
        ordering = ["-pk"]
        verbose_name = "score"

    def __str__(self) -> str:
        return f"{self.score / 100:.1f}"


class UnscoredBatch(TenantOwned):
    """Final runs of one ingested batch that wait for their score: one row a batch, so that waiting costs ingest next to nothing."""

    day = models.DateField(help_text="Partition of the rows.")
    row_ids = ArrayField(models.UUIDField())
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["id"]
