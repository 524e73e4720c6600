"""How runs and results look in lists."""

from __future__ import annotations

from apps.core.admin import cells, columns
from apps.core.admin.columns import Column
from apps.evals.models import EvalResult, EvalRun


def score_of(row: EvalResult) -> object:
    return cells.points(row.deterministic_score)


def progress(run: EvalRun) -> object:
    return cells.bar(run.done, run.total, f"answers of {run}")


def arm(run: EvalRun) -> object:
    return cells.link_to(run.version) if run.version else "baseline"


NO_CONTENT = ("version__content", "version__canonical")
RUN_COLUMNS = (
    columns.itself("Run"),
    columns.badge("state"),
    Column("Answered", progress),
    columns.text("runner"),
    columns.moment("created_at", "Begun"),
    columns.moment("completed_at", "Ended"),
)
