"""Runs and events as harnesses reported them, the runs' scores, and what each producer has sent.

`Run`, `Event` and `RunScore` are partitioned by day (UTC date of first receipt). `id` is the key Django knows; the database's is
`(id, day)`. They are made by SQL (0002), where their columns and indexes stand. Their tenant, team and agent come from a
token and are trusted: references to them are not checked again for each row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models

from apps.core.models import TenantOwned
from apps.core.querysets import RestrictedManager


def _reference(to: str, *, null: bool = False) -> Any:
    return models.ForeignKey(to, on_delete=models.DO_NOTHING, null=null, db_constraint=False, db_index=False, related_name="+")


def _text(max_length: int = 200) -> Any:
    return models.CharField(max_length=max_length, null=True)


class Tier(models.TextChoices):
    T1 = "T1"
    T2 = "T2"
    T3 = "T3"


class Reported(TenantOwned):
    """What runs and events have in common."""

    day = models.DateField(help_text="UTC date of first receipt.")
    tenant = _reference("identity.Tenant")
    team = _reference("identity.Team", null=True)
    agent = _reference("identity.Agent")
    root_task_id = _text()
    task_id = _text()
    tier = models.CharField(max_length=2, choices=Tier.choices, null=True)
    actor = _text()
    provider = _text()
    model_id = _text()
    persona = _text()
    skill = _text()
    status = _text()
    latency_ms = models.BigIntegerField(null=True)
    tokens_in = models.BigIntegerField(null=True)
    tokens_out = models.BigIntegerField(null=True)
    token_delta = models.BigIntegerField(null=True)
    cost_micros = models.BigIntegerField(null=True, help_text="Micro-dollars.")
    created_at = models.DateTimeField(help_text="The harness's time, else the time of receipt.")
    received_at = models.DateTimeField()
    producer = _text()
    producer_seq = models.BigIntegerField(null=True)
    # `untraced`, `mismatch`, `redacted`; and the names of the redaction rules that fired.
    flags = ArrayField(models.TextField(), default=list)
    redactions = ArrayField(models.TextField(), default=list)

    TEAM_PATH = "team_id"
    GRANT_PATHS: Mapping[str, tuple[str | tuple[str, str], ...]] = {"agent": ("agent_id",), "team": ("team_id",)}

    class Meta:
        abstract = True
        ordering = ["-created_at", "-id"]


class Run(Reported):
    """One run of an agent. A final run never changes; one that is not final is completed by later items, null fields only."""

    run_id = models.CharField(max_length=200)
    final = models.BooleanField()
    user_ref = _text()
    pack = _text()
    pack_version = models.PositiveIntegerField(null=True)
    effective_digest = _text()
    arm = _text()
    rollout = _text()
    task_type = _text()
    mcp_servers = models.JSONField(null=True)
    adapter_kind = _text()
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    cached_tokens = models.BigIntegerField(null=True)
    cache_write_tokens = models.BigIntegerField(null=True)
    reasoning_tokens = models.BigIntegerField(null=True)
    success = models.BooleanField(null=True)
    error_code = _text()
    retries = models.PositiveIntegerField(null=True)
    format_passed = models.BooleanField(null=True)
    approval_passed = models.BooleanField(null=True)
    safety_flags = models.JSONField(null=True)
    checks = models.JSONField(null=True)
    input = models.TextField(null=True)
    output = models.TextField(null=True)
    metadata = models.JSONField(null=True)

    # A run names its pack.
    GRANT_PATHS = {**Reported.GRANT_PATHS, "pack": (("pack", "slug"),)}

    class Meta(Reported.Meta):
        pass

    def __str__(self) -> str:
        return self.run_id


class Event(Reported):
    """One step of a run. `action: output` carries a piece of the agent's terminal output in `message`."""

    event_id = models.CharField(max_length=200)
    run_id = _text()
    action = models.CharField(max_length=200)
    phase = _text()
    message = models.TextField(null=True)
    mcp_server = _text()
    mcp_tool = _text()
    retry_count = models.PositiveIntegerField(null=True)
    payload = models.JSONField(null=True)
    seq = models.BigIntegerField(null=True)

    class Meta(Reported.Meta):
        pass

    def __str__(self) -> str:
        return self.event_id


class RunScore(models.Model):
    """The online score of a final run (formula and task: evals), with what baselines and charts need of the run beside it."""

    # The key is the run's own.
    row = models.OneToOneField(
        Run, on_delete=models.DO_NOTHING, primary_key=True, db_column="id", db_constraint=False, related_name="score", verbose_name="run"
    )
    day = models.DateField()
    tenant = _reference("identity.Tenant")
    team = _reference("identity.Team", null=True)
    agent = _reference("identity.Agent")
    run_id = models.CharField(max_length=200)
    pack = _text()
    pack_version = models.PositiveIntegerField(null=True)
    effective_digest = _text()
    arm = _text()
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


class Producer(TenantOwned):
    """A numbered source of batches: a process of an agent's harness. It numbers all its batches, runs and events alike, by one."""

    agent = models.ForeignKey("identity.Agent", on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=200)
    # [[first, last], …]: the numbers received, in order; what lies between is missing.
    ranges = models.JSONField(default=list)
    # Missing numbers of gaps that were dropped because there were too many.
    given_up = models.BigIntegerField(default=0)
    last_seq = models.BigIntegerField()
    # Items, over all batches.
    accepted = models.BigIntegerField(default=0)
    duplicates = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    too_old = models.BigIntegerField(default=0)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()

    TEAM_PATH = "agent__team_id"
    GRANT_PATHS = {"agent": ("agent_id",), "team": ("agent__team_id",)}

    class Meta:
        ordering = ["-last_seen_at"]
        constraints = [models.UniqueConstraint(fields=["tenant", "agent", "name"], name="telemetry_producer_once")]

    def __str__(self) -> str:
        return self.name
