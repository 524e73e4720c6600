"""What each producer has sent."""

from __future__ import annotations

from django.db import models

from apps.core.models import TenantOwned


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
    # The farthest that its times lay after ours, or an end before its start, in milliseconds; and when that was last seen.
    skew_ms = models.BigIntegerField(default=0)
    skew_at = models.DateTimeField(null=True)
    # Kept beside `ranges`, for the list: batches that are missing between those received.
    missing = models.BigIntegerField(default=0)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()

    TEAM_PATH = "agent__team_id"
    GRANT_PATHS = {"agent": ("agent_id",), "team": ("agent__team_id",)}

    class Meta:
        ordering = ["-last_seen_at"]
        constraints = [models.UniqueConstraint(fields=["tenant", "agent", "name"], name="telemetry_producer_once")]

    def __str__(self) -> str:
        return self.name
