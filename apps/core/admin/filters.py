"""List filters. What they offer is what the person may see: Django's own filter of a relation offers every tenant's rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from django.apps import apps
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import ModelAdmin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from unfold.contrib.filters.admin import RangeDateTimeFilter, TextFilter

from apps.core.http import context_of

MAX_OFFERED = 40
# What `within` offers, by what stands in the address.
SPANS: Final = {
    "15m": (timedelta(minutes=15), "the last 15 minutes"),
    "1h": (timedelta(hours=1), "the last hour"),
    "24h": (timedelta(hours=24), "the last 24 hours"),
    "7d": (timedelta(days=7), "the last 7 days"),
}


def matching(rows: QuerySet[Any], **lookup: Any) -> QuerySet[Any]:
    """The rows with these values; none where a value is none that the field can have."""
    try:
        return rows.filter(**lookup)
    except (ValidationError, ValueError, TypeError):
        return rows.none()


class Related(SimpleListFilter):
    """By a relative. Few are offered by name; of many only the chosen one is, to which links from elsewhere lead."""

    path = ""
    target = ""
    related: tuple[str, ...] = ()

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        rows = apps.get_model(self.target)._default_manager.restrict(context_of(request)).select_related(*self.related)
        found = list(rows[: MAX_OFFERED + 1])
        if len(found) > MAX_OFFERED:
            chosen = self.value()
            found = list(matching(rows, pk=chosen)[:1]) if chosen else []
        return [(str(row.pk), str(row)) for row in found]

    def has_output(self) -> bool:
        return bool(self.value()) or super().has_output()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return matching(queryset, **{self.path: self.value()}) if self.value() else queryset


def related(path: str, target: str, title: str, *, parameter: str | None = None, with_: tuple[str, ...] = ()) -> type[Related]:
    """A filter by the foreign key at `path` (`layer__pack`) to `target` (`packs.Pack`)."""
    fields = {"path": path, "target": target, "title": title, "parameter_name": parameter or path.rpartition("__")[2], "related": with_}
    return type(f"By{target.replace('.', '')}", (Related,), fields)


class Values(SimpleListFilter):
    """By one of a few known values of a field."""

    path = ""
    offered: tuple[tuple[str, str], ...] = ()

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> tuple[tuple[str, str], ...]:
        return self.offered

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return matching(queryset, **{self.path: self.value()}) if self.value() else queryset


def values(path: str, title: str, offered: list[tuple[str, str]], *, parameter: str | None = None) -> type[Values]:
    fields = {"path": path, "title": title, "parameter_name": parameter or path.replace("__", "_"), "offered": tuple(offered)}
    return type(f"By{title.title().replace(' ', '')}", (Values,), fields)


def empty(path: str, title: str, yes: str, no: str) -> type[SimpleListFilter]:
    """Whether a field that may be null is set."""

    class Empty(SimpleListFilter):
        parameter_name = path

        def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
            return [("yes", yes), ("no", no)]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{f"{path}__isnull": self.value() == "no"}) if self.value() else queryset

    Empty.title = title
    return Empty


def exact(path: str, title: str) -> type[SimpleListFilter]:
    """By a value that links lead here with; nothing is offered by itself."""

    class Exact(SimpleListFilter):
        parameter_name = path

        def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
            return [(value, value)] if (value := self.value()) else []

        def has_output(self) -> bool:
            return bool(self.value())

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return matching(queryset, **{path: self.value()}) if self.value() else queryset

    Exact.title = title
    return Exact


def when(path: str) -> tuple[str, type[RangeDateTimeFilter]]:
    """Between two times."""
    return (path, RangeDateTimeFilter)


class Typed(TextFilter):  # type: ignore[misc]
    """By a value that is typed in, in full; links from elsewhere lead here with one too."""

    path = ""
    # Values that occur, with how often: set for a request by `lookups`, which Django calls first.
    counted: Sequence[tuple[str, int]] = ()

    def value(self) -> str:
        return str(super().value() or "").strip()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return matching(queryset, **{self.path: self.value()}) if self.value() else queryset

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        for choice in super().choices(changelist):
            links = ((changelist.get_query_string({self.parameter_name: value}), value, f"{count:,}") for value, count in self.counted)
            field = choice["form"].fields[self.parameter_name]
            field.help_text = format_html_join(", ", '<a class="mc-link" href="{}">{}</a> {}', links)
            yield choice


def typed(path: str, title: str, base: type[Typed] = Typed) -> type[Typed]:
    fields = {"path": path, "title": title, "parameter_name": path}
    return type(f"By{title.title().replace(' ', '')}", (base,), fields)


def within(path: str) -> type[SimpleListFilter]:
    """Since a moment ago: the windows that are asked for most."""

    class Within(SimpleListFilter):
        title = "time window"
        parameter_name = "within"

        def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
            return [(name, label) for name, (_, label) in SPANS.items()]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            span = SPANS.get(self.value() or "")
            return queryset.filter(**{f"{path}__gte": timezone.now() - span[0]}) if span else queryset

    return Within
