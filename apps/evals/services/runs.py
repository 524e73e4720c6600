"""Starting evaluation runs, alone or as the two arms of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.core.events import publish_on_commit
from apps.evals.domain.checks import joint_rubric, rubric_findings
from apps.evals.models import EvalItem, EvalRun, EvalRunState, EvalSet, Runner, Split
from apps.evals.selectors.prefix import Prefix, prefix_of, prefix_or_none
from apps.identity.permissions import require
from apps.packs.models import Layer, PackKind, PackVersion
from apps.packs.selectors import champion_of

REPEATS = {Runner.HARNESS: 3, Runner.REPLAY: 1}


@dataclass(frozen=True, slots=True)
class PairedRuns:
    """`champion` is None where nothing is live without the challenger: there is no baseline to compare with."""

    champion: EvalRun | None
    challenger: EvalRun


@dataclass(frozen=True, slots=True)
class _Arm:
    version: PackVersion | None
    prefix: Prefix

    @property
    def rubric(self) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self.prefix.content.get("rubric") or []
        return found


def start_eval_run(
    *, ctx: ActionContext, eval_set_id: UUID, runner: str, version_id: UUID | None = None, layer_id: UUID | None = None
) -> EvalRun:
    """Starts a run of a version, or of the baseline (`layer_id`: the chain without this layer), over the set's validation cases.

    For a version that is not live, the other arm (the champion, or the baseline) is started too unless a run of it on the same cases, rubric
    and prefix exists; `paired_with` of the run that is given back names it.

    Raises Problem `not_found`, `permission_denied`, `invalid`, `not_available`, `no_champion`, and what makes the version unservable.
    """
    with ctx.transaction():
        if (version_id is None) == (layer_id is None):
            raise problem("invalid", "Name a version, or a layer for its baseline, and not both.", pointer="/version")
        _check_runner(runner)
        version: PackVersion | None = None
        if version_id is not None:
            version = PackVersion.objects.visible(ctx, pk=version_id)
            layer_id = version.layer_id
        layer = _layer(ctx, layer_id)
        eval_set: EvalSet = EvalSet.objects.visible(ctx, pk=eval_set_id)
        champion = champion_of(layer)
        if version is None or version == champion:
            return _alone(ctx, layer, version, eval_set, runner)
        return _paired(ctx, layer, champion, version, eval_set, runner, fresh=True).challenger


def ensure_paired_runs(
    *,
    ctx: ActionContext,
    layer: Layer,
    champion: PackVersion | None,
    challenger: PackVersion | None,
    eval_set: EvalSet,
    runner: str = Runner.HARNESS,
) -> PairedRuns:
    """The two arms' runs that count today, made where they are missing. `champion` None is the baseline without the layer, `challenger` None
    (a retirement) the same as the version under test.

    A run is reused when it is of the same version, cases, rubric and prefix digest and has not failed. Raises Problem like `start_eval_run`.
    """
    with ctx.transaction():
        _check_runner(runner)
        return _paired(ctx, _layer(ctx, layer.pk), champion, challenger, eval_set, runner, fresh=False)


def fail_run(*, ctx: ActionContext, run: EvalRun, failure: str) -> None:
    """Ends a run whose answers can no longer count."""
    with ctx.transaction():
        locked = EvalRun.objects.select_for_update().get(pk=run.pk)
        if locked.state in (EvalRunState.COMPLETED, EvalRunState.FAILED):
            return
        locked.state, locked.failure, locked.completed_at = EvalRunState.FAILED, failure, timezone.now()
        locked.save(update_fields=["state", "failure", "completed_at"])
        record(ctx, "evals.run_failed", locked, data={"done": locked.done, "total": locked.total}, reason=failure)
        announce(ctx, "evals.run_failed", locked)


def announce(ctx: ActionContext, name: str, run: EvalRun) -> None:
    """Tells the rooms above, once the change is durable."""
    publish_on_commit(ctx, name, tenant_id=run.tenant_id, eval_run_id=run.pk, layer_id=run.layer_id)


def _check_runner(runner: str) -> None:
    if runner in ("model", "shadow"):
        raise problem("not_available", f"The runner `{runner}` is not available yet; use `harness` or `replay`.", pointer="/runner")
    if runner not in Runner.values:
        raise problem("invalid", "Runners are `harness` and `replay`.", pointer="/runner")


def _layer(ctx: ActionContext, layer_id: UUID | None) -> Layer:
    """The layer, its row locked: two that ask at once for the same pair get the same runs."""
    seen: Layer = Layer.objects.visible(ctx, pk=layer_id)
    require(ctx, Action.EVALUATE, tenant_id=seen.tenant_id, team_id=seen.team_id, on=seen)
    rows = Layer.objects.select_related("pack", "tenant", "champion", "team", "agent__team").select_for_update(of=("self",))
    layer: Layer = rows.get(pk=seen.pk)
    if layer.pack.kind == PackKind.POLICY:
        raise problem("not_available", "A policy pack answers nothing by itself; promote it with the aim `policy`.", pointer="/version")
    return layer


def _alone(ctx: ActionContext, layer: Layer, version: PackVersion | None, eval_set: EvalSet, runner: str) -> EvalRun:
    arm = _Arm(version, prefix_of(layer, version))
    return _start(ctx, layer, arm, eval_set, runner, joint_rubric(arm.rubric, arm.rubric), None)


def _paired(
    ctx: ActionContext,
    layer: Layer,
    champion: PackVersion | None,
    challenger: PackVersion | None,
    eval_set: EvalSet,
    runner: str,
    *,
    fresh: bool,
) -> PairedRuns:
    tested = _Arm(challenger, prefix_of(layer, challenger))
    baseline = prefix_or_none(layer, champion)
    other = _Arm(champion, baseline) if baseline is not None else None
    rubric = joint_rubric(other.rubric if other else tested.rubric, tested.rubric)
    champion_run = None
    if other is not None:
        champion_run = _existing(layer, other, eval_set, runner, rubric) or _start(ctx, layer, other, eval_set, runner, rubric, None)
    challenger_run = None if fresh else _existing(layer, tested, eval_set, runner, rubric, paired_with=champion_run)
    return PairedRuns(champion_run, challenger_run or _start(ctx, layer, tested, eval_set, runner, rubric, champion_run))


def _existing(
    layer: Layer, arm: _Arm, eval_set: EvalSet, runner: str, rubric: Sequence[Mapping[str, Any]], **more: EvalRun | None
) -> EvalRun | None:
    """The newest run that a new one would repeat. Cases are only ever added, so equal totals mean equal cases."""
    total = eval_set.cases.filter(split=Split.VALIDATION).count() * REPEATS[Runner(runner)]
    same = EvalRun.objects.filter(layer=layer, version=arm.version, eval_set=eval_set, runner=runner, total=total, **more)
    found: EvalRun | None = (
        same.filter(prefix_digest=arm.prefix.digest, rubric=list(rubric)).exclude(state=EvalRunState.FAILED).order_by("-id").first()
    )
    return found


def _start(
    ctx: ActionContext,
    layer: Layer,
    arm: _Arm,
    eval_set: EvalSet,
    runner: str,
    rubric: Sequence[Mapping[str, Any]],
    paired_with: EvalRun | None,
) -> EvalRun:
    if eval_set.pack_id != layer.pack_id:
        raise problem("invalid", f"The eval set '{eval_set.slug}' is for another pack than '{layer.pack.slug}'.", pointer="/eval_set")
    if not rubric:
        raise problem(
            "invalid", f"Neither arm has a rubric, so nothing can be scored; add checks to '{layer.pack.slug}'.", pointer="/version"
        )
    if findings := list(rubric_findings(rubric)):
        # Better now than when an agent has answered.
        raise problem(findings[0].code, f"The rubric cannot be applied: {findings[0].detail}", errors=findings)
    cases = list(eval_set.cases.filter(split=Split.VALIDATION).order_by("number").values_list("pk", flat=True))
    if not cases:
        raise problem("invalid", f"The eval set '{eval_set.slug}' has no validation cases; add some first.", pointer="/eval_set")
    repeats = REPEATS[Runner(runner)]
    run = EvalRun.objects.create(
        tenant_id=layer.tenant_id,
        layer=layer,
        version=arm.version,
        eval_set=eval_set,
        paired_with=paired_with,
        runner=runner,
        repeats=repeats,
        prefix_digest=arm.prefix.digest,
        rubric=list(rubric),
        total=len(cases) * repeats,
        created_by_id=ctx.user_id,
    )
    items = [
        EvalItem(tenant_id=run.tenant_id, eval_run=run, case_id=case, repeat=repeat) for repeat in range(1, repeats + 1) for case in cases
    ]
    EvalItem.objects.bulk_create(items, batch_size=2000)
    facts = {"version": str(run.version_id or ""), "eval_set": eval_set.slug, "runner": runner, "total": run.total}
    record(ctx, "evals.run_started", run, data={**facts, "prefix_digest": run.prefix_digest})
    return run
