"""Approvals and decisions: what was said and what remains."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from apps.core.admin import Facts, GovernedAdmin, Panel, cells, columns, filters
from apps.core.admin.columns import Column
from apps.promotions.admin import panels as shown
from apps.promotions.admin.convergence import convergence_panel, convergence_part
from apps.promotions.models import Approval, Decision

ANSWER = Column("Answer", lambda row: cells.badge("voided") if row.voided_at else cells.badge("approved" if row.approved else "refused"))
ROLES = Column("As", lambda row: cells.words(role.replace("_", " ") for role in row.roles))
BEHALF = columns.link("on_behalf_of", "On behalf of", order=False)
ABOUT = Column("Promotion", lambda row: cells.link_to(row.promotion))
HEAVY = tuple(f"promotion__{name}" for name in ("verdict", "blast", "thresholds", "challenger__content", "challenger__canonical"))


@admin.register(Approval)
class ApprovalAdmin(GovernedAdmin):
    list_display = (
        Column("Approval", str),
        ABOUT,
        ANSWER,
        ROLES,
        BEHALF,
        columns.clipped("comment"),
        columns.moment("created_at", "When"),
        columns.moment("voided_at", "Voided"),
    )
    list_select_related = ("user", "on_behalf_of", "promotion__layer__pack", "promotion__challenger")
    list_filter = (
        ("approved", admin.BooleanFieldListFilter),
        filters.empty("voided_at", "voiding", "voided", "stands"),
        filters.exact("promotion", "promotion"),
        filters.exact("user", "person"),
        filters.when("created_at"),
    )
    search_fields = ("user__email", "comment", "promotion__layer__pack__slug", "promotion__layer__scope")
    ordering = ("-created_at", "-id")
    when_empty = "A person's yes or no to a promotion is kept here, bound to what they saw."
    facts = (
        Facts(
            "Approval",
            (
                columns.link("user", "Person"),
                ROLES,
                BEHALF,
                ANSWER,
                ABOUT,
                columns.moment("created_at", "When"),
                columns.moment("voided_at", "Voided"),
                columns.digest("binding", "Bound to", length=16),
            ),
            long=(columns.block("comment"), columns.block("voided_reason", "Why it was voided")),
        ),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer(*HEAVY)


def _said(decision: Decision) -> object:
    return cells.tree([{**each, "roles": ", ".join(each["roles"])} for each in decision.approvals]) if decision.approvals else cells.EMPTY


@admin.register(Decision)
class DecisionAdmin(GovernedAdmin):
    list_display = (
        Column("Decision", str, order="decision"),
        columns.badge("decision", "Kind"),
        columns.link("champion_version", "Was live", order=False),
        columns.link("challenger_version", "About", order=False),
        columns.clipped("reason"),
        columns.text("actor_label", "By"),
        columns.moment("created_at", "When"),
    )
    list_select_related = ("layer__pack", "champion_version", "challenger_version")
    list_filter = (
        ("decision", admin.ChoicesFieldListFilter),
        filters.related("layer__pack", "packs.Pack", "pack"),
        filters.related("layer", "packs.Layer", "layer", with_=("pack",)),
        filters.exact("promotion", "promotion"),
        filters.when("created_at"),
    )
    search_fields = ("scope_id", "layer__pack__slug", "reason", "actor_label")
    ordering = ("-created_at", "-id")
    detail_related = ("promotion__layer__pack", "promotion__challenger", "decided_by")
    when_empty = "What is decided about a layer is appended here and never changes."
    facts = (
        Facts(
            "Decision",
            (
                columns.badge("decision", "Kind"),
                columns.link("layer"),
                columns.link("champion_version", "Was live"),
                columns.link("challenger_version", "About"),
                ABOUT,
                columns.link("decided_by"),
                columns.text("actor_label", "As"),
                columns.moment("created_at", "When"),
            ),
            long=(columns.block("reason"), Column("Approvals", _said)),
        ),
    )
    panels = (
        Panel(
            "The verdict that it rests on",
            "promotions/verdict.html",
            lambda request, row: shown.verdict_panel(request, row) if row.verdict else None,
        ),
        Panel("How far it has come", "promotions/convergence.html", convergence_panel),
    )
    parts = {"convergence": convergence_part}

    def get_queryset(self, request: HttpRequest) -> Any:
        heavy = ("champion_version__content", "champion_version__canonical", "challenger_version__content", "challenger_version__canonical")
        return super().get_queryset(request).defer(*heavy)
