"""Evaluation runs, their items and results, and starting one for a version."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.paginator import InfinitePaginator

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, Panel, Relatives, cells, columns, extend, filters
from apps.core.admin.columns import Column
from apps.core.context import ActionContext
from apps.evals.admin.cells import NO_CONTENT, RUN_COLUMNS, arm, progress, score_of
from apps.evals.models import EvalItem, EvalResult, EvalRun, EvalSet, Runner
from apps.evals.services.runs import start_eval_run
from apps.packs.admin.reading import rubric_of
from apps.packs.models import PackKind, PackVersion

RUNNERS = [
    (Runner.HARNESS.value, "harness: agents lease the cases and answer them, three times each"),
    (Runner.REPLAY.value, "replay: recorded outputs are posted to the API, once each"),
]


class RunForm(ActForm):
    eval_set = forms.TypedChoiceField(coerce=UUID, label="Evaluation set")
    runner = forms.ChoiceField(choices=RUNNERS)

    def prepare(self) -> None:
        rows = EvalSet.objects.restrict(self.ctx).filter(pack=self.obj.layer.pack)
        self.offer("eval_set", [(str(row.pk), f"{row.title} ({row.slug})") for row in rows])


def _start(call: Call) -> Done:
    made = start_eval_run(ctx=call.ctx, eval_set_id=call.data["eval_set"], runner=call.data["runner"], version_id=call.obj.pk)
    return Done("The evaluation has begun.", made)


def _leased(run: EvalRun) -> dict[str, Any]:
    return {"eval_run": run.pk}


def _regression(row: EvalResult) -> object:
    found = [name for name in ("safety", "format") if getattr(row, f"{name}_regression")]
    return cells.badge(" and ".join(found), "bad") if found else None


@admin.register(EvalRun)
class EvalRunAdmin(GovernedAdmin):
    list_display = (
        Column("Run", str),
        columns.link("layer", order="layer__scope"),
        columns.badge("state"),
        Column("Answered", progress),
        columns.text("runner"),
        columns.moment("created_at", "Begun"),
        columns.moment("completed_at", "Ended"),
    )
    list_select_related = ("layer__pack", "version", "eval_set")
    list_filter = (
        ("state", admin.ChoicesFieldListFilter),
        ("runner", admin.ChoicesFieldListFilter),
        filters.related("eval_set", "evals.EvalSet", "set"),
        filters.related("layer__pack", "packs.Pack", "pack"),
        filters.related("layer", "packs.Layer", "layer", with_=("pack",)),
        filters.exact("version", "version"),
        filters.when("created_at"),
    )
    search_fields = ("layer__pack__slug", "layer__scope", "eval_set__slug", "prefix_digest__startswith")
    ordering = ("-created_at", "-id")
    detail_related = ("paired_with__version", "paired_with__eval_set", "created_by")
    when_empty = "A promotion begins the runs that it needs. To try a version by itself, open it and press Evaluate."
    facts = (
        Facts(
            "Run",
            (
                Column("Arm", arm),
                columns.link("layer"),
                columns.link("eval_set", "Set"),
                columns.link("paired_with", "Compared with"),
                columns.badge("state"),
                Column("Answered", progress),
                columns.text("runner"),
                columns.number("repeats", "Repeats of a case"),
                columns.digest("prefix_digest", "Evidence for", length=16),
                columns.link("created_by", "Begun by"),
                columns.moment("created_at", "Begun"),
                columns.moment("completed_at", "Ended"),
            ),
            long=(columns.block("failure", "Why it failed"),),
        ),
    )
    panels = (Panel("Scored by", "packs/rubric.html", lambda request, run: {"rubric": rubric_of({"rubric": run.rubric})}),)
    relatives = (
        Relatives(
            "Results",
            lambda ctx, run: (
                EvalResult.objects.restrict(ctx)
                .filter(eval_run=run)
                .with_regressions()
                .select_related("case", "agent")
                .order_by("safety_passed", "format_passed", "deterministic_score", "id")
            ),
            (
                columns.itself("Score"),
                columns.link("case"),
                columns.number("repeat"),
                columns.yes_no("safety_passed", "Safe"),
                columns.yes_no("format_passed", "Format"),
                Column("Regression", _regression),
                columns.link("agent"),
                columns.clipped("output"),
                columns.number("latency_ms", "Latency", unit="ms"),
                columns.money("cost_micros", "Cost"),
            ),
            query=_leased,
            empty="No answers yet. Agents answer with GET eval-runs/{id}/cases/?lease=10 and POST eval-runs/{id}/outputs/.",
            limit=25,
        ),
        Relatives(
            "Waiting for an answer",
            lambda ctx, run: (
                EvalItem.objects.restrict(ctx)
                .filter(eval_run=run, answered_at__isnull=True)
                .select_related("case", "leased_to")
                .order_by("repeat", "case__number")
            ),
            (columns.itself("Item"), columns.link("leased_to", "Leased to"), columns.moment("leased_until", "Until")),
            query=_leased,
            empty="Nothing: every case is answered.",
        ),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer(*NO_CONTENT)


@admin.register(EvalItem)
class EvalItemAdmin(GovernedAdmin):
    paginator = InfinitePaginator
    show_full_result_count = False
    audited = False
    list_display = (
        Column("Item", str),
        columns.link("eval_run", "Run", order=False),
        columns.link("leased_to", "Leased to", order=False),
        columns.moment("leased_until", "Until", order=False),
        columns.moment("answered_at", "Answered", order=False),
    )
    list_select_related = ("case", "eval_run__version", "eval_run__eval_set", "leased_to")
    list_filter = (filters.exact("eval_run", "run"), filters.empty("answered_at", "answer", "answered", "waiting"))
    ordering = ("-id",)
    when_empty = "One item is one case and repeat of a run."
    facts = (
        Facts(
            "Item",
            (
                columns.link("case"),
                columns.number("repeat"),
                columns.link("eval_run", "Run"),
                columns.link("leased_to", "Leased to"),
                columns.moment("leased_until", "Until"),
                columns.moment("answered_at", "Answered"),
                Column("Result", lambda item: cells.link_to(getattr(item, "result", None))),
            ),
        ),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("eval_run__version__content", "eval_run__version__canonical")


@admin.register(EvalResult)
class EvalResultAdmin(GovernedAdmin):
    paginator = InfinitePaginator
    show_full_result_count = False
    audited = False
    list_display = (
        Column("Score", score_of, order="deterministic_score"),
        columns.link("eval_run", "Run", order=False),
        columns.link("case", order=False),
        columns.yes_no("safety_passed", "Safe"),
        columns.yes_no("format_passed", "Format"),
        columns.link("agent", order=False),
        columns.clipped("output", length=60),
        columns.number("latency_ms", "Latency", unit="ms"),
        columns.moment("created_at", "When"),
    )
    list_select_related = ("eval_run__version", "eval_run__eval_set", "case", "agent")
    list_filter = (
        filters.exact("eval_run", "run"),
        filters.exact("case", "case"),
        ("safety_passed", admin.BooleanFieldListFilter),
        ("format_passed", admin.BooleanFieldListFilter),
        filters.when("created_at"),
    )
    search_fields = ("run_id__exact",)
    search_help_text = "A run id, in full"
    ordering = ("-created_at", "-id")
    when_empty = "An answer is scored as it arrives."
    facts = (
        Facts(
            "Result",
            (
                Column("Score", score_of),
                columns.link("eval_run", "Run"),
                columns.link("case"),
                columns.number("repeat"),
                columns.yes_no("safety_passed", "Safe"),
                columns.yes_no("format_passed", "Format"),
                columns.link("agent"),
                columns.code("run_id", "Reported as"),
                columns.number("latency_ms", "Latency", unit="ms"),
                columns.money("cost_micros", "Cost"),
                columns.number("tokens_in"),
                columns.number("tokens_out"),
                columns.moment("created_at", "When"),
            ),
            long=(
                columns.block("output"),
                columns.block("comments"),
                Column("Check by check", lambda row: cells.tree(row.detail) if row.detail else cells.EMPTY),
            ),
        ),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("eval_run__version__content", "eval_run__version__canonical")

    def heading(self, obj: EvalResult) -> object:
        return f"{obj.eval_run}, {obj.case}, repeat {obj.repeat}: {obj}"


def _evaluable(ctx: ActionContext, version: PackVersion) -> bool:
    return version.layer.pack.kind == PackKind.DOMAIN and EvalSet.objects.restrict(ctx).filter(pack=version.layer.pack).exists()


extend(
    PackVersion,
    acts=(
        Act(
            name="evaluate",
            label="Evaluate",
            icon="science",
            rights=(Action.EVALUATE,),
            form=RunForm,
            run=_start,
            when=_evaluable,
            explain=lambda request, version: [
                "Every validation case of the set is answered under this version, and, where none counts yet, under the champion as well.",
                "It decides nothing: a promotion starts the runs that it needs by itself.",
            ],
        ),
    ),
    relatives=(
        Relatives(
            "Evaluation runs",
            lambda ctx, version: (
                EvalRun.objects.restrict(ctx)
                .filter(version=version)
                .select_related("version", "eval_set")
                .defer(*NO_CONTENT)
                .order_by("-created_at")
            ),
            RUN_COLUMNS,
            query=lambda version: {"version": version.pk},
        ),
    ),
)
