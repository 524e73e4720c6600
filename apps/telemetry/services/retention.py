"""How long a tenant's telemetry is kept, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext, in_tenant
from apps.core.errors import problem
from apps.core.jobs import enqueue_on_commit
from apps.identity.permissions import require
from apps.identity.services.rows import assign, save
from apps.telemetry.domain.archives import DEFAULT_HOT_DAYS
from apps.telemetry.models import Archive, ArchiveState, RetentionPolicy
from apps.telemetry.selectors.archives import holds_rows, hot_days
from apps.telemetry.services.archiving import need_store

# Seconds for which a process goes by the window that it read: the days of grace are wider than that.
MEMORY_S = 60.0
_known: dict[UUID, tuple[float, timedelta]] = {}


def hot_window(tenant_id: UUID) -> timedelta:
    """For how long the tenant's rows are hot. Read once a minute and process, so that a batch costs no query."""
    found = _known.get(tenant_id)
    now = time.monotonic()
    if found is None or found[0] < now:
        if len(_known) >= 10_000:
            _known.clear()
        with in_tenant(tenant_id):
            found = _known[tenant_id] = now + MEMORY_S, timedelta(days=hot_days(tenant_id))
    return found[1]


def policy_of(ctx: ActionContext) -> RetentionPolicy:
    """The tenant's policy; where none was set, the usual one, unsaved."""
    found = RetentionPolicy.objects.restrict(ctx).filter(tenant_id=ctx.tenant_id).first()
    return found or RetentionPolicy(tenant_id=ctx.tenant_id, hot_days=DEFAULT_HOT_DAYS)


def set_retention(*, ctx: ActionContext, changes: Mapping[str, Any], reason: str = "") -> RetentionPolicy:
    """Changes `hot_days` (1 to 30) or `archive_days` (null: for good). Fewer days take effect with the next hourly run: rows and archives that
    are older then go. Raises Problem `permission_denied`, `invalid`, `unknown_key`."""
    with ctx.transaction():
        require(ctx, Action.MANAGE_TENANT, tenant_id=ctx.tenant_id)
        policy = RetentionPolicy.objects.select_for_update().filter(tenant_id=ctx.tenant_id).first()
        new = policy is None
        policy = policy or RetentionPolicy(tenant_id=ctx.tenant_id)
        moved = assign(policy, changes, ("hot_days", "archive_days"))
        if moved:
            taken = {"telemetry_retention_once": problem("wrong_state", "Somebody else has just set it; look at it again.")}
            save(policy, taken=taken, fields=None if new else [*moved, "updated_at"])
            record(ctx, "telemetry.retention_changed", policy, data=moved, reason=reason)
            ctx.on_commit(lambda: _known.pop(ctx.tenant_id, None))
        return policy


def shortens(policy: RetentionPolicy, archive_days: int | None) -> bool:
    """Whether archives go earlier than by the policy: for good, so whoever asks repeats the number."""
    return archive_days is not None and (policy.archive_days is None or archive_days < policy.archive_days)


def request_archive(*, ctx: ActionContext, day: date, reason: str = "") -> Archive:
    """Has a day archived now, before its hot window has passed; its rows stay in the database until then. A day that is archived already stays
    as it is. Raises Problem `permission_denied`, `not_available`, `wrong_state` (it is not over, or holds nothing)."""
    with ctx.transaction():
        require(ctx, Action.MANAGE_TENANT, tenant_id=ctx.tenant_id)
        need_store()
        if day >= datetime.now(UTC).date():
            raise problem("wrong_state", "The day is not over: its rows are still coming in.", pointer="/day")
        if not Archive.objects.filter(tenant_id=ctx.tenant_id, day=day).exists() and not holds_rows(ctx.tenant_id, day):
            raise problem("wrong_state", "Nothing came in on this day.", pointer="/day")
        archive, made = Archive.objects.get_or_create(tenant_id=ctx.tenant_id, day=day)
        if made or archive.state in (ArchiveState.PENDING, ArchiveState.WRITTEN):
            record(ctx, "telemetry.archive_requested", archive, data={"day": day}, reason=reason)
            enqueue_on_commit(ctx, "telemetry.archive", str(ctx.tenant_id), day.isoformat())
        return archive
