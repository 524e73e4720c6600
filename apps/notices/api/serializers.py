"""Webhooks and notices as clients see them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.core.access import Action
from apps.identity.permissions import can
from apps.notices.domain.telling import LABELS, SUBSCRIBED
from apps.notices.models import KINDS, Channel, Delivery, DeliveryState, Notice, Webhook

EVENTS = [(kind.value, LABELS[kind]) for kind in SUBSCRIBED]


class WebhookSerializer(serializers.ModelSerializer[Webhook]):
    host = serializers.CharField(help_text="Scheme, host and port of the address.")
    url = serializers.SerializerMethodField(help_text="For those who manage the tenant; null for others, since it may hold a secret.")
    events = serializers.ListField(child=serializers.ChoiceField(EVENTS))

    class Meta:
        model = Webhook
        fields = ["id", "name", "host", "url", "events", "enabled", "disabled_reason", "previous_until", "created_at", "updated_at"]
        extra_kwargs = {"previous_until": {"help_text": "Until then the secret before the present one signs too."}}

    def get_url(self, webhook: Webhook) -> str | None:
        return webhook.url if can(self.context["view"].ctx, Action.MANAGE_TENANT, tenant_id=webhook.tenant_id) else None


class WebhookIssued(WebhookSerializer):
    secret = serializers.CharField(help_text="whsec_…: in this answer only.")

    class Meta(WebhookSerializer.Meta):
        fields = [*WebhookSerializer.Meta.fields, "secret"]


class WebhookCreate(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)
    url = serializers.CharField(max_length=2000, help_text="https://…, on a host that the installation allows (EGRESS_ALLOWED_HOSTS).")
    events = serializers.ListField(child=serializers.ChoiceField(EVENTS), allow_empty=False, max_length=20)


class WebhookChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100, required=False)
    url = serializers.CharField(max_length=2000, required=False)
    events = serializers.ListField(child=serializers.ChoiceField(EVENTS), allow_empty=False, max_length=20, required=False)
    enabled = serializers.BooleanField(required=False, help_text="False gives up what waits for it.")


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    channel = serializers.ChoiceField(Channel.choices)
    state = serializers.ChoiceField(DeliveryState.choices)

    class Meta:
        model = Delivery
        fields = [
            *(
                "id",
                "message_id",
                "notice",
                "channel",
                "webhook",
                "user",
                "state",
                "attempts",
                "next_attempt_at",
                "last_status",
                "last_error",
            ),
            *("created_at", "sent_at"),
        ]


class NoticeSerializer(serializers.ModelSerializer[Notice]):
    kind = serializers.ChoiceField(KINDS)
    subject = serializers.UUIDField(source="subject_id")
    facts = serializers.DictField(child=serializers.CharField())

    class Meta:
        model = Notice
        fields = ["id", "kind", "subject", "title", "path", "facts", "created_at"]


class NoticeDetail(NoticeSerializer):
    deliveries = serializers.SerializerMethodField(help_text="How many are in each state.")

    class Meta(NoticeSerializer.Meta):
        fields = [*NoticeSerializer.Meta.fields, "deliveries"]

    def get_deliveries(self, notice: Notice) -> dict[str, int]:
        found = dict.fromkeys(DeliveryState.values, 0)
        for state in Delivery.objects.filter(notice=notice).values_list("state", flat=True):
            found[state] += 1
        return found
