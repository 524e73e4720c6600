"""What can be asked of evaluation runs and results, beyond whose they are."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Avg, BooleanField, Case, Exists, FloatField, OuterRef, Q, Subquery, When

from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.querysets import RestrictedQuerySet

OPEN_STATES = ("pending", "running")


class EvalRunQuerySet(RestrictedQuerySet):
    def open(self) -> Self:
        """Runs that still wait for answers."""
        return self.filter(state__in=OPEN_STATES)

    def answerable(self, ctx: ActionContext) -> Self:
        """The harness runs whose cases this agent may answer: those of its own tenant and, where the layer stands at a team or an agent, only
        that team's or agent's. Layers above tenant belong to `platform`, so only its agents answer them."""
        of_scope = ~Q(layer__scope_type__in=["team", "agent"]) | Q(layer__scope_type="agent", layer__agent_id=ctx.agent_id)
        if ctx.team_id is not None:
            of_scope |= Q(layer__scope_type="team", layer__team_id=ctx.team_id)
        return self.restrict(ctx, Action.ANSWER_EVALUATION).filter(of_scope, runner="harness")


class EvalResultQuerySet(RestrictedQuerySet):
    def with_regressions(self) -> Self:
        """Adds `safety_regression` and `format_regression`: this answer fails the dimension, and the run that this one is paired with passes it
        on the same case (format unless most of its repeats fail, safety only if none does). They are read, not stored: the other arm may be
        answered later, and a result never changes."""
        others = self.model.objects.filter(eval_run_id=OuterRef("eval_run__paired_with_id"), case_id=OuterRef("case_id")).order_by()
        passing = Case(When(format_passed=True, then=1.0), When(format_passed=False, then=0.0), output_field=FloatField())
        share = others.values("case_id").annotate(share=Avg(passing)).values("share")
        safe = Exists(others.filter(safety_passed=True)) & ~Exists(others.filter(safety_passed=False))
        return self.annotate(champion_format=Subquery(share)).annotate(
            safety_regression=_flag(Q(safety_passed=False) & Q(safe)),
            format_regression=_flag(Q(format_passed=False, champion_format__gte=0.5)),
        )


def _flag(condition: Q) -> Case:
    return Case(When(condition, then=True), default=False, output_field=BooleanField())


EvalRunManager = models.Manager.from_queryset(EvalRunQuerySet)
EvalResultManager = models.Manager.from_queryset(EvalResultQuerySet)
