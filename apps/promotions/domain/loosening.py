"""What one effective content permits, or leaves unchecked, that another doesn't.

Contents are those of `apps.packs.domain.fold`: null and absent mean no limit. Where a change has no direction that can be told (the
parameters of a check, the schema of a contract), it counts as loosened: a person looks at it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from apps.packs.domain.names import DEFAULT_RISK, LEVELS, RISKS, closest, covers
from apps.promotions.domain.thresholds import Thresholds

Content = Mapping[str, Any]
OTHER_TOOLS: Final = "any other tool"  # stands for the tools that neither content names; no tool name has a space
_CANARY_MINIMA: Final = ("min_runs", "min_units", "min_minutes")


def new_tools(before: Content, after: Content) -> tuple[str, ...]:
    """The tools and families that are permitted after and weren't before, sorted."""
    names = _tool_names(before) | _tool_names(after) | {OTHER_TOOLS}
    return tuple(sorted(name for name in names if permitted(after, name) and not permitted(before, name)))


def permitted(content: Content, name: str) -> bool:
    """`(allow is null or tool in allow) and tool not in deny`, of a tool or of the unnamed rest of a family."""
    tools = content.get("tools") or {}
    allow = tools.get("allow")
    return (allow is None or covers(allow, name)) and not covers(tools.get("deny") or (), name)


def tool_risk(content: Content, name: str) -> str:
    """`low`, `medium` or `high`: medium where nothing is said."""
    return closest((content.get("tools") or {}).get("risk") or {}, name) or DEFAULT_RISK


def raised_autonomy(before: Content, after: Content) -> tuple[tuple[str, str, str], ...]:
    """(tool or "", level before, level after) wherever the level is higher; "" is the ceiling."""
    names = {"", *_overrides(before), *_overrides(after)}
    levels = ((name, _level(before, name), _level(after, name)) for name in sorted(names))
    return tuple((name, old, new) for name, old, new in levels if LEVELS.index(new) > LEVELS.index(old))


def loosened(before: Content, after: Content) -> tuple[str, ...]:
    """A sentence for each constraint, limit, threshold, lock or check of `before` that `after` holds less strictly."""
    return (
        *_constraints(before, after),
        *_tools(before, after),
        *_limits(before, after),
        *_locks(before, after),
        *_rubric(before, after),
        *_contracts(before, after),
        *_kpis(before, after),
        *_promotion(before, after),
        *_rollback(before, after),
    )


def _constraints(before: Content, after: Content) -> Iterator[str]:
    remaining: Sequence[Mapping[str, Any]] = after.get("constraints") or ()
    for constraint in before.get("constraints") or ():
        rule, value = constraint["rule"], constraint["value"]
        if not _still_held(rule, value, [other["value"] for other in remaining if other["rule"] == rule]):
            yield f"The constraint {rule} {_shown(value)} no longer holds."


def _still_held(rule: str, value: Any, values: Sequence[Any]) -> bool:
    match rule:
        case "deny_tool":
            return covers(values, value)
        case "max_autonomy":
            return any(LEVELS.index(other) <= LEVELS.index(value) for other in values)
        case "max_prompt_tokens":
            return any(other <= value for other in values)
        case "allow_models":
            return bool(values) and set.intersection(*(set(other) for other in values)) <= set(value)
        case "deny_egress":
            return any(other in ("*", value) or (other.startswith("*.") and value.endswith(other[1:])) for other in values)
        case _:
            return value in values


def _tools(before: Content, after: Content) -> Iterator[str]:
    asked, asks = ((content.get("tools") or {}).get("ask") or () for content in (before, after))
    for name in sorted(_tool_names(before) | _tool_names(after)):
        if not permitted(after, name):
            continue
        if covers(asked, name) and not covers(asks, name):
            yield f"The tool {name} no longer has to ask."
        old, new = tool_risk(before, name), tool_risk(after, name)
        if RISKS.index(new) < RISKS.index(old):
            yield f"The risk of the tool {name} goes from {old} to {new}."


def _limits(before: Content, after: Content) -> Iterator[str]:
    old, new = before.get("limits") or {}, after.get("limits") or {}
    for name in sorted(old):
        limit, now = old[name], new.get(name)
        if limit is None:
            continue
        if now is None:
            yield f"The limit {name} is gone."
        elif name == "models":
            if added := sorted(set(now) - set(limit)):
                yield f"The limit on models now admits {', '.join(added)}."
        elif now > limit:
            yield f"The limit {name} goes from {limit:,} to {now:,}."


def _locks(before: Content, after: Content) -> Iterator[str]:
    sections = after.get("sections") or {}
    for name, section in sorted((before.get("sections") or {}).items()):
        if section.get("locked") and not (sections.get(name) or {}).get("locked"):
            yield f"The section {name} is no longer locked."
    if (before.get("model") or {}).get("locked") and not (after.get("model") or {}).get("locked"):
        yield "The model is no longer locked."


def _rubric(before: Content, after: Content) -> Iterator[str]:
    checks = {check["id"]: check for check in after.get("rubric") or ()}
    for old in before.get("rubric") or ():
        name, new = old["id"], checks.get(old["id"])
        if new is None:
            yield f"The check {name} is gone."
            continue
        if old.get("hard") and not new.get("hard"):
            yield f"The check {name} is no longer hard."
        if new["weight"] < old["weight"]:
            yield f"The weight of the check {name} goes from {old['weight']} to {new['weight']}."
        if any((old.get(key) or None) != (new.get(key) or None) for key in ("check", "dimension", "params")):
            yield f"The check {name} checks something else than before."


def _contracts(before: Content, after: Content) -> Iterator[str]:
    contracts = after.get("contracts") or {}
    for task_type, schema in sorted((before.get("contracts") or {}).items()):
        if task_type not in contracts:
            yield f"The output contract of {task_type} is gone."
        elif any(part not in _parts(contracts[task_type]) for part in _parts(schema)):
            yield f"The output contract of {task_type} no longer holds as it was."


def _kpis(before: Content, after: Content) -> Iterator[str]:
    kpis = {kpi["name"]: kpi for kpi in after.get("kpis") or ()}
    for old in before.get("kpis") or ():
        name, new = old["name"], kpis.get(old["name"])
        if new is None:
            yield f"The KPI {name} is gone."
        elif new["direction"] != old["direction"]:
            yield f"The KPI {name} points the other way."
        elif (new["target"] < old["target"]) if old["direction"] == "up" else (new["target"] > old["target"]):
            yield f"The target of the KPI {name} goes from {old['target']} to {new['target']}."
        elif _wider(old.get("tolerance"), new.get("tolerance")):
            yield f"The KPI {name} tolerates more than before."


def _promotion(before: Content, after: Content) -> Iterator[str]:
    old, new = before.get("promotion") or {}, after.get("promotion") or {}
    demanded, demands = Thresholds.of(old), Thresholds.of(new)
    for name in demands.looser_than(demanded):
        yield f"The threshold {name} goes from {getattr(demanded, name)} to {getattr(demands, name)}."
    was, canary = old.get("canary") or {}, new.get("canary") or {}
    for name in _CANARY_MINIMA:
        if (canary.get(name) or 0) < (was.get(name) or 0):
            yield f"The canary's {name} goes from {was[name]} to {canary.get(name) or 0}."
    if skipped := sorted(set(was.get("stages") or ()) - set(canary.get("stages") or ())):
        yield f"The canary no longer stops at {', '.join(f'{share} %' for share in skipped)}."


def _rollback(before: Content, after: Content) -> Iterator[str]:
    old, new = before.get("rollback") or {}, after.get("rollback") or {}
    for check in sorted(set(old.get("zero_tolerance") or ()) - set(new.get("zero_tolerance") or ())):
        yield f"A failure of {check} no longer rolls a canary back."
    if old.get("auto") and not new.get("auto"):
        yield "The champion watch no longer rolls back by itself."
    tolerances = new.get("kpi_tolerances") or {}
    for kpi, tolerance in sorted((old.get("kpi_tolerances") or {}).items()):
        if _wider(tolerance, tolerances.get(kpi)):
            yield f"The rollback tolerates more of {kpi} than before."


def _parts(schema: Mapping[str, Any]) -> Sequence[Any]:
    """What an effective contract consists of: the fold writes several that all hold as one `allOf`."""
    parts: Sequence[Any] = schema["allOf"] if set(schema) == {"allOf"} else [schema]
    return parts


def _wider(old: int | None, new: int | None) -> bool:
    return old is not None and (new is None or new > old)


def _tool_names(content: Content) -> set[str]:
    tools = content.get("tools") or {}
    return {name for key in ("allow", "ask", "deny", "risk") for name in tools.get(key) or ()}


def _overrides(content: Content) -> Mapping[str, str]:
    return (content.get("autonomy") or {}).get("tools") or {}


def _level(content: Content, name: str) -> str:
    """The level in force for a tool, or, for "", for tools without an override; no limit is the highest."""
    ceiling = (content.get("autonomy") or {}).get("ceiling") or LEVELS[-1]
    override = closest(_overrides(content), name) if name else None
    return min(ceiling, override or ceiling, key=LEVELS.index)


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
