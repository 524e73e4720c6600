"""What is posted as an answer, decoded strictly; a bad one is named and costs no good one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from apps.core.domain.canonical import MAX_INTEGER, check_json
from apps.core.errors import FieldError, Problem

MAX_OUTPUT_CHARS = 200_000
MAX_RUN_ID = 200
_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<where>\$[^`]*)`)?$", re.DOTALL)

Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]


class Answer(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An agent's answer to one case and repeat. Latency in ms; `cost_usd` a decimal string of US dollars, kept as whole micro-dollars;
    `tools` are the names of the tools that were called, one for each call; `run_id` is the run it was reported under. What is left out is not
    measured, and counts neither as passed nor as failed."""

    case: UUID
    output: Annotated[str, Meta(max_length=MAX_OUTPUT_CHARS)]
    repeat: Annotated[int, Meta(ge=1, le=9)] = 1
    run_id: Annotated[str, Meta(max_length=MAX_RUN_ID)] = ""
    latency_ms: Count | None = None
    cost_usd: Annotated[str, Meta(max_length=40)] | None = None
    tokens_in: Count | None = None
    tokens_out: Count | None = None
    tools: Annotated[list[Name], Meta(max_length=200)] | None = None
    success: bool | None = None

    def __post_init__(self) -> None:
        if self.cost_usd is not None:
            micros_of(self.cost_usd)

    @property
    def cost_micros(self) -> int | None:
        return None if self.cost_usd is None else micros_of(self.cost_usd)


def micros_of(usd: str) -> int:
    """Whole micro-dollars, half to even. Raises ValueError for anything but an amount from 0 up."""
    try:
        micros = (Decimal(usd) * 1_000_000).to_integral_value(ROUND_HALF_EVEN)
    except InvalidOperation:
        raise ValueError('`cost_usd` is not an amount; write US dollars as a decimal string such as "0.0012"') from None
    if not micros.is_finite() or not 0 <= micros <= MAX_INTEGER:
        raise ValueError("`cost_usd` is out of range")
    return int(micros)


def parse_answers(outputs: Sequence[Any]) -> tuple[dict[int, Answer], list[tuple[int, FieldError]]]:
    """The answers by their index, and what is wrong with the others."""
    answers: dict[int, Answer] = {}
    rejected: list[tuple[int, FieldError]] = []
    for index, sent in enumerate(outputs):
        try:
            check_json(sent)
            answers[index] = msgspec.convert(sent, Answer)
        except msgspec.ValidationError as error:
            rejected.append((index, _finding(str(error))))
        except Problem as refused:
            rejected.append((index, refused.errors[0]))
    return answers, rejected


def _finding(message: str) -> FieldError:
    match = _AT.match(message)
    where = (match["where"] if match else None) or "$"
    pointer = where.removeprefix("$").replace(".", "/").replace("[", "/").replace("]", "")
    what = match["what"] if match else message
    return FieldError(pointer, "unknown_key" if "unknown field" in what else "invalid", what)
