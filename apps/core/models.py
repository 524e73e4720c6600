"""What every room needs in the database: the cache generations and the idempotency records."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import models

from apps.core.ids import new_id
from apps.core.querysets import RestrictedManager


class TenantOwned(models.Model):
    """A row of one tenant. `tenant_id` has no default: it comes from the context."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey("identity.Tenant", on_delete=models.PROTECT, related_name="+")

    objects = RestrictedManager()

    # Rows of the tenant `platform` are readable by every tenant (the shared library).
    SHARED = False
    # Path from a row to its team's id, where a team-limited role matters.
    TEAM_PATH: str | None = None
    # Kind of container (pack, team, agent, evalset) -> paths from a row to its id, or (path, field) where it is named by another field:
    # what is granted on the container holds for the row. None: rights on rows of this model come from roles alone.
    GRANT_PATHS: Mapping[str, tuple[str | tuple[str, str], ...]] = {}

    class Meta:
        abstract = True


class ChangeCounter(models.Model):
    """One row. Its lock, taken last in a transaction, makes generations appear in commit order, without gaps."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    value = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="core_changecounter_single")]


class Change(models.Model):
    """Something that processes cache has changed for one tenant."""

    generation = models.BigIntegerField(primary_key=True)
    topic = models.CharField(max_length=20)
    tenant_id = models.UUIDField()
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)


class IdempotencyRecord(models.Model):
    """The first answer to a write that carried an Idempotency-Key, kept for 24 hours."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant_id = models.UUIDField()
    actor = models.CharField(max_length=80)
    route = models.CharField(max_length=300)
    key = models.CharField(max_length=200)
    body_hash = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "actor", "route", "key"], name="core_idempotency_unique")]
