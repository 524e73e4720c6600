"""What the decisions API shows and takes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.fleet.selectors.convergence import STATES
from apps.promotions.deciders import expiry_of
from apps.promotions.domain import approvals as rules
from apps.promotions.domain.transitions import possible
from apps.promotions.models import Aim, Approval, Decision, Invalid, Promotion
from apps.promotions.selectors import demand_of


class ReasonSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    level = serializers.CharField()
    sentence = serializers.CharField()


class RiskSerializer(serializers.Serializer[Any]):
    level = serializers.CharField()
    reasons = ReasonSerializer(many=True)


class RuleSerializer(serializers.Serializer[Any]):
    rule = serializers.CharField()
    outcome = serializers.ChoiceField(choices=["pass", "fail", "inconclusive"])
    hard = serializers.BooleanField()
    observed = serializers.FloatField(allow_null=True)
    threshold = serializers.FloatField(allow_null=True)
    unit = serializers.CharField()
    n = serializers.IntegerField()
    evidence_ids = serializers.ListField(child=serializers.CharField())
    sentence = serializers.CharField()


class VerdictSerializer(serializers.Serializer[Any]):
    """Empty until the promotion was first judged."""

    outcome = serializers.CharField(required=False)
    evidence_outcome = serializers.CharField(required=False)
    forceable = serializers.BooleanField(required=False)
    aim = serializers.CharField(required=False)
    completed_evaluations = serializers.IntegerField(required=False)
    rules = RuleSerializer(many=True, required=False)
    dropped = serializers.ListField(child=serializers.DictField(), required=False)


class ApprovalSerializer(serializers.ModelSerializer[Approval]):
    user = serializers.CharField(source="user.email", read_only=True)
    on_behalf_of = serializers.CharField(
        source="on_behalf_of.email", read_only=True, default=None, allow_null=True, help_text="Whose delegated right was used."
    )

    class Meta:
        model = Approval
        fields = ["id", "user", "on_behalf_of", "roles", "approved", "comment", "created_at", "voided_at", "voided_reason"]


class RequiredSerializer(serializers.Serializer[Any]):
    level = serializers.CharField()
    tier = serializers.CharField()
    rule = serializers.CharField()
    people = serializers.IntegerField()
    not_author = serializers.BooleanField()
    sentence = serializers.CharField()


class ApprovalsSerializer(serializers.Serializer[Any]):
    required = RequiredSerializer(allow_null=True)
    given = ApprovalSerializer(many=True)


class PromotionSerializer(serializers.ModelSerializer[Promotion]):
    pack = serializers.CharField(source="layer.pack.slug", read_only=True)
    scope = serializers.CharField(source="layer.scope", read_only=True)
    version = serializers.UUIDField(source="challenger_id", read_only=True, allow_null=True)
    requested_by = serializers.CharField(source="requested_by.email", read_only=True, allow_null=True, default=None)
    risk = serializers.SerializerMethodField()
    verdict = serializers.SerializerMethodField()
    approvals = serializers.SerializerMethodField()
    possible = serializers.SerializerMethodField(help_text="What can be done in this state.")
    expires_at = serializers.SerializerMethodField(help_text="When it expires unless it is decided; null where it does not wait.")

    class Meta:
        model = Promotion
        fields = [
            "id",
            "pack",
            "scope",
            "layer",
            "champion",
            "version",
            "retire",
            "aim",
            "invalid",
            "plan",
            "reason",
            "state",
            "possible",
            "forced",
            "risk",
            "verdict",
            "approvals",
            "thresholds",
            "binding",
            "blast",
            "requested_by",
            "created_at",
            "evaluated_at",
            "awaiting_since",
            "expires_at",
            "closed_at",
            "expired_because",
        ]

    def to_representation(self, promotion: Promotion) -> dict[str, Any]:
        """The blast radius names agents and layers all over the tenant: who sees single objects of it only gets the figures."""
        shown = super().to_representation(promotion)
        if not self.context.get("whole_tenant"):
            shown["blast"] = {name: figure for name, figure in shown["blast"].items() if isinstance(figure, int)}
        return shown

    @extend_schema_field(RiskSerializer)
    def get_risk(self, promotion: Promotion) -> dict[str, Any]:
        return {"level": promotion.risk_level, "reasons": promotion.risk_reasons}

    @extend_schema_field(VerdictSerializer)
    def get_verdict(self, promotion: Promotion) -> dict[str, Any]:
        return dict(promotion.verdict)

    @extend_schema_field(ApprovalsSerializer)
    def get_approvals(self, promotion: Promotion) -> dict[str, Any]:
        demand: rules.Demand | None = demand_of(promotion) if promotion.risk_level else None
        return {"required": demand.to_json() if demand else None, "given": ApprovalSerializer(promotion.approvals.all(), many=True).data}

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_expires_at(self, promotion: Promotion) -> datetime | None:
        return expiry_of(promotion)

    def get_possible(self, promotion: Promotion) -> list[str]:
        return list(possible(promotion.state))


class NewPromotionSerializer(serializers.Serializer[Any]):
    version = serializers.UUIDField(required=False, allow_null=True)
    layer = serializers.UUIDField(required=False, allow_null=True)
    retire = serializers.BooleanField(default=False)
    aim = serializers.ChoiceField(choices=Aim.choices, default=Aim.IMPROVE)
    plan = serializers.ListField(child=serializers.IntegerField(), required=False, allow_null=True)
    invalid = serializers.ChoiceField(choices=Invalid.choices, default=Invalid.WAIT)
    reason = serializers.CharField(allow_blank=True, default="")


class CommentSerializer(serializers.Serializer[Any]):
    comment = serializers.CharField(allow_blank=True, default="")
    binding = serializers.CharField(required=False, help_text="The `binding` of the promotion that you read; another one is 409.")


class ApproveSerializer(CommentSerializer):
    on_behalf_of = serializers.EmailField(
        required=False, help_text="Who delegated their role to you, or yourself; without it, the right that brings the promotion on."
    )


class AnsweredSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    binding = serializers.CharField(required=False, help_text="The `binding` that you read; another one is `approval_stale`.")


class AnswersSerializer(serializers.Serializer[Any]):
    promotions = AnsweredSerializer(many=True, help_text="1 to 100.")
    comment = serializers.CharField(allow_blank=True, default="")


class ApprovalsAtOnceSerializer(AnswersSerializer):
    read = serializers.ListField(
        child=serializers.UUIDField(), required=False, help_text="Those of high risk that were read one by one; no other is approved."
    )


class ResultSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(source="promotion_id")
    state = serializers.CharField(help_text="Of the promotion after it; empty where the answer was refused.")
    code = serializers.CharField(help_text="Of the refusal; empty where the answer was taken.")
    detail = serializers.CharField()


class ResultsSerializer(serializers.Serializer[Any]):
    results = ResultSerializer(many=True)


class ActSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(allow_blank=True, default="")


class StartSerializer(ActSerializer):
    force = serializers.BooleanField(default=False)


class RollbackSerializer(serializers.Serializer[Any]):
    to_version = serializers.UUIDField(required=False, allow_null=True)
    reason = serializers.CharField(allow_blank=True, default="", max_length=10_000)


class DecisionSerializer(serializers.ModelSerializer[Decision]):
    decision_id = serializers.UUIDField(source="id", read_only=True)
    pack = serializers.CharField(source="layer.pack.slug", read_only=True)
    decided_by = serializers.CharField(source="actor_label", read_only=True)

    class Meta:
        model = Decision
        fields = [
            "id",
            "decision_id",
            "pack",
            "layer",
            "promotion",
            "scope_type",
            "scope_id",
            "champion_version",
            "challenger_version",
            "decision",
            "reason",
            "verdict",
            "approvals",
            "decided_by",
            "created_at",
        ]


class BehindSerializer(serializers.Serializer[Any]):
    """A harness, and the pack by which it shows. `expected` is null where nothing can be served."""

    agent = serializers.CharField(read_only=True)
    instance = serializers.CharField(read_only=True)
    pack = serializers.CharField(read_only=True)
    serving = serializers.CharField(read_only=True)
    expected = serializers.CharField(read_only=True, allow_null=True)
    last_seen_at = serializers.DateTimeField(read_only=True)


class CountsSerializer(serializers.Serializer[Any]):
    concerned = serializers.IntegerField(read_only=True)
    converged = serializers.IntegerField(read_only=True)
    behind = serializers.IntegerField(read_only=True)
    laggards = serializers.IntegerField(read_only=True)
    silent = serializers.IntegerField(read_only=True)


class ConvergenceSerializer(serializers.Serializer[Any]):
    """How far what is live in the decision's layer has come. Finished: every live harness that it concerns serves it; the silent ones stand
    apart. `behind` are those of less than 30 seconds, `laggards` of more. Lists name 100 each at most."""

    state = serializers.ChoiceField(choices=STATES, read_only=True)
    finished = serializers.BooleanField(read_only=True)
    counts = CountsSerializer(source="*", read_only=True)
    behind = BehindSerializer(source="named_behind", many=True, read_only=True)
    laggards = BehindSerializer(source="named_laggards", many=True, read_only=True)
    silent = BehindSerializer(source="named_silent", many=True, read_only=True)
