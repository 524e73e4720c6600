"""What harnesses ask for: one use of a tool, or that a draft be looked at."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from apps.core.models import TenantOwned
from apps.fleet.domain.requests import State

STATES = [(state.value, state.value) for state in State]
RISKS = [("low", "low"), ("medium", "medium"), ("high", "high")]


class ActionRequest(TenantOwned):
    """An agent asks to use one tool once, with these arguments. Only its state moves, and who answered."""

    agent = models.ForeignKey("identity.Agent", on_delete=models.PROTECT, related_name="+")
    pack = models.CharField(max_length=63)
    tool = models.CharField(max_length=200)
    arguments = models.JSONField(default=dict)
    reason = models.TextField(blank=True)
    run_id = models.CharField(max_length=200, blank=True)
    # What the effective pack said when it was asked.
    risk = models.CharField(max_length=6, choices=RISKS)
    level = models.CharField("autonomy", max_length=2)
    redactions = models.JSONField(default=list)
    state = models.CharField(max_length=10, choices=STATES, default=State.PENDING.value)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey("identity.User", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    decided_at = models.DateTimeField(null=True, blank=True)
    comment = models.TextField(blank=True)
    used_at = models.DateTimeField(null=True, blank=True)

    TEAM_PATH = "agent__team_id"
    GRANT_PATHS = {"agent": ("agent_id",), "team": ("agent__team_id",)}

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "action request"
        constraints = [
            models.CheckConstraint(condition=Q(state__in=[state.value for state in State]), name="fleet_actionrequest_state"),
            models.CheckConstraint(condition=Q(expires_at__gt=F("created_at")), name="fleet_actionrequest_expires_later"),
            models.CheckConstraint(
                condition=~Q(state__in=["approved", "denied", "used"]) | Q(decided_at__isnull=False), name="fleet_actionrequest_answered"
            ),
            models.CheckConstraint(
                condition=Q(state="used", used_at__isnull=False) | (~Q(state="used") & Q(used_at__isnull=True)),
                name="fleet_actionrequest_used",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "state", "-created_at"], name="fleet_request_by_state"),
            models.Index(fields=["tenant", "agent", "-created_at"], name="fleet_request_by_agent"),
        ]

    def __str__(self) -> str:
        return self.tool


class Suggestion(TenantOwned):
    """That a version was proposed by a harness, and by which agent's."""

    agent = models.ForeignKey("identity.Agent", on_delete=models.PROTECT, related_name="+")
    version = models.OneToOneField("packs.PackVersion", on_delete=models.PROTECT, related_name="suggestion")
    created_at = models.DateTimeField()

    TEAM_PATH = "agent__team_id"

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["tenant", "agent", "-created_at"], name="fleet_suggestion_agent")]

    def __str__(self) -> str:
        return f"{self.version} by {self.agent}"
