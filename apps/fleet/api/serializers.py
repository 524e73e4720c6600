"""The fleet as the API shows it."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.fleet.domain.commands import LONGEST, MAX_REASON, SHORTEST
from apps.fleet.domain.progress import STATES as COMMAND_STATES
from apps.fleet.domain.requests import LONGEST_S, SHORTEST_S
from apps.fleet.domain.requests import MAX_REASON as MAX_ASKED
from apps.fleet.models import ActionRequest, Command, Delivery, Harness, Serving, Suggestion
from apps.fleet.models.commands import ORDERS
from apps.fleet.selectors.harnesses import STATES
from apps.fleet.services.suggestions import MAX_BYTES


class ServingSerializer(serializers.ModelSerializer[Serving]):
    class Meta:
        model = Serving
        fields = ("pack", "arm", "digest", "since", "traced")
        read_only_fields = fields


class HarnessSerializer(serializers.ModelSerializer[Harness]):
    """One process of an agent's harness."""

    agent = serializers.CharField(source="agent.slug", read_only=True)
    state = serializers.ChoiceField(choices=STATES, read_only=True, source="shown_state")
    stale = serializers.ListField(child=serializers.CharField(), read_only=True)
    flags = serializers.ListField(child=serializers.CharField(), read_only=True)
    serving = ServingSerializer(many=True, read_only=True)

    class Meta:
        model = Harness
        fields = ("id", "agent", "instance", "state", "status", "ttl_s", "first_seen_at", "last_seen_at", "stale", "flags", "serving")
        read_only_fields = fields


class OrderSerializer(serializers.Serializer[Any]):
    target = serializers.CharField(max_length=300, help_text="tree:<root task id>, tier:T2, or agent:<tenant>/<agent>.")
    action = serializers.ChoiceField(choices=ORDERS)
    reason = serializers.CharField(max_length=MAX_REASON, required=False, allow_blank=True, default="")
    expires_in_s = serializers.IntegerField(
        min_value=int(SHORTEST.total_seconds()),
        max_value=int(LONGEST.total_seconds()),
        required=False,
        help_text="How long it waits for an answer; an hour when left out.",
    )


class CommandDeliverySerializer(serializers.ModelSerializer[Delivery]):
    agent = serializers.CharField(source="agent.slug", read_only=True)

    class Meta:
        model = Delivery
        fields = ("agent", "instance", "state", "handed_out", "delivered_at", "closed_at", "superseded_by")
        read_only_fields = fields


class LaggardSerializer(serializers.Serializer[Any]):
    agent = serializers.CharField(read_only=True)
    instance = serializers.CharField(read_only=True)


class CommandSerializer(serializers.ModelSerializer[Command]):
    """A command, and how far it has come. `laggards` have not acknowledged it for 30 seconds."""

    target = serializers.CharField(read_only=True)
    ordered_by = serializers.CharField(source="actor_label", read_only=True)
    state = serializers.ChoiceField(choices=COMMAND_STATES, read_only=True, source="progress.state")
    counts = serializers.SerializerMethodField(help_text="Deliveries by state, and `total`.")
    laggards = LaggardSerializer(many=True, read_only=True, source="progress.laggards")

    class Meta:
        model = Command
        fields: tuple[str, ...] = (
            *("id", "target", "action", "reason", "ordered_by", "created_at", "expires_at"),
            *("state", "counts", "laggards"),
        )
        read_only_fields: tuple[str, ...] = fields

    @extend_schema_field({"type": "object", "additionalProperties": {"type": "integer"}})
    def get_counts(self, command: Command) -> dict[str, int]:
        return {**command.progress.counts, "total": command.progress.total}


class CommandDetailSerializer(CommandSerializer):
    """With each delivery."""

    deliveries = CommandDeliverySerializer(many=True, read_only=True)

    class Meta(CommandSerializer.Meta):
        fields = (*CommandSerializer.Meta.fields, "deliveries")
        read_only_fields = fields


class NewActionRequestSerializer(serializers.Serializer[Any]):
    tool = serializers.CharField(max_length=200)
    arguments = serializers.DictField(required=False, default=dict)
    reason = serializers.CharField(max_length=MAX_ASKED, required=False, allow_blank=True, default="")
    pack = serializers.SlugField(
        max_length=63, required=False, allow_blank=True, default="", help_text="The agent's default pack when left out."
    )
    run_id = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    expires_in_s = serializers.IntegerField(
        min_value=SHORTEST_S, max_value=LONGEST_S, required=False, help_text="15 minutes when left out."
    )


class AnswerSerializer(serializers.Serializer[Any]):
    comment = serializers.CharField(max_length=MAX_ASKED, required=False, allow_blank=True, default="")


class ActionRequestSerializer(serializers.ModelSerializer[ActionRequest]):
    """A request to use a tool once. `level` is the agent's autonomy for it when it asked."""

    agent = serializers.CharField(source="agent.slug", read_only=True)
    arguments = serializers.DictField(read_only=True)
    redactions = serializers.ListField(child=serializers.CharField(), read_only=True)
    decided_by = serializers.CharField(source="decided_by.email", read_only=True, default=None, allow_null=True)

    class Meta:
        model = ActionRequest
        fields = (
            *("id", "agent", "pack", "tool", "arguments", "reason", "run_id", "risk", "level", "redactions", "state"),
            *("created_at", "expires_at", "decided_by", "decided_at", "comment", "used_at"),
        )
        read_only_fields = fields


class NewSuggestionSerializer(serializers.Serializer[Any]):
    pack = serializers.SlugField(max_length=63)
    scope = serializers.CharField(
        max_length=300, required=False, allow_blank=True, default="", help_text="The agent's own layer when left out."
    )
    content = serializers.DictField(help_text=f"As of a version; at most {MAX_BYTES} bytes.")
    notes = serializers.CharField(max_length=10_000, required=False, allow_blank=True, default="")


class SuggestionSerializer(serializers.ModelSerializer[Suggestion]):
    """The draft that was made."""

    agent = serializers.CharField(source="agent.slug", read_only=True)
    pack = serializers.CharField(source="version.layer.pack.slug", read_only=True)
    scope = serializers.CharField(source="version.layer.scope", read_only=True)
    number = serializers.IntegerField(source="version.number", read_only=True)
    digest = serializers.CharField(source="version.digest", read_only=True)
    status = serializers.CharField(source="version.status", read_only=True)

    class Meta:
        model = Suggestion
        fields = ("id", "agent", "version", "pack", "scope", "number", "digest", "status", "created_at")
        read_only_fields = fields
