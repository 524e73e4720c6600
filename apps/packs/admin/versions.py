"""Versions: what they say, how they differ from what is live, whom they would reach."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html

from apps.core.admin import Facts, GovernedAdmin, Panel, cells, columns, filters
from apps.core.admin.columns import Column
from apps.core.errors import Problem
from apps.core.http import context_of
from apps.packs.admin.reading import difference, readable_content
from apps.packs.admin.writing import EDIT
from apps.packs.models import PackVersion, VersionStatus
from apps.packs.selectors import blast_radius_of, whole_tenant

MAX_SHOWN = 50


def name_of(version: PackVersion) -> str:
    return f"{version.layer.pack.slug}, version {version.number}"


def _status(version: PackVersion) -> object:
    return format_html("{} {}", cells.badge(version.status), version.archived_reason.replace("_", " "))


def _content(request: HttpRequest, version: PackVersion) -> dict[str, Any]:
    return readable_content(version.content)


def base_of(version: PackVersion) -> PackVersion | None:
    """What a version is compared with: the champion or, for what is or was live itself, its parent."""
    champion = version.layer.champion
    return version.parent if champion is None or champion.pk == version.pk or version.was_live else champion


def _difference(request: HttpRequest, version: PackVersion) -> dict[str, Any]:
    base = base_of(version)
    old = f"{base}, {base.status}" if base else "nothing"
    found = difference(base.content if base else None, version.content, old=old, new=str(version))
    return {**found, "base": cells.link_to(base) if base else None, "status": base.status if base else None}


def _reach(request: HttpRequest, version: PackVersion) -> dict[str, Any]:
    return {"url": f"{cells.admin_url(version).removesuffix('change/')}part/reach/"}


def reach_part(request: HttpRequest, version: PackVersion) -> HttpResponse:
    """The blast radius, by itself: it folds every chain that the layer is on."""
    try:
        whole_tenant(context_of(request), "the blast radius")
        found = blast_radius_of(context_of(request), version.layer, version).as_json()
    except Problem as error:
        return TemplateResponse(request, "packs/reach.html", {"refusal": error.detail})
    return TemplateResponse(request, "packs/reach.html", reach_context(found))


def reach_context(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "reach": found,
        "changed": found.get("changed", [])[:MAX_SHOWN],
        "invalid": found.get("invalid", [])[:MAX_SHOWN],
        "shown": MAX_SHOWN,
    }


@admin.register(PackVersion)
class PackVersionAdmin(GovernedAdmin):
    list_display = (
        Column("Version", name_of, order="layer__pack__slug"),
        Column("Layer", lambda version: cells.link_to(version.layer, version.layer.scope), order="layer__scope"),
        Column("Status", _status, order="status"),
        columns.text("author_kind", "By"),
        columns.link("created_by", "Author", order="created_by__email"),
        columns.clipped("notes", length=40),
        columns.digest("digest"),
        columns.moment("created_at", "Written"),
    )
    list_select_related = ("layer__pack", "created_by")
    list_filter = (
        filters.related("layer__pack", "packs.Pack", "pack"),
        filters.related("layer", "packs.Layer", "layer", with_=("pack",)),
        ("status", admin.ChoicesFieldListFilter),
        ("author_kind", admin.ChoicesFieldListFilter),
        filters.empty("quarantined_at", "quarantine", "quarantined", "not quarantined"),
        filters.when("created_at"),
    )
    search_fields = ("layer__pack__slug", "layer__scope", "notes", "digest__startswith")
    search_help_text = "Pack, scope, notes or digest"
    ordering = ("-created_at", "-id")
    detail_related = ("layer__champion", "layer__tenant", "layer__team", "layer__agent__team", "parent")
    when_empty = "Open a pack and write its first version."
    facts = (
        Facts(
            "Version",
            (
                columns.link("layer.pack", "Pack"),
                columns.link("layer"),
                columns.badge("status"),
                columns.text("archived_reason", "Why archived"),
                columns.link("parent", "Made from"),
                columns.text("author_kind", "By"),
                columns.link("created_by", "Author"),
                columns.moment("created_at", "Written"),
                columns.moment("quarantined_at", "Quarantined"),
                columns.digest("digest", length=16),
            ),
            long=(columns.block("notes"),),
        ),
    )
    panels = (
        Panel("What it says", "packs/content.html", _content),
        Panel("The difference", "packs/difference.html", _difference),
        Panel("Whom it would reach", "packs/reach_later.html", _reach),
    )
    parts = {"reach": reach_part}
    acts = (EDIT,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[PackVersion]:
        rows = super().get_queryset(request).defer("canonical")
        one = request.resolver_match is not None and bool(request.resolver_match.kwargs)
        return rows if one else rows.defer("content", "canonical")

    def heading(self, obj: PackVersion) -> object:
        return f"{obj.layer}, {obj}"

    def intro(self, request: HttpRequest, obj: PackVersion) -> Iterator[object]:
        champion = obj.layer.champion
        if obj.status == VersionStatus.DRAFT and obj.parent_id != (champion.pk if champion else None):
            live = f"{champion} is champion now" if champion else "nothing is live now"
            yield f"Made from {obj.parent or 'no champion'}, and {live}: edit it to bring it onto the present champion before it asks for promotion."
        elif obj.status == VersionStatus.DRAFT:
            yield "A draft: it changes nothing. Request its promotion to have it evaluated, judged and approved."
        elif obj.status == VersionStatus.CHALLENGER:
            yield "On its way: it has asked for promotion."
        elif obj.status == VersionStatus.CHAMPION:
            yield "Live: this is what the layer serves."
        elif obj.quarantined_at:
            yield "Quarantined: it can be neither pinned nor rolled back to."
