"""Names of what telemetry keeps by key, as people write and read them."""

from __future__ import annotations

from typing import Any

from apps.core.context import ActionContext
from apps.identity.models import Agent
from apps.telemetry.selectors.metrics import GROUPS, Metrics


def agent_named(ctx: ActionContext, name: str) -> Agent | None:
    """The agent `<agent>` or `<tenant>/<agent>`, if it is seen."""
    tenant, slash, slug = name.rpartition("/")
    found: Agent | None = Agent.objects.restrict(ctx).filter(slug=slug, **({"tenant__slug": tenant} if slash else {})).first()
    return found


def groups_named(ctx: ActionContext, answer: Metrics, group_by: str) -> list[dict[str, str | None] | None]:
    """What each series of the answer is the sum of, in names: slugs of agents and teams. None: all other groups together."""
    named = group_by in ("agent", "team")
    slugs: dict[Any, str] = {}
    if named:
        keys = [each.key[0] for each in answer.series if each.key and each.key[0] is not None]
        model: Any = Agent if group_by == "agent" else Agent._meta.get_field("team").related_model
        slugs = dict(model.objects.filter(tenant_id=ctx.tenant_id, pk__in=keys).values_list("pk", "slug"))

    def shown(key: tuple[Any, ...]) -> dict[str, str | None]:
        if named:
            return {group_by: slugs.get(key[0])}
        return {name: None if value is None else str(value) for name, value in zip(GROUPS[group_by], key, strict=True)}

    return [None if each.key is None else shown(each.key) for each in answer.series]
