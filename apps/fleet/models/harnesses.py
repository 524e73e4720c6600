"""Who is there, and what each harness serves."""

from __future__ import annotations

from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from apps.core.models import TenantOwned
from apps.fleet.domain.liveness import is_live


class Harness(TenantOwned):
    """One process of an agent's harness, as its heartbeats tell. `instance` is its own name for itself, "" where there is only one."""

    agent = models.ForeignKey("identity.Agent", on_delete=models.PROTECT, related_name="+")
    instance = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=200, blank=True)
    ttl_s = models.PositiveIntegerField()
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    # Packs that it serves in another version than resolve would give it, as of the last heartbeat; and what was wrong with that.
    stale = ArrayField(models.TextField(), default=list)
    flags = ArrayField(models.TextField(), default=list)

    TEAM_PATH = "agent__team_id"
    GRANT_PATHS = {"agent": ("agent_id",), "team": ("agent__team_id",)}

    class Meta:
        ordering = ["-last_seen_at"]
        verbose_name_plural = "harnesses"
        constraints = [
            models.UniqueConstraint(fields=["tenant", "agent", "instance"], name="fleet_harness_once"),
            models.UniqueConstraint(fields=["tenant", "id"], name="fleet_harness_of_tenant"),
        ]
        indexes = [models.Index(fields=["tenant", "-last_seen_at"], name="fleet_harness_seen")]

    def __str__(self) -> str:
        return self.instance or "its only harness"

    @property
    def is_live(self) -> bool:
        return is_live(self.last_seen_at, self.ttl_s, timezone.now())

    def state(self, now: datetime) -> str:
        """`live`, `stale` (live, and not serving what it should) or `silent`."""
        if not is_live(self.last_seen_at, self.ttl_s, now):
            return "silent"
        return "stale" if self.stale else "live"


class Serving(TenantOwned):
    """A pack that a harness serves, for each arm. `since`: when it first said so."""

    harness = models.ForeignKey(Harness, on_delete=models.CASCADE, related_name="serving")
    pack = models.CharField(max_length=100)
    arm = models.CharField(max_length=20)
    digest = models.CharField(max_length=71)
    since = models.DateTimeField()
    # Whether resolve has ever served this digest to the tenant.
    traced = models.BooleanField(default=True)

    TEAM_PATH = "harness__agent__team_id"
    GRANT_PATHS = {"agent": ("harness__agent_id",), "team": ("harness__agent__team_id",)}

    class Meta:
        ordering = ["pack", "arm"]
        verbose_name = "served pack"
        constraints = [models.UniqueConstraint(fields=["harness", "pack", "arm"], name="fleet_serving_once")]
        indexes = [models.Index(fields=["tenant", "pack"], name="fleet_serving_pack")]

    def __str__(self) -> str:
        return self.pack
