"""Commands, and how far each has come with each harness."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.functional import cached_property

from apps.core.models import TenantOwned
from apps.fleet.domain.commands import OPEN, Kind, Order, State
from apps.fleet.domain.progress import Progress, progress_of

KINDS = [(kind.value, kind.value) for kind in Kind]
ORDERS = [(order.value, order.value) for order in Order]
STATES = [(state.value, state.value) for state in State]
OPEN_STATES = [state.value for state in OPEN]


class Command(TenantOwned):
    """What was ordered, and for whom. It never changes; how it fares stands in its deliveries."""

    kind = models.CharField("target kind", max_length=10, choices=KINDS)
    # A root task id, a tier, or `<tenant>/<agent>`.
    name = models.CharField("target name", max_length=200)
    agent = models.ForeignKey("identity.Agent", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    action = models.CharField(max_length=10, choices=ORDERS)
    reason = models.TextField(blank=True)
    created_by = models.ForeignKey("identity.User", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    actor_label = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    TEAM_PATH = "agent__team_id"
    GRANT_PATHS = {"agent": ("agent_id",), "team": ("agent__team_id",)}

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "id"], name="fleet_command_of_tenant"),
            models.CheckConstraint(condition=Q(kind__in=[kind.value for kind in Kind]), name="fleet_command_kind"),
            models.CheckConstraint(condition=Q(action__in=[order.value for order in Order]), name="fleet_command_action"),
            models.CheckConstraint(condition=Q(kind="agent", agent__isnull=False) | ~Q(kind="agent"), name="fleet_command_names_agent"),
            models.CheckConstraint(condition=Q(expires_at__gt=F("created_at")), name="fleet_command_expires_later"),
        ]
        indexes = [models.Index(fields=["tenant", "kind", "name", "-created_at"], name="fleet_command_target")]

    def __str__(self) -> str:
        return f"{self.action} {self.target}"

    @property
    def target(self) -> str:
        return f"{self.kind}:{self.name}"

    @cached_property
    def progress(self) -> Progress:
        """Of a row that `selectors.commands.counted` read."""
        counts = {state: getattr(self, f"n_{state}") for state, _ in STATES}
        return progress_of(counts, self.late, over=self.expires_at <= timezone.now())  # type: ignore[attr-defined]


class Delivery(TenantOwned):
    """A command on its way to one harness of an agent (`instance` "": to whichever of its processes comes first)."""

    command = models.ForeignKey(Command, on_delete=models.PROTECT, related_name="deliveries")
    agent = models.ForeignKey("identity.Agent", on_delete=models.PROTECT, related_name="+")
    instance = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=12, choices=STATES, default=State.PENDING.value)
    # How often it was handed out.
    handed_out = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    # The command that took its place.
    superseded_by = models.ForeignKey(Command, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    TEAM_PATH = "agent__team_id"
    GRANT_PATHS = {"agent": ("agent_id",), "team": ("agent__team_id",)}

    class Meta:
        ordering = ["created_at", "id"]
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["command", "agent", "instance"], name="fleet_delivery_once"),
            models.CheckConstraint(condition=Q(state__in=[state.value for state in State]), name="fleet_delivery_state"),
            models.CheckConstraint(
                condition=Q(state__in=OPEN_STATES, closed_at__isnull=True) | Q(closed_at__isnull=False), name="fleet_delivery_closed"
            ),
            models.CheckConstraint(condition=Q(state="superseded") | Q(superseded_by__isnull=True), name="fleet_delivery_superseded"),
        ]
        indexes = [
            models.Index(fields=["tenant", "agent", "command"], name="fleet_delivery_open", condition=Q(state__in=OPEN_STATES)),
        ]

    def __str__(self) -> str:
        return f"{self.agent} {self.instance}".strip()
