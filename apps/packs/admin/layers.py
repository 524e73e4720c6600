"""Layers: what one pack serves at one scope, and how it came to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from apps.core.admin import Facts, GovernedAdmin, Relatives, cells, columns, filters
from apps.core.admin.columns import Column
from apps.packs.admin.packs import live
from apps.packs.admin.writing import WRITE_FOR_LAYER
from apps.packs.models import Layer, PackVersion, PointerChange

FLAG = Column("Flag", lambda layer: cells.badge("flagged") if layer.flagged_at else None, order="flagged_at")


@admin.register(Layer)
class LayerAdmin(GovernedAdmin):
    list_display = (
        Column("Layer", lambda layer: layer.scope, order="scope"),
        columns.link("pack", order="pack__slug"),
        columns.text("scope_type", "Kind"),
        Column("Champion", live),
        FLAG,
        columns.moment("created_at", "Since"),
    )
    list_select_related = ("pack", "champion")
    list_filter = (
        filters.related("pack", "packs.Pack", "pack"),
        ("scope_type", admin.ChoicesFieldListFilter),
        filters.empty("champion", "champion", "has one", "inherits"),
        filters.empty("flagged_at", "flag", "flagged", "not flagged"),
        filters.empty("suspended_by", "suspension", "suspended", "not suspended"),
        filters.when("created_at"),
    )
    search_fields = ("scope", "pack__slug")
    ordering = ("pack__slug", "scope")
    detail_related = ("tenant", "team", "agent", "agent__team")
    when_empty = "A layer is one pack at one scope. Writing a version at a scope makes it."
    facts = (
        Facts(
            "Layer",
            (
                columns.link("pack"),
                columns.code("scope"),
                columns.text("tenant", "Owner"),
                Column("Champion", live),
                columns.link("team"),
                columns.link("agent"),
                columns.moment("flagged_at", "Flagged"),
                columns.moment("created_at", "Since"),
            ),
        ),
    )
    relatives = (
        Relatives(
            "Versions",
            lambda ctx, layer: (
                PackVersion.objects.restrict(ctx)
                .filter(layer=layer)
                .select_related("created_by")
                .defer("content", "canonical")
                .order_by("-number")
            ),
            (
                columns.itself("Version"),
                columns.badge("status"),
                columns.text("archived_reason", "Why archived"),
                columns.text("author_kind", "By"),
                columns.text("created_by", "Author"),
                columns.clipped("notes", length=60),
                columns.moment("created_at", "Written"),
            ),
            query=lambda layer: {"layer": layer.pk},
        ),
        Relatives(
            "What it served, and from when",
            lambda ctx, layer: (
                PointerChange.objects.restrict(ctx)
                .filter(layer=layer)
                .select_related("version")
                .defer("version__content", "version__canonical")
                .order_by("-at", "-id")
            ),
            (
                columns.moment("at", "From"),
                Column("Served", lambda change: cells.link_to(change.version) if change.version else "nothing of its own"),
            ),
            query=lambda layer: {"layer": layer.pk},
            empty="It has never served anything of its own.",
        ),
    )
    acts = (WRITE_FOR_LAYER,)

    def get_queryset(self, request: HttpRequest) -> Any:
        rows = super().get_queryset(request)
        return rows if request.resolver_match and request.resolver_match.kwargs else rows.defer("champion__content", "champion__canonical")

    def intro(self, request: HttpRequest, obj: Layer) -> Iterator[object]:
        if obj.suspended_by:
            yield "Suspended by a decision: it counts as having no champion, and its agents inherit, until its next promotion or rollback."
        elif obj.champion is None:
            yield "Nothing is live here: whoever resolves through it inherits from the layers above."
        else:
            yield f"{str(obj.champion).capitalize()} is live here."
        if obj.flagged_at:
            yield "Resolve had to leave this layer out, since it breaks a rule of an ancestor. Promote a version that holds it, or roll back."


@admin.register(PointerChange)
class PointerChangeAdmin(GovernedAdmin):
    list_display = (
        columns.moment("at", "From"),
        columns.link("layer", order=False),
        Column("Served", lambda change: cells.link_to(change.version) if change.version else "nothing of its own"),
    )
    list_select_related = ("layer__pack", "version")
    list_filter = (filters.related("layer", "packs.Layer", "layer", with_=("pack",)), filters.when("at"))
    search_fields = ("layer__scope", "layer__pack__slug")
    ordering = ("-at", "-id")
    when_empty = "Written whenever a layer's champion changes."
    facts = (
        Facts(
            "Pointer change",
            (columns.moment("at", "From"), columns.link("layer"), columns.link("version", "Served"), columns.code("layer.scope", "Scope")),
        ),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("version__content", "version__canonical")

    def heading(self, obj: PointerChange) -> object:
        return f"{obj.layer}: {obj.version or 'nothing of its own'}"
