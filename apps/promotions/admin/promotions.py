"""A promotion's page, and all that people do to one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from apps.core.access import Action
from apps.core.admin import (
    Act,
    ActForm,
    Call,
    Done,
    Facts,
    GovernedAdmin,
    NeededReasonForm,
    Panel,
    ReasonForm,
    Relatives,
    cells,
    columns,
    filters,
)
from apps.core.admin.columns import Column
from apps.core.context import ActionContext
from apps.core.http import context_of
from apps.identity.models import User
from apps.identity.permissions import can
from apps.promotions.admin import panels as shown
from apps.promotions.deciders import capacities, case_of, expiry_of, roles_here
from apps.promotions.domain.transitions import possible
from apps.promotions.models import Decision, Promotion, State
from apps.promotions.selectors import demand_of
from apps.promotions.services.approving import approve_promotion, reject_promotion
from apps.promotions.services.going_live import start_promotion
from apps.promotions.services.requests import abort_promotion, evaluate_promotion

RISKS = [(level, level) for level in ("low", "medium", "high")]
NO_CONTENT = ("challenger__content", "challenger__canonical", "champion__content", "champion__canonical")


class ApproveForm(ActForm):
    comment = forms.CharField(
        required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 3}), help_text="Stands beside your name."
    )
    # What the page showed: when it has changed since, the approval is refused as stale.
    binding = forms.CharField(widget=forms.HiddenInput)

    on_behalf_of = forms.ChoiceField(label="In whose name", required=False)

    def prepare(self) -> None:
        self.fields["binding"].initial = self.obj.binding
        grants = [
            each.delegated_from
            for each in capacities(roles_here(self.ctx, self.obj.layer), self.obj.layer)
            if each.delegated_from is not None
        ]
        if not grants:
            del self.fields["on_behalf_of"]
            return
        lenders = User.objects.filter(pk__in=grants)
        named = [
            ("", "in whichever brings it on"),
            (self.ctx.actor.label, "my own"),
            *((each.email, f"on behalf of {each}") for each in lenders),
        ]
        self.offer("on_behalf_of", named)


class RejectForm(ActForm):
    comment = forms.CharField(max_length=10_000, widget=forms.Textarea(attrs={"rows": 3}), help_text="Needed: what its author should know.")


def allows(act: str) -> Any:
    """Whether the table of transitions knows the act in the promotion's state."""
    return lambda ctx, promotion: act in possible(promotion.state)


def _approvable(ctx: ActionContext, promotion: Promotion) -> bool:
    if promotion.state != State.AWAITING_APPROVAL or ctx.user_id is None:
        return False
    return case_of(promotion).capacity(ctx.user_id, roles_here(ctx, promotion.layer)) is not None


def _forceable(ctx: ActionContext, promotion: Promotion) -> bool:
    return promotion.state in (State.COLLECTING, State.BLOCKED) and bool(promotion.verdict.get("forceable"))


def _may_abort(ctx: ActionContext, promotion: Promotion) -> bool:
    right = Action.REQUEST_PROMOTION if promotion.requested_by_id == ctx.user_id else Action.PROMOTE
    return can(ctx, right, tenant_id=promotion.tenant_id, team_id=promotion.layer.team_id, on=promotion)


def _evaluate(call: Call) -> Done:
    found = evaluate_promotion(ctx=call.ctx, promotion_id=call.obj.pk)
    return Done(f"Judged on the evidence of now: {found.state.replace('_', ' ')}.")


def _approve(call: Call) -> Done:
    found = approve_promotion(
        ctx=call.ctx,
        promotion_id=call.obj.pk,
        comment=call.data["comment"],
        binding=call.data["binding"] or None,
        on_behalf_of=call.data.get("on_behalf_of"),
    )
    return Done("Approved; it is ready to start." if found.state == State.READY else "Approved; more is demanded.")


def _reject(call: Call) -> Done:
    reject_promotion(ctx=call.ctx, promotion_id=call.obj.pk, comment=call.data["comment"])
    return Done("Rejected.")


def _start(call: Call) -> Done:
    start_promotion(ctx=call.ctx, promotion_id=call.obj.pk, reason=call.data["reason"])
    return Done("It is live: agents are served it from the next resolve on.")


def _force(call: Call) -> Done:
    found = start_promotion(ctx=call.ctx, promotion_id=call.obj.pk, reason=call.data["reason"], force=True)
    return Done(
        "Forced: it is live."
        if found.state == State.PROMOTED
        else "The soft rules are set aside; it waits for the approvals of one level higher."
    )


def _abort(call: Call) -> Done:
    abort_promotion(ctx=call.ctx, promotion_id=call.obj.pk, reason=call.data["reason"])
    return Done("Taken back.")


def _approving(request: HttpRequest, promotion: Promotion) -> Iterator[object]:
    yield f"You approve {promotion} as it stands now, bound to {promotion.binding[:17]}…"
    yield "Any change to the challenger, to the champions at or above its layer or to the thresholds voids your approval."
    yield f"Risk {promotion.risk_level}: {demand_of(promotion).sentence}"
    ctx: ActionContext = context_of(request)
    capacity = case_of(promotion).capacity(ctx.user_id, roles_here(ctx, promotion.layer)) if ctx.user_id else None
    if capacity is not None and capacity.delegated_from is not None:
        yield f"You approve on behalf of {User.objects.get(pk=capacity.delegated_from)}, whose role was handed over to you."
    blast = promotion.blast or {}
    reached = [_many(blast.get(f"{what}s", 0), what) for what in ("agent", "layer", "tenant")]
    yield f"Once live it reaches {reached[0]}, {reached[1]} and {reached[2]}."


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _starting(request: HttpRequest, promotion: Promotion) -> Iterator[object]:
    layer = promotion.layer
    if promotion.retire:
        yield f"{layer} has no champion any more; its agents inherit from the layers above."
    else:
        old = promotion.champion or "what is inherited"
        yield f"{str(promotion.challenger).capitalize()} takes the place of {old} at {layer.scope}, within a second everywhere."
    if promotion.invalid == "suspend" and (promotion.blast or {}).get("invalid"):
        yield "The layers below that it makes invalid are suspended in the same moment."
    yield "Everything is checked once more. The layer's other open promotions expire. A rollback takes it back."


@admin.register(Promotion)
class PromotionAdmin(GovernedAdmin):
    list_display = (
        # The layer stands beside it, so the promotion's own name need not repeat it.
        Column("Promotion", lambda promotion: str(promotion.challenger or "retirement"), order="layer__pack__slug"),
        columns.link("layer", order="layer__scope"),
        columns.badge("state"),
        columns.badge("risk_level", "Risk"),
        columns.badge("aim"),
        columns.text("requested_by", "Requested by", order="requested_by__email"),
        columns.moment("created_at", "Requested"),
        columns.moment("closed_at", "Closed"),
    )
    list_select_related = ("layer__pack", "challenger", "champion", "requested_by")
    list_filter = (
        ("state", admin.ChoicesFieldListFilter),
        filters.values("risk_level", "risk", RISKS),
        ("aim", admin.ChoicesFieldListFilter),
        filters.related("layer__pack", "packs.Pack", "pack"),
        filters.related("layer", "packs.Layer", "layer", with_=("pack",)),
        filters.exact("challenger", "version"),
        ("forced", admin.BooleanFieldListFilter),
        filters.when("created_at"),
    )
    search_fields = ("layer__pack__slug", "layer__scope", "reason", "requested_by__email")
    ordering = ("-created_at", "-id")
    detail_related = ("layer__tenant", "layer__champion", "layer__team", "layer__agent__team", "challenger__created_by", "tenant")
    when_empty = "Open a draft and request its promotion."
    facts = (
        Facts(
            "Promotion",
            (
                columns.badge("state"),
                columns.badge("risk_level", "Risk"),
                columns.badge("aim"),
                columns.link("layer"),
                columns.link("challenger"),
                columns.link("champion", "Champion when requested"),
                columns.text("invalid", "Invalid layers below"),
                columns.yes_no("forced"),
                columns.link("requested_by"),
                columns.moment("created_at", "Requested"),
                columns.moment("evaluated_at", "Judged"),
                Column("Expires", lambda promotion: cells.moment(expiry_of(promotion))),
                columns.moment("closed_at", "Closed"),
            ),
            long=(columns.block("reason"), columns.block("expired_because", "Why it expired")),
        ),
    )
    panels = (
        Panel("Evaluation", "promotions/progress.html", shown.progress_panel),
        Panel("The verdict, rule by rule", "promotions/verdict.html", shown.verdict_panel),
        Panel("Risk", "promotions/risk.html", shown.risk_panel),
        Panel("Approvals", "promotions/approvals.html", shown.approvals_panel),
        Panel("Whom it reaches", "promotions/reach.html", shown.reach_panel),
        Panel("The difference", "packs/difference.html", shown.difference_panel),
        Panel("Thresholds", "promotions/tree.html", lambda request, obj: {"tree": cells.tree(obj.thresholds)} if obj.thresholds else None),
    )
    parts = {"progress": shown.progress_part}
    relatives = (
        Relatives(
            "Decisions",
            lambda ctx, promotion: Decision.objects.restrict(ctx).filter(promotion=promotion).select_related("layer__pack", "decided_by"),
            (
                columns.itself("Decision"),
                columns.badge("decision"),
                columns.text("actor_label", "By"),
                columns.moment("created_at", "When"),
            ),
            empty="Nothing is decided yet.",
        ),
    )
    acts = (
        Act(
            name="approve",
            label="Approve",
            icon="how_to_reg",
            tone="primary",
            rights=(Action.APPROVE,),
            form=ApproveForm,
            run=_approve,
            when=_approvable,
            explain=_approving,
        ),
        Act(
            name="start",
            label="Start",
            icon="rocket_launch",
            tone="primary",
            rights=(Action.PROMOTE,),
            run=_start,
            when=allows("start"),
            explain=_starting,
        ),
        Act(
            name="evaluate",
            label="Evaluate again",
            icon="science",
            rights=(Action.EVALUATE,),
            form=ActForm,
            run=_evaluate,
            when=allows("evaluate"),
            explain=lambda request, promotion: ["Missing evaluation runs are begun, and the gate judges it on the evidence there is now."],
        ),
        Act(
            name="reject",
            label="Reject",
            icon="thumb_down",
            tone="danger",
            rights=(Action.APPROVE,),
            form=RejectForm,
            run=_reject,
            when=allows("reject"),
            explain=lambda request, promotion: ["One person's no ends it, with a decision. The version is archived as rejected."],
        ),
        Act(
            name="force",
            label="Force",
            icon="bolt",
            tone="danger",
            rights=(Action.FORCE,),
            form=NeededReasonForm,
            run=_force,
            when=_forceable,
            explain=lambda request, promotion: [
                "The soft rules that fail are set aside; nothing sets aside a hard one.",
                "It then needs the approvals of one risk level higher, and is started like any other.",
            ],
        ),
        Act(
            name="abort",
            label="Take back",
            icon="undo",
            allowed=_may_abort,
            form=ReasonForm,
            run=_abort,
            when=allows("abort"),
            explain=lambda request, promotion: ["It ends without a decision; the version is archived as aborted."],
        ),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        rows = super().get_queryset(request)
        one = request.resolver_match is not None and bool(request.resolver_match.kwargs)
        return rows if one else rows.defer(*NO_CONTENT, "verdict", "blast", "thresholds", "risk_reasons")

    def heading(self, obj: Promotion) -> object:
        return str(obj).capitalize()

    def intro(self, request: HttpRequest, obj: Promotion) -> Sequence[object]:
        ctx: ActionContext = context_of(request)
        found: list[object] = [shown.next_step(obj)]
        if obj.state == State.PROMOTED:
            # By its key alone: the decision's page is reached by it.
            for decision in Decision.objects.restrict(ctx).filter(promotion=obj).only("pk").order_by("-created_at")[:1]:
                found.append(cells.link(cells.admin_url(decision), "How far it has come with the harnesses"))
        if obj.state == State.AWAITING_APPROVAL and not _approvable(ctx, obj):
            case = case_of(obj)
            if ctx.user_id in case.authors and case.demand.not_author:
                found.append("You are an author of this change (you wrote, requested or started it), so somebody else has to approve.")
            elif any(ctx.user_id in given.people for given in case.given):
                found.append("Your approval is given; what is missing is others'.")
        return found
