"""Figures by minute, hour and day, and the queue of what has not been added up yet. They hold names and numbers, no user's content."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from apps.core.models import TenantOwned
from apps.core.querysets import RestrictedManager
from apps.telemetry.models.reported import Run, reference, text


class UnrolledBatch(TenantOwned):
    """Rows of one ingested batch that wait to be added up: one row a batch, written in the batch's own transaction."""

    class Kind(models.TextChoices):
        RUNS = "r"
        EVENTS = "e"
        SCORES = "s"

    kind = models.CharField(max_length=1, choices=Kind.choices)
    day = models.DateField(help_text="Partition of the rows.")
    # Runs that became final with this batch, events, or runs that were scored: each is counted once, so it stands in one batch only.
    row_ids = ArrayField(models.UUIDField())
    # Runs that may yet be completed: listed, but not counted.
    open_ids = ArrayField(models.UUIDField(), default=list)
    # The minutes (since 1970) of the rows' `created_at`: where to look for them as long as they wait.
    minutes = ArrayField(models.BigIntegerField(), default=list)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["tenant", "id"], name="telemetry_unrolled_first")]


class Rollup(models.Model):
    """Final runs of one minute, hour or day (by `created_at`, UTC) that have everything else here in common."""

    id = models.BigAutoField(primary_key=True)
    tenant = reference("identity.Tenant")
    team = reference("identity.Team", null=True)
    agent = reference("identity.Agent")
    pack = text()
    pack_version = models.PositiveIntegerField(null=True)
    arm = text()
    provider = text()
    model_id = text()
    # Whether the runs name a user: such figures are shown to who may not read every user's only where five users are behind them.
    of_user = models.BooleanField()
    step = models.PositiveIntegerField(help_text="Seconds: 60, 3600 or 86400.")
    start = models.DateTimeField()
    runs = models.BigIntegerField()
    successes = models.BigIntegerField()
    failures = models.BigIntegerField()
    # Sums: a number of the harness's own may be as large as 2^53.
    tokens_in = models.DecimalField(max_digits=38, decimal_places=0)
    tokens_out = models.DecimalField(max_digits=38, decimal_places=0)
    cost_micros = models.DecimalField(max_digits=38, decimal_places=0, help_text="Micro-dollars.")
    cost_count = models.BigIntegerField()
    latency_sum = models.DecimalField(max_digits=38, decimal_places=0, help_text="Milliseconds.")
    latency_count = models.BigIntegerField()
    # Pairs of bucket and count (`domain/sketch.py`).
    latencies = ArrayField(ArrayField(models.BigIntegerField()), default=list)
    score_sum = models.DecimalField(max_digits=38, decimal_places=0, help_text="Hundredths of a point.")
    score_count = models.BigIntegerField()
    # Distinct users, counted up to five by marks that tell users apart and are dropped at five; hours only.
    users = models.PositiveSmallIntegerField(default=0)
    marks = ArrayField(models.BigIntegerField(), default=list)

    objects = RestrictedManager()

    SHARED = False
    TEAM_PATH = "team_id"
    GRANT_PATHS = Run.GRANT_PATHS

    class Meta:
        ordering = ["start"]
        constraints = [
            models.UniqueConstraint(
                fields=[
                    *("tenant", "step", "start", "agent", "team", "pack", "pack_version", "arm", "provider", "model_id", "of_user"),
                ],
                nulls_distinct=False,
                name="telemetry_rollup_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} + {self.step} s"


class ModelHealth(TenantOwned):
    """How a model has done for the tenant in the last hour, day or week, by the runs that name it."""

    class Window(models.TextChoices):
        HOUR = "1h", "1 hour"
        DAY = "24h", "24 hours"
        WEEK = "7d", "7 days"

    provider = models.CharField(max_length=200)
    model_id = models.CharField(max_length=200)
    window = models.CharField(max_length=3, choices=Window.choices)
    total_calls = models.BigIntegerField(default=0)
    success_calls = models.BigIntegerField(default=0)
    failed_calls = models.BigIntegerField(default=0)
    avg_latency_ms = models.BigIntegerField(null=True)
    avg_cost_micros = models.BigIntegerField(null=True, help_text="Micro-dollars.")
    # Mean online score in hundredths of a point; null while none is scored.
    quality_score = models.PositiveIntegerField(null=True)
    # The `error_code` of the last run that failed, redacted as stored.
    last_error = text()
    last_error_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ["provider", "model_id", "window"]
        verbose_name = "model health"
        verbose_name_plural = "model health"
        constraints = [models.UniqueConstraint(fields=["tenant", "provider", "model_id", "window"], name="telemetry_modelhealth_once")]

    def __str__(self) -> str:
        return f"{self.provider} {self.model_id}, {self.get_window_display()}"
