"""The shape of pack content as pydantic models; they are also the source of the published JSON Schema.

Integers only: money in micro-dollars, time in milliseconds, `_pct` in hundredths of a percent (500 = 5 %) except the stages of a canary,
which are whole percent. null is the same as absent everywhere: no limit, or inherited.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from apps.core.domain.canonical import MAX_INTEGER
from apps.packs.domain.contracts import compiled, pattern_error
from apps.packs.domain.names import TOOL_NAME

_HOST = r"^(\*|(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*)$"
_SECTION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")


def _tool(name: str) -> str:
    if len(name) > 200 or not TOOL_NAME.fullmatch(name):
        raise PydanticCustomError("tool_name", "Tool names are exact or end in `.*`, without spaces or other `*`, at most 200 characters")
    return name


def _section_name(name: str) -> str:
    if not _SECTION_NAME.fullmatch(name):  # it becomes a heading of the rendered file
        raise PydanticCustomError("section_name", "Section names are 1 to 100 letters, digits, spaces and `._-`, not first")
    return name


def _pattern(pattern: str) -> str:
    if reason := pattern_error(pattern):
        raise PydanticCustomError("re2", "Not an RE2 pattern: {reason}", {"reason": reason})
    return pattern


def _narrow_pattern(pattern: str) -> str:
    if compiled(_pattern(pattern)).search("") is not None:
        raise PydanticCustomError("re2", "The pattern matches the empty text, so it would forbid every text")
    return pattern


def _available_check(check: str) -> str:
    if check in ("judge", "voice"):
        raise PydanticCustomError("not_available", "The check `{check}` is known but not available yet", {"check": check})
    return check


def _stages(stages: list[int]) -> list[int]:
    if not stages or stages[-1] != 100 or any(a >= b for a, b in pairwise(stages)):
        raise PydanticCustomError("stages", "Stages are rising whole percents that end in 100, such as [5, 25, 50, 100]")
    return stages


# Every constraint is held to every section of a chain, whenever it is folded: what one version adds to that has a bound.
MAX_SECTIONS: Final = 1000
MAX_CONSTRAINTS: Final = 200

Order = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
Text = Annotated[str, StringConstraints(max_length=1_000_000)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Tool = Annotated[str, AfterValidator(_tool), WithJsonSchema({"type": "string", "maxLength": 200, "pattern": f"^{TOOL_NAME.pattern}$"})]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_pattern)]
NarrowPattern = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_narrow_pattern)]
SectionName = Annotated[str, AfterValidator(_section_name), WithJsonSchema({"type": "string", "pattern": f"^{_SECTION_NAME.pattern}$"})]
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Integer = Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]
Percent = Annotated[int, Field(ge=1, le=100)]
Level = Literal["A0", "A1", "A2", "A3"]
Risk = Literal["low", "medium", "high"]
File = Literal["AGENTS", "SOUL", "IDENTITY", "USER", "TOOLS", "HEARTBEAT", "MEMORY", "SYSTEM"]
# fmt: off
Check = Literal[
    "contains", "not_contains", "regex", "json_schema", "max_length", "latency_budget", "cost_budget", "token_budget", "tool_policy",
    "no_secrets", "no_pii", "refusal", "similarity", "task_success", "judge", "voice",
]
# fmt: on


class Block(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Section(Block):
    """One section of text. A child of the same name adds to it (`append`, the default, or `prepend`, with a blank line) or replaces it."""

    text: Text
    order: Order | None = Field(None, description="Shown by (order, name); 0 when nobody says.")
    file: File | None = Field(None, description="AGENTS when nobody says.")
    mode: Literal["append", "prepend", "replace"] | None = None
    locked: bool | None = Field(None, description="No layer below may touch the section.")


class Tools(Block):
    allow: list[Tool] | None = Field(None, description="null: any tool; []: none.")
    ask: list[Tool] | None = None
    deny: list[Tool] | None = None
    risk: dict[Tool, Risk] | None = Field(None, description="In one layer the most specific name counts; over the layers the highest risk.")


class Autonomy(Block):
    ceiling: Level | None = None
    tools: dict[Tool, Level] | None = Field(None, description="Lower levels for single tools; the most specific name counts.")


class Limits(Block):
    max_prompt_tokens: Count | None = None
    max_cost_per_run: Count | None = Field(None, description="Micro-dollars.")
    max_latency_ms: Count | None = None
    models: list[Line] | None = Field(None, description="null: any model; []: none.")


class DenyTool(Block):
    rule: Literal["deny_tool"]
    value: Tool
    reason: Text | None = None


class MaxAutonomy(Block):
    rule: Literal["max_autonomy"]
    value: Level
    reason: Text | None = None


class RequireSection(Block):
    """The section exists and has text."""

    rule: Literal["require_section"]
    value: SectionName
    reason: Text | None = None


class ForbidText(Block):
    """An RE2 pattern that no section and no text of the personality contains."""

    rule: Literal["forbid_text"]
    value: NarrowPattern
    reason: Text | None = None


class RequireText(Block):
    """An RE2 pattern that at least one section contains."""

    rule: Literal["require_text"]
    value: Pattern
    reason: Text | None = None


class MaxPromptTokens(Block):
    rule: Literal["max_prompt_tokens"]
    value: Count
    reason: Text | None = None


class AllowModels(Block):
    rule: Literal["allow_models"]
    value: list[Line]
    reason: Text | None = None


class DenyEgress(Block):
    """A host (`paste.example`), a domain with all its hosts (`*.example`) or `*`: no text may send the agent to a URL there."""

    rule: Literal["deny_egress"]
    value: Annotated[str, StringConstraints(pattern=_HOST, max_length=255)]
    reason: Text | None = None


Constraint = Annotated[
    DenyTool | MaxAutonomy | RequireSection | ForbidText | RequireText | MaxPromptTokens | AllowModels | DenyEgress,
    Field(discriminator="rule"),
]

RULES = (
    *("deny_tool", "max_autonomy", "require_section", "forbid_text", "require_text"),
    *("max_prompt_tokens", "allow_models", "deny_egress"),
)


class Personality(Block):
    traits: list[Line] | None = None
    tone: Text | None = None
    do: list[Text] | None = None
    dont: list[Text] | None = None
    samples: list[Text] | None = None


class RubricCheck(Block):
    id: Line
    check: Annotated[Check, AfterValidator(_available_check)]
    weight: Annotated[int, Field(ge=0, le=10_000)]
    dimension: Literal["quality", "format", "safety", "latency", "cost", "voice"]
    hard: bool | None = None
    params: dict[str, Any] | None = None


class Kpi(Block):
    name: Line
    direction: Literal["up", "down"] = Field(description="Which way is better.")
    target: Integer
    tolerance: Count | None = Field(None, description="By how much it may get worse, in the KPI's own unit.")


class Canary(Block):
    stages: Annotated[list[Percent], AfterValidator(_stages)] | None = Field(None, description="Whole percents, ending in 100.")
    min_runs: Count | None = None
    min_units: Count | None = None
    min_minutes: Count | None = None


class Promotion(Block):
    """Thresholds of the gate (`domain.md` 6). `_pct` in hundredths of a percent."""

    min_cases: Count | None = None
    min_runs: Count | None = None
    min_units: Count | None = None
    min_quality_gain_pct: Count | None = None
    max_allowed_latency_regression_pct: Count | None = None
    max_cost_regression_pct: Count | None = None
    max_prompt_growth_tokens: Count | None = None
    max_voice_drop: Count | None = Field(None, description="Points of the voice score.")
    canary: Canary | None = None


class Rollback(Block):
    """What takes a version back (`domain.md` 7)."""

    zero_tolerance: list[Line] | None = Field(None, description="Checks of which one failure rolls a canary back.")
    auto: bool | None = Field(None, description="Whether the champion watch rolls back by itself.")
    kpi_tolerances: dict[Line, Count] | None = Field(None, description="KPI -> by how much it may get worse, in the KPI's own unit.")


class Model(Block):
    primary: Line | None = None
    fallbacks: list[Line] | None = None
    fallback_on: list[Line] | None = None
    reasoning: Line | None = None
    locked: bool | None = Field(None, description="No layer below may change the model.")


class PolicyContent(Block):
    """What a policy pack says to every pack that is resolved at or below its scope."""

    constraints: list[Constraint] | None = Field(None, max_length=MAX_CONSTRAINTS)
    tools: Tools | None = None
    autonomy: Autonomy | None = None
    limits: Limits | None = None
    promotion: Promotion | None = None


class DomainContent(PolicyContent):
    """What a pack says at one scope."""

    sections: dict[SectionName, Section] | None = Field(None, max_length=MAX_SECTIONS)
    prompts: list[Any] | None = Field(None, max_length=0, description="Not available yet: empty.")
    personality: Personality | None = None
    rubric: list[RubricCheck] | None = None
    contracts: dict[Line, dict[str, Any]] | None = Field(None, description="Task type -> JSON Schema (draft 2020-12) of the output.")
    kpis: list[Kpi] | None = None
    rollback: Rollback | None = None
    model: Model | None = None
