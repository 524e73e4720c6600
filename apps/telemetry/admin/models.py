"""How models do."""

from __future__ import annotations

from django.contrib import admin

from apps.core.admin import Facts, GovernedAdmin, cells, columns, filters
from apps.core.admin.columns import Column
from apps.telemetry.models import ModelHealth, Run


def _runs(health: ModelHealth) -> object:
    return cells.link(cells.list_url(Run, provider=health.provider, model_id=health.model_id), "its runs")


def _success(health: ModelHealth) -> object:
    """Of the runs that say whether they succeeded."""
    known = health.success_calls + health.failed_calls
    if not known:
        return None
    rate = 100 * health.success_calls / known
    return cells.badge(f"{rate:.1f} %", "good" if rate >= 99 else "warn" if rate >= 90 else "bad")


FIGURES = (
    columns.number("total_calls", "Runs"),
    Column("Success", _success),
    columns.number("failed_calls", "Failed"),
    columns.number("avg_latency_ms", "Latency", unit="ms"),
    columns.money("avg_cost_micros", "Cost"),
    columns.points("quality_score", "Score"),
)


@admin.register(ModelHealth)
class ModelHealthAdmin(GovernedAdmin):
    audited = False
    list_display = (
        "model_id",
        columns.text("provider"),
        columns.text("window"),
        *FIGURES,
        columns.clipped("last_error", length=40),
        columns.moment("last_used_at", "Last used"),
    )
    list_filter = (
        filters.values("window", "window", [(value, label) for value, label in ModelHealth.Window.choices]),
        filters.exact("provider", "provider"),
    )
    search_fields = ("model_id", "provider")
    search_help_text = "A model or provider"
    ordering = ("provider", "model_id", "window")
    when_empty = "A model appears a moment after the first run that names its provider and itself (`provider`, `model_id`)."
    facts = (
        Facts(
            "Model",
            (
                columns.text("provider"),
                columns.text("model_id", "Model"),
                columns.text("window"),
                Column("Runs", _runs),
                columns.moment("last_used_at", "Last used"),
                columns.moment("updated_at", "Figures of"),
            ),
        ),
        Facts("On average", FIGURES, long=(columns.block("last_error"),)),
        Facts("Errors", (columns.moment("last_error_at", "Last error"),)),
    )
