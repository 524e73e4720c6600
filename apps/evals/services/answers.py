"""Answering a run: cases are leased to agents, answers scored as they arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import FieldError, problem
from apps.core.ids import new_id
from apps.evals.models import EvalItem, EvalResult, EvalRun, EvalRunState, Runner
from apps.evals.selectors.prefix import Prefix, prefix_or_none
from apps.evals.services.runs import announce, fail_run
from apps.evals.services.scoring import same_answer, score
from apps.evals.services.submission import Answer, parse_answers
from apps.identity.permissions import require
from apps.telemetry.selectors.rules import redactor_of
from apps.telemetry.services.screening import screened

LEASE_S = 120
MAX_LEASED = 100
MAX_OUTPUTS = 1000
MOVED = "A layer above has changed since the run began, so its answers no longer count; start a new run."
RELATIONS = ("layer__pack", "layer__tenant", "layer__agent__team", "layer__team", "version", "eval_set")
CLOSED = (EvalRunState.COMPLETED, EvalRunState.FAILED)


@dataclass(frozen=True, slots=True)
class LeasedCases:
    """What an agent got: `items` are its own until `until`. No items and no lease when there is nothing to do (any more, or just now)."""

    run: EvalRun
    items: Sequence[EvalItem] = ()
    lease_id: UUID | None = None
    until: datetime | None = None


@dataclass(slots=True)
class Submission:
    """What became of a batch of outputs. `rejected`: index -> why."""

    run: EvalRun
    accepted: int = 0
    duplicates: int = 0
    rejected: list[tuple[int, FieldError]] = field(default_factory=list)


def lease_cases(*, ctx: ActionContext, eval_run_id: UUID, limit: int = 10) -> LeasedCases:
    """Leases up to `limit` unanswered items to the agent for LEASE_S seconds; what an earlier holder let lapse is leased again.

    Two agents never hold the same item. Raises Problem `not_found`, `permission_denied`, `invalid`.
    """
    with ctx.transaction():
        run = _answerable(ctx, eval_run_id)
        if not 1 <= limit <= MAX_LEASED:
            raise problem("invalid", f"Lease 1 to {MAX_LEASED} cases at a time.", pointer="/lease")
        if run.state in CLOSED or _prefix(ctx, run) is None:
            return LeasedCases(run)
        now = timezone.now()
        free = EvalItem.objects.filter(eval_run=run, answered_at__isnull=True).filter(
            Q(leased_until__isnull=True) | Q(leased_until__lte=now)
        )
        # Every case once before any case twice.
        items = list(
            free.order_by("repeat", "case__number").select_for_update(skip_locked=True, of=("self",)).select_related("case")[:limit]
        )
        if not items:
            return LeasedCases(run)
        lease_id, until = new_id(), now + timedelta(seconds=LEASE_S)
        EvalItem.objects.filter(pk__in=[item.pk for item in items]).update(lease_id=lease_id, leased_to_id=ctx.agent_id, leased_until=until)
        _begin(run)
        return LeasedCases(run, items, lease_id, until)


def submit_outputs(*, ctx: ActionContext, eval_run_id: UUID, lease_id: UUID | None, outputs: Sequence[object]) -> Submission:
    """Scores a batch of answers, each once. A bad one is rejected by its index and costs no good one; the same one again is a duplicate.

    An agent answers what it has leased (`harness`); a person who may evaluate posts recorded outputs without a lease (`replay`).
    Raises Problem `not_found`, `permission_denied`, `invalid`, `lease_expired` (nothing is taken then), `wrong_state`.
    """
    with ctx.transaction():
        run = _recordable(ctx, eval_run_id) if ctx.agent_id is None else _answerable(ctx, eval_run_id)
        if not 1 <= len(outputs) <= MAX_OUTPUTS:
            raise problem("invalid", f"Send 1 to {MAX_OUTPUTS} outputs at a time, not {len(outputs)}.", pointer="/outputs")
        if run.runner == Runner.HARNESS and lease_id is None:
            raise problem("invalid", "`lease_id` is missing: lease the cases first and answer under that lease.", pointer="/lease_id")
        if run.state == EvalRunState.FAILED:
            raise problem("wrong_state", f"The run has failed: {run.failure}")
        answers, refused = parse_answers(outputs)
        # What is wrong with an answer may repeat what it holds.
        redactor = redactor_of(run.tenant_id)
        submission = Submission(run, rejected=[(index, screened(redactor, why)) for index, why in refused])
        fresh = _sort_out(ctx, submission, lease_id, answers)
        if fresh:
            prefix = _prefix(ctx, run)
            if prefix is None:
                return Submission(run, rejected=[(index, FieldError("", "wrong_state", MOVED)) for index in range(len(outputs))])
            _keep(ctx, submission, fresh, prefix)
        submission.rejected.sort(key=lambda entry: entry[0])
        return submission


def _begin(run: EvalRun) -> None:
    """The first lease sets the run going. Whoever holds its row is about to do so too: nobody waits for that."""
    if run.state == EvalRunState.PENDING:
        free = EvalRun.objects.select_for_update(skip_locked=True).filter(pk=run.pk, state=EvalRunState.PENDING)
        EvalRun.objects.filter(pk__in=[row.pk for row in free]).update(state=EvalRunState.RUNNING)
        run.state = EvalRunState.RUNNING


def _answerable(ctx: ActionContext, eval_run_id: UUID) -> EvalRun:
    if ctx.agent_id is None:
        EvalRun.objects.visible(ctx, pk=eval_run_id)
        raise problem("permission_denied", "Cases are leased by an agent's token; people list them without `lease`.")
    run: EvalRun | None = EvalRun.objects.answerable(ctx).select_related(*RELATIONS).filter(pk=eval_run_id).first()
    if run is None:
        raise problem("not_found", "There is no evaluation run of this id that your agent may answer.")
    return run


def _recordable(ctx: ActionContext, eval_run_id: UUID) -> EvalRun:
    run: EvalRun = EvalRun.objects.select_related(*RELATIONS).visible(ctx, pk=eval_run_id)
    require(ctx, Action.EVALUATE, tenant_id=run.tenant_id, team_id=run.layer.team_id, on=run)
    if run.runner != Runner.REPLAY:
        raise problem(
            "permission_denied", "This run is answered by agents under a lease; recorded outputs go to a run with runner `replay`."
        )
    return run


def _prefix(ctx: ActionContext, run: EvalRun) -> Prefix | None:
    """What a lease resolves. None when that is no longer what the run is evidence for; then the run has failed."""
    prefix = prefix_or_none(run.layer, run.version)
    if prefix is not None and prefix.digest == run.prefix_digest:
        return prefix
    fail_run(ctx=ctx, run=run, failure=MOVED)
    run.state, run.failure = EvalRunState.FAILED, MOVED
    return None


def _sort_out(
    ctx: ActionContext, submission: Submission, lease_id: UUID | None, answers: Mapping[int, Answer]
) -> list[tuple[EvalItem, Answer]]:
    """The answers to store, with their items locked; the others are counted or rejected. Raises Problem `lease_expired`."""
    run = submission.run
    wanted = Q(pk__in=[])
    for answer in answers.values():
        wanted |= Q(case_id=answer.case, repeat=answer.repeat)
    locked = EvalItem.objects.filter(wanted, eval_run=run).order_by("pk").select_for_update(of=("self",)).select_related("case")
    items = {(item.case_id, item.repeat): item for item in locked}
    stored = {result.item_id: result for result in EvalResult.objects.filter(item__in=list(items.values()))}
    now = timezone.now()
    fresh: dict[tuple[UUID, int], tuple[EvalItem, Answer]] = {}
    for index, answer in answers.items():
        key = (answer.case, answer.repeat)
        item = items.get(key)
        if item is None:
            submission.rejected.append((index, FieldError("/case", "not_found", "No such case and repeat in this run.")))
        elif (known := stored.get(item.pk)) is not None or key in fresh:
            if same_answer(answer, known if known is not None else fresh[key][1]):
                submission.duplicates += 1
            else:
                submission.rejected.append(
                    (index, FieldError("", "duplicate_conflict", "This case and repeat has another answer already."))
                )
        else:
            if run.runner == Runner.HARNESS and not _holds(ctx, item, lease_id, now):
                raise problem(
                    "lease_expired", f"The lease on {item.case}, repeat {item.repeat}, has lapsed or is not yours; lease cases again."
                )
            fresh[key] = (item, answer)
    return list(fresh.values())


def _holds(ctx: ActionContext, item: EvalItem, lease_id: UUID | None, now: datetime) -> bool:
    return item.lease_id == lease_id and item.leased_to_id == ctx.agent_id and item.leased_until is not None and item.leased_until > now


def _keep(ctx: ActionContext, submission: Submission, fresh: Sequence[tuple[EvalItem, Answer]], prefix: Prefix) -> None:
    run = submission.run
    EvalResult.objects.bulk_create([score(run, item, answer, prefix.content, agent_id=ctx.agent_id) for item, answer in fresh])
    EvalItem.objects.filter(pk__in=[item.pk for item, _ in fresh]).update(answered_at=timezone.now())
    # After the items, always: whoever leases locks in this order too.
    locked = EvalRun.objects.select_for_update().get(pk=run.pk)
    if locked.state == EvalRunState.FAILED:
        raise problem("wrong_state", f"The run has failed: {locked.failure}")
    run.done = locked.done + len(fresh)
    run.state = EvalRunState.COMPLETED if run.done == run.total else EvalRunState.RUNNING
    run.completed_at = timezone.now() if run.state == EvalRunState.COMPLETED else None
    run.save(update_fields=["done", "state", "completed_at"])
    submission.accepted = len(fresh)
    record(ctx, "evals.outputs_scored", run, data={"accepted": len(fresh), "done": run.done, "total": run.total})
    if run.state == EvalRunState.COMPLETED:
        record(ctx, "evals.run_completed", run, data={"total": run.total, "prefix_digest": run.prefix_digest})
        announce(ctx, "evals.run_completed", run)
