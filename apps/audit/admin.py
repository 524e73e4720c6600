"""The audit log of the tenant: searched, read event by event with its place in the chain, verified."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from unfold.paginator import InfinitePaginator

from apps.audit.exports import answer, export
from apps.audit.heads import failure
from apps.audit.models import Event, ExportedHead
from apps.audit.selectors import head, reasons_of
from apps.audit.services import verify_tenant
from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, Panel, cells, columns, filters
from apps.core.admin.columns import Column
from apps.core.admin.history import register_reasons
from apps.core.http import context_of

register_reasons(reasons_of)

AREAS = ("identity", "audit", "pack", "version", "subscription", "preset", "evals", "promotion", "approval", "decision")


def _object(event: Event) -> object:
    """What the event is about, leading to its page where it has one."""
    name = event.object_type.partition(".")[2]
    short = f"{name} {event.object_id[:8]}…"
    try:
        return cells.link(reverse(f"admin:{event.object_type.replace('.', '_')}_change", args=[event.object_id]), short)
    except NoReverseMatch:
        return short


def _text(key: str) -> Any:
    def show(event: Event) -> object:
        text = getattr(event, "text", None)
        return (text.text or {}).get(key) if text is not None else "(erased)"

    return show


def _reason(event: Event) -> object:
    """Its beginning: a list is read by lines."""
    said = " ".join(str(_text("reason")(event) or "").split())
    return said[:59] + "…" if len(said) > 60 else said or None


ACTOR, REASON = Column("Actor", _text("actor")), Column("Reason", _text("reason"))
OBJECT = Column("Object", _object)
MOMENT = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"})


class AreaFilter(filters.Values):
    title, parameter_name = "area", "area"
    offered = tuple((area, area) for area in AREAS)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        return queryset.filter(action__startswith=f"{self.value()}.") if self.value() in AREAS else queryset


def _neighbours(request: HttpRequest, event: Event) -> dict[str, Any]:
    near = Event.objects.restrict(context_of(request), Action.AUDIT).filter(seq__range=(event.seq - 1, event.seq + 1)).order_by("seq")
    rows = []
    for each in near:
        here = each.pk == event.pk
        rows.append(
            [
                cells.number(each.seq),
                cells.badge("this event", "info") if here else cells.link_to(each, each.action),
                cells.digest(each.previous, 16),
                cells.digest(each.hash, 16),
            ]
        )
    return {"table": {"title": "Place in the chain", "headers": ["Number", "Event", "Previous hash", "Hash"], "rows": rows}}


class ExportForm(ActForm):
    since = forms.DateTimeField(required=False, widget=MOMENT, help_text="UTC; empty begins with the first event.")
    until = forms.DateTimeField(required=False, widget=MOMENT, help_text="UTC, not included; empty ends with the last event.")
    format = forms.ChoiceField(
        choices=[("jsonl", "JSON lines, with the proof"), ("csv", "CSV, for spreadsheets")],
        help_text="Only JSON lines can be verified offline: manage.py verify_audit --export.",
    )


def _export(call: Call) -> Done:
    since, until, file_format = (call.data[name] for name in ("since", "until", "format"))
    return Done(page=answer(call.ctx, export(ctx=call.ctx, since=since, until=until, file_format=file_format), file_format))


def _verify(call: Call) -> Done:
    broken, present = verify_tenant(call.ctx.tenant_id), head(call.ctx)
    site = admin.site._registry[Event]
    context = {
        **site.page_context(call.request),  # type: ignore[attr-defined]
        "title": "Verification",
        "broken": broken,
        "events": present.seq if present else 0,
        "head": cells.digest(present.hash, 64) if present else None,
        "back": cells.list_url(Event),
    }
    return Done(page=TemplateResponse(call.request, "audit/verified.html", context))


@admin.register(Event)
class EventAdmin(GovernedAdmin):
    view_action = Action.AUDIT
    audited = False
    paginator = InfinitePaginator
    show_full_result_count = False
    list_display = (
        columns.text("seq", "Number"),
        columns.moment("at", "When"),
        columns.text("action"),
        ACTOR,
        OBJECT,
        columns.text("channel"),
        Column("Reason", _reason),
    )
    list_select_related = ("text",)
    list_filter = (
        AreaFilter,
        filters.when("at"),
        filters.values("actor_kind", "actor", [(kind, kind) for kind in ("user", "agent", "system")]),
        filters.values("channel", "channel", [(name, name) for name in ("admin", "api", "task", "cli")]),
        filters.exact("object_id", "object"),
        filters.exact("request_id", "request"),
    )
    search_fields = ("action", "object_id", "request_id", "text__text__actor", "text__text__reason")
    search_help_text = "Act, actor, reason, object or request"
    ordering = ("-seq",)
    when_empty = "Every governed change and every sign-in of this tenant is written here, in the same transaction as the change itself."
    facts = (
        Facts(
            "Event",
            (
                columns.number("seq", "Number"),
                columns.moment("at", "When"),
                columns.text("action"),
                ACTOR,
                columns.text("actor_kind", "Kind of actor"),
                OBJECT,
                columns.text("channel"),
                columns.code("request_id", "Request"),
                columns.digest("hash", length=64),
                columns.digest("previous", "Hash before it", length=64),
                columns.digest("text_hash", "Salted hash of the erasable text", length=16),
            ),
            long=(REASON, columns.pretty("data", "Data")),
        ),
    )
    panels = (Panel("Place in the chain", "audit/neighbours.html", _neighbours),)
    list_acts = (
        Act(
            name="verify",
            label="Verify the chain",
            icon="verified",
            rights=(Action.AUDIT,),
            form=ActForm,
            run=_verify,
            explain=lambda request, obj: [
                "Reads this tenant's events from the first to the last and recomputes every hash, the erasable texts included.",
                "Changes nothing. A long chain takes a while.",
            ],
        ),
        Act(
            name="export",
            label="Export",
            icon="download",
            rights=(Action.EXPORT,),
            form=ExportForm,
            run=_export,
            explain=lambda request, obj: [
                "Downloads the events of a range, names and reasons included, with the proof that none is missing or changed.",
                "The export is recorded. For another one, open this page again.",
            ],
        ),
    )

    def list_intro(self, request: HttpRequest) -> Iterable[object]:
        """How much of the chain could not be rewritten unseen: what is kept outside the database."""
        if not settings.AUDIT_HEADS_STORE:
            return ["The head of this chain is kept in the database only: no storage is set for it (AUDIT_HEADS_STORE)."]
        ctx = context_of(request)
        present, kept = head(ctx), ExportedHead.objects.filter(tenant_id=ctx.tenant_id).first()
        behind = (present.seq if present else 0) - (kept.seq if kept else 0)
        where = (
            format_html("The chain is vouched for outside the database up to event {}, written there {}", kept.seq, cells.moment(kept.at))
            if kept
            else ""
        )
        said = (
            [format_html("{}; {} event{} since.", where, behind, "" if behind == 1 else "s")]
            if kept
            else ["No head of this chain is kept outside the database yet; it is written within the hour."]
        )
        broken = failure()
        return [*said, f"The last attempt failed, and is repeated every hour: {broken}"] if broken else said

    def heading(self, obj: Event) -> object:
        return f"Event {obj.seq}: {obj.action}"
