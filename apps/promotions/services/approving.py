"""A person's yes or no to a promotion."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.identity.models import User
from apps.identity.permissions import require
from apps.packs.chains import Pictures
from apps.promotions.deciders import Case, capacities, case_of, limits, roles_here
from apps.promotions.domain import approvals as rules
from apps.promotions.domain.expiry import days, is_over
from apps.promotions.domain.transitions import TERMINAL, Event
from apps.promotions.models import Approval, DecisionKind, Promotion
from apps.promotions.selectors import Sides, binding_of
from apps.promotions.services.assessment import reassess
from apps.promotions.services.decisions import close, decide
from apps.promotions.services.requests import locked_promotion

MAX_COMMENT = 10_000


def approve_promotion(
    *, ctx: ActionContext, promotion_id: UUID, comment: str = "", binding: str | None = None, on_behalf_of: str | None = None
) -> Promotion:
    """Approves what the person was shown: the promotion's binding as it was last assessed, or the one they name.

    `on_behalf_of`: the e-mail address of somebody who delegated their role, or one's own; without it one speaks by the right that brings
    the promotion on, one's own before a delegated one that would do no more. Raises Problem `not_found`, `permission_denied`,
    `own_promotion`, `approval_stale`, `already_decided`, `wrong_state`.
    """
    with ctx.transaction():
        promotion = _answerable(ctx, promotion_id, comment)
        _refuse_overdue(promotion)
        case, pictures = case_of(promotion), Pictures.of(promotion.layer.tenant_id)
        capacity = _capacity(ctx, case, on_behalf_of)
        given = rules.Approval(
            user_id=_person(ctx),
            roles=capacity.roles,
            at=timezone.now(),
            binding=binding or promotion.binding,
            delegated_from=capacity.delegated_from,
        )
        rules.check_may_approve(
            case.demand,
            case.given,
            approval=given,
            state=promotion.state,
            current_binding=binding_of(promotion, Sides.of(promotion, pictures).thresholds, pictures),
            authors=case.authors,
            sole_manager_is_author=case.sole_manager_is_author,
        )
        _keep(ctx, promotion, given, approved=True, comment=comment)
        reassess(ctx, promotion)
        return promotion


def reject_promotion(*, ctx: ActionContext, promotion_id: UUID, comment: str = "", binding: str | None = None) -> Promotion:
    """Ends the promotion with a decision; one person's no is enough. With `binding`, only what they were shown. Raises Problem as approving
    does."""
    with ctx.transaction():
        promotion = _answerable(ctx, promotion_id, comment)
        if binding is not None and binding != promotion.binding and promotion.state not in TERMINAL:
            raise problem("approval_stale", "What stands for approval has changed since this was shown to you. Read the promotion again.")
        held = capacities(roles_here(ctx, promotion.layer), promotion.layer)
        answering = [each for each in held if each.roles & {rules.MANAGER, rules.TENANT_ADMIN}]
        capacity = (answering or held)[0]
        given = rules.Approval(_person(ctx), capacity.roles, timezone.now(), promotion.binding, delegated_from=capacity.delegated_from)
        close(ctx, promotion, Event.REJECT, archived_reason="rejected", reason=comment)
        _keep(ctx, promotion, given, approved=False, comment=comment)
        decide(
            ctx,
            promotion.layer,
            DecisionKind.REJECT,
            champion=promotion.champion,
            challenger=promotion.challenger,
            promotion=promotion,
            reason=comment,
        )
        return promotion


def _capacity(ctx: ActionContext, case: Case, on_behalf_of: str | None) -> rules.Capacity:
    """In which the person answers; where none brings the promotion on, the one whose refusal says why."""
    roles = roles_here(ctx, case.promotion.layer)
    held = capacities(roles, case.promotion.layer)
    if on_behalf_of:
        lender = User.objects.filter(email=on_behalf_of.strip().lower()).first()
        via = lender.pk if lender and lender.pk != ctx.user_id else None
        chosen = next((each for each in held if lender and each.delegated_from == via), None)
        if chosen is None:
            raise problem("permission_denied", "This person has not handed a role over to you here.", pointer="/on_behalf_of")
        return chosen
    best = case.capacity(_person(ctx), roles)
    asked = (each for each in held if each.roles & {*case.demand.roles})
    return best or next(asked, held[0])


def _refuse_overdue(promotion: Promotion) -> None:
    """The task that ends it comes within a minute; until then it is over all the same."""
    since = promotion.awaiting_since
    if since is not None and is_over(since, timezone.now(), limits()):
        raise problem("wrong_state", f"It waited {days(limits().demand)} for approval and has expired; a new version can ask again.")


def _answerable(ctx: ActionContext, promotion_id: UUID, comment: str) -> Promotion:
    promotion = locked_promotion(ctx, promotion_id)
    require(ctx, Action.APPROVE, tenant_id=promotion.tenant_id, team_id=promotion.layer.team_id, on=promotion)
    if len(comment) > MAX_COMMENT:
        raise problem("invalid", f"A comment is at most {MAX_COMMENT} characters.", pointer="/comment")
    return promotion


def _person(ctx: ActionContext) -> UUID:
    if ctx.user_id is None:
        raise problem("permission_denied", "Approvals are given by people.")
    return ctx.user_id


def _keep(ctx: ActionContext, promotion: Promotion, given: rules.Approval, *, approved: bool, comment: str) -> None:
    approval = Approval.objects.create(
        tenant_id=promotion.tenant_id,
        promotion=promotion,
        user_id=given.user_id,
        on_behalf_of_id=given.delegated_from,
        roles=sorted(given.roles),
        approved=approved,
        comment=comment,
        binding=given.binding,
    )
    facts = {"promotion": str(promotion.pk), **({"on_behalf_of": str(given.delegated_from)} if given.delegated_from else {})}
    record(ctx, "approval.given" if approved else "approval.refused", approval, data=facts, reason=comment)
