"""The texts that went in and came out of a span, in whichever of the many places a convention keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apps.telemetry.domain.otlp.names import MESSAGE_EVENTS, NUMBERED, TARGETS
from apps.telemetry.domain.otlp.spans import Span


def messages_of(span: Span, facts: Mapping[str, Any], numbered: Mapping[str, Any]) -> dict[str, Any]:
    """`input` and `output`: of an attribute of its own first, then of numbered ones, then of the span's events."""
    found = {side: facts[side] for side in ("input", "output") if side in facts}
    if len(found) == 2:
        return found
    if numbered:
        for side, said in _of_numbers(numbered).items():
            found.setdefault(side, said)
    if span.events and len(found) < 2:
        for side, said in _of_events(span).items():
            found.setdefault(side, said)
    return found


def _of_numbers(numbered: Mapping[str, Any]) -> dict[str, Any]:
    """`gen_ai.prompt.0.content`, `llm.input_messages.0.message.content`, … as lists of messages in their order."""
    sides: dict[str, dict[int, dict[str, Any]]] = {}
    for key, value in numbered.items():
        prefix = next(each for each in NUMBERED if key.startswith(each))
        number, _, rest = key.removeprefix(prefix).partition(".")
        if number.isascii() and number.isdigit() and len(number) < 6:
            sides.setdefault(NUMBERED[prefix], {}).setdefault(int(number), {})[rest.removeprefix("message.") or "content"] = value
    return {side: [messages[number] for number in sorted(messages)] for side, messages in sides.items()}


def _of_events(span: Span) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, attributes in span.events:
        side = MESSAGE_EVENTS.get(name)
        if side is None:
            continue
        # Content under the names that attributes of spans have, for both sides at once.
        whole = {TARGETS[key][0]: value for key, value in attributes.items() if key in TARGETS and value not in (None, "")}
        whole = {key: value for key, value in whole.items() if key in ("input", "output")}
        if whole:
            for each, value in whole.items():
                found.setdefault(each, value)
        elif side:
            role = name.removeprefix("gen_ai.").removesuffix(".message")
            said = {key: value for key, value in attributes.items() if value is not None and not key.startswith("gen_ai.")}
            kept = found.setdefault(side, [])
            if isinstance(kept, list):
                kept.append({"role": role, **said} if side == "input" else said)
    return found
