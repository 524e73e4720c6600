"""A person's yes or no to a promotion."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.identity.permissions import require
from apps.packs.chains import Pictures
from apps.promotions.domain import approvals as rules
from apps.promotions.domain.transitions import Event
from apps.promotions.models import Approval, DecisionKind, Promotion
from apps.promotions.selectors import Sides, authors_of, binding_of, demand_of, every_manager_is_author, given_approvals, roles_here
from apps.promotions.services.assessment import reassess
from apps.promotions.services.decisions import close, decide
from apps.promotions.services.requests import locked_promotion

MAX_COMMENT = 10_000


def approve_promotion(*, ctx: ActionContext, promotion_id: UUID, comment: str = "", binding: str | None = None) -> Promotion:
    """Approves what the person was shown: the promotion's binding as it was last assessed, or the one they name.

    Raises Problem `not_found`, `permission_denied`, `own_promotion`, `approval_stale`, `already_decided`, `wrong_state`.
    """
    with ctx.transaction():
        promotion = _answerable(ctx, promotion_id, comment)
        authors, pictures = authors_of(promotion), Pictures.of(promotion.layer.tenant_id)
        given = rules.Approval(
            user_id=_person(ctx),
            roles=roles_here(ctx, promotion.layer),
            at=timezone.now(),
            binding=binding or promotion.binding,
        )
        rules.check_may_approve(
            demand_of(promotion),
            given_approvals(promotion),
            approval=given,
            state=promotion.state,
            current_binding=binding_of(promotion, Sides.of(promotion, pictures).thresholds, pictures),
            authors=authors,
            sole_manager_is_author=every_manager_is_author(promotion, authors),
        )
        _keep(ctx, promotion, given, approved=True, comment=comment)
        reassess(ctx, promotion)
        return promotion


def reject_promotion(*, ctx: ActionContext, promotion_id: UUID, comment: str = "") -> Promotion:
    """Ends the promotion with a decision; one person's no is enough. Raises Problem as approving does."""
    with ctx.transaction():
        promotion = _answerable(ctx, promotion_id, comment)
        given = rules.Approval(_person(ctx), roles_here(ctx, promotion.layer), timezone.now(), promotion.binding)
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
        roles=sorted(given.roles),
        approved=approved,
        comment=comment,
        binding=given.binding,
    )
    record(ctx, "approval.given" if approved else "approval.refused", approval, data={"promotion": str(promotion.pk)}, reason=comment)
