"""Checks of a rubric, and the score of an output (`domain.md` 5).

A check is `{"id", "check", "weight", "hard", "dimension", "params": {}}`; CHECKS says which params each kind takes. Scores are points: of
one check whole, 0 to 100; of an output in hundredths of a point, 0 to 10000. What cannot be told (no latency reported, nothing expected
by the case) is *missing*: it neither passes nor fails and weighs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.core.domain.redaction import redact_text
from apps.core.errors import FieldError, problem
from apps.evals.domain.measures import MEASURES, Given
from apps.evals.domain.texts import PII_KINDS
from apps.packs.domain.contracts import contract_findings, pattern_error

Check = Mapping[str, Any]

DIMENSIONS = ("quality", "format", "safety", "latency", "cost", "voice")
HUNDREDTHS = 100

# What may be known of the run that gave the output; whatever is absent makes its checks missing.
FACTS = {
    "latency_ms": "milliseconds",
    "cost_micros": "micro-dollars",
    "tokens_in": "tokens, cached ones included",
    "tokens_out": "tokens, reasoning included",
    "tools": "list of the names of tools used, one for each call",
    "tool_policy": "`tools` of the effective pack: {allow, deny, …}",
    "contract": "the effective pack's JSON Schema for the task type",
    "success": "true or false, as the harness reports it",
}


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: its type (`text texts integer boolean schema pattern expected mode kinds`) and what it does."""

    type: str
    meaning: str


_TEXTS = {
    "text": Param("text", "what to look for; white space and typographic apostrophes are evened out"),
    "texts": Param("texts", "several of them"),
    "from": Param("expected", "`expected`: what the case expects, as without text and texts"),
    "case_sensitive": Param("boolean", "default false"),
}
# kind -> what it takes. Kinds without required params work with {}.
CHECKS: dict[str, dict[str, Param]] = {
    # Every text is there (or one, by mode); of the case `contains` (or a plain expected text) and `fields` {name: value} of a JSON answer.
    # Score: the share that is there.
    "contains": {**_TEXTS, "mode": Param("mode", "`all` (default) or `any`")},
    # None of the texts is there; of the case `not_contains`.
    "not_contains": _TEXTS,
    "regex": {
        "pattern": Param("pattern", "RE2, found anywhere; required"),
        "match": Param("boolean", "default true; false: must not be found"),
    },
    "json_schema": {"schema": Param("schema", "draft 2020-12; default: the effective pack's contract for the task type")},
    "max_length": {
        "max_chars": Param("integer", "characters"),
        "max_words": Param("integer", "words between white space; one of both is required"),
    },
    "latency_budget": {"max_ms": Param("integer", "milliseconds; required")},
    "cost_budget": {"max_micros": Param("integer", "micro-dollars; required")},
    "token_budget": {
        "max_tokens": Param("integer", "in and out together"),
        "max_tokens_in": Param("integer", "in"),
        "max_tokens_out": Param("integer", "out; one of the three is required"),
    },
    # Without any of them: the tools of the effective pack.
    "tool_policy": {
        "allow": Param("texts", "names, exact or ending in .*; absent: any"),
        "deny": Param("texts", "names that must not be used"),
        "require": Param("texts", "names that must be used"),
        "max_calls": Param("integer", "calls in all"),
    },
    "no_secrets": {},
    "no_pii": {
        "kinds": Param("kinds", f"of {', '.join(PII_KINDS)}; default all"),
        "allow": Param("texts", "values, or domains such as @acme.example, that may be shown"),
    },
    "refusal": {"expected": Param("boolean", "whether the agent must refuse; default: `refusal` of the case")},
    # Token F1 with the nearest reference. Score: its whole percent.
    "similarity": {
        "references": Param("texts", "default: what the case expects"),
        "min_pct": Param("integer", "hundredths of a percent, 0 to 10000; default 8000"),
    },
    # The harness reported success.
    "task_success": {},
    "judge": {},
    "voice": {},
}
NOT_AVAILABLE = ("judge", "voice")
_REQUIRED = {
    "regex": ("pattern",),
    "max_length": ("max_chars", "max_words"),
    "latency_budget": ("max_ms",),
    "cost_budget": ("max_micros",),
    "token_budget": ("max_tokens", "max_tokens_in", "max_tokens_out"),
}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`passed` None: missing evidence. `score` is points, 0 to 100 (0 when missing). `detail` is a sentence without secrets."""

    id: str
    dimension: str
    weight: int
    hard: bool
    passed: bool | None
    score: int
    detail: str


@dataclass(frozen=True, slots=True)
class Scored:
    """An output's results. `score` and `dimensions` are hundredths of a point, 0 to 10000, or None where nothing could be measured."""

    score: int | None
    dimensions: Mapping[str, int | None]
    results: tuple[CheckResult, ...]

    @property
    def hard_failures(self) -> tuple[str, ...]:
        """Ids of hard checks that failed."""
        return tuple(result.id for result in self.results if result.hard and result.passed is False)

    @property
    def missing(self) -> tuple[str, ...]:
        """Ids of checks that could not be told."""
        return tuple(result.id for result in self.results if result.passed is None)

    def detail(self) -> dict[str, dict[str, Any]]:
        """Check id -> {passed, score, detail}: what is stored with an evaluation result."""
        return {result.id: {"passed": result.passed, "score": result.score, "detail": result.detail} for result in self.results}


def run_check(check: Check, *, output: str, case: Mapping[str, Any], facts: Mapping[str, Any]) -> CheckResult:
    """Applies one check to an output. `case` has `expected`; `facts` are described by FACTS.

    Raises Problem `not_available` (judge, voice), `invalid` or `unknown_key` (a check that is not as CHECKS says).
    """
    findings = list(check_findings(check, ""))
    if findings:
        raise problem(findings[0].code, f"Check {check.get('id')!r}: {findings[0].detail}", errors=findings)
    params = {name: value for name, value in (check.get("params") or {}).items() if value is not None}
    measure = MEASURES[check["check"]](Given(params, output, case, facts))
    detail = redact_text(measure.detail)[0][:1000]
    return CheckResult(check["id"], check["dimension"], check["weight"], bool(check.get("hard")), measure.passed, measure.score, detail)


def score_output(rubric: Sequence[Check], *, output: str, case: Mapping[str, Any], facts: Mapping[str, Any]) -> Scored:
    """The deterministic score: the mean of the checks' scores by weight, over those that could be measured, rounded half up.

    `voice` is no part of the score (personality is scored apart from correctness). Raises as `run_check` does.
    """
    results = tuple(run_check(check, output=output, case=case, facts=facts) for check in rubric)
    present = dict.fromkeys(result.dimension for result in results)
    dimensions = {name: _mean([result for result in results if result.dimension == name]) for name in DIMENSIONS if name in present}
    return Scored(_mean([result for result in results if result.dimension != "voice"]), dimensions, results)


def _mean(results: Sequence[CheckResult]) -> int | None:
    measured = [result for result in results if result.passed is not None and result.weight > 0]
    weight = sum(result.weight for result in measured)
    if not weight:
        return None
    total = sum(result.weight * result.score for result in measured) * HUNDREDTHS
    return (2 * total + weight) // (2 * weight)


def joint_rubric(champion: Sequence[Check], challenger: Sequence[Check]) -> list[Check]:
    """What both arms are scored with: the champion's rubric plus the checks that the challenger adds; of the same id the champion's."""
    known = {check["id"] for check in champion}
    return [*champion, *(check for check in challenger if check["id"] not in known)]


def rubric_findings(rubric: Sequence[Check], at: str = "/rubric") -> Iterator[FieldError]:
    """What keeps the checks of a rubric from being run, each with its pointer; nothing for a good rubric."""
    for index, check in enumerate(rubric):
        yield from check_findings(check, f"{at}/{index}")


def check_findings(check: Check, at: str) -> Iterator[FieldError]:
    """What keeps one check from being run."""
    kind = check.get("check")
    if kind not in CHECKS:
        yield FieldError(f"{at}/check", "invalid", f"There is no check {kind!r}. Checks are {', '.join(CHECKS)}.")
        return
    if kind in NOT_AVAILABLE:
        yield FieldError(f"{at}/check", "not_available", f"The check `{kind}` needs a model; it is not available yet.")
        return
    if check.get("dimension") not in DIMENSIONS:
        yield FieldError(f"{at}/dimension", "invalid", f"The dimension is one of {', '.join(DIMENSIONS)}.")
    if not isinstance(check.get("id"), str) or not check["id"]:
        yield FieldError(f"{at}/id", "invalid", "A check has an id.")
    if not _integer(check.get("weight")):
        yield FieldError(f"{at}/weight", "invalid", "The weight is an integer from 0 up.")
    params = check.get("params") or {}
    takes = CHECKS[kind]
    for name, value in params.items():
        if name not in takes:
            known = f"It takes {', '.join(takes)}." if takes else "It takes none."
            yield FieldError(f"{at}/params/{name}", "unknown_key", f"`{kind}` has no parameter {name!r}. {known}")
        elif value is not None:
            yield from _value_findings(takes[name], value, f"{at}/params/{name}")
    required = _REQUIRED.get(kind, ())
    if required and all(params.get(name) is None for name in required):
        yield FieldError(f"{at}/params", "invalid", f"`{kind}` needs {' or '.join(f'`{name}`' for name in required)}.")


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _strings(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) and text for text in value)


def _value_findings(param: Param, value: Any, at: str) -> Iterator[FieldError]:
    match param.type:
        case "text" if not isinstance(value, str) or not value:
            yield FieldError(at, "invalid", "A text that is not empty.")
        case "texts" if not _strings(value) and value != []:
            yield FieldError(at, "invalid", "A list of texts, none of them empty.")
        case "integer" if not _integer(value):
            yield FieldError(at, "invalid", "An integer from 0 up.")
        case "boolean" if not isinstance(value, bool):
            yield FieldError(at, "invalid", "true or false.")
        case "expected" if value != "expected":
            yield FieldError(at, "invalid", "Only `expected`: what the case expects.")
        case "mode" if value not in ("all", "any"):
            yield FieldError(at, "invalid", "`all` or `any`.")
        case "kinds" if not _strings(value) or not set(value) <= set(PII_KINDS):
            yield FieldError(at, "invalid", f"A list of {', '.join(PII_KINDS)}.")
        case "pattern":
            reason = pattern_error(value) if isinstance(value, str) and value else "it is empty or no text"
            if reason:
                yield FieldError(at, "invalid", f"Not an RE2 pattern: {reason}.")
        case "schema":
            yield from contract_findings(value, at)
