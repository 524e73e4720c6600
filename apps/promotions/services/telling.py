"""What people should know, published for the room that sends notices. Titles and facts name things; they hold no content."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.urls import reverse

from apps.core.context import ActionContext
from apps.core.events import publish
from apps.promotions.deciders import deciders, expiry_of
from apps.promotions.models import Approval, Promotion
from apps.promotions.selectors import authors_of


def tell_requested(ctx: ActionContext, promotion: Promotion) -> None:
    """To everyone who may decide it."""
    _tell(ctx, "promotions.approval_requested", promotion, deciders(promotion), "waits for your approval")


def tell_reminder(ctx: ActionContext, promotion: Promotion, recipients: Iterable[UUID], kind: str) -> None:
    still = "waits for your approval and expires in a day" if kind == "last" else "still waits for your approval"
    _tell(ctx, "promotions.approval_reminder", promotion, recipients, still, reminder=kind)


def tell_decided(ctx: ActionContext, promotion: Promotion, outcome: str, *, because: str = "", also: Iterable[UUID] = ()) -> None:
    """To its authors, its requester and those who answered, but not to who did it. `outcome`: `approved`, `rejected`, `promoted`,
    `rolled_back`, `expired` or `voided`; `because` is a sentence of the portal's own."""
    answered = Approval.objects.filter(promotion=promotion).values_list("user_id", flat=True)
    people = {*authors_of(promotion), *answered, *also} - {ctx.user_id}
    said = {"voided": "lost an approval"}.get(outcome, f"was {outcome.replace('_', ' ')}")
    _tell(ctx, "promotions.decided", promotion, people, said, outcome=outcome, **({"because": because} if because else {}))


def _tell(ctx: ActionContext, event: str, promotion: Promotion, people: Iterable[UUID], said: str, **facts: str) -> None:
    layer, until = promotion.layer, expiry_of(promotion)
    # The scope of a user names a person of the harness.
    scope = layer.scope if layer.scope_type != "user" else "a user's scope"
    subject = f"Version {promotion.challenger.number}" if promotion.challenger else "The retirement"
    known = {"pack": layer.pack.slug, "scope": scope, "risk": promotion.risk_level, "expires_at": until.isoformat() if until else ""}
    publish(
        ctx,
        event,
        tenant_id=promotion.tenant_id,
        subject_id=promotion.pk,
        # Webhooks hear of it also where it concerns no person.
        recipients=tuple(sorted(people)),
        title=f"{subject} of {layer.pack.slug} at {scope} {said}",
        path=reverse("admin:promotions_promotion_change", args=[promotion.pk]),
        facts={**{name: value for name, value in known.items() if value}, **facts},
    )
