"""The terminal output of a run, put together from its events."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import F

from apps.core.context import ActionContext
from apps.telemetry.domain.terminal import as_text
from apps.telemetry.models import Event, Run

# The newest pieces, and of them the last characters: a page is not the place for more.
MAX_PIECES = 1_000
MAX_CHARACTERS = 200_000


@dataclass(frozen=True, slots=True)
class Output:
    """`cut`: there was more before it."""

    text: str
    pieces: int
    cut: bool


def output_of(ctx: ActionContext, run: Run) -> Output:
    """What the agent wrote to its terminal, by the harness's own count where there is one, else by time."""
    rows = Event.objects.restrict(ctx).filter(run_id=run.run_id, action="output").exclude(message=None)
    newest = rows.order_by(F("seq").desc(nulls_first=True), "-created_at", "-id").values_list("message", flat=True)
    found: list[str] = list(newest[: MAX_PIECES + 1])
    text = as_text(reversed(found[:MAX_PIECES]))
    return Output(text[-MAX_CHARACTERS:], min(len(found), MAX_PIECES), len(found) > MAX_PIECES or len(text) > MAX_CHARACTERS)
