"""The simulated agent: pure and deterministic, and only as good as the pack it is given.

`answer` reads the effective pack's sections (`apps.demo.domain.reading` lists the sentences it understands), finds the facts that fit the
message, follows the rules on format, citations, routing, refusals and tools, and writes an answer. It knows neither the pack's name, its
version nor its digest, nor what a case expects: what isn't in the text it doesn't do. Slips (the second best fact instead of the best) come
from a hash of (seed, message), so the same seed gives both arms of a comparison the same luck.

For the fleet: `answer(content, rendered, case_input, seed=…)` serves live runs and evaluation leases alike. `case_input` is the `input` of a
case: the message, and on lines of their own `[tool x] what x answers when it is called` and `[labels] ui`. Use case and repeat as seed, so
that both arms of a comparison have the same luck; live inputs come from `catalogue.live_inputs`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from apps.demo.domain.reading import Field, Reading, Rule, read
from apps.demo.domain.retrieval import Fact, all_stems, rank, stems
from apps.packs.domain.content import estimate_tokens
from apps.packs.domain.names import DEFAULT_RISK, LEVELS, closest, covers

SLIP_PERCENT = 31  # how often the agent takes the second best fact
SLIP_PERCENT_CHECKED = 8  # the same when the pack tells it to check itself first
UNKNOWN = "I don't have that in my instructions, so I would rather not guess."
FILLER = (
    "Thank you for reaching out about this, it is a question that comes up often and there are several ways to look at it. "
    "In general it depends on the circumstances, so it is worth looking at everything as a whole before deciding anything."
)
_IDENTIFIER = re.compile(
    r"[\w.+-]+@[\w-]+\.[\w.]+"
    r"|\b(?:sk|ghp|xoxb|pk)[-_][A-Za-z0-9_-]{12,}|\bAKIA[A-Z0-9]{12,}"
    r"|\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}\b"
    r"|\b\d{3}-\d{2}-\d{4}\b"
    r"|\+\d[\d ()-]{7,}\d"
    r"|\b\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{4}\b"
)
_TOOL_LINE = re.compile(r"^\[tool ([\w.]+)\] (.*)$")
# micro-dollars per 1,000 tokens in and out, microseconds per token out: rounded list prices, only their order matters here
_MODELS: dict[str, tuple[int, int, int]] = {
    "anthropic/claude-sonnet-4-5": (3_000, 15_000, 12_000),
    "anthropic/claude-haiku-4-5": (1_000, 5_000, 7_000),
    "openai/gpt-5": (1_250, 10_000, 14_000),
    "openai/gpt-5-mini": (250, 2_000, 8_000),
}
_DEFAULT_MODEL = (1_000, 5_000, 10_000)
_NEEDS = {"low": 1, "medium": 2, "high": 3}  # the autonomy that a tool of this risk needs
# which tools stand for which online check of the domain `engineering` (`domain.md` 5)
_DELIVERY_CHECKS = {"pr_created": "repo.open_pull_request", "ci_passed": "ci.run_checks", "human_reviewed": "repo.request_review"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What one simulated run gave. `cost_micros` is in micro-dollars; `tools` were called, `asked` wait for an approval, `refused` were wanted by
    the text but not permitted; `success` is the agent's own view; `checks` are the delivery checks that an engineering run reports."""

    output: str
    latency_ms: int
    tokens_in: int
    tokens_out: int
    cost_micros: int
    success: bool
    model: str
    tools: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    error_code: str | None = None
    checks: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the agent has in mind before it writes."""

    text: str
    summary: str
    references: tuple[str, ...]
    steps: tuple[str, ...]
    questions: tuple[str, ...]
    route: str | None
    choices: dict[str, str]
    tools: tuple[str, ...]
    asked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Given:
    """What the agent was given: the message it reads, what its tools would answer, labels of the task."""

    message: str
    tool_results: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]


def _given(case_input: str) -> _Given:
    message, results, labels = [], [], []
    for line in case_input.splitlines():
        if match := _TOOL_LINE.match(line):
            results.append((match[1], match[2]))
        elif line.startswith("[labels] "):
            labels += [label.strip() for label in line.removeprefix("[labels] ").split(",")]
        else:
            message.append(line)
    return _Given("\n".join(message), tuple(results), tuple(labels))


def chance(seed: str, *parts: str) -> int:
    """A number 0..9999, the same for the same arguments on every machine."""
    return int.from_bytes(hashlib.sha256("\x1f".join((seed, *parts)).encode()).digest()[:8], "big") % 10_000


@lru_cache(maxsize=256)
def _read(sections: tuple[tuple[str, int, str], ...]) -> Reading:
    return read({name: {"order": order, "text": text} for name, order, text in sections})


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def decide_tool(content: Mapping[str, Any], tool: str) -> str:
    """`call`, `ask` or `refuse`: what the effective pack lets the agent do with a tool (`domain.md` 3, permitted and autonomy)."""
    tools, autonomy = _mapping(content.get("tools")), _mapping(content.get("autonomy"))
    allow = tools.get("allow")
    if (allow is not None and not covers(allow, tool)) or covers(tools.get("deny") or (), tool):
        return "refuse"
    risk = _NEEDS[closest(_mapping(tools.get("risk")), tool) or DEFAULT_RISK]
    own = closest(_mapping(autonomy.get("tools")), tool)
    ceiling = min(LEVELS.index(level) for level in (autonomy.get("ceiling") or LEVELS[-1], own or LEVELS[-1]))
    if ceiling < risk:
        return "refuse"
    return "ask" if risk > 1 or covers(tools.get("ask") or (), tool) else "call"


def _questions_in(message: str, reading: Reading) -> list[str]:
    """The parts that get an answer of their own: each question, if the pack asks for that and there are several; else the whole."""
    questions = [part.strip() for part in re.findall(r"[^?.!]*\?", message)]
    return questions if reading.answers_parts and len(questions) > 1 else [message]


def _look_up(message: str, reading: Reading, seed: str) -> tuple[list[Fact], bool]:
    """The facts for each part, and whether all were found without a slip."""
    slip = (SLIP_PERCENT_CHECKED if reading.checks_itself else SLIP_PERCENT) * 100
    facts: list[Fact] = []
    well = True
    for part in _questions_in(message, reading):
        ranked = rank(reading.facts, stems(part))
        slipped = chance(seed, message, part if part != message else "", "slip") < slip
        if not ranked:
            well = False
            continue
        best = ranked[1] if slipped and len(ranked) > 1 else ranked[0]
        well = well and not slipped
        if best not in facts:
            facts.append(best)
    return facts, well


def _first(rules: Sequence[Rule], words: frozenset[str]) -> str | None:
    return next((rule.value for rule in rules if rule.applies(words)), None)


def _cut(text: str, max_words: int | None) -> str:
    words = text.split()
    return text if max_words is None or len(words) <= max_words else " ".join(words[:max_words]) + " …"


def _think(content: Mapping[str, Any], reading: Reading, given: _Given, seed: str) -> tuple[_Found, bool, tuple[str, ...]]:
    """(what it found, whether it went well, tools it was not permitted)."""
    message = given.message
    words = all_stems(message)
    identifiers = _IDENTIFIER.findall(message)
    clean = _IDENTIFIER.sub("[removed]", message) if reading.masks else message
    choices: dict[str, str] = {}
    for rule in reading.choices:
        if rule.key not in choices and rule.applies(words):
            choices[rule.key] = rule.value
    refusal = _first(reading.refusals, words)
    says = [rule.value for rule in reading.phrases if rule.applies(words)]
    route = _first(reading.routes, words)
    summary = " ".join(clean.split()[:28])
    if refusal is not None:
        return _Found(" ".join([refusal, *says]), summary, (), (), (), route, choices, (), ()), True, ()
    wanted = list(dict.fromkeys(rule.value for rule in reading.tools if rule.applies(words)))
    decided = {tool: decide_tool(content, tool) for tool in wanted}
    called, asked, refused = (tuple(t for t in wanted if decided[t] == what) for what in ("call", "ask", "refuse"))
    results = [text for tool, text in given.tool_results if tool in called]
    facts, well = _look_up(message, reading, seed)
    questions = tuple(rule.value for rule in reading.questions if rule.applies(words))
    procedures = rank(reading.procedures, stems(message))[:1]
    steps = tuple(step.strip().rstrip(".") for fact in procedures for step in fact.text.split(";"))
    references = tuple(dict.fromkeys(reference for fact in [*facts, *procedures] for reference in fact.references)) if reading.cites else ()
    pieces = [fact.text for fact in facts] + results or [UNKNOWN]
    if identifiers and not reading.masks:
        pieces.insert(0, f"About {', '.join(identifiers)}:")
    if reading.max_words is None:
        pieces.insert(0, FILLER)
    pieces += [f"{tool} needs an approval first." for tool in asked]
    if samples := _mapping(content.get("personality")).get("samples"):
        pieces.insert(0, opening(samples))
    text = " ".join([_cut(" ".join(piece for piece in pieces if piece), reading.max_words), *says])
    return _Found(text, summary, references, steps, questions, route, choices, called, asked), well, refused


def opening(samples: Any) -> str:
    """The voice: the first sentence of the first sample that is short enough to open an answer with."""
    for sample in samples if isinstance(samples, Sequence) else ():
        first = re.split(r"(?<=[.!])\s", str(sample), maxsplit=1)[0]
        if len(first) <= 60:
            return first
    return ""


def _value(found: _Found, spec: Field) -> str | bool | list[str]:
    match spec.kind:
        case "text":
            return found.text
        case "summary":
            return found.summary
        case "reference":
            return found.references[0] if found.references else spec.other
        case "references":
            return list(found.references)
        case "route":
            return found.route or spec.other
        case "choice":
            return found.choices.get(spec.key.removeprefix("## ").lower(), spec.other)
        case "steps":
            return list(found.steps)
        case "questions":
            return list(found.questions)
        case "tools":
            return list(found.tools)
        case _:  # yes/no: does somebody have to approve first
            return bool(found.asked)


def _write(found: _Found, reading: Reading) -> str:
    if reading.form == "json":
        fields = reading.fields or (Field("answer", "text", ""),)
        body = json.dumps({spec.key: _value(found, spec) for spec in fields if not spec.key.startswith("## ")}, ensure_ascii=False)
        return body if reading.bare else f"Sure, here is what I found:\n```json\n{body}\n```\nLet me know if anything else comes up!"
    if reading.form == "markdown" and reading.fields:
        parts = []
        for spec in reading.fields:
            value = _value(found, spec)
            lines = (
                [f"- {line}" for line in value]
                if isinstance(value, list)
                else [("yes" if value else "no") if isinstance(value, bool) else value]
            )
            heading = spec.key if spec.key.startswith("## ") else f"**{spec.key}:**"
            parts.append("\n".join([heading, *(lines or [spec.other or "- none"])]))
        return "\n\n".join(parts)
    parts = [
        found.text,
        *(f"{place}. {step}." for place, step in enumerate(found.steps, 1)),
        *(f"Could you tell me {q}?" for q in found.questions),
    ]
    if found.route:
        parts.append(f"I am passing this on to {found.route}.")
    if found.references:
        parts.append(f"({', '.join(found.references)})")
    return "\n".join(parts)


def _delivery_checks(reading: Reading, found: _Found, labels: Sequence[str], well: bool) -> dict[str, bool]:
    """The checks of an engineering run; empty where the pack speaks of none of their tools."""
    known = {rule.value for rule in reading.tools}
    if not known & set(_DELIVERY_CHECKS.values()):
        return {}
    used = {*found.tools, *found.asked}
    checks = {name: tool in used for name, tool in _DELIVERY_CHECKS.items()}
    checks["ci_passed"] = checks["ci_passed"] and well
    if "ui" in labels:
        checks["ui_labeled"] = True
        checks["ui_screenshot_present"] = "browser.screenshot" in used
    return checks


def answer(content: Mapping[str, Any], rendered: Mapping[str, str] | None, case_input: str, *, seed: str) -> Answer:
    """One run on the effective `content` and the `rendered` files of resolve (their length is what the prompt costs; without them the
    sections' texts count). Pure: the same arguments give the same answer anywhere."""
    given = _given(case_input)
    sections = _mapping(content.get("sections"))
    reading = _read(
        tuple((name, int(section.get("order") or 0), str(section.get("text") or "")) for name, section in sorted(sections.items()))
    )
    found, well, refused = _think(content, reading, given, seed)
    output = _write(found, reading)
    prompt = sum(
        estimate_tokens(text)
        for text in (rendered or {name: str(section.get("text") or "") for name, section in sections.items()}).values()
    )
    tokens_in = prompt + estimate_tokens(given.message) + 60 * len(found.tools)
    tokens_out = estimate_tokens(output) + 20 * len(found.tools)
    model = str(_mapping(content.get("model")).get("primary") or "")
    price_in, price_out, speed = _MODELS.get(model, _DEFAULT_MODEL)
    pace = 9_000 + chance(seed, given.message, "pace") % 2_000
    latency = (300_000 + 60 * tokens_in + speed * tokens_out + 180_000 * len(found.tools)) * pace // 10_000 // 1_000
    return Answer(
        output=output,
        latency_ms=latency,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost_micros=(tokens_in * price_in + tokens_out * price_out) // 1_000,
        success=well,
        model=model,
        tools=found.tools,
        asked=found.asked,
        refused=refused,
        error_code=None if well else "answer_not_found",
        checks=_delivery_checks(reading, found, given.labels, well),
    )
