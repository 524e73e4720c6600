"""How risky a promotion is, and why (`domain.md` 6): the level decides who has to approve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from apps.packs.domain.names import LEVELS, RISKS
from apps.packs.domain.scopes import ScopeType
from apps.promotions.domain.loosening import Content, loosened, new_tools, raised_autonomy, tool_risk
from apps.promotions.domain.rules import IMPROVE, named

LOW, MEDIUM, HIGH = RISKS

_BREADTH: Final[dict[ScopeType, tuple[str, str]]] = {
    ScopeType.GLOBAL: (HIGH, "It reaches every tenant."),
    ScopeType.SEGMENT: (HIGH, "It reaches a whole segment of tenants."),
    ScopeType.DOMAIN: (MEDIUM, "It reaches a domain across tenants."),
    ScopeType.TENANT: (MEDIUM, "It reaches a whole tenant."),
    ScopeType.TEAM: (LOW, "It reaches one team."),
    ScopeType.AGENT: (LOW, "It reaches one agent."),
    ScopeType.USER: (LOW, "It reaches one user."),
}
# A change is large from this share of the words on, unless it is so short that shares mean nothing.
LARGE_PERCENT: Final = 25
LARGE_WORDS: Final = 50


@dataclass(frozen=True, slots=True)
class RiskInput:
    """What risk is assessed from. Contents are effective (`apps.packs.domain.fold`), before and after the promotion; a retired layer's
    `after` is the effective pack without it; `before` is None where nothing is live. `author_kinds`: of all versions between champion and
    challenger. `no_champion`: the layer has none. `suspends`: descendants will be suspended."""

    before: Content | None
    after: Content
    scope_type: str
    author_kinds: Collection[str] = ()
    aim: str = IMPROVE
    no_champion: bool = False
    suspends: bool = False


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, the level it alone would give, and a sentence for a person."""

    code: str
    level: str
    sentence: str

    def to_json(self) -> dict[str, str]:
        return {"code": self.code, "level": self.level, "sentence": self.sentence}


@dataclass(frozen=True, slots=True)
class Risk:
    """`level` is the highest of the reasons' levels; every reason is kept, the highest first."""

    level: str
    reasons: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        return {"level": self.level, "reasons": [reason.to_json() for reason in self.reasons]}


def assess(given: RiskInput) -> Risk:
    """The risk of a promotion. Each reason can only raise it; another aim than improve then raises it by one level."""
    reasons = _reasons(given)
    level = max((reason.level for reason in reasons), key=RISKS.index)
    if given.aim != IMPROVE:
        level = RISKS[min(RISKS.index(level) + 1, len(RISKS) - 1)]
        aim = given.aim.replace("_", "-")
        reasons.append(Reason("aim", level, f"Its aim is {aim} and not to improve, which raises the risk by one level."))
    return Risk(level, tuple(sorted(reasons, key=lambda reason: -RISKS.index(reason.level))))


def _reasons(given: RiskInput) -> list[Reason]:
    level, sentence = _BREADTH[ScopeType(given.scope_type)]
    reasons = [Reason("scope", level, sentence)]
    if given.no_champion or given.before is None:
        reasons.append(Reason("no_champion", MEDIUM, "The layer has no champion yet."))
    if given.suspends:
        reasons.append(Reason("suspend", HIGH, "Layers below will be suspended."))
    if "optimizer" in given.author_kinds:
        reasons.append(Reason("optimizer", MEDIUM, "An optimizer wrote it."))
    before = {"tools": {"allow": []}} if given.before is None else given.before
    reasons += _tools(before, given.after)
    if given.before is not None:
        reasons += _compared(given.before, given.after)
    return reasons


def _tools(before: Content, after: Content) -> list[Reason]:
    tools = new_tools(before, after)
    if not tools:
        return []
    risky = [tool for tool in tools if tool_risk(after, tool) == HIGH]
    note = f", of high risk: {named(risky)}" if risky else ""
    return [Reason("new_tools", HIGH if risky else MEDIUM, f"It permits tools that were not permitted: {named(tools)}{note}.")]


def _compared(before: Content, after: Content) -> list[Reason]:
    reasons = [Reason("loosened", HIGH, sentence) for sentence in loosened(before, after)]
    for tool, old, new in raised_autonomy(before, after):
        of = f"the tool {tool}" if tool else "the agents"
        reasons.append(Reason("autonomy", HIGH if new == LEVELS[-1] else MEDIUM, f"It raises the autonomy of {of} from {old} to {new}."))
    if (before.get("personality") or {}) != (after.get("personality") or {}):
        reasons.append(Reason("voice", MEDIUM, "It changes the personality, and with it the voice."))
    if (before.get("model") or {}).get("primary") != (after.get("model") or {}).get("primary"):
        reasons.append(Reason("model", MEDIUM, "It changes the primary model."))
    reasons.append(_size(before, after))
    return reasons


def _size(before: Content, after: Content) -> Reason:
    """Words added and removed, as a share of what there was. Words that only moved don't count: it is a measure of size, no diff."""
    old, new = _words(before), _words(after)
    changed, total = (new - old).total() + (old - new).total(), old.total()
    large = changed >= LARGE_WORDS and 100 * changed >= LARGE_PERCENT * total
    size = "large" if large else "small"
    return Reason("size", MEDIUM if large else LOW, f"The change is {size}: {changed} words added or removed, where there were {total}.")


def _words(content: Content) -> Counter[str]:
    return Counter(word for section in (content.get("sections") or {}).values() for word in section["text"].split())
