"""Audit events as clients see them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.audit.models import Event


class ActorSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField(help_text="`user`, `agent` or `system`.")
    id = serializers.UUIDField(allow_null=True)
    label = serializers.CharField(allow_null=True, help_text="null once the personal data was erased.")


class ObjectSerializer(serializers.Serializer[Any]):
    type = serializers.CharField()
    id = serializers.CharField()


class EventSerializer(serializers.ModelSerializer[Event]):
    actor = serializers.SerializerMethodField()
    object = serializers.SerializerMethodField()
    data = serializers.DictField()
    reason = serializers.SerializerMethodField()
    previous = serializers.SerializerMethodField()
    hash = serializers.SerializerMethodField()

    class Meta:
        model = Event
        fields = ["id", "seq", "action", "actor", "channel", "request_id", "object", "data", "reason", "at", "previous", "hash"]

    @extend_schema_field(ActorSerializer)
    def get_actor(self, event: Event) -> dict[str, Any]:
        return {"kind": event.actor_kind, "id": str(event.actor_id) if event.actor_id else None, "label": self._text(event, "actor")}

    @extend_schema_field(ObjectSerializer)
    def get_object(self, event: Event) -> dict[str, str]:
        return {"type": event.object_type, "id": event.object_id}

    @extend_schema_field(serializers.CharField(allow_null=True, help_text="null once it was erased."))
    def get_reason(self, event: Event) -> str | None:
        return self._text(event, "reason")

    def get_previous(self, event: Event) -> str:
        return bytes(event.previous).hex()

    def get_hash(self, event: Event) -> str:
        return bytes(event.hash).hex()

    @staticmethod
    def _text(event: Event, name: str) -> str | None:
        text = getattr(event, "text", None)
        return None if text is None else str(text.text.get(name, ""))


class BreakSerializer(serializers.Serializer[Any]):
    seq = serializers.IntegerField(help_text="The first event that does not hold.")
    reason = serializers.CharField()


class VerificationSerializer(serializers.Serializer[Any]):
    holds = serializers.BooleanField()
    events = serializers.IntegerField(help_text="Where the chain's head stands.")
    head = serializers.CharField(allow_null=True, help_text="The head's hash; null before the first event.")
    broken = BreakSerializer(allow_null=True)


class ExportQuerySerializer(serializers.Serializer[Any]):
    since = serializers.DateTimeField(default=None)
    until = serializers.DateTimeField(default=None)
    format = serializers.ChoiceField(choices=["jsonl", "csv"], default="jsonl")
