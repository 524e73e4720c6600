"""From a chain of versions to the effective pack, and what it permits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apps.core.domain.canonical import canonical_bytes, digest
from apps.packs.domain.merge import Merge
from apps.packs.domain.names import DEFAULT_RISK, LEVELS, closest, covers
from apps.packs.domain.values import Effective, Span, VersionRef, Violation

__all__ = ["Effective", "Span", "VersionRef", "Violation", "autonomy_for", "fold", "must_ask", "permitted", "permitted_model", "risk_of"]


def fold(versions: Sequence[VersionRef]) -> Effective:
    """Folds a chain: the weakest scope first, at each scope the policy champions by slug, then the pack's champion.

    Pure and total: any chain of parsed contents folds, and what would loosen an ancestor has no effect. Whether the chain may be served is
    `resolve_chain`'s to say. The result depends on the tuple of versions alone, so it may be memoised by it.
    """
    return effective_of(Merge(versions))


def effective_of(merge: Merge, violations: Sequence[Violation] = ()) -> Effective:
    """The effective pack of a chain that is folded already."""
    content, origins, spans = merge.written()
    lineage = tuple(version.lineage for version in merge.chain)
    return Effective(content, origins, spans, digest(canonical_bytes(content)), lineage, tuple(violations))


def permitted(content: Mapping[str, Any], tool: str) -> bool:
    """(allow is null or tool in allow) and tool not in deny, in an effective content."""
    tools = content["tools"]
    allow = tools.get("allow")
    return (allow is None or covers(allow, tool)) and not covers(tools.get("deny", ()), tool)


def must_ask(content: Mapping[str, Any], tool: str) -> bool:
    """Whether a use of the tool needs an approval because it is in `ask`. Says nothing of whether it is permitted."""
    return covers(content["tools"].get("ask", ()), tool)


def risk_of(content: Mapping[str, Any], tool: str) -> str:
    """`low`, `medium` or `high`; medium for a tool that nobody named."""
    risk: str | None = closest(content["tools"].get("risk", {}), tool)
    return risk or DEFAULT_RISK


def autonomy_for(content: Mapping[str, Any], tool: str) -> str:
    """The level `A0` to `A3` at which the tool may be used: the ceiling, or the tool's own level where that is lower; A3 without either."""
    autonomy = content["autonomy"]
    level: str | None = closest(autonomy.get("tools", {}), tool)
    ceiling: str = autonomy.get("ceiling", LEVELS[-1])
    return min(level or ceiling, ceiling)


def permitted_model(content: Mapping[str, Any], model: str) -> bool:
    """Whether the limits allow the model."""
    models = content["limits"].get("models")
    return models is None or model in models
