"""Who acts, in which tenant, over which channel and why: the one argument that every service takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple
from uuid import UUID

from django.db import connection
from django.db import transaction as db_transaction

from apps.core.ids import new_id

# What `app.user_ref` holds where the content of all the tenant's users may be read.
EVERY_USER = "*"
Channel = Literal["admin", "api", "task", "cli"]
ActorKind = Literal["user", "agent", "system"]


class Topic(StrEnum):
    """What a process caches and must be told about."""

    PACKS = "packs"
    TOKENS = "tokens"
    PRICES = "prices"
    REDACTION = "redaction"
    COMMANDS = "commands"


@dataclass(frozen=True, slots=True)
class Actor:
    kind: ActorKind
    id: UUID | None
    label: str

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.id or self.label}"


class Person(NamedTuple):
    """Somebody who reaches the content that harnesses keep under their own reference in the tenant, if they have one."""

    id: UUID


class Bound(NamedTuple):
    """What a transaction is bound to."""

    tenant: str
    users: str


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
    # Whose content its transactions reach: EVERY_USER, one user's reference, "" nobody's; None: as its roles say (`users`).
    user_ref: str | None = None
    pending: list[Any] = field(default_factory=list)
    changes: list[tuple[Topic, UUID]] = field(default_factory=list)
    _depth: int = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Opens the transaction and sets `app.tenant` and `app.user_ref`; nested calls are savepoints whose records vanish with them."""
        marks = (len(self.pending), len(self.changes))
        self._depth += 1
        try:
            with in_tenant(self.tenant_id, self.users) if self._depth == 1 else db_transaction.atomic():
                if self._depth == 1 and self.groups:
                    read_grants_first()
                with acting_as(self):
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
    def users(self) -> str | Person:
        """Whose content its transactions reach, besides what is the tenant's own. A role in the whole tenant reaches every user's, and so
        does the system; a person limited to teams their own; an agent nobody's until it says for which user, or that it works for all."""
        if self.user_ref is not None:
            return self.user_ref
        if self.actor.kind != "agent" and any(grant.team_id is None for grant in self.roles):
            return EVERY_USER
        return Person(self.actor.id) if self.actor.kind == "user" and self.actor.id else ""

    @property
    def user_id(self) -> UUID | None:
        return self.actor.id if self.actor.kind == "user" else None


_acting: ContextVar[ActionContext | None] = ContextVar("acting", default=None)


def acting() -> ActionContext | None:
    """The context in whose transaction this code runs; None outside of every service."""
    return _acting.get()


def read_grants_first() -> None:
    """For the rest of the transaction lists are read from what is granted to the objects, in their order, and not from all objects to
    what is granted: the planner takes grants for evenly spread, and merging would pass over every newer object."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('enable_mergejoin', 'off', true)")


@contextmanager
def acting_as(ctx: ActionContext) -> Iterator[None]:
    """Within, what is written is written by `ctx`: history takes its actor from here."""
    before = _acting.get()
    _acting.set(ctx)
    try:
        yield
    finally:
        _acting.set(before)


_BIND = (
    "SELECT coalesce(current_setting('app.tenant', true), ''), coalesce(current_setting('app.user_ref', true), ''),"
    " set_config('app.tenant', %s, true), set_config('app.user_ref', {}, true)"
)
_BIND_TENANT = _BIND.format("coalesce(current_setting('app.user_ref', true), '')")
_BIND_USERS = _BIND.format("%s")
_BIND_PERSON = _BIND.format("core_user_ref_of(%s, %s)")


def set_tenant(tenant_id: UUID | str | Bound, users: str | Person | None = None) -> Bound:
    """Binds the rest of the transaction to a tenant and to whose content is read in it (None: as it is), which the policies of the database
    read; gives what it was bound to before, which this function takes as well."""
    if isinstance(tenant_id, Bound):
        tenant_id, users = tenant_id
    tenant = str(tenant_id)
    with connection.cursor() as cursor:
        if users is None:
            cursor.execute(_BIND_TENANT, [tenant])
        elif isinstance(users, Person):
            cursor.execute(_BIND_PERSON, [tenant, tenant, users.id])
        else:
            cursor.execute(_BIND_USERS, [tenant, users])
        return Bound(*cursor.fetchone()[:2])


@contextmanager
def in_tenant(tenant_id: UUID, users: str | Person = "") -> Iterator[None]:
    """A transaction of one tenant, for reads that need no context; `users`: whose content it reaches, EVERY_USER, one user's reference, or
    nobody's. Inside another's it is a savepoint, after which that one goes on as before (an error takes the settings back by itself)."""
    nested = connection.in_atomic_block
    with db_transaction.atomic():
        before = set_tenant(tenant_id, users)
        yield
        if nested and before != (str(tenant_id), users):
            set_tenant(before)


@contextmanager
def for_every_user() -> Iterator[None]:
    """Within, the transaction of a tenant reaches what all its users' layers say: for a judgement that must count them all, whoever asks.
    What is told of them is for the caller to choose."""
    with db_transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(current_setting('app.user_ref', true), ''), set_config('app.user_ref', %s, true)", [EVERY_USER])
        before: str = cursor.fetchone()[0]
        yield
        cursor.execute("SELECT set_config('app.user_ref', %s, true)", [before])


def one_user(reference: str | None) -> str:
    """The setting for what belongs to this user: a reference that reads like EVERY_USER is nobody's."""
    return "" if reference in (None, EVERY_USER) else str(reference)


def system_context(name: str, *, tenant_id: UUID, channel: Channel = "task", reason: str = "") -> ActionContext:
    """The named system actor: tasks, seeding and maintenance. It holds the role `system`, which may do everything in its tenant."""
    return ActionContext(
        actor=Actor("system", None, name), tenant_id=tenant_id, channel=channel, roles=frozenset({RoleGrant("system")}), reason=reason
    )
