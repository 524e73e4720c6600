"""How a simulated agent reads a pack: the sentences it understands, taken from the text of the sections.

The simulated agent has no model behind it, so it understands a small, fixed set of English sentences. Each of them is also a sentence
a real model would follow; the content of the demo is written with them. Whatever the pack doesn't say, the agent doesn't know.

| in the text | effect |
|---|---|
| "Answer with one JSON object" (and "nothing else") | JSON; without "nothing else" it is wrapped in a friendly sentence and a code fence |
| "Answer in Markdown with these headings" | Markdown |
| bullet ``- `key` (kind, else "x"): …`` or ``- `## Heading` (kind): …`` | one field of the answer, see KINDS |
| "Route to x when the message mentions a, b or c" (also "Escalate to") | the route |
| "`key` is `value` when the message mentions a, b", "`key` is `value` otherwise" | a choice |
| "Use `tool` when the message mentions a, b" | a tool call, if the pack permits it |
| "Refuse when the message mentions a, b and say: "…"" | a refusal |
| "When the message mentions a, b, say: "…"", "Always say: "…"" | a mandatory phrase |
| "Ask for x when the message mentions a, b, unless it mentions c, d" | a question back |
| bullet "- Procedure for x: first; second" | numbered steps |
| "Cite …" | references such as [HR-LV-01] are given |
| "Never repeat …" | identifiers in the message are not repeated |
| "answer each part" | several questions get several answers |
| "Before you answer, check …" | fewer slips |
| "at most 90 words" | the limit is kept |
| any other bullet | a fact the agent can find |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from apps.demo.domain.retrieval import Fact, all_stems, stems

KINDS = ("text", "reference", "references", "route", "choice", "steps", "questions", "summary", "yes/no", "tools")

_LIST = r"(?P<words>[^.;\"]+?)"
_WHEN = rf"when the message mentions {_LIST}"
_ROUTE = re.compile(rf"(?:Route|Escalate|Hand over)(?: it)? to `?(?P<value>[\w@/-]+)`? {_WHEN}[.;]")
_CHOICE = re.compile(rf"`(?P<key>\w+)` is `(?P<value>[^`]+)` {_WHEN}[.;]")
_OTHERWISE = re.compile(r"`(?P<key>\w+)` is `(?P<value>[^`]+)` otherwise")
_TOOL = re.compile(rf"(?:Use|Call) `(?P<value>[\w.]+)` {_WHEN}[.;]")
_REFUSE = re.compile(rf"Refuse {_WHEN},? and say: \"(?P<value>[^\"]+)\"")
_SAY_WHEN = re.compile(r"When the message mentions (?P<words>[^.;\"]+?), (?:always )?(?:say|add): \"(?P<value>[^\"]+)\"")
_SAY = re.compile(r"Always (?:say|add|end with): \"(?P<value>[^\"]+)\"")
_ASK = re.compile(
    r"Ask for (?P<value>[^.;\"]+?) when the message mentions (?P<words>[^.;\"]+?)(?:, unless it mentions (?P<unless>[^.;\"]+))?[.;]"
)
_FIELD = re.compile(r"^`(?P<key>(?:## )?[\w /-]+)` \((?P<kind>[a-z/]+)(?:, else \"(?P<other>[^\"]*)\")?\)")
_PROCEDURE = re.compile(r"^Procedure for (?P<name>[^:]+): (?P<steps>.+)$")
_REFERENCE = re.compile(r"\[([A-Z][A-Z0-9-]+)\]")
_JSON = re.compile(r"\bone JSON object\b")
_BARE = re.compile(r"\bnothing else\b")
_MARKDOWN = re.compile(r"\bin Markdown\b")
_CITE = re.compile(r"(?<!not )(?<!never )\b[Cc]ite\b")
_MASK = re.compile(r"\bNever repeat\b")
_PARTS = re.compile(r"\banswer each part\b", re.IGNORECASE)
_CHECK = re.compile(r"\bBefore you answer, check\b")
_WORDS = re.compile(r"\bat most (\d{2,4}) words\b")


@dataclass(frozen=True, slots=True)
class Rule:
    """`value` applies when the message mentions one of `phrases` (empty: always) and none of `unless`. `key` names the field of a choice."""

    value: str
    phrases: tuple[frozenset[str], ...] = ()
    unless: tuple[frozenset[str], ...] = ()
    key: str = ""

    def applies(self, words: frozenset[str]) -> bool:
        """Whether every word of one phrase is among the message's stemmed words."""
        if any(phrase <= words for phrase in self.unless):
            return False
        return not self.phrases or any(phrase <= words for phrase in self.phrases)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the answer: `kind` is one of KINDS, `other` what it holds when there is nothing to say."""

    key: str
    kind: str
    other: str


@dataclass(frozen=True, slots=True)
class Reading:
    """All that the agent took from the sections, in the order of the text."""

    form: str
    bare: bool
    fields: tuple[Field, ...]
    facts: tuple[Fact, ...]
    procedures: tuple[Fact, ...]
    routes: tuple[Rule, ...]
    choices: tuple[Rule, ...]
    tools: tuple[Rule, ...]
    refusals: tuple[Rule, ...]
    phrases: tuple[Rule, ...]
    questions: tuple[Rule, ...]
    cites: bool
    masks: bool
    answers_parts: bool
    checks_itself: bool
    max_words: int | None


def blocks(text: str) -> list[tuple[bool, str]]:
    """Splits a section into (is bullet, text on one line); an indented line continues the bullet above it, headings are left out."""
    found: list[tuple[bool, str]] = []
    fresh = True
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            fresh = True
        elif stripped.startswith("- "):
            found.append((True, stripped[2:].strip()))
            fresh = False
        elif fresh or not found:
            found.append((False, stripped))
            fresh = False
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]} {stripped}")
    return found


def phrases(words: str) -> tuple[frozenset[str], ...]:
    """ "a, b c or d" as sets of stemmed words; order and distance don't matter ("work abroad" meets "work from abroad")."""
    parts = re.split(r",\s*(?:or\s+)?|\s+or\s+", words)
    return tuple(found for part in parts if (found := all_stems(part)))


def _rules(pattern: re.Pattern[str], all_blocks: Iterable[tuple[bool, str]]) -> tuple[Rule, ...]:
    rules = []
    for _, text in all_blocks:
        for match in pattern.finditer(text):
            parts = match.groupdict()
            rules.append(
                Rule(parts["value"], phrases(parts.get("words") or ""), phrases(parts.get("unless") or ""), parts.get("key") or "")
            )
    return tuple(rules)


_RULES = (_ROUTE, _CHOICE, _OTHERWISE, _TOOL, _REFUSE, _SAY_WHEN, _SAY, _ASK)


def _fact(text: str) -> Fact:
    references = tuple(_REFERENCE.findall(text))
    return Fact(re.sub(r"\s+([.,;])", r"\1", _REFERENCE.sub("", text)).strip(), references, stems(text))


def section_texts(sections: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The texts as the agent sees them: by (order, name), as `domain.md` 3 shows sections."""

    def place(item: tuple[str, Mapping[str, object]]) -> tuple[int, str]:
        order = item[1].get("order")
        return (order if isinstance(order, int) else 0, item[0])

    return [str(section.get("text") or "") for _, section in sorted(sections.items(), key=place)]


def read(sections: Mapping[str, Mapping[str, object]]) -> Reading:
    """Reads the sections of an effective pack (name -> {text, order, …})."""
    texts = section_texts(sections)
    every = [block for text in texts for block in blocks(text)]
    whole = "\n".join(text for _, text in every)
    fields, facts, procedures = [], [], []
    for bullet, text in every:
        if not bullet or any(pattern.search(text) for pattern in (*_RULES, _MASK)):
            continue
        if match := _FIELD.match(text):
            fields.append(Field(match["key"], match["kind"], match["other"] or ""))
        elif match := _PROCEDURE.match(text):
            procedures.append(Fact(match["steps"], tuple(_REFERENCE.findall(text)), stems(match["name"])))
        else:
            facts.append(_fact(text))
    limit = [int(found) for found in _WORDS.findall(whole)]
    return Reading(
        form="json" if _JSON.search(whole) else "markdown" if _MARKDOWN.search(whole) else "prose",
        bare=bool(_BARE.search(whole)),
        fields=tuple({field.key: field for field in fields}.values()),
        facts=tuple(facts),
        procedures=tuple(procedures),
        routes=_rules(_ROUTE, every),
        choices=(*_rules(_CHOICE, every), *_rules(_OTHERWISE, every)),
        tools=_rules(_TOOL, every),
        refusals=_rules(_REFUSE, every),
        phrases=(*_rules(_SAY_WHEN, every), *_rules(_SAY, every)),
        questions=_rules(_ASK, every),
        cites=bool(_CITE.search(whole)),
        masks=bool(_MASK.search(whole)),
        answers_parts=bool(_PARTS.search(whole)),
        checks_itself=bool(_CHECK.search(whole)),
        max_words=min(limit) if limit else None,
    )
