"""Evaluation sets and their cases."""

from __future__ import annotations

from django import forms
from django.contrib import admin

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, Relatives, cells, columns, extend, filters, holds
from apps.core.admin.columns import Column
from apps.evals.admin.cells import NO_CONTENT, RUN_COLUMNS
from apps.evals.models import EvalCase, EvalResult, EvalRun, EvalSet
from apps.evals.services.cases import add_cases, create_eval_set
from apps.packs.admin import editing
from apps.packs.models import Pack, PackKind

CASES = """\
- input: How many days of leave do I have?
  expected:
    contains: ["30 days"]
  tags: [leave]
  split: validation
"""


class SetForm(ActForm):
    slug = forms.SlugField(max_length=63, help_text="1 to 63 of a-z, 0-9 and “-”. It stays for good.")
    title = forms.CharField(max_length=200)
    pack = forms.ChoiceField()
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))

    def prepare(self) -> None:
        if isinstance(self.obj, Pack):
            del self.fields["pack"]
            return
        rows = Pack.objects.restrict(self.ctx).filter(kind=PackKind.DOMAIN)
        self.offer("pack", [(row.slug, f"{row.title} ({row.slug})") for row in rows])


class CasesForm(ActForm):
    cases = forms.CharField(
        strip=False,
        initial=CASES,
        widget=forms.Textarea(attrs={"rows": 24, "class": "mc-source", "spellcheck": "false", "wrap": "off"}),
        help_text="A list in YAML or JSON: {input, expected?, tags?, task_type?, split?} each; split is train or validation.",
    )


def _create(call: Call) -> Done:
    data = {"pack": call.obj.slug, **call.data} if isinstance(call.obj, Pack) else call.data
    return Done("The set is there; add its cases next.", create_eval_set(ctx=call.ctx, **data))


def _add(call: Call) -> Done:
    made = add_cases(ctx=call.ctx, eval_set_id=call.obj.pk, cases=editing.load(call.data["cases"]) or [])
    return Done(f"{len(made)} cases are added.")


@admin.register(EvalSet)
class EvalSetAdmin(GovernedAdmin):
    list_display = (
        "slug",
        columns.text("title"),
        columns.link("pack", order="pack__slug"),
        columns.text("tenant", "Owner", order="tenant__slug"),
        columns.moment("created_at", "Since"),
    )
    list_select_related = ("pack", "tenant")
    list_filter = (filters.related("pack", "packs.Pack", "pack"), filters.when("created_at"))
    search_fields = ("slug", "title", "pack__slug")
    ordering = ("slug",)
    when_empty = "A set holds the cases that a version is tried on. A promotion needs 30 validation cases by default."
    facts = (
        Facts(
            "Set",
            (
                columns.code("slug"),
                columns.text("title"),
                columns.link("pack"),
                columns.text("tenant", "Owner"),
                columns.moment("created_at", "Since"),
            ),
            long=(columns.block("description"),),
        ),
    )
    relatives = (
        Relatives(
            "Cases",
            lambda ctx, row: EvalCase.objects.restrict(ctx).filter(eval_set=row).order_by("number"),
            (columns.itself("Case"), columns.text("split"), columns.text("task_type"), columns.words("tags"), columns.clipped("input")),
            query=lambda row: {"eval_set": row.pk},
            empty="No cases yet: add some.",
        ),
        Relatives(
            "Runs",
            lambda ctx, row: (
                EvalRun.objects.restrict(ctx)
                .filter(eval_set=row)
                .select_related("version", "eval_set")
                .defer(*NO_CONTENT)
                .order_by("-created_at")
            ),
            RUN_COLUMNS,
            query=lambda row: {"eval_set": row.pk},
        ),
    )
    acts = (
        Act(
            name="add-cases",
            label="Add cases",
            icon="playlist_add",
            tone="primary",
            rights=(Action.EVALUATE,),
            form=CasesForm,
            wide=True,
            run=_add,
            explain=lambda request, row: [
                "Cases are numbered on, all or none. They are stored as written and never change.",
                "Promotions that are under way are tried on what was there when their evaluation began.",
            ],
        ),
    )
    list_acts = (Act(name="create", label="New set", icon="add", tone="primary", rights=(Action.EVALUATE,), form=SetForm, run=_create),)


@admin.register(EvalCase)
class EvalCaseAdmin(GovernedAdmin):
    list_display = (
        Column("Case", lambda case: f"{case.eval_set.slug} {case.number}", order="number"),
        columns.text("split"),
        columns.text("task_type"),
        columns.words("tags"),
        columns.clipped("input"),
        columns.moment("created_at", "Since"),
    )
    list_select_related = ("eval_set",)
    list_filter = (
        filters.related("eval_set", "evals.EvalSet", "set"),
        ("split", admin.ChoicesFieldListFilter),
        filters.exact("task_type", "task type"),
        filters.when("created_at"),
    )
    search_fields = ("input", "task_type", "eval_set__slug")
    ordering = ("eval_set__slug", "number")
    when_empty = "Open an evaluation set and add cases."
    facts = (
        Facts(
            "Case",
            (
                columns.link("eval_set", "Set"),
                columns.number("number"),
                columns.text("split"),
                columns.text("task_type"),
                columns.words("tags"),
                columns.moment("created_at", "Since"),
            ),
            long=(
                Column("Input", lambda case: cells.block(case.input) if isinstance(case.input, str) else cells.pretty(case.input)),
                columns.pretty("expected", "Expected (never shown to the agent)"),
            ),
        ),
    )
    relatives = (
        Relatives(
            "Results",
            lambda ctx, case: (
                EvalResult.objects.restrict(ctx)
                .filter(case=case)
                .select_related("eval_run__version", "eval_run__eval_set")
                .defer("eval_run__version__content", "eval_run__version__canonical")
                .order_by("-created_at")
            ),
            (
                columns.itself("Score"),
                columns.link("eval_run", "Run"),
                columns.number("repeat"),
                columns.clipped("output"),
                columns.moment("created_at", "When"),
            ),
            query=lambda case: {"case": case.pk},
        ),
    )

    def heading(self, obj: EvalCase) -> object:
        return f"{obj.eval_set}, {obj}"


extend(
    Pack,
    acts=(
        Act(
            name="eval-set",
            label="New evaluation set",
            icon="checklist",
            allowed=lambda ctx, pack: holds(ctx, Action.EVALUATE),
            form=SetForm,
            run=_create,
            when=lambda ctx, pack: pack.kind == PackKind.DOMAIN,
            explain=lambda request, pack: [
                f"Its cases are what versions of {pack} are tried on. A tenant's own sets take the place of the shared ones."
            ],
        ),
    ),
    relatives=(
        Relatives(
            "Evaluation sets",
            lambda ctx, pack: EvalSet.objects.restrict(ctx).filter(pack=pack).select_related("tenant"),
            (columns.itself("Set"), columns.text("title"), columns.text("tenant", "Owner"), columns.moment("created_at", "Since")),
            query=lambda pack: {"pack": pack.pk},
            empty="None: without one a promotion has no evidence to be judged by.",
        ),
    ),
)
