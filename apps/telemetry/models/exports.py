"""Files of runs or events that somebody asked for."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from apps.core.models import TenantOwned


class ExportKind(models.TextChoices):
    RUNS = "runs"
    EVENTS = "events"


class ExportFormat(models.TextChoices):
    JSONL = "jsonl", "JSON lines"
    CSV = "csv", "CSV"


class ExportState(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


# The storage may hold other things beside: all files of exports are below it.
FOLDER = "exports"
UNDER_WAY = (ExportState.QUEUED, ExportState.RUNNING)


class Export(TenantOwned):
    """A file in the making, or made. It lies in pieces in the storage of exports, `parts` in order; only a finished one is given out."""

    kind = models.CharField(max_length=10, choices=ExportKind.choices)
    format = models.CharField(max_length=10, choices=ExportFormat.choices)
    # As `domain.asked.written` writes them.
    filters = models.JSONField(default=dict)
    # Null: the system.
    requested_by = models.ForeignKey("identity.User", on_delete=models.PROTECT, null=True, related_name="+")
    state = models.CharField(max_length=10, choices=ExportState.choices, default=ExportState.QUEUED)
    rows_done = models.BigIntegerField(default=0)
    rows_estimated = models.BigIntegerField(default=0, help_text="By the planner; the real number may be another.")
    size_bytes = models.BigIntegerField(default=0)
    parts = models.JSONField(default=list)
    # `created_at|id` of the last row written: where to go on.
    position = models.CharField(max_length=100, blank=True)
    # Who writes: each that takes it up has the next number, and what an earlier one still writes is not counted.
    attempt = models.PositiveIntegerField(default=0)
    # When the writer was last heard of; null between two turns.
    beat_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=ExportKind.values), name="telemetry_export_kind"),
            models.CheckConstraint(condition=Q(format__in=ExportFormat.values), name="telemetry_export_format"),
            models.CheckConstraint(condition=Q(state__in=ExportState.values), name="telemetry_export_state"),
            models.CheckConstraint(condition=~Q(state="done") | Q(expires_at__isnull=False), name="telemetry_export_expires"),
        ]
        indexes = [models.Index(fields=["state"], name="telemetry_export_alive", condition=Q(state__in=["queued", "running", "done"]))]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.created_at:%Y-%m-%d %H:%M} as {self.get_format_display()}"

    @property
    def under_way(self) -> bool:
        return self.state in UNDER_WAY

    @property
    def file_name(self) -> str:
        return f"{self.kind}-{self.created_at:%Y-%m-%d}-{self.pk.hex[-8:]}.{self.format}"

    @property
    def folder(self) -> str:
        return f"{FOLDER}/{self.tenant_id}/{self.pk}"
