"""Who acts, in which tenant, over which channel and why: the one argument that every service takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from django.db import connection
from django.db import transaction as db_transaction

from apps.core.ids import new_id

Channel = Literal["admin", "api", "task", "cli"]
ActorKind = Literal["user", "agent", "system"]


class Topic(StrEnum):
    """What a process caches and must be told about."""

    PACKS = "packs"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class Actor:
    kind: ActorKind
    id: UUID | None
    label: str

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.id or self.label}"


@dataclass(frozen=True, slots=True)
class RoleGrant:
    """A role in the context's tenant, for the whole tenant (team None) or for one team's objects; `via`: the person who delegated it."""

    role: str
    team_id: UUID | None = None
    via: UUID | None = None


BeforeCommit = Callable[["ActionContext"], None]
_before_commit: list[tuple[int, BeforeCommit]] = []


def before_commit(hook: BeforeCommit, *, order: int) -> None:
    """Registers what the outermost transaction writes at its end, lowest order first. The order is one of locks: chain heads by
    tenant (audit), then the cache generations; nothing locks after them."""
    _before_commit.append((order, hook))
    _before_commit.sort(key=lambda entry: entry[0])


@dataclass(eq=False)
class ActionContext:
    """One actor in exactly one tenant. `pending` and `changes` are what the outermost transaction writes at its end."""

    actor: Actor
    tenant_id: UUID
    channel: Channel
    roles: frozenset[RoleGrant] = frozenset()
    # Keys of Django's groups that the person is in, of this tenant's; what is granted to them is asked of the database each time.
    groups: frozenset[int] = frozenset()
    request_id: str = field(default_factory=lambda: new_id().hex)
    reason: str = ""
    # Tenant of an agent token's agent and team; None for people.
    agent_id: UUID | None = None
    team_id: UUID | None = None
    scopes: frozenset[str] | None = None
    pending: list[Any] = field(default_factory=list)
    changes: list[tuple[Topic, UUID]] = field(default_factory=list)
    _depth: int = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Opens the transaction and sets `app.tenant`; nested calls are savepoints whose records vanish with them."""
        marks = (len(self.pending), len(self.changes))
        self._depth += 1
        try:
            with in_tenant(self.tenant_id) if self._depth == 1 else db_transaction.atomic():
                if self._depth == 1 and self.groups:
                    read_grants_first()
                yield
                if self._depth == 1:
                    for _, hook in _before_commit:
                        hook(self)
                    self.pending.clear()
                    self.changes.clear()
        except BaseException:
            del self.pending[marks[0] :]
            del self.changes[marks[1] :]
            raise
        finally:
            self._depth -= 1

    def on_commit(self, call: Callable[[], Any]) -> None:
        """Calls once the change is durable. A failure there is logged: the change has happened, and its answer must say so."""
        db_transaction.on_commit(call, robust=True)

    @property
    def user_id(self) -> UUID | None:
        return self.actor.id if self.actor.kind == "user" else None


def set_tenant(tenant_id: UUID | str) -> str:
    """Binds the rest of the transaction to a tenant (read by the policies of the database); gives the one before, or ''."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(current_setting('app.tenant', true), ''), set_config('app.tenant', %s, true)", [str(tenant_id)])
        before: str = cursor.fetchone()[0]
    return before


def read_grants_first() -> None:
    """For the rest of the transaction lists are read from what is granted to the objects, in their order, and not from all objects to
    what is granted: the planner takes grants for evenly spread, and merging would pass over every newer object."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('enable_mergejoin', 'off', true)")


@contextmanager
def in_tenant(tenant_id: UUID) -> Iterator[None]:
    """A transaction of one tenant, for reads that need no context. Inside another's it is a savepoint, after which that one goes on as
    before (an error takes the setting back by itself)."""
    nested = connection.in_atomic_block
    with db_transaction.atomic():
        before = set_tenant(tenant_id)
        yield
        if nested and before != str(tenant_id):
            set_tenant(before)


def system_context(name: str, *, tenant_id: UUID, channel: Channel = "task", reason: str = "") -> ActionContext:
    """The named system actor: tasks, seeding and maintenance. It holds the role `system`, which may do everything in its tenant."""
    return ActionContext(
        actor=Actor("system", None, name), tenant_id=tenant_id, channel=channel, roles=frozenset({RoleGrant("system")}), reason=reason
    )
