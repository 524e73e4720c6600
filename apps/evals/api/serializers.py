"""What the evals room shows and takes. Scores are points 0..100, money is a decimal string of USD, times are in ms."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.evals.models import EvalCase, EvalItem, EvalResult, EvalRun, EvalSet, Runner, Split
from apps.evals.selectors.leases import resolve_reference
from apps.evals.services.answers import LeasedCases, Submission


class PointsField(serializers.FloatField):
    """Hundredths of a point inside, points outside."""

    def to_representation(self, value: int) -> float:
        return value / 100


class UsdField(serializers.CharField):
    """Micro-dollars inside, a decimal string of USD outside."""

    def to_representation(self, value: int) -> str:
        return f"{Decimal(value).scaleb(-6):f}"


@extend_schema_field(OpenApiTypes.ANY)
class JsonField(serializers.JSONField):
    """Any JSON."""


class EvalSetSerializer(serializers.ModelSerializer[EvalSet]):
    pack = serializers.CharField(source="pack.slug", read_only=True)
    tenant = serializers.CharField(source="tenant.slug", read_only=True)
    cases = serializers.IntegerField(source="case_count", read_only=True, help_text="How many cases, all splits together.")

    class Meta:
        model = EvalSet
        fields = ["id", "tenant", "pack", "slug", "title", "description", "cases", "created_at"]


class NewEvalSetSerializer(serializers.Serializer[EvalSet]):
    pack = serializers.CharField(max_length=63, help_text="Slug of the pack.")
    slug = serializers.CharField(max_length=63)
    title = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    description = serializers.CharField(max_length=10_000, required=False, allow_blank=True, default="")


class EvalCaseSerializer(serializers.ModelSerializer[EvalCase]):
    input = JsonField()
    expected = JsonField()
    tags = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = EvalCase
        fields = ["id", "eval_set", "number", "input", "expected", "tags", "task_type", "split", "created_at"]


class NewCaseSerializer(serializers.Serializer[EvalCase]):
    """Documents a case that is sent; the service checks it, so that every way in is held to the same."""

    input = JsonField(help_text="A text or an object for the agent.")
    expected = serializers.DictField(required=False, allow_null=True, help_text="What the checks look for; agents never see it.")
    tags = serializers.ListField(child=serializers.CharField(), required=False, allow_null=True)
    task_type = serializers.CharField(required=False, allow_null=True, allow_blank=True)
    split = serializers.ChoiceField(choices=Split.choices, required=False, allow_null=True)


class NewCasesSerializer(serializers.Serializer[Any]):
    cases = NewCaseSerializer(many=True)


class AddedCasesSerializer(serializers.Serializer[Any]):
    cases = EvalCaseSerializer(many=True)


class CasesEnvelopeSerializer(serializers.Serializer[Any]):
    cases = serializers.ListField(child=JsonField())


class EvalRunSerializer(serializers.ModelSerializer[EvalRun]):
    pack = serializers.CharField(source="layer.pack.slug", read_only=True)
    scope = serializers.CharField(source="layer.scope", read_only=True)
    version_number = serializers.IntegerField(source="version.number", read_only=True, allow_null=True, default=None)
    resolve_version = serializers.SerializerMethodField(help_text="What `resolve?version=` takes under a lease of this run.")
    eval_set_slug = serializers.CharField(source="eval_set.slug", read_only=True)
    rubric = serializers.ListField(child=serializers.DictField(), read_only=True)
    created_by = serializers.CharField(source="created_by.email", read_only=True, allow_null=True, default=None)

    class Meta:
        model = EvalRun
        fields = [
            "id", "pack", "layer", "scope", "version", "version_number", "resolve_version", "eval_set", "eval_set_slug", "runner", "repeats",
            "state", "failure", "total", "done", "paired_with", "prefix_digest", "rubric", "created_by", "created_at", "completed_at",
        ]  # fmt: skip

    def get_resolve_version(self, run: EvalRun) -> str:
        return resolve_reference(run)


class NewEvalRunSerializer(serializers.Serializer[EvalRun]):
    version = serializers.UUIDField(required=False, help_text="The version to evaluate; its champion is evaluated with it.")
    layer = serializers.UUIDField(required=False, help_text="Instead of a version: the chain without this layer, as a baseline.")
    eval_set = serializers.UUIDField()
    runner = serializers.ChoiceField(choices=[*Runner.choices, ("model", "Model"), ("shadow", "Shadow")], default=Runner.HARNESS)


class EvalItemSerializer(serializers.ModelSerializer[EvalItem]):
    number = serializers.IntegerField(source="case.number", read_only=True)
    leased_to = serializers.CharField(source="leased_to.slug", read_only=True, allow_null=True, default=None)

    class Meta:
        model = EvalItem
        fields = ["id", "case", "number", "repeat", "leased_to", "leased_until", "answered_at"]


class EvalItemPageSerializer(serializers.Serializer[Any]):
    results = EvalItemSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class LeasedCaseSerializer(serializers.Serializer[EvalItem]):
    """What the agent that answers is told: never what is expected."""

    case = serializers.UUIDField(source="case_id")
    repeat = serializers.IntegerField()
    number = serializers.IntegerField(source="case.number")
    task_type = serializers.CharField(source="case.task_type")
    tags = serializers.ListField(child=serializers.CharField(), source="case.tags")
    input = JsonField(source="case.input")


class LeasedCasesSerializer(serializers.Serializer[LeasedCases]):
    eval_run = serializers.UUIDField(source="run.pk")
    state = serializers.CharField(source="run.state")
    pack = serializers.CharField(source="run.layer.pack.slug")
    version = serializers.SerializerMethodField(help_text="Resolve with `?pack=<pack>&version=<this>` while the lease lives.")
    lease_id = serializers.UUIDField(allow_null=True)
    leased_until = serializers.DateTimeField(source="until", allow_null=True)
    cases = LeasedCaseSerializer(many=True, source="items")

    def get_version(self, leased: LeasedCases) -> str:
        return resolve_reference(leased.run)


class OutputSerializer(serializers.Serializer[Any]):
    """Documents an answer; each is checked on its own, and a bad one is rejected by its index."""

    case = serializers.UUIDField()
    repeat = serializers.IntegerField(required=False, default=1, min_value=1, max_value=9)
    output = serializers.CharField(allow_blank=True)
    run_id = serializers.CharField(required=False, max_length=200)
    latency_ms = serializers.IntegerField(required=False, allow_null=True, min_value=0)
    cost_usd = serializers.CharField(required=False, allow_null=True, help_text="Decimal string of USD.")
    tokens_in = serializers.IntegerField(required=False, allow_null=True, min_value=0)
    tokens_out = serializers.IntegerField(required=False, allow_null=True, min_value=0)
    tools = serializers.ListField(child=serializers.CharField(), required=False, help_text="Tools that were called.")
    success = serializers.BooleanField(required=False, allow_null=True)


class OutputsSerializer(serializers.Serializer[Any]):
    lease_id = serializers.UUIDField(required=False, allow_null=True, default=None)
    outputs = OutputSerializer(many=True)


class OutputsEnvelopeSerializer(serializers.Serializer[Any]):
    lease_id = serializers.UUIDField(required=False, allow_null=True, default=None)
    outputs = serializers.ListField(child=JsonField())


class RejectedSerializer(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    code = serializers.CharField()
    pointer = serializers.CharField()
    detail = serializers.CharField()


class SubmissionSerializer(serializers.Serializer[Submission]):
    accepted = serializers.IntegerField()
    duplicates = serializers.IntegerField()
    rejected = serializers.SerializerMethodField()
    state = serializers.CharField(source="run.state")
    done = serializers.IntegerField(source="run.done")
    total = serializers.IntegerField(source="run.total")

    @extend_schema_field(RejectedSerializer(many=True))
    def get_rejected(self, submission: Submission) -> list[dict[str, Any]]:
        return [{"index": index, "code": why.code, "pointer": why.pointer, "detail": why.detail} for index, why in submission.rejected]


class EvalResultSerializer(serializers.ModelSerializer[EvalResult]):
    version = serializers.UUIDField(source="eval_run.version_id", read_only=True, allow_null=True)
    pack = serializers.CharField(source="eval_run.layer.pack.slug", read_only=True)
    case_number = serializers.IntegerField(source="case.number", read_only=True)
    agent = serializers.CharField(source="agent.slug", read_only=True, allow_null=True, default=None)
    cost_usd = UsdField(source="cost_micros", read_only=True, allow_null=True)
    deterministic_score = PointsField(read_only=True, allow_null=True)
    llm_judge_score = PointsField(read_only=True, allow_null=True)
    voice_score = PointsField(read_only=True, allow_null=True)
    safety_regression = serializers.BooleanField(read_only=True, help_text="Fails a safety check on a case that the other arm passes.")
    format_regression = serializers.BooleanField(read_only=True, help_text="Fails a format check on a case that the other arm passes.")
    detail = serializers.DictField(read_only=True, help_text="Check id -> how it went.")

    class Meta:
        model = EvalResult
        fields = [
            "id", "eval_run", "version", "pack", "case", "case_number", "repeat", "run_id", "agent", "output", "latency_ms", "cost_usd",
            "tokens_in", "tokens_out", "deterministic_score", "llm_judge_score", "voice_score", "safety_passed", "format_passed",
            "safety_regression", "format_regression", "comments", "detail", "created_at",
        ]  # fmt: skip
