"""What lists of the evals room can be narrowed by."""

from __future__ import annotations

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from apps.evals.models import EvalCase, EvalItem, EvalResult, EvalRun, EvalRunState, EvalSet, Runner, Split
from apps.evals.querysets import OPEN_STATES


class EvalSetFilter(filters.FilterSet):
    pack = filters.CharFilter("pack__slug", help_text="Slug of the pack.")
    slug = filters.CharFilter("slug")

    class Meta:
        model = EvalSet
        fields: list[str] = []


class EvalCaseFilter(filters.FilterSet):
    split = filters.ChoiceFilter(choices=Split.choices)
    task_type = filters.CharFilter("task_type")
    tag = filters.CharFilter("tags", lookup_expr="contains", method="with_tag", help_text="Cases that carry this tag.")

    class Meta:
        model = EvalCase
        fields: list[str] = []

    def with_tag(self, rows: QuerySet[EvalCase], name: str, tag: str) -> QuerySet[EvalCase]:
        return rows.filter(tags__contains=[tag])


class EvalRunFilter(filters.FilterSet):
    pack = filters.CharFilter("layer__pack__slug", help_text="Slug of the pack.")
    layer = filters.UUIDFilter("layer_id")
    version = filters.UUIDFilter("version_id")
    eval_set = filters.UUIDFilter("eval_set_id")
    runner = filters.ChoiceFilter(choices=Runner.choices)
    state = filters.ChoiceFilter(choices=EvalRunState.choices)
    open = filters.BooleanFilter(method="only_open", help_text="Runs that still wait for answers.")

    class Meta:
        model = EvalRun
        fields: list[str] = []

    def only_open(self, rows: QuerySet[EvalRun], name: str, wanted: bool) -> QuerySet[EvalRun]:
        return rows.filter(state__in=OPEN_STATES) if wanted else rows.exclude(state__in=OPEN_STATES)


class EvalItemFilter(filters.FilterSet):
    answered = filters.BooleanFilter("answered_at", lookup_expr="isnull", exclude=True)
    case = filters.UUIDFilter("case_id")

    class Meta:
        model = EvalItem
        fields: list[str] = []


class EvalResultFilter(filters.FilterSet):
    eval_run = filters.UUIDFilter("eval_run_id")
    version = filters.UUIDFilter("eval_run__version_id")
    case = filters.UUIDFilter("case_id")
    pack = filters.CharFilter("eval_run__layer__pack__slug", help_text="Slug of the pack.")
    safety_regression = filters.BooleanFilter("safety_regression")
    format_regression = filters.BooleanFilter("format_regression")
    since = filters.IsoDateTimeFilter("created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter("created_at", lookup_expr="lt")

    class Meta:
        model = EvalResult
        fields: list[str] = []
