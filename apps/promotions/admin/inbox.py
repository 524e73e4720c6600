"""The manager's inbox: what waits for this person, with what there is to judge it by; answered one by one or several at once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.core.access import Action
from apps.core.admin import GovernedAdmin, cells, filters
from apps.core.admin.columns import Column
from apps.core.errors import Problem, problem
from apps.core.http import context_of
from apps.core.navigation import count_at
from apps.identity.models import User
from apps.identity.permissions import anywhere
from apps.promotions.admin.promotions import RISKS
from apps.promotions.deciders import case_of, expiry_of
from apps.promotions.domain import approvals as rules
from apps.promotions.models import Awaited, Promotion
from apps.promotions.services.answering import MOST, Answer, answer_many
from apps.promotions.waiting import how_many, waiting

count_at("promotions_awaited", how_many)

ACTS = {"approve": "Approve", "reject": "Reject"}
MAX_COMMENT = 10_000


def _page(row: Promotion, anchor: str = "") -> str:
    """The promotion's own page."""
    return reverse("admin:promotions_promotion_change", args=[row.pk]) + anchor


def _lines(*parts: object) -> SafeString:
    """One under the other, in one block: on a phone the cells of a row are laid out side by side with their labels."""
    return format_html(
        '<div class="mc-lines">{}</div>', format_html_join("", "<div>{}</div>", ((part,) for part in parts if part not in (None, "")))
    )


def _select(row: Promotion) -> SafeString:
    return format_html(
        '<input type="checkbox" class="mc-select" name="ids" value="{}" form="mc-answer" aria-label="Select {}">', row.pk, str(row)
    )


def _what(row: Promotion, lender: User | None) -> SafeString:
    subject = cells.link(_page(row), str(row.challenger or "retirement").capitalize())
    behalf = _small(f"on behalf of {lender}") if lender else ""
    return _lines(subject, _small(row.layer), _small(f"by {row.requested_by}" if row.requested_by else ""), behalf)


def _small(text: object) -> SafeString | str:
    return format_html('<span class="mc-origin">{}</span>', text) if text else ""


def risk_of(row: Promotion) -> SafeString:
    more = len(row.risk_reasons) - 3
    reasons = [_small(reason["sentence"]) for reason in row.risk_reasons[:3]]
    return _lines(cells.badge(row.risk_level), *reasons, _small(f"and {more} more") if more > 0 else "")


def evidence_of(row: Promotion) -> SafeString:
    """The verdict in a word, and the figures that it rests on."""
    found = {rule["rule"]: rule for rule in row.verdict.get("rules", ()) if rule["rule"] != "approvals"}
    outcomes = [rule["outcome"] for rule in found.values()]
    passed = f"{outcomes.count('pass')} of {len(outcomes)} rules pass"
    quality, cost, latency = (found.get(name, {}) for name in ("quality", "cost_regression", "latency_regression"))
    figures = [
        f"{quality['n']:,} cases" if quality.get("n") else "no cases",
        f"{quality['observed']:+.1f} points" if quality.get("observed") is not None else "",
        f"cost {cost['observed']:+.1f} %" if cost.get("observed") is not None else "",
        f"latency {latency['observed']:+.1f} %" if latency.get("observed") is not None else "",
    ]
    outcome = cells.badge(row.verdict.get("evidence_outcome", "inconclusive"))
    forced = cells.badge("forced") if row.forced else ""
    return _lines(
        format_html("{} {}", outcome, forced),
        _small(passed),
        _small(", ".join(figure for figure in figures if figure)),
    )


def reach_of(row: Promotion) -> SafeString:
    blast = row.blast or {}
    counts = [f"{blast.get(f'{what}s', 0):,} {what}{'' if blast.get(f'{what}s', 0) == 1 else 's'}" for what in ("agent", "layer", "tenant")]
    broken = len(blast.get("invalid", ()))
    worse = cells.badge(f"{broken} turn invalid" if broken != 1 else "1 turns invalid", "warn") if broken else ""
    return _lines(_small(", ".join(counts)), worse)


def age_of(row: Promotion) -> SafeString:
    now, until = timezone.now(), expiry_of(row)
    since = f"for {_length((now - row.awaiting_since).total_seconds())}" if row.awaiting_since else ""
    left = (until - now).total_seconds() if until else 0.0
    tone = "bad" if left < 86_400 else "warn" if left < 2 * 86_400 else "plain"
    return _lines(since, cells.badge(f"{_length(left)} left", tone), _small(cells.moment(until)))


def _length(seconds: float) -> str:
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {name}{'' if number == 1 else 's'}"
    return "moments"


def _answers(row: Promotion) -> SafeString:
    base = cells.list_url(Awaited)
    return format_html(
        '<span class="mc-row-buttons"><a class="mc-button mc-primary" href="{0}answer/?act=approve&ids={1}" aria-label="Approve {2}">Approve</a>'
        '<a class="mc-button mc-plain" href="{0}answer/?act=reject&ids={1}" aria-label="Reject {2}">Reject</a>'
        '<a class="mc-link" href="{3}" aria-label="Difference of {2}">Difference</a></span>',
        base,
        row.pk,
        str(row),
        _page(row, "#the-difference"),
    )


class ByCapacity(SimpleListFilter):
    title = "in whose name"
    parameter_name = "as"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("own", "my own"), ("delegation", "by delegation")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in ("own", "delegation"):
            return queryset
        lent = [pk for pk, capacity in waiting(request).items() if capacity.delegated_from is not None]
        return queryset.filter(pk__in=lent) if self.value() == "delegation" else queryset.exclude(pk__in=lent)


class ByScope(SimpleListFilter):
    title = "scope"
    parameter_name = "scope"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        scopes = Awaited.objects.filter(pk__in=list(waiting(request))).order_by("layer__scope").values_list("layer__scope", flat=True)
        return [(scope, scope) for scope in scopes.distinct()[: filters.MAX_OFFERED]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(layer__scope=self.value()) if self.value() else queryset


@admin.register(Awaited)
class AwaitedAdmin(GovernedAdmin):
    """A list of its own; each row leads to the promotion's page."""

    list_select_related = ("layer__pack", "layer__tenant", "challenger", "requested_by")
    list_filter = (
        filters.values("risk_level", "risk", RISKS),
        filters.related("layer__pack", "packs.Pack", "pack"),
        ByScope,
        filters.related("layer__team", "identity.Team", "team"),
        ByCapacity,
    )
    search_fields = ("layer__pack__slug", "layer__scope", "reason", "requested_by__email", "requested_by__name")
    ordering = ("awaiting_since", "id")
    list_per_page = 25
    list_display_links = None
    list_before_template = "promotions/answer_bar.html"
    when_empty = "Nothing waits for your approval. What comes is listed here, and counted in the menu."
    audited = False

    def has_module_permission(self, request: HttpRequest) -> bool:
        """For who may approve anything, be it for one team."""
        ctx = getattr(request, "ctx", None)
        return ctx is not None and ctx.user_id is not None and anywhere(ctx, Action.APPROVE)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).filter(pk__in=list(waiting(request)))
        return rows.defer("challenger__content", "challenger__canonical", "thresholds")

    def get_list_display(self, request: HttpRequest) -> tuple[Any, ...]:
        capacities = waiting(request)
        lenders = User.objects.in_bulk({each.delegated_from for each in capacities.values() if each.delegated_from})

        def what(row: Promotion) -> SafeString:
            return _what(row, lenders.get(capacities[row.pk].delegated_from) if row.pk in capacities else None)

        return (
            Column("Select", _select),
            Column("Promotion", what, order="layer__pack__slug"),
            Column("Risk", risk_of, order="risk_level"),
            Column("Verdict and evidence", evidence_of),
            Column("Reaches", reach_of),
            Column("Waits", age_of, order="awaiting_since"),
            Column("Answer", _answers),
        )

    def get_urls(self) -> list[URLPattern]:
        own = [path("answer/", self.admin_site.admin_view(self.answer_view), name="promotions_awaited_answer")]
        return [*own, *super().get_urls()]

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        return redirect(_page(self.visible(request, object_id)))

    # Answering

    def answer_view(self, request: HttpRequest) -> HttpResponseBase:
        """By GET what will happen, by POST it happens: to each by itself, with one comment."""
        if not self.has_module_permission(request):
            raise problem("permission_denied", "Your roles in this tenant approve nothing.")
        sent = request.POST if request.method == "POST" else request.GET
        act = sent.get("act", "")
        if act not in ACTS:
            raise problem("not_found", "One approves or rejects.")
        chosen = [key for key in (_uuid(value) for value in sent.getlist("ids")) if key is not None][:MOST]
        if request.method == "POST":
            return self._answered(request, act, chosen)
        rows = self._rows(request, chosen)
        if not rows:
            gone = "What you selected no longer waits for you." if chosen else "Select at least one promotion first."
            messages.warning(request, gone)
            return redirect(cells.list_url(Awaited))
        if len(rows) < len(set(chosen)):
            messages.warning(request, f"{len(set(chosen)) - len(rows)} of those selected no longer wait for you.")
        return self._ask(request, act, rows)

    def _rows(self, request: HttpRequest, chosen: list[UUID]) -> list[Promotion]:
        rows = self.get_queryset(request).filter(pk__in=chosen).select_related(*self.list_select_related, "champion")
        return list(rows.order_by("awaiting_since", "id"))

    def _ask(
        self, request: HttpRequest, act: str, rows: list[Promotion], *, errors: list[str] | None = None, status: int = 200
    ) -> HttpResponse:
        kept = set(request.POST.getlist("ids")) if request.method == "POST" else {str(row.pk) for row in rows}
        read = set(request.POST.getlist("read"))
        capacities = waiting(request)
        lenders = User.objects.in_bulk({each.delegated_from for each in capacities.values() if each.delegated_from})
        items = [
            {
                "row": row,
                "name": str(row),
                "link": cells.link(_page(row), str(row).capitalize()),
                "difference": _page(row, "#the-difference"),
                "risk": risk_of(row),
                "evidence": evidence_of(row),
                "reach": reach_of(row),
                "high": act == "approve" and row.risk_level == "high",
                "kept": str(row.pk) in kept,
                "read": str(row.pk) in read,
                "does": _does(row, act, request),
                "lender": lenders.get(capacities[row.pk].delegated_from) if row.pk in capacities else None,
            }
            for row in rows
        ]
        context = {
            **self.page_context(request),
            "title": f"{ACTS[act]} {len(rows)} promotion{'' if len(rows) == 1 else 's'}",
            "act": act,
            "label": ACTS[act],
            "items": items,
            "comment": request.POST.get("comment", ""),
            "errors": errors or [],
            "back": cells.list_url(Awaited),
        }
        return TemplateResponse(request, "promotions/answer.html", context, status=status)

    def _answered(self, request: HttpRequest, act: str, chosen: list[UUID]) -> HttpResponse:
        comment = request.POST.get("comment", "").strip()
        shown = {key: request.POST.get(f"binding-{key}") for key in chosen}
        everything = [key for key in (_uuid(value) for value in request.POST.getlist("shown")) if key is not None][:MOST]
        rows = self._rows(request, everything)
        read = {key for key in (_uuid(value) for value in request.POST.getlist("read")) if key is not None}
        unread = [row for row in rows if act == "approve" and row.risk_level == "high" and row.pk in shown and row.pk not in read]
        errors = [f"Confirm that you have read {row}, or leave it out: it is of high risk." for row in unread]
        if act == "reject" and not comment:
            errors.append("Say why: its author should know.")
        if len(comment) > MAX_COMMENT:
            errors.append(f"A comment is at most {MAX_COMMENT:,} characters.")
        if not chosen:
            errors.append("Tick at least one.")
        if errors and rows:
            return self._ask(request, act, rows, errors=errors, status=422)
        answers = [Answer(key, shown[key]) for key in chosen]
        try:
            results = answer_many(ctx=context_of(request), answers=answers, approve=act == "approve", comment=comment, read=read)
        except Problem as error:
            messages.error(request, error.detail)
            return redirect(cells.list_url(Awaited))
        return self._show(request, act, results)

    def _show(self, request: HttpRequest, act: str, results: list[Any]) -> HttpResponse:
        named = Promotion.objects.restrict(context_of(request)).select_related("layer__pack", "challenger")
        rows = {row.pk: row for row in named.filter(pk__in=[each.promotion_id for each in results])}
        items = [
            {
                "link": cells.link(_page(row), str(row).capitalize()) if (row := rows.get(each.promotion_id)) else "A promotion",
                "badge": cells.badge(each.state) if each.state else cells.badge("not done", "bad"),
                "code": each.code,
                "detail": each.detail or _next(each.state),
            }
            for each in results
        ]
        done = sum(1 for each in results if each.state)
        request.mc_waiting = None  # type: ignore[attr-defined]
        context = {
            **self.page_context(request),
            "title": f"{done} of {len(results)} {'approved' if act == 'approve' else 'rejected'}",
            "items": items,
            "back": cells.list_url(Awaited),
            "left": len(waiting(request)),
        }
        return TemplateResponse(request, "promotions/answered.html", context)


def _uuid(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None


def _does(row: Promotion, act: str, request: HttpRequest) -> str:
    """What this person's answer does to it."""
    if act == "reject":
        return "It ends, with a decision; the version is archived as rejected."
    case, capacity = case_of(row), waiting(request)[row.pk]
    user_id = context_of(request).user_id
    assert user_id is not None
    now = timezone.now()
    mine = rules.Approval(user_id, capacity.roles, now, row.binding, delegated_from=capacity.delegated_from)
    after = rules.evaluate(
        case.demand,
        [*case.given, mine],
        current_binding=row.binding,
        authors=case.authors,
        now=now,
        sole_manager_is_author=case.sole_manager_is_author,
    )
    return "With it, it is ready to start." if after.satisfied else f"Still missing after it: {' '.join(after.missing)}"


def _next(state: str) -> str:
    return {
        "ready": "All that is demanded has been given; somebody starts it on its page.",
        "awaiting_approval": "Your approval counts; more is demanded.",
        "rejected": "It has ended, with a decision.",
    }.get(state, "")
