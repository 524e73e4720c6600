"""Runs and events as harnesses reported them.

`Run`, `Event` and `RunScore` (scores.py) are partitioned by day (UTC date of first receipt). `id` is the key Django knows; the database's is
`(id, day)`. They are made by SQL (0002), where their columns and indexes stand. Their tenant, team and agent come from a
token and are trusted: references to them are not checked again for each row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models

from apps.core.models import TenantOwned


def reference(to: str, *, null: bool = False) -> Any:
    return models.ForeignKey(to, on_delete=models.DO_NOTHING, null=null, db_constraint=False, db_index=False, related_name="+")


def text(max_length: int = 200) -> Any:
    return models.CharField(max_length=max_length, null=True)


class Tier(models.TextChoices):
    T1 = "T1"
    T2 = "T2"
    T3 = "T3"


class Reported(TenantOwned):
    """What runs and events have in common."""

    day = models.DateField(help_text="UTC date of first receipt.")
    tenant = reference("identity.Tenant")
    team = reference("identity.Team", null=True)
    agent = reference("identity.Agent")
    root_task_id = text()
    task_id = text()
    tier = models.CharField(max_length=2, choices=Tier.choices, null=True)
    actor = text()
    provider = text()
    model_id = text()
    persona = text()
    skill = text()
    status = text()
    latency_ms = models.BigIntegerField(null=True)
    tokens_in = models.BigIntegerField(null=True)
    tokens_out = models.BigIntegerField(null=True)
    token_delta = models.BigIntegerField(null=True)
    cost_micros = models.BigIntegerField(null=True, help_text="Micro-dollars.")
    created_at = models.DateTimeField(help_text="The harness's time, else the time of receipt.")
    received_at = models.DateTimeField()
    producer = text()
    producer_seq = models.BigIntegerField(null=True)
    # `untraced`, `mismatch`, `redacted`, those of costs and clocks (docs/costs.md); and the names of the redaction rules that fired.
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
    user_ref = text()
    pack = text()
    pack_version = models.PositiveIntegerField(null=True)
    effective_digest = text()
    arm = text()
    rollout = text()
    task_type = text()
    mcp_servers = models.JSONField(null=True)
    adapter_kind = text()
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    cached_tokens = models.BigIntegerField(null=True)
    cache_write_tokens = models.BigIntegerField(null=True)
    reasoning_tokens = models.BigIntegerField(null=True)
    success = models.BooleanField(null=True)
    error_code = text()
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
    run_id = text()
    action = models.CharField(max_length=200)
    phase = text()
    message = models.TextField(null=True)
    mcp_server = text()
    mcp_tool = text()
    retry_count = models.PositiveIntegerField(null=True)
    payload = models.JSONField(null=True)
    seq = models.BigIntegerField(null=True)

    class Meta(Reported.Meta):
        pass

    def __str__(self) -> str:
        return self.event_id
