"""What other rooms do that harnesses are told of at once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import connection

from apps.core.context import ActionContext
from apps.core.events import subscribe
from apps.fleet.push import push
from apps.identity.models import Agent
from apps.packs.domain.scopes import ScopeType
from apps.packs.models import Layer, PackKind

Reach = tuple[UUID | None, Collection[UUID] | None]


@subscribe("packs.pointer_moved")
def tell_of_pointer(ctx: ActionContext, *, layer: Layer, because: str, decision_id: UUID | None = None) -> None:
    """A layer serves something else from this transaction's commit on: whoever may be given it is told the pack's name and the scope, so
    that it resolves again. `because`: why what was live before is so no more; `decision_id`: by which decision, where that is known by then."""
    event = "pack.rolled_back" if because == "rolled_back" else "pack.changed"
    data: dict[str, Any] = {"pack": layer.pack.slug, "kind": layer.pack.kind, "scope": _told_scope(layer)}
    if decision_id is not None:
        data["decision"] = str(decision_id)
    reached = _reached(layer)

    def tell() -> None:
        for tenant_id, agent_ids in reached:
            push(tenant_id=tenant_id, agent_ids=agent_ids, event=event, data=data)

    ctx.on_commit(tell)


@subscribe("packs.subscription_moved")
def tell_of_subscription(ctx: ActionContext, *, pack: str) -> None:
    """The tenant is given another version of a shared pack, or none any more."""
    data = {"pack": pack, "kind": PackKind.DOMAIN.value, "scope": "subscription"}
    ctx.on_commit(lambda: push(tenant_id=ctx.tenant_id, agent_ids=None, event="pack.changed", data=data))


def _told_scope(layer: Layer) -> str:
    """The scope of a user names a person, whom other agents need not know."""
    return ScopeType.USER.value if layer.scope_type == ScopeType.USER.value else layer.scope


def _reached(layer: Layer) -> list[Reach]:
    """Whose effective packs may change, in the layer's tenant; of a shared pack its subscribers, of a shared policy everybody."""
    kind = ScopeType(layer.scope_type)
    if kind.above_tenant:
        if layer.pack.kind == PackKind.POLICY:
            return [(None, None)]
        with connection.cursor() as cursor:
            cursor.execute("SELECT DISTINCT tenant_id FROM packs_reached_subscriptions(%s)", [layer.pack_id])
            subscribers = {tenant_id for (tenant_id,) in cursor.fetchall()}
        return [(tenant_id, None) for tenant_id in sorted({layer.tenant_id, *subscribers})]
    if kind is ScopeType.TEAM and layer.team_id is not None:
        return [
            (layer.tenant_id, sorted(Agent.objects.filter(tenant_id=layer.tenant_id, team_id=layer.team_id).values_list("pk", flat=True)))
        ]
    if kind is ScopeType.AGENT:
        return [(layer.tenant_id, [layer.agent_id] if layer.agent_id else [])]
    return [(layer.tenant_id, None)]
