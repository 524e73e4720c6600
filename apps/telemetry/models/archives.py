"""What is kept outside of the database once its hot window has passed, and how long it stays in either place."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from apps.core.history import History
from apps.core.models import TenantOwned
from apps.telemetry.domain.archives import DEFAULT_HOT_DAYS, MAX_ARCHIVE_DAYS, MAX_HOT_DAYS, Kind


class RetentionPolicy(TenantOwned):
    """How many whole days a tenant's telemetry stays in the database, and its archives after that (null: for good)."""

    hot_days = models.PositiveSmallIntegerField(
        default=DEFAULT_HOT_DAYS, validators=[MinValueValidator(1), MaxValueValidator(MAX_HOT_DAYS)]
    )
    archive_days = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(MAX_ARCHIVE_DAYS)]
    )
    updated_at = models.DateTimeField(auto_now=True)

    history = History(without=["updated_at"])

    class Meta:
        verbose_name = "retention policy"
        verbose_name_plural = "retention policies"
        constraints = [
            models.UniqueConstraint(fields=["tenant"], name="telemetry_retention_once"),
            models.CheckConstraint(condition=Q(hot_days__range=(1, MAX_HOT_DAYS)), name="telemetry_retention_hot"),
            models.CheckConstraint(
                condition=Q(archive_days=None) | Q(archive_days__range=(1, MAX_ARCHIVE_DAYS)), name="telemetry_retention_archive"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.hot_days} days hot"


class ArchiveState(models.TextChoices):
    PENDING = "pending"
    WRITTEN = "written"
    VERIFIED = "verified"
    DROPPED = "dropped", "in the archive only"
    RESTORING = "restoring"
    RESTORED = "restored"
    EXPIRED = "expired"


class Archive(TenantOwned):
    """One day (of first receipt, UTC) of a tenant's telemetry in ARCHIVE_STORE. `generation` counts how often it was written anew."""

    day = models.DateField()
    generation = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=10, choices=ArchiveState.choices, default=ArchiveState.PENDING)
    rows = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0, help_text="Compressed.")
    first_at = models.DateTimeField(null=True)
    last_at = models.DateTimeField(null=True)
    # Kind -> [rows, mark]: what the database must still hold when it lets go of the day (`telemetry_release`).
    marks = models.JSONField(default=dict)
    manifest = models.CharField(max_length=300, blank=True, help_text="Path of the manifest.")
    manifest_sha256 = models.CharField(max_length=64, blank=True)
    # Why the last attempt came to nothing; it is repeated.
    error = models.CharField(max_length=500, blank=True)
    # Objects of an earlier generation may still lie in the storage.
    unswept = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    verified_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True, help_text="When the files were last read again in full.")
    dropped_at = models.DateTimeField(null=True)
    restored_until = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-day"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "day"], name="telemetry_archive_once"),
            models.UniqueConstraint(fields=["tenant", "id"], name="telemetry_archive_of_tenant"),
            models.CheckConstraint(
                condition=Q(state=ArchiveState.PENDING) | (~Q(manifest="") & Q(manifest_sha256__regex="^[0-9a-f]{64}$")),
                name="telemetry_archive_has_manifest",
            ),
            models.CheckConstraint(
                condition=Q(state__in=[ArchiveState.PENDING, ArchiveState.WRITTEN]) | Q(verified_at__isnull=False),
                name="telemetry_archive_was_verified",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.day:%Y-%m-%d}"


class ArchivePart(TenantOwned):
    """One object: rows of one kind whose ids lie after `after_id` and up to `upto_id`. Planned while `sha256` is empty."""

    archive = models.ForeignKey(Archive, on_delete=models.PROTECT, related_name="parts")
    generation = models.PositiveIntegerField()
    kind = models.CharField(max_length=10, choices=[(kind.value, kind.value) for kind in Kind])
    number = models.PositiveIntegerField()
    after_id = models.UUIDField()
    upto_id = models.UUIDField()
    path = models.CharField(max_length=300, blank=True)
    rows = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    mark = models.DecimalField(max_digits=40, decimal_places=0, default=0)
    first_at = models.DateTimeField(null=True)
    last_at = models.DateTimeField(null=True)
    verified_at = models.DateTimeField(null=True)
    restored_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["kind", "number"]
        constraints = [
            models.UniqueConstraint(fields=["archive", "generation", "kind", "number"], name="telemetry_archivepart_once"),
        ]

    def __str__(self) -> str:
        return self.path or f"{self.kind} {self.number}"


class Erasure(TenantOwned):
    """The removal of one user's telemetry. The reference itself is kept until it is done; then its salted hash, by which later rows of before
    are known."""

    class State(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"

    class Phase(models.TextChoices):
        COLLECT = "collect", "finding the user's runs"
        REWRITE = "rewrite", "removing them"

    subject = models.CharField(max_length=200, blank=True)
    salt = models.BinaryField(max_length=16)
    hash = models.BinaryField(max_length=32)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    phase = models.CharField(max_length=10, choices=Phase.choices, default=Phase.COLLECT)
    # The last archived day that this phase is done with; and the user's runs, whose events and scores go too: later ones as well, until the
    # ledger forgets these ids.
    upto = models.DateField(null=True)
    runs = models.JSONField(default=list)
    # Days of the database and objects that the phase is done with.
    read = models.JSONField(default=list)
    hot_rows = models.BigIntegerField(default=0)
    archived_rows = models.BigIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"Erasure of {self.created_at:%Y-%m-%d %H:%M}"
