"""Effects that go upward: a room says what happened, and rooms that stand above it have subscribed.

Subscribers are registered when their app is ready. `publish` calls them inside the publisher's transaction: what they write commits or
fails with the change itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db import connection

from apps.core.context import EVERY_USER, ActionContext, RoleGrant, acting_as, set_tenant

Subscriber = Callable[..., None]
_subscribers: dict[str, list[Subscriber]] = {}


def subscribe(event: str) -> Callable[[Subscriber], Subscriber]:
    """Registers `subscriber(ctx, **ids)` for an event such as `identity.tenant_saved`; registering twice counts once."""

    def register(subscriber: Subscriber) -> Subscriber:
        known = _subscribers.setdefault(event, [])
        if subscriber not in known:
            known.append(subscriber)
        return subscriber

    return register


def publish(ctx: ActionContext, event: str, **facts: Any) -> None:
    """Calls the subscribers now, in the order in which they registered. Raises RuntimeError outside a transaction."""
    if not connection.in_atomic_block:
        raise RuntimeError(f"{event} was published outside ctx.transaction()")
    for subscriber in _subscribers.get(event, ()):
        subscriber(ctx, **facts)


def publish_on_commit(ctx: ActionContext, event: str, **ids: UUID) -> None:
    """Calls the subscribers once the change is durable; what they do cannot undo it."""

    def call() -> None:
        for subscriber in _subscribers.get(event, ()):
            subscriber(ctx, **ids)

    ctx.on_commit(call)


@contextmanager
def acting_in(ctx: ActionContext, tenant_id: UUID) -> Iterator[ActionContext]:
    """The context in which the portal itself writes what follows from a change, in the tenant that the change is about.

    It may do everything there (role `system`), shares the buffers of `ctx`, so that its records and cache changes end with the outermost
    transaction, and keeps the actor: the log names who caused it.
    """
    with ctx.transaction():
        before = set_tenant(tenant_id, EVERY_USER)
        system = frozenset({RoleGrant("system")})
        inside = replace(
            ctx, tenant_id=tenant_id, roles=system, groups=frozenset(), scopes=None, agent_id=None, team_id=None, user_ref=EVERY_USER
        )
        with acting_as(inside):
            yield inside
        set_tenant(before)
