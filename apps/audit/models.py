"""One hash chain a tenant. `audit` knows nothing of what it records, so tenant ids carry no foreign key."""

from __future__ import annotations

from django.db import models

from apps.core.ids import new_id
from apps.core.querysets import RestrictedManager


class Event(models.Model):
    """One governed change, sign-in, reveal or export. Append-only: the application may insert and read."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant_id = models.UUIDField("tenant")
    seq = models.BigIntegerField()
    action = models.CharField(max_length=60)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.UUIDField(null=True)
    channel = models.CharField(max_length=10)
    request_id = models.CharField(max_length=64)
    object_type = models.CharField(max_length=40)
    object_id = models.CharField(max_length=80)
    data = models.JSONField(default=dict)
    text_hash = models.BinaryField(max_length=32, null=True)
    at = models.DateTimeField()
    previous = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)

    objects = RestrictedManager()

    # To audit an object is to read what happened to that object itself.
    GRANT_PATHS = dict.fromkeys(("pack", "team", "agent", "evalset"), (("object_id", "text"),))

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "seq"], name="audit_event_seq")]
        indexes = [
            models.Index(fields=["tenant_id", "-at"], name="audit_event_at"),
            models.Index(fields=["tenant_id", "object_type", "object_id"], name="audit_event_object"),
        ]

    def __str__(self) -> str:
        return f"{self.seq} {self.action}"


class EventText(models.Model):
    """The erasable part of an event: who acted by name, and the reason given. The chain keeps its salted hash."""

    event = models.OneToOneField(Event, primary_key=True, on_delete=models.PROTECT, related_name="text", db_constraint=False)
    tenant_id = models.UUIDField("tenant")
    salt = models.BinaryField(max_length=16)
    text = models.JSONField()

    def __str__(self) -> str:
        return str(self.text.get("actor", ""))


class Head(models.Model):
    """Where a tenant's chain ends."""

    tenant_id = models.UUIDField("tenant", primary_key=True)
    seq = models.BigIntegerField(default=0)
    hash = models.BinaryField(max_length=32)

    def __str__(self) -> str:
        return f"{self.tenant_id} at {self.seq}"


class ExportedHead(models.Model):
    """The last head of a tenant's chain that was written to the storage outside the database."""

    tenant_id = models.UUIDField("tenant", primary_key=True)
    store = models.CharField(max_length=500)
    seq = models.BigIntegerField()
    hash = models.BinaryField(max_length=32)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.tenant_id} at {self.seq}, {self.at:%Y-%m-%d %H:%M} UTC"
