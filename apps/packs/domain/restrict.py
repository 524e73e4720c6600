"""The blocks that only ever get stricter down the chain: tools, autonomy, limits, constraints, promotion, rollback.

Null or absent is the identity. Where a version asks for more than an ancestor grants, the fold keeps the stricter and records a breach.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from apps.core.domain.canonical import canonical_bytes
from apps.packs.domain.names import DEFAULT_RISK, LEVELS, RISKS, closest, intersection, minimal
from apps.packs.domain.steps import By, Out, Step, escape, given

_LIMITS: Final = ("max_prompt_tokens", "max_cost_per_run", "max_latency_ms")
_LEAST, _MOST, _UNION = "least", "most", "union"
# Which way a threshold is stricter.
_STRICTER: Final = {
    "min_cases": _MOST,
    "min_runs": _MOST,
    "min_units": _MOST,
    "min_quality_gain_pct": _MOST,
    "max_allowed_latency_regression_pct": _LEAST,
    "max_cost_regression_pct": _LEAST,
    "max_prompt_growth_tokens": _LEAST,
    "max_voice_drop": _LEAST,
    "canary/stages": _UNION,  # more stages are smaller steps
    "canary/min_runs": _MOST,
    "canary/min_units": _MOST,
    "canary/min_minutes": _MOST,
    "zero_tolerance": _UNION,
    "auto": _MOST,
    "kpi_tolerances": _LEAST,
}


class Tools:
    """allow: intersection; ask, deny: union; risk: maximum over the layers that name a tool, medium where the pack's weakest is silent.

    The risks are kept so that the most specific name that covers a tool gives exactly that: for any key, every layer's most specific name
    that covers a tool below the key also covers the key.
    """

    def __init__(self) -> None:
        self.allow: By | None = None
        self.ask: dict[str, int] = {}
        self.deny: dict[str, int] = {}
        self.denied_by_rule: dict[str, int] = {}
        self.risk: dict[str, By] = {}  # value: place in RISKS
        self.base: int | None = None

    def add(self, step: Step, block: Mapping[str, Any]) -> None:
        allow = block.get("allow")
        if allow is not None:
            self._refuse_denied(step, allow)
            narrowed = minimal(allow) if self.allow is None else intersection(set(self.allow.value), set(minimal(allow)))
            if self.allow is None or narrowed != self.allow.value:
                self.allow = By(narrowed, step.index)
        for names, seen in ((block.get("ask"), self.ask), (block.get("deny"), self.deny)):
            for name in names or ():
                seen.setdefault(name, step.index)
        self._add_risk(step, block.get("risk") or {})

    def deny_by_rule(self, step: Step, name: str) -> None:
        self.deny.setdefault(name, step.index)
        self.denied_by_rule.setdefault(name, step.index)

    def emit(self, out: Out) -> dict[str, Any]:
        block: dict[str, Any] = {}
        if self.allow is not None:
            out.put(block, "allow", "/tools/allow", self.allow.value, self.allow.layer)
        for key, names in (("ask", self.ask), ("deny", self.deny)):
            if names:
                block[key] = sorted(names)
                for place, name in enumerate(block[key]):
                    out.trace(f"/tools/{key}/{place}", name, names[name])
        if self.risk:
            block["risk"] = {}
            for name, risk in self.risk.items():
                out.put(block["risk"], name, f"/tools/risk/{escape(name)}", RISKS[risk.value], risk.layer)
        return block

    def _refuse_denied(self, step: Step, allow: list[str]) -> None:
        for place, name in enumerate(allow):
            at = f"/tools/allow/{place}"
            if (by := closest(self.denied_by_rule, name)) is not None:
                step.breach(at, by, f"The tool {name} is allowed here, but a constraint denies it")
            elif (by := closest(self.deny, name)) is not None:
                step.breach(at, by, f"The tool {name} is allowed here, but it is denied above", neutral=True)

    def _add_risk(self, step: Step, risk: Mapping[str, str]) -> None:
        if not risk and not step.first:
            return
        ranked = {name: By(RISKS.index(level), step.index) for name, level in risk.items()}
        medium = RISKS.index(DEFAULT_RISK)
        before = By(medium, self.base) if self.base is not None else None
        here = By(medium, step.index) if step.first else None
        merged: dict[str, By] = {}
        for name in (*self.risk, *(name for name in ranked if name not in self.risk)):
            most = _higher(closest(self.risk, name) or before, closest(ranked, name) or here)
            if most is not None:
                merged[name] = most
        self.risk = merged
        if step.first:
            self.base = step.index


class Autonomy:
    """The lowest ceiling, and for single tools the lowest level; in one layer the most specific name counts."""

    def __init__(self) -> None:
        self.ceiling: By | None = None  # value: place in LEVELS
        self.rule: By | None = None
        self.tools: dict[str, By] = {}

    def add(self, step: Step, block: Mapping[str, Any]) -> None:
        had = self.ceiling
        if (ceiling := block.get("ceiling")) is not None:
            self._refuse_more(step, "/autonomy/ceiling", LEVELS.index(ceiling), had, "autonomy")
            self.lower(step, ceiling)
        says = {name: By(LEVELS.index(level), step.index) for name, level in (block.get("tools") or {}).items()}
        if not says:
            return
        for name, level in says.items():
            least = _lower(had, closest(self.tools, name))
            self._refuse_more(step, f"/autonomy/tools/{escape(name)}", level.value, least, f"autonomy for {name}")
        merged: dict[str, By] = {}
        for name in (*self.tools, *(name for name in says if name not in self.tools)):
            lowest = _lower(closest(self.tools, name), closest(says, name))
            if lowest is not None:
                merged[name] = lowest
        self.tools = merged

    def lower(self, step: Step, level: str, *, rule: bool = False) -> None:
        found = By(LEVELS.index(level), step.index)
        self.ceiling = _lower(self.ceiling, found)
        if rule:
            self.rule = _lower(self.rule, found)

    def emit(self, out: Out) -> dict[str, Any]:
        block: dict[str, Any] = {}
        if self.ceiling is not None:
            out.put(block, "ceiling", "/autonomy/ceiling", LEVELS[self.ceiling.value], self.ceiling.layer)
        if self.tools:
            block["tools"] = {}
            for name, level in self.tools.items():
                # A reader who forgets the ceiling must not see more than it.
                least = level if self.ceiling is None or level.value <= self.ceiling.value else self.ceiling
                out.put(block["tools"], name, f"/autonomy/tools/{escape(name)}", LEVELS[least.value], least.layer)
        return block

    def _refuse_more(self, step: Step, at: str, level: int, had: By | None, what: str) -> None:
        if self.rule is not None and level > self.rule.value:
            step.breach(at, self.rule.layer, f"{LEVELS[level]} is above {LEVELS[self.rule.value]}, the maximum that a constraint sets")
        elif had is not None and level > had.value:
            step.breach(at, had.layer, f"{LEVELS[level]} raises the {what} above {LEVELS[had.value]}", neutral=True)


class Limits:
    """The lowest number, the models that all allow."""

    def __init__(self) -> None:
        self.least: dict[str, By] = {}
        self.models: By | None = None

    def add(self, step: Step, block: Mapping[str, Any]) -> None:
        for key in _LIMITS:
            if (value := block.get(key)) is not None:
                had = self.least.get(key)
                if had is not None and value > had.value:
                    step.breach(f"/limits/{key}", had.layer, f"{value} raises {key} above {had.value}", neutral=True)
                self.lower(step, key, value)
        if (models := block.get("models")) is not None:
            if self.models is not None:
                for place, model in enumerate(models):
                    if model not in self.models.value:
                        detail = f"The model {model} is not among those allowed above"
                        step.breach(f"/limits/models/{place}", self.models.layer, detail, neutral=True)
            self.allow_models(step, models)

    def lower(self, step: Step, key: str, value: int) -> None:
        self.least[key] = _lower(self.least.get(key), By(value, step.index)) or By(value, step.index)

    def allow_models(self, step: Step, models: list[str]) -> None:
        narrowed = sorted(set(models) if self.models is None else set(models) & set(self.models.value))
        if self.models is None or narrowed != self.models.value:
            self.models = By(narrowed, step.index)

    def emit(self, out: Out) -> dict[str, Any]:
        block: dict[str, Any] = {}
        for key, least in self.least.items():
            out.put(block, key, f"/limits/{key}", least.value, least.layer)
        if self.models is not None:
            out.put(block, "models", "/limits/models", self.models.value, self.models.layer)
        return block


class Constraints:
    """The union. Those on tools, autonomy, tokens and models also go into the blocks that a harness reads."""

    def __init__(self, tools: Tools, autonomy: Autonomy, limits: Limits) -> None:
        self.entries: list[By] = []
        self._seen: set[bytes] = set()
        self._tools, self._autonomy, self._limits = tools, autonomy, limits

    def add(self, step: Step, block: list[Mapping[str, Any]]) -> None:
        for entry in block:
            rule, value = entry["rule"], entry["value"]
            key = canonical_bytes([rule, sorted(value) if isinstance(value, list) else value])
            if key in self._seen:
                continue
            self._seen.add(key)
            self.entries.append(By(given(entry), step.index))
            match rule:
                case "deny_tool":
                    self._tools.deny_by_rule(step, value)
                case "max_autonomy":
                    self._autonomy.lower(step, value, rule=True)
                case "max_prompt_tokens":
                    self._limits.lower(step, "max_prompt_tokens", value)
                case "allow_models":
                    self._limits.allow_models(step, value)

    def emit(self, out: Out) -> list[dict[str, Any]]:
        for place, entry in enumerate(self.entries):
            out.trace(f"/constraints/{place}", entry.value, entry.layer)
        return [entry.value for entry in self.entries]


class Thresholds:
    """The blocks promotion and rollback, field by field the stricter."""

    def __init__(self, block: str) -> None:
        self.block = block
        self.fields: dict[tuple[str, ...], By] = {}

    def add(self, step: Step, block: Mapping[str, Any]) -> None:
        for path, value in _flat(block):
            how, had = _how(path), self.fields.get(path)
            strict = _stricter(how, had.value if had else None, value)
            # A list of checks may well be silent on an ancestor's; a number or a stage that is missing says less than the ancestor asks.
            if had is not None and strict != _stricter(how, None, value) and path != ("zero_tolerance",):
                at = f"/{self.block}/" + "/".join(map(escape, path))
                step.breach(at, had.layer, f"{_shown(value)} is looser than {_shown(had.value)}", neutral=True)
            if had is None or strict != had.value:
                self.fields[path] = By(strict, step.index)

    def emit(self, out: Out) -> dict[str, Any]:
        block: dict[str, Any] = {}
        for path, value in self.fields.items():
            inner = block if len(path) == 1 else block.setdefault(path[0], {})
            out.put(inner, path[-1], f"/{self.block}/" + "/".join(map(escape, path)), value.value, value.layer)
        return block


def stricter_thresholds(left: Mapping[str, Any] | None, right: Mapping[str, Any] | None) -> dict[str, Any]:
    """Field by field the stricter of two `promotion` (or two `rollback`) blocks, as the gate takes them (`domain.md` 6)."""
    merged: dict[str, Any] = {}
    for block in (left or {}, right or {}):
        for path, value in _flat(block):
            inner = merged if len(path) == 1 else merged.setdefault(path[0], {})
            inner[path[-1]] = _stricter(_how(path), inner.get(path[-1]), value)
    return merged


def _flat(block: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in given(block).items():
        if isinstance(value, Mapping):
            found += [((key, inner), item) for inner, item in given(value).items()]
        else:
            found.append(((key,), value))
    return found


def _how(path: tuple[str, ...]) -> str:
    return _STRICTER[path[0]] if path[0] in _STRICTER else _STRICTER["/".join(path)]


def _stricter(how: str, had: Any, value: Any) -> Any:
    if how == _UNION:
        return sorted({*(had or ()), *value})
    if had is None:
        return value
    return max(had, value) if how == _MOST else min(had, value)


def _lower(left: By | None, right: By | None) -> By | None:
    """The lower; of two equal ones `left`, the weaker scope's."""
    if left is None or right is None:
        return left or right
    return right if right.value < left.value else left


def _higher(left: By | None, right: By | None) -> By | None:
    """The higher; of two equal ones `left`, the weaker scope's."""
    if left is None or right is None:
        return left or right
    return right if right.value > left.value else left


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)
