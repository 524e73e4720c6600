"""Tasks are enqueued by name, so that a room need not import the one that does the work."""

from __future__ import annotations

from typing import Any

from celery import current_app

from apps.core.context import ActionContext


def enqueue(name: str, *args: Any, countdown: float | None = None, queue: str | None = None) -> None:
    """Sends a task now, whatever becomes of a surrounding transaction; `countdown` in seconds."""
    current_app.send_task(name, args=args, countdown=countdown, queue=queue)


def enqueue_on_commit(ctx: ActionContext, name: str, *args: Any, countdown: float | None = None) -> None:
    """Sends a task once the change it belongs to is durable. With the broker away it is not sent: what must happen is also found by a
    periodic task."""
    ctx.on_commit(lambda: enqueue(name, *args, countdown=countdown))
