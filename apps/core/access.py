"""`restrict`'s answer is given by identity, which stands above core: it registers itself here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from django.db.models import Model, Q

from apps.core.domain.actions import Action
from apps.core.errors import Problem

if TYPE_CHECKING:
    from apps.core.context import ActionContext


Answer = Callable[["ActionContext", Action, type[Model]], Q]
__all__ = ["Action", "listed", "register_answer", "restriction"]

_answer: list[Answer] = []


def register_answer(answer: Answer) -> Answer:
    _answer[:] = [answer]
    return answer


class Demand(Protocol):
    """Raises Problem `not_found` or `permission_denied` unless `ctx` may do `action` on an object of this tenant and team."""

    def __call__(self, ctx: ActionContext, action: Action, *, tenant_id: UUID, team_id: UUID | None = None, on: Any = None) -> None: ...


_demand: list[Demand] = []


def register_demand(demand: Demand) -> Demand:
    _demand[:] = [demand]
    return demand


def demand(ctx: ActionContext, action: Action) -> None:
    """`require` in the context's own tenant, for rooms that stand below identity."""
    _demand[0](ctx, action, tenant_id=ctx.tenant_id)


def holds(ctx: ActionContext, action: Action) -> bool:
    """Whether `ctx` may do it in its tenant."""
    try:
        demand(ctx, action)
    except Problem:
        return False
    return True


Listing = Callable[["ActionContext", Action, type[Model]], bool]
_listing: list[Listing] = []


def register_listing(listing: Listing) -> Listing:
    _listing[:] = [listing]
    return listing


def listed(ctx: ActionContext, action: Action, model: type[Model]) -> bool:
    """Whether `ctx` is shown a list of those rows of `model` on which it may do `action`: by a role in its tenant, or because something
    may be granted to it."""
    return _listing[0](ctx, action, model)


def restriction(ctx: ActionContext, action: Action, model: type[Model]) -> Q:
    """The rows of `model` on which `ctx` may do `action`, as a filter."""
    return _answer[0](ctx, action, model)
