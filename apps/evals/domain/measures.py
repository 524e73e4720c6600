"""One function for each check of a rubric: what an output, its case and the facts of its run say. None of them needs a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import re2

from apps.core.domain.redaction import redact_text
from apps.core.errors import problem
from apps.evals.domain.schemas import parse_output, schema_violation
from apps.evals.domain.texts import PII_KINDS, is_refusal, pii_kinds, plain, token_f1
from apps.packs.domain.contracts import compiled
from apps.packs.domain.names import covers

FULL = 100


@dataclass(frozen=True, slots=True)
class Given:
    """What is measured: the check's params, the output, the case (`input`, `expected`, `tags`) and the run's facts (`checks.FACTS`)."""

    params: Mapping[str, Any]
    output: str
    case: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def expected(self) -> Mapping[str, Any]:
        expected = self.case.get("expected")
        return expected if isinstance(expected, Mapping) else {"text": expected} if isinstance(expected, str) else {}


@dataclass(frozen=True, slots=True)
class Measure:
    """`passed` None: it cannot be told (missing, never passing). `score` is points, 0 to 100."""

    passed: bool | None
    score: int
    detail: str


def _verdict(passed: bool, detail: str) -> Measure:
    return Measure(passed, FULL if passed else 0, detail)


def _missing(detail: str) -> Measure:
    return Measure(None, 0, detail)


def _texts(given: Given, key: str) -> list[str]:
    """What to look for: `texts` or `text` of the params, else what the case expects."""
    params = given.params
    wanted = (
        params.get("texts") or params.get("text") or given.expected.get(key) or (given.expected.get("text") if key == "contains" else None)
    )
    return [] if wanted is None else [wanted] if isinstance(wanted, str) else [text for text in wanted if isinstance(text, str)]


def _found(given: Given, text: str) -> bool:
    output, wanted = plain(given.output), plain(text)
    return wanted in output if given.params.get("case_sensitive") else wanted.casefold() in output.casefold()


def contains(given: Given) -> Measure:
    wanted = _texts(given, "contains")
    expected_fields = given.expected.get("fields") if given.params.get("texts") is None and given.params.get("text") is None else None
    fields = expected_fields if isinstance(expected_fields, Mapping) else {}
    if not wanted and not fields:
        return _missing("The case expects no text.")
    lacking = [repr(text) for text in wanted if not _found(given, text)]
    if fields:
        answer = _object(given.output)
        lacking += [f"{name} = {value!r}" for name, value in fields.items() if answer.get(name) != value]
    number = len(wanted) + len(fields)
    there = number - len(lacking)
    if given.params.get("mode") == "any":
        return _verdict(there > 0, "One of the texts is there." if there else "None of the texts is there.")
    detail = f"{there} of {number} are there." if not lacking else f"{there} of {number} are there; missing: {', '.join(lacking)}."
    return Measure(not lacking, FULL * there // number, detail)


def _object(output: str) -> Mapping[str, Any]:
    try:
        value = parse_output(output)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def not_contains(given: Given) -> Measure:
    unwanted = _texts(given, "not_contains")
    if not unwanted:
        return _missing("Neither the check nor the case names a text that must not be there.")
    there = [repr(text) for text in unwanted if _found(given, text)]
    return _verdict(not there, f"There: {', '.join(there)}." if there else "None of the texts is there.")


def regex(given: Given) -> Measure:
    pattern = given.params["pattern"]
    try:
        matched = compiled(pattern).search(given.output) is not None
    except re2.error:
        raise problem("invalid", f"{pattern[:100]!r} is not an RE2 pattern.", pointer="/params/pattern") from None
    wanted = given.params.get("match", True)
    return _verdict(matched == wanted, f"{'Matches' if matched else 'Does not match'} {pattern[:200]!r}.")


def json_schema(given: Given) -> Measure:
    schema = given.params.get("schema")
    if schema is None:
        schema = given.facts.get("contract")
    if schema is None:
        return _missing("There is no output contract for this task type.")
    try:
        value = parse_output(given.output)
    except ValueError as error:
        return _verdict(False, str(error))
    violation = schema_violation(value, schema)
    return _verdict(violation is None, violation or "The output keeps its contract.")


def max_length(given: Given) -> Measure:
    over, said = [], []
    for unit, count in (("chars", len(given.output)), ("words", len(given.output.split()))):
        limit = given.params.get(f"max_{unit}")
        if limit is not None:
            said.append(f"{count} of {limit} {unit}")
            over += [unit] if count > limit else []
    return _verdict(not over, f"{', '.join(said)}.")


def latency_budget(given: Given) -> Measure:
    return _budget(given.facts.get("latency_ms"), given.params["max_ms"], "ms")


def cost_budget(given: Given) -> Measure:
    return _budget(given.facts.get("cost_micros"), given.params["max_micros"], "micro-dollars")


def token_budget(given: Given) -> Measure:
    tokens_in, tokens_out = given.facts.get("tokens_in"), given.facts.get("tokens_out")
    used = {
        "max_tokens": None if tokens_in is None or tokens_out is None else tokens_in + tokens_out,
        "max_tokens_in": tokens_in,
        "max_tokens_out": tokens_out,
    }
    measures = [
        _budget(used[name], given.params[name], name.replace("max_", "").replace("_", " "))
        for name in used
        if given.params.get(name) is not None
    ]
    failed = [measure for measure in measures if measure.passed is False]
    unknown = [measure for measure in measures if measure.passed is None]
    return (failed or unknown or measures)[0]


def _budget(used: Any, limit: int, unit: str) -> Measure:
    if used is None:
        return _missing(f"The run reported no {unit}.")
    return _verdict(used <= limit, f"{used} of {limit} {unit}.")


def tool_policy(given: Given) -> Measure:
    """`permitted(tool) = (allow is null or tool in allow) and tool not in deny` (`domain.md` 3), by params, else by the effective pack."""
    tools = given.facts.get("tools")
    if tools is None:
        return _missing("The run did not report its tools.")
    params = given.params
    own = any(params.get(name) is not None for name in ("allow", "deny", "require", "max_calls"))
    rules = params if own else given.facts.get("tool_policy")
    if rules is None:
        return _missing("There is no tool policy to hold the run to.")
    allow, deny = rules.get("allow"), rules.get("deny") or ()
    refused = sorted({tool for tool in tools if (allow is not None and not covers(allow, tool)) or covers(deny, tool)})
    if refused:
        return _verdict(False, f"Used without permission: {', '.join(refused)}.")
    lacking = [name for name in params.get("require") or () if not any(covers([name], tool) for tool in tools)]
    if lacking:
        return _verdict(False, f"Not used, and must be: {', '.join(lacking)}.")
    most = params.get("max_calls")
    if most is not None and len(tools) > most:
        return _verdict(False, f"{len(tools)} calls of at most {most}.")
    return _verdict(True, "Every tool used is permitted.")


_MARK = re2.compile(r"\[redacted:[a-z_]+\]")


def no_secrets(given: Given) -> Measure:
    """Redacted marks count too: an output that passed the choke point first must not look clean for it."""
    fired = redact_text(given.output)[1]
    marks = _MARK.findall(given.output)
    return _verdict(not fired and not marks, f"Holds {', '.join(fired or sorted(set(marks)))}." if fired or marks else "Holds no secret.")


def no_pii(given: Given) -> Measure:
    found = pii_kinds(given.output, kinds=given.params.get("kinds") or PII_KINDS, allow=given.params.get("allow") or ())
    return _verdict(not found, f"Holds {', '.join(found)}." if found else "Holds no personal data.")


def refusal(given: Given) -> Measure:
    expected = given.params.get("expected", given.expected.get("refusal"))
    if not isinstance(expected, bool):
        return _missing("The case does not say whether the agent must refuse.")
    refused = is_refusal(_said(given.output))
    return _verdict(refused == expected, f"{'Refused' if refused else 'Did not refuse'}; {'must' if expected else 'must not'}.")


def _said(output: str) -> str:
    """The texts of a JSON answer one after the other (its keys say nothing), or the output as it is."""
    try:
        value = parse_output(output)
    except ValueError:
        return output
    texts: list[str] = []
    todo: list[Any] = [value]
    while todo:
        member = todo.pop()
        if isinstance(member, str):
            texts.append(member)
        elif isinstance(member, dict | list):
            todo += member.values() if isinstance(member, dict) else member
    return ". ".join(texts)


def similarity(given: Given) -> Measure:
    """Token F1 with the nearest reference; the score is its whole percent, rounded down."""
    references: Sequence[str] = given.params.get("references") or _texts(given, "contains")
    if not references:
        return _missing("There is no reference text.")
    best = max(token_f1(given.output, reference) for reference in references)
    least = given.params.get("min_pct", 8000)
    return Measure(
        best * 10_000 >= least, int(best * FULL), f"Token F1 {int(best * 10_000) / 100:.2f} %, at least {least / 100:.2f} % wanted."
    )


def task_success(given: Given) -> Measure:
    success = given.facts.get("success")
    if not isinstance(success, bool):
        return _missing("The run reported no success or failure.")
    return _verdict(success, "The run succeeded." if success else "The run failed.")


MEASURES: dict[str, Callable[[Given], Measure]] = {
    measure.__name__: measure
    for measure in (
        *(contains, not_contains, regex, json_schema, max_length, latency_budget, cost_budget, token_budget, tool_policy),
        *(no_secrets, no_pii, refusal, similarity, task_success),
    )
}
