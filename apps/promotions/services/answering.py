"""One person's answer to several promotions: each stands or falls by itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import Problem, problem
from apps.identity.permissions import anywhere, require
from apps.promotions.models import Promotion
from apps.promotions.services.approving import approve_promotion, reject_promotion

MOST = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """`binding`: what the person was shown."""

    promotion_id: UUID
    binding: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """`code` is "" where the answer was taken, and `state` the promotion's after it; else the refusal's code."""

    promotion_id: UUID
    state: str = ""
    code: str = ""
    detail: str = ""


def answer_many(
    *, ctx: ActionContext, answers: Sequence[Answer], approve: bool, comment: str = "", read: Collection[UUID] = ()
) -> list[Result]:
    """Approves or rejects these promotions, each in a transaction of its own (a savepoint of the caller's, where there is one), in one order
    for everybody so that nobody waits in a ring. A refusal costs no other, and stands in the results as it would for one alone.

    `read`: those of high risk that the person has confirmed one by one; no other of high risk is approved. Raises Problem `invalid` for none,
    or too many, and `permission_denied` for who approves nothing at all.
    """
    if not anywhere(ctx, Action.APPROVE):
        require(ctx, Action.APPROVE, tenant_id=ctx.tenant_id)
    if not 0 < len(answers) <= MOST:
        raise problem("invalid", f"Name 1 to {MOST} promotions.", pointer="/promotions")
    wanted = {answer.promotion_id: answer for answer in answers}
    with ctx.transaction():
        layers = dict(Promotion.objects.restrict(ctx).filter(pk__in=wanted).values_list("pk", "layer_id"))
    found = {}
    for promotion_id in sorted(wanted, key=lambda each: (str(layers.get(each, "")), str(each))):
        try:
            found[promotion_id] = _answer(ctx, wanted[promotion_id], approve, comment, promotion_id in read)
        except Problem as refused:
            found[promotion_id] = Result(promotion_id, code=refused.code, detail=refused.detail)
    return [found[promotion_id] for promotion_id in wanted]


def _answer(ctx: ActionContext, answer: Answer, approve: bool, comment: str, read: bool) -> Result:
    with ctx.transaction():
        if not approve:
            done = reject_promotion(ctx=ctx, promotion_id=answer.promotion_id, comment=comment, binding=answer.binding)
            return Result(answer.promotion_id, done.state)
        seen: Promotion = Promotion.objects.visible(ctx, pk=answer.promotion_id)
        if seen.risk_level == "high" and not read:
            raise problem("approval_required", "It is of high risk: confirm that you have read it, for it alone.")
        done = approve_promotion(ctx=ctx, promotion_id=answer.promotion_id, comment=comment, binding=answer.binding)
        # Under the lock now: what was read as medium may be high.
        if done.risk_level == "high" and not read:
            raise problem("approval_required", "It has become one of high risk: confirm that you have read it, for it alone.")
        return Result(answer.promotion_id, done.state)
