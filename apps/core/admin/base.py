"""The base of every page on governed state: it is looked at here, and changed by acts alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib import admin
from django.contrib.admin import ListFilter
from django.core.exceptions import ValidationError
from django.db import DataError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from apps.core.access import Action, holds, listed
from apps.core.admin import acts as acting
from apps.core.admin import cells, history
from apps.core.admin.acts import Act, Button
from apps.core.admin.columns import Column
from apps.core.context import ActionContext
from apps.core.errors import Problem, problem
from apps.core.history import history_model
from apps.core.http import context_of


@dataclass(frozen=True, slots=True)
class Facts:
    """A group of values on an object's page. Those of `long` stand below each other, over the whole width."""

    title: str
    columns: tuple[Column, ...]
    long: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """A part of an object's page with a template of its own; `context` gives None where there is nothing to show."""

    title: str
    template: str
    context: Callable[[HttpRequest, Any], dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Relatives:
    """The last few rows of another model that belong to the object; `query` is the list's filter for all of them."""

    title: str
    rows: Callable[[ActionContext, Any], QuerySet[Any]]
    columns: tuple[Column, ...]
    query: Callable[[Any], dict[str, object]] | None = None
    empty: str = "None yet."
    limit: int = 10


Part = Callable[[HttpRequest, Any], HttpResponse]


@dataclass(slots=True)
class Extension:
    """What a room above adds to the page of an object below it."""

    acts: list[Act] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    relatives: list[Relatives] = field(default_factory=list)
    parts: dict[str, Part] = field(default_factory=dict)


_extensions: defaultdict[str, Extension] = defaultdict(Extension)


def extend(
    model: type[Model],
    *,
    acts: Sequence[Act] = (),
    panels: Sequence[Panel] = (),
    relatives: Sequence[Relatives] = (),
    parts: dict[str, Part] | None = None,
) -> None:
    """Adds to the page of `model`, whose room stands below the caller's."""
    found = _extensions[model._meta.label]
    found.acts.extend(acts)
    found.panels.extend(panels)
    found.relatives.extend(relatives)
    found.parts.update(parts or {})


PageLink = Callable[[HttpRequest, Any], tuple[str, str] | None]
_page_links: list[PageLink] = []


def page_link(link: PageLink) -> PageLink:
    """Registers a link at the foot of every object's page: `(url, text)`, or None where it leads the person nowhere."""
    _page_links.append(link)
    return link


class GovernedAdmin(ModelAdmin):  # type: ignore[misc]
    """Rows come from `restrict`, pages answer GET and HEAD, nothing is edited by a form."""

    view_action = Action.VIEW
    facts: tuple[Facts, ...] = ()
    panels: tuple[Panel, ...] = ()
    relatives: tuple[Relatives, ...] = ()
    acts: tuple[Act, ...] = ()
    list_acts: tuple[Act, ...] = ()
    parts: dict[str, Part] = {}
    # What the page of one object needs besides what its list does.
    detail_related: tuple[str, ...] = ()
    # Whether what happens to its objects stands in the audit log.
    audited = True
    # What to do when the list is empty, a sentence.
    when_empty = ""

    actions = None
    list_per_page = 50
    list_max_show_all = 200
    list_filter_submit = True
    empty_value_display = "–"
    change_list_template = "core/list.html"

    # Who may see what

    def has_module_permission(self, request: HttpRequest) -> bool:
        return hasattr(request, "ctx") and listed(request.ctx, self.view_action, self.model)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = self.model._default_manager.restrict(context_of(request), self.view_action)
        ordering = self.get_ordering(request)
        return rows.order_by(*ordering) if ordering else rows

    def get_ordering(self, request: HttpRequest) -> Any:
        """Newest first for who sees single objects by what is granted: that order is the grants' own (`read_grants_first`)."""
        return super().get_ordering(request) if holds(context_of(request), self.view_action) else ("-pk",)

    def get_paginator(self, request: HttpRequest, queryset: Any, per_page: int, *more: Any, **options: Any) -> Any:
        """Nor are their rows counted: it would take reading all that is granted."""
        if holds(context_of(request), self.view_action):
            return super().get_paginator(request, queryset, per_page, *more, **options)
        return InfinitePaginator(queryset, per_page, *more, **options)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Only what the list's filters ask by: a look-up across a relation could spell out what the person may not see."""
        for each in self.list_filter:
            if isinstance(each, type) and issubclass(each, ListFilter):
                if lookup == getattr(each, "parameter_name", None):
                    return True
            else:
                name = each if isinstance(each, str) else each[0]
                if lookup == name or (lookup.startswith(f"{name}_") and "__" not in lookup.removeprefix(f"{name}__")):
                    return True
        return False

    def visible(self, request: HttpRequest, object_id: str) -> Any:
        """The object, or Problem `not_found`: what is invisible does not exist."""
        if not self.has_view_permission(request):
            raise problem("permission_denied", f"Your role in this tenant does not show {self.opts.verbose_name_plural}.")
        related = (*(self.list_select_related if isinstance(self.list_select_related, tuple) else ()), *self.detail_related)
        try:
            return self.get_queryset(request).select_related(*related).get(pk=object_id)
        except (self.model.DoesNotExist, ValueError, ValidationError, DataError):
            raise problem("not_found", f"There is no such {self.opts.verbose_name} in this tenant.") from None

    # Pages

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        wrap = self.admin_site.admin_view
        own = [
            path("act/<slug:act>/", wrap(self.list_act_view), name=f"{name}_list_act"),
            path("<path:object_id>/act/<slug:act>/", wrap(self.act_view), name=f"{name}_act"),
            path("<path:object_id>/part/<slug:part>/", wrap(self.part_view), name=f"{name}_part"),
        ]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        context = {
            "buttons": self.list_buttons(request),
            "when_empty": self.when_empty,
            "intro": self.list_intro(request),
            **(extra_context or {}),
        }
        found: HttpResponse = super().changelist_view(request, context)
        return found

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        try:
            obj = self.visible(request, object_id)
        except Problem as error:
            if error.code == "not_found" and history.of_removed(self, request, object_id) is not None:
                return redirect(history.url_of(self, object_id))
            raise
        context = {
            **self.page_context(request),
            "title": str(obj),
            "subtitle": str(self.opts.verbose_name).capitalize(),
            "original": obj,
            "heading": self.heading(obj),
            "intro": self.intro(request, obj),
            "buttons": self.buttons(request, obj),
            "facts": [_shown(group, obj) for group in self.facts],
            "panels": self.shown_panels(request, obj),
            "relatives": [self._relatives(request, each, obj) for each in (*self.relatives, *_extensions[self.opts.label].relatives)],
            "history_url": history.url_of(self, obj.pk) if history_model(self.model) is not None else "",
            "log_url": self.log_url(request, obj),
            "links": [found for link in _page_links if (found := link(request, obj))],
            **(extra_context or {}),
        }
        return TemplateResponse(request, "core/detail.html", context)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """What the object was, by whom it was changed; of objects without history the log tells what happened."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if history_model(self.model) is not None:
            return history.page(self, request, object_id)
        obj = self.visible(request, object_id)
        return redirect(self.log_url(request, obj) or cells.admin_url(obj))

    def log_url(self, request: HttpRequest, obj: Model) -> str:
        log = next((model for model in admin.site._registry if model._meta.label == "audit.Event"), None)
        if not self.audited or log is None or not listed(context_of(request), Action.AUDIT, log):
            return ""
        return cells.list_url(log, object_id=obj.pk)

    def part_view(self, request: HttpRequest, object_id: str, part: str) -> HttpResponse:
        """A piece of the page that is fetched by itself: because it is dear, or because it moves."""
        found = {**self.parts, **_extensions[self.opts.label].parts}.get(part)
        if found is None or request.method not in ("GET", "HEAD"):
            raise problem("not_found", "There is no such part.")
        return found(request, self.visible(request, object_id))

    def page_context(self, request: HttpRequest) -> dict[str, Any]:
        request.current_app = self.admin_site.name
        return {**self.admin_site.each_context(request), "opts": self.opts, "model_admin": self}

    def heading(self, obj: Any) -> object:
        """The object's name as its page shows it, with its state."""
        return str(obj)

    def list_intro(self, request: HttpRequest) -> Iterable[object]:
        """Sentences above the list: what the rows leave unsaid."""
        return ()

    def intro(self, request: HttpRequest, obj: Any) -> Iterable[object]:
        """Sentences below the heading: what this is, what happens next."""
        return ()

    def shown_panels(self, request: HttpRequest, obj: Any) -> list[dict[str, Any]]:
        found = []
        for panel in (*self.panels, *_extensions[self.opts.label].panels):
            context = panel.context(request, obj)
            if context is not None:
                found.append({"title": panel.title, "template": panel.template, "context": context})
        return found

    # Acts

    def acts_of(self) -> tuple[Act, ...]:
        return (*self.acts, *_extensions[self.opts.label].acts)

    def buttons(self, request: HttpRequest, obj: Any) -> list[Button]:
        """The acts that the person may do and the state allows, as buttons."""
        ctx: ActionContext = context_of(request)
        allowed = [act for act in acting.permitted(ctx, self.acts_of(), obj) if act.when(ctx, obj)]
        return [Button(act.label, cells.admin_url(obj, act.name), act.icon, act.tone) for act in allowed]

    def list_buttons(self, request: HttpRequest) -> list[Button]:
        ctx: ActionContext = context_of(request)
        allowed = [act for act in self.list_acts if any(holds(ctx, right) for right in act.rights) and act.when(ctx, None)]
        return [Button(act.label, self._list_act_url(act), act.icon, act.tone) for act in allowed]

    def act_view(self, request: HttpRequest, object_id: str, act: str) -> HttpResponseBase:
        obj = self.visible(request, object_id)
        found = next((each for each in self.acts_of() if each.name == act), None)
        if found is None:
            raise problem("not_found", "There is no such act.")
        ctx: ActionContext = context_of(request)
        if not acting.permitted(ctx, [found], obj):
            raise problem("permission_denied", f"Your role in this tenant does not allow “{found.label}” here.")
        back = cells.admin_url(obj)
        if request.method in ("GET", "HEAD") and not found.when(ctx, obj):
            self.message_user(request, f"“{found.label}” is not possible now.", level="warning")
            return redirect(back)
        return acting.answer(request, found, obj=obj, back=back, context={**self.page_context(request), "heading": self.heading(obj)})

    def list_act_view(self, request: HttpRequest, act: str) -> HttpResponseBase:
        ctx: ActionContext = context_of(request)
        found = next((each for each in self.list_acts if each.name == act), None)
        if found is None:
            raise problem("not_found", "There is no such act.")
        if not any(holds(ctx, right) for right in found.rights) or not found.when(ctx, None):
            raise problem("permission_denied", f"Your role in this tenant does not allow “{found.label}”.")
        return acting.answer(request, found, obj=None, back=cells.list_url(self.model), context=self.page_context(request))

    def _list_act_url(self, act: Act) -> str:
        return f"{cells.list_url(self.model)}act/{act.name}/"

    def _relatives(self, request: HttpRequest, each: Relatives, obj: Any) -> dict[str, Any]:
        rows = list(each.rows(context_of(request), obj)[: each.limit + 1])
        query = each.query(obj) if each.query and rows else None
        model = type(rows[0]) if rows else None
        return {
            "title": each.title,
            "headers": [column.short_description for column in each.columns],
            "rows": [[column(row) for column in each.columns] for row in rows[: each.limit]],
            "more": len(rows) > each.limit,
            "all_url": cells.list_url(model, **query) if model and query else "",
            "empty": each.empty,
        }


def _shown(group: Facts, obj: Any) -> dict[str, Any]:
    return {
        "title": group.title,
        "rows": [(column.short_description, column(obj)) for column in group.columns],
        "long": [(column.short_description, value) for column in group.long if (value := column(obj)) is not cells.EMPTY],
    }
