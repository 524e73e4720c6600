"""The history of one object, newest first: who changed it, when, over which channel, and what it was before. To be looked at only."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import DataError
from django.db.models import BinaryField, DateTimeField, Field, ForeignKey, JSONField, Model, TextField
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from apps.core.access import Action, holds
from apps.core.admin import cells
from apps.core.context import ActionContext
from apps.core.domain.differences import Kind, lines_of
from apps.core.errors import Problem
from apps.core.history import OUTSIDE, history_model
from apps.core.http import context_of

if TYPE_CHECKING:
    from apps.core.admin.base import GovernedAdmin

PAGE: Final = 20
# Longer texts, and those of several lines, are shown as a difference of lines.
SHORT: Final = 100
NOTHING: Final = mark_safe('<span class="mc-none">nothing</span>')
CHANNELS: Final = {"admin": "in the admin", "api": "over the API", "task": "by a task", "cli": "on the command line"}
# What says whose row it is: the same in every row.
_CONSTANT = ("id", "tenant")

# (request, time of the row) of rows that were written in one transaction each -> their reasons, for who may read them.
Written = Sequence[tuple[str, datetime]]
Reasons = Callable[[ActionContext, Written], Mapping[tuple[str, datetime], list[str]]]
_reasons: list[Reasons] = []


def register_reasons(reasons: Reasons) -> Reasons:
    """The log, which stands above core, knows why: it answers only who may audit."""
    _reasons[:] = [reasons]
    return reasons


@dataclass(frozen=True, slots=True)
class Change:
    """One field of a row and of the one before it. `lines` where a difference of lines says more than two values."""

    label: str
    before: object
    after: object
    lines: list[tuple[Kind, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Entry:
    number: int
    did: SafeString
    at: SafeString
    who: SafeString
    channel: str
    reasons: list[str]
    log_url: str
    changes: list[Change]
    # What the object was when it was made, or when its history began.
    values: list[Change]
    # A change of nothing that history keeps.
    idle: bool


def url_of(site: GovernedAdmin, object_id: object) -> str:
    return reverse(f"admin:{site.opts.app_label}_{site.opts.model_name}_history", args=[object_id])


def page(site: GovernedAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """Raises Problem `not_found` where the person sees neither the object nor what is left of it, `permission_denied`."""
    try:
        obj = site.visible(request, object_id)
    except Problem as error:
        obj = of_removed(site, request, object_id)
        if error.code != "not_found" or obj is None:
            raise
    ctx = context_of(request)
    rows = history_model(site.model).objects.filter(id=obj.pk).order_by("-history_id")
    number = max(1, int(asked)) if (asked := request.GET.get("page", "1")).isdecimal() and len(asked) < 10 else 1
    audits = holds(ctx, Action.AUDIT)
    found, older = entries(request, rows, number, audits=audits)
    exists = obj._state.db is not None
    context = {
        **site.page_context(request),
        "title": f"History: {obj}",
        "subtitle": f"{site.opts.verbose_name}: history",
        "original": obj,
        "heading": site.heading(obj) if exists else str(obj),
        "exists": exists,
        "foreign": getattr(obj, "tenant_id", ctx.tenant_id) != ctx.tenant_id,
        "object_url": cells.admin_url(obj) if exists else "",
        "list_url": cells.list_url(site.model),
        "entries": found,
        "newer": f"?page={number - 1}" if number > 1 else "",
        "older": f"?page={number + 1}" if older else "",
        "number": number,
    }
    return TemplateResponse(request, "core/history.html", context)


def of_removed(site: GovernedAdmin, request: HttpRequest, object_id: str) -> Any:
    """An object of the person's tenant that is no more, as its history has it last; None where there is none that they may see."""
    history = history_model(site.model)
    if history is None or "tenant" not in {each.name for each in history._meta.fields} or not site.has_view_permission(request):
        return None
    try:
        row = history.objects.filter(id=object_id, tenant_id=context_of(request).tenant_id).order_by("-history_id").first()
    except (ValueError, ValidationError, DataError):
        return None
    return row.history_object if row is not None and row.history_type == "-" else None


def entries(request: HttpRequest, rows: Any, number: int, *, audits: bool) -> tuple[list[Entry], bool]:
    """The entries of one page (the first is 1), and whether there are older ones."""
    begin = (number - 1) * PAGE
    found = list(rows[begin : begin + PAGE + 1])
    pairs = [(row, found[index + 1] if index + 1 < len(found) else None) for index, row in enumerate(found[:PAGE])]
    names = Names(request, rows.model, found)
    written = [(row.request_id, row.history_date) for row, _ in pairs if row.request_id]
    reasons = _reasons[0](context_of(request), written) if audits and _reasons and written else {}
    made = [_entry(row, before, names, reasons.get((row.request_id, row.history_date), []), audits) for row, before in pairs]
    return made, len(found) > PAGE


class Names:
    """Related objects and people by their names, as far as the person may see them: one query for each model."""

    def __init__(self, request: HttpRequest, history: type[Model], rows: Sequence[Any]) -> None:
        self.fields: list[Field[Any, Any]] = [each for each in history.tracked_fields if each.name not in _CONSTANT]  # type: ignore[attr-defined]
        wanted: defaultdict[Any, set[UUID]] = defaultdict(set)
        for each in self.fields:
            if isinstance(each, ForeignKey):
                wanted[each.related_model] |= {key for row in rows if (key := getattr(row, each.attname)) is not None}
        self.people: Any = get_user_model()
        named = frozenset(wanted[self.people])
        wanted[self.people] |= {row.actor_id for row in rows if row.actor_kind == "user" and row.actor_id}
        self.known = {model: _named(request, model, keys) for model, keys in wanted.items() if keys}
        # A member of old is named as everywhere else in the tenant's rows, though there is no page of theirs any more.
        self.former = self.people._default_manager.in_bulk(named - self.known.get(self.people, {}).keys())

    def of(self, model: Any, key: UUID) -> object:
        obj = self.known.get(model, {}).get(key)
        if obj is not None:
            return cells.link_to(obj)
        if model is self.people and key in self.former:
            return str(self.former[key])
        return format_html('{} <code class="mc-code" title="{}">{}…</code>', model._meta.verbose_name, key, str(key)[:13])

    def person(self, key: UUID) -> SafeString:
        obj = self.known.get(self.people, {}).get(key)
        if obj is not None:
            return cells.link_to(obj)
        return format_html('somebody who is not, or no longer, of this tenant (<code class="mc-code">{}</code>)', key)


def _named(request: HttpRequest, model: Any, keys: Iterable[UUID]) -> Mapping[UUID, Model]:
    site: Any = admin.site._registry.get(model)
    if site is None:
        return {}
    # A name needs no content.
    heavy = [each.name for each in model._meta.concrete_fields if isinstance(each, JSONField | BinaryField | TextField)]
    related = site.list_select_related if isinstance(site.list_select_related, tuple) else ()
    rows = site.get_queryset(request).order_by().select_related(*related).defer(*heavy)
    return {obj.pk: obj for obj in rows.filter(pk__in=list(keys))}


def _entry(row: Any, before: Any, names: Names, reasons: list[str], audits: bool) -> Entry:
    changes = _changes(before, row, names) if before is not None and row.history_type == "~" else []
    # Of the oldest row there is no row before: what it says is the beginning.
    whole = row.history_type == "+" or (before is None and row.history_type == "~")
    return Entry(
        number=row.history_id,
        did=_did(row, before),
        at=_moment(row.history_date),
        who=_who(row, names),
        channel=CHANNELS.get(row.channel, row.channel),
        reasons=reasons,
        log_url=_log_url(row.request_id) if audits and row.request_id else "",
        changes=changes,
        values=_changes(None, row, names) if whole else [],
        idle=row.history_type == "~" and before is not None and not changes,
    )


def _did(row: Any, before: Any) -> SafeString:
    if row.history_type == "+":
        return cells.badge("created", "good", icon="add_circle")
    if row.history_type == "-":
        return cells.badge("removed", "bad")
    return cells.badge("changed", "info", icon="edit") if before is not None else cells.badge("history begins", "plain", icon="flag")


def _moment(at: datetime) -> SafeString:
    at = at.astimezone(UTC)
    return format_html('<time class="mc-time" datetime="{}">{}</time>', at.isoformat(), at.strftime("%Y-%m-%d %H:%M:%S UTC"))


def _who(row: Any, names: Names) -> SafeString:
    if row.actor_kind == OUTSIDE:
        return format_html("{} written outside of a service: by a migration or in a shell", cells.badge("unknown", "warn"))
    if row.actor_kind == "user" and row.actor_id:
        return names.person(row.actor_id)
    if row.actor_kind == "agent":
        return format_html('the agent <code class="mc-code">{}</code>', row.actor_label)
    return format_html('the system (<code class="mc-code">{}</code>)', row.actor_label)


def _log_url(request_id: str) -> str:
    log = next((model for model in admin.site._registry if model._meta.label == "audit.Event"), None)
    return cells.list_url(log, request_id=request_id) if log else ""


def _changes(before: Any, after: Any, names: Names) -> list[Change]:
    """The fields that differ; without a row before, those that hold something."""
    found = []
    for each in names.fields:
        old = getattr(before, each.attname) if before is not None else None
        new = getattr(after, each.attname)
        if old != new and (before is not None or new not in (None, "", [], {})):
            found.append(_change(each, old, new, names))
    return found


def _change(each: Field[Any, Any], old: Any, new: Any, names: Names) -> Change:
    label = str(each.verbose_name).replace("_", " ")
    label = label[:1].upper() + label[1:]
    texts = _text(old), _text(new)
    if texts[0] is not None and texts[1] is not None and any(len(text) > SHORT or "\n" in text for text in texts if text):
        return Change(label, None, None, lines_of(texts[0], texts[1]) or [("hunk", "Only line ends changed.")])
    return Change(label, _shown(each, old, names), _shown(each, new, names))


def _text(value: Any) -> str | None:
    """A value that is text, or reads best as one; None for the others."""
    if isinstance(value, str):
        return value
    if value is None or value in ({}, []):
        return ""
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict | list) for item in value)):
        return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return None


def _chosen(value: str, label: str) -> object:
    """A state as its badge, as on the object's page; a label where it says more than the value."""
    word = value.replace("_", " ")
    if label.lower() != word.lower():
        return label
    return cells.badge(value) if value in cells.TONES else word


def _shown(each: Field[Any, Any], value: Any, names: Names) -> object:
    if value is None or value in ("", [], {}):
        return NOTHING
    if isinstance(each, ForeignKey):
        return names.of(each.related_model, value)
    if isinstance(each, DateTimeField):
        return _moment(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if each.choices:
        return _chosen(str(value), str(dict(each.flatchoices).get(value, value)))
    if isinstance(value, list):
        return cells.words(value)
    if isinstance(value, dict):
        return cells.pretty(value)
    if isinstance(value, UUID):
        return cells.code(value)
    return format_html('<span x-ignore hx-disable class="mc-line">{}</span>', value)
