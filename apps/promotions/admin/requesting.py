"""What begins on the pages of versions and layers: asking for a promotion, retiring, rolling back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Relatives, columns, extend
from apps.core.context import ActionContext
from apps.identity.permissions import can
from apps.packs.models import Layer, PackKind, PackVersion, VersionStatus
from apps.packs.selectors import champion_of
from apps.promotions.domain.rollback import former_champions
from apps.promotions.models import OPEN_STATES, Aim, Decision, Invalid, Promotion
from apps.promotions.selectors import history_of
from apps.promotions.services.going_live import rollback_layer
from apps.promotions.services.requests import request_promotion

AIMS = [
    (Aim.IMPROVE.value, "improve: shown to be better"),
    (Aim.NON_INFERIOR.value, "non-inferior: shown to be no worse (raises the risk by one)"),
    (Aim.POLICY.value, "policy: not judged by quality (raises the risk by one)"),
]
INVALIDS = [
    (Invalid.WAIT.value, "wait: nothing goes live until they are put right"),
    (Invalid.SUSPEND.value, "suspend them in the same moment (high risk)"),
]


class RequestForm(ActForm):
    aim = forms.ChoiceField(choices=AIMS, widget=forms.RadioSelect, initial=Aim.IMPROVE)
    invalid = forms.ChoiceField(
        choices=INVALIDS, widget=forms.RadioSelect, initial=Invalid.WAIT, label="Layers below that it would make invalid"
    )
    reason = forms.CharField(
        required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 3}), help_text="What it is for: approvers read it."
    )

    def prepare(self) -> None:
        layer: Layer = self.obj if isinstance(self.obj, Layer) else self.obj.layer
        if layer.pack.kind == PackKind.POLICY:
            self.offer("aim", [AIMS[2]])
            self.fields["aim"].initial = Aim.POLICY
        if not can(self.ctx, Action.SUSPEND, tenant_id=layer.tenant_id, team_id=layer.team_id, on=layer):
            self.offer("invalid", INVALIDS[:1])


class RollbackForm(ActForm):
    to_version = forms.TypedChoiceField(required=False, coerce=UUID, empty_value=None, label="Back to")
    reason = forms.CharField(
        required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 3}), help_text="It stands in the decision and in the log."
    )

    def prepare(self) -> None:
        former = _former(self.obj)
        choices = [(str(pk), f"version {number}{', quarantined' if held else ''}") for pk, number, held in former]
        self.offer("to_version", [("", "the last former champion that holds today's rules"), *choices])


def _former(layer: Layer) -> list[tuple[Any, int, bool]]:
    """Former champions by decision, the last first: (id, number, quarantined)."""
    current = champion_of(layer)
    facts = former_champions(history_of(layer, {}), current.pk if current else None)
    return [(pk, fact.number, fact.quarantined) for pk, fact in facts.items()]


def _request(call: Call) -> Done:
    made = request_promotion(ctx=call.ctx, version_id=call.obj.pk, **call.data)
    return Done("Its promotion is requested.", made)


def _retire(call: Call) -> Done:
    return Done("The retirement is requested.", request_promotion(ctx=call.ctx, layer_id=call.obj.pk, retire=True, **call.data))


def _roll_back(call: Call) -> Done:
    decision = rollback_layer(ctx=call.ctx, layer_id=call.obj.pk, to_version=call.data["to_version"], reason=call.data["reason"])
    return Done(f"Rolled back: {decision.challenger_version} is the champion again.")


def _rolling(request: HttpRequest, layer: Layer) -> Iterator[object]:
    now = "is suspended" if layer.suspended_by else f"serves {layer.champion}" if layer.champion else "serves nothing of its own"
    yield f"{layer} {now}; the former champion takes its place at once, within a second everywhere, without evaluation or approval."
    yield "The layer's open promotions expire. A decision is written. Another rollback reverses it."


def _rollable(ctx: ActionContext, layer: Layer) -> bool:
    return bool(_former(layer))


def _requestable(ctx: ActionContext, version: PackVersion) -> bool:
    return version.status == VersionStatus.DRAFT and version.parent_id == version.layer.champion_id


def _retirable(ctx: ActionContext, layer: Layer) -> bool:
    return layer.champion_id is not None and not Promotion.objects.filter(layer=layer, retire=True, state__in=OPEN_STATES).exists()


PROMOTIONS = (
    columns.itself("Promotion"),
    columns.badge("state"),
    columns.badge("risk_level", "Risk"),
    columns.text("requested_by", "Requested by"),
    columns.moment("created_at", "Requested"),
)


def _promotions(ctx: ActionContext) -> Any:
    rows = Promotion.objects.restrict(ctx).select_related("layer__pack", "challenger", "requested_by")
    return rows.defer("challenger__content", "challenger__canonical", "verdict", "blast").order_by("-created_at", "-id")


extend(
    PackVersion,
    acts=(
        Act(
            name="request-promotion",
            label="Request promotion",
            icon="rocket_launch",
            tone="primary",
            rights=(Action.REQUEST_PROMOTION,),
            form=RequestForm,
            run=_request,
            when=_requestable,
            explain=lambda request, version: [
                "It is evaluated against the champion on the same cases, judged by the gate, and approved as its risk demands.",
                "Nothing that an agent resolves changes before somebody starts it.",
            ],
        ),
    ),
    relatives=(
        Relatives(
            "Promotions",
            lambda ctx, version: _promotions(ctx).filter(challenger=version),
            PROMOTIONS,
            query=lambda version: {"challenger": version.pk},
            empty="It has not asked for promotion.",
        ),
    ),
)
extend(
    Layer,
    acts=(
        Act(
            name="roll-back",
            label="Roll back",
            icon="undo",
            tone="danger",
            rights=(Action.ROLL_BACK,),
            form=RollbackForm,
            run=_roll_back,
            when=_rollable,
            explain=_rolling,
        ),
        Act(
            name="retire",
            label="Retire",
            icon="delete",
            rights=(Action.REQUEST_PROMOTION,),
            form=RequestForm,
            run=_retire,
            when=_retirable,
            explain=lambda request, layer: [
                f"A promotion to nothing is requested for {layer}: once it is started, its agents inherit from the layers above.",
                "It is evaluated, judged and approved like any other.",
            ],
        ),
    ),
    relatives=(
        Relatives(
            "Promotions",
            lambda ctx, layer: _promotions(ctx).filter(layer=layer),
            PROMOTIONS,
            query=lambda layer: {"layer": layer.pk},
        ),
        Relatives(
            "Decisions",
            lambda ctx, layer: (
                Decision.objects.restrict(ctx)
                .filter(layer=layer)
                .select_related("layer__pack", "champion_version", "challenger_version")
                .defer("verdict", "champion_version__content", "challenger_version__content")
                .order_by("-created_at", "-id")
            ),
            (
                columns.itself("Decision"),
                columns.badge("decision"),
                columns.link("champion_version", "Was live"),
                columns.link("challenger_version", "About"),
                columns.clipped("reason"),
                columns.text("actor_label", "By"),
                columns.moment("created_at", "When"),
            ),
            query=lambda layer: {"layer": layer.pk},
        ),
    ),
)
