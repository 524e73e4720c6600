"""Delivery in the background. One worker at a time is at it; a target that is slow keeps no other waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta

import structlog
from celery import shared_task
from django.db import connection
from django.utils import timezone

from apps.core.context import ActionContext, system_context
from apps.notices.selectors import Target, targets_due, tenants_waiting
from apps.notices.sending import Outcomes, send
from apps.notices.services.delivering import claim, settle
from apps.notices.services.notifying import spread_waiting

log = structlog.get_logger(__name__)
# Targets that are served at once.
THREADS = 16
# After so many seconds no more is begun: the scheduler starts the task again.
BUDGET_S = 20.0
# What one target may take of it before its rest waits for the next round.
TARGET_S = 15.0
KEPT = timedelta(days=90)
LOCK = 0x6E6F7469636573  # "notices"


@shared_task(name="notices.deliver", acks_late=True)
def deliver() -> int:
    """Delivers what is due in all tenants; how many deliveries were tried. Safe to repeat: a second one at the same time does nothing, and what
    a worker that died had claimed is due again within two minutes."""
    with _alone() as alone:
        return _deliver(time.monotonic() + BUDGET_S) if alone else 0


@shared_task(name="notices.forget", acks_late=True)
def forget() -> int:
    """Removes notices that were told and done with 90 days ago, with their deliveries; how many. The audit log keeps what happened."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT notices_forget(%s)", [timezone.now() - KEPT])
        return int(cursor.fetchone()[0])


@contextmanager
def _alone() -> Iterator[bool]:
    """Held by the connection, so that it ends with the process."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        alone = bool(cursor.fetchone()[0])
    try:
        yield alone
    finally:
        if alone:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def _context(target: Target) -> ActionContext:
    return system_context("notices", tenant_id=target.tenant_id)


def _deliver(until: float) -> int:
    tried = 0
    busy: dict[Future[Outcomes], Target] = {}
    with ThreadPoolExecutor(THREADS, thread_name_prefix="notices") as pool:
        while True:
            if time.monotonic() < until:
                _spread()
                tried += _begin(pool, busy)
            if not busy:
                return tried
            done, _ = wait(busy, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                target = busy.pop(future)
                try:
                    _settle(target, future.result())
                except Exception:
                    # The claim runs out, and they are tried again.
                    log.exception("notices.not_settled", tenant_id=str(target.tenant_id))


def _spread() -> None:
    for tenant_id in tenants_waiting():
        try:
            spread_waiting(ctx=system_context("notices", tenant_id=tenant_id))
        except Exception:
            # One tenant's trouble is not another's.
            log.exception("notices.not_spread", tenant_id=str(tenant_id))


def _begin(pool: ThreadPoolExecutor, busy: dict[Future[Outcomes], Target]) -> int:
    tried = 0
    for target in targets_due(timezone.now()):
        if len(busy) >= THREADS:
            break
        if target in busy.values():
            continue
        try:
            claimed = claim(ctx=_context(target), target=target)
        except Exception:
            log.exception("notices.not_claimed", tenant_id=str(target.tenant_id))
            continue
        _settle(target, claimed.settled)
        tried += len(claimed.messages) + len(claimed.settled)
        if claimed.messages:
            busy[pool.submit(send, claimed.messages, TARGET_S)] = target
    return tried


def _settle(target: Target, outcomes: Outcomes) -> None:
    if not outcomes:
        return
    settle(ctx=_context(target), outcomes=outcomes)
    for delivery_id, outcome in outcomes:
        log.info("notices.tried", delivery=str(delivery_id), result=outcome.result, status=outcome.status)
