"""Webhooks, notices and their deliveries, and which e-mails a person does not want."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from apps.core.history import History
from apps.core.models import TenantOwned
from apps.notices.domain.telling import LABELS, MAX_TITLE, Kind

KINDS = [(kind.value, LABELS[kind]) for kind in Kind]


class Webhook(TenantOwned):
    """Where notices of these kinds are posted, signed. Secrets are sealed (`sealing.py`); the last one signs too until `previous_until`."""

    name = models.CharField(max_length=100)
    url = models.CharField(max_length=2000)
    events = models.JSONField(default=list)
    secret = models.CharField(max_length=300)
    previous_secret = models.CharField(max_length=300, blank=True)
    previous_until = models.DateTimeField(null=True, blank=True)
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    # The address of some receivers is a secret of its own.
    history = History(without=["url", "secret", "previous_secret", "updated_at"])

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="notices_webhook_name"),
            models.UniqueConstraint(fields=["tenant", "id"], name="notices_webhook_of_tenant"),
            models.CheckConstraint(condition=Q(enabled=False) | Q(disabled_reason=""), name="notices_webhook_reason_when_disabled"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def host(self) -> str:
        """As much of the address as anybody may read: the path of some receivers is a secret of its own."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


class Notice(TenantOwned):
    """What happened, written in its own transaction. It becomes deliveries once that is durable."""

    kind = models.CharField(max_length=60, choices=KINDS)
    subject_id = models.UUIDField(db_index=True)
    title = models.CharField(max_length=MAX_TITLE)
    path = models.CharField(max_length=500)
    facts = models.JSONField(default=dict)
    recipients = ArrayField(models.UUIDField(), default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    spread_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "id"], name="notices_notice_of_tenant")]
        indexes = [models.Index(fields=["id"], name="notices_notice_waiting", condition=Q(spread_at__isnull=True))]

    def __str__(self) -> str:
        return self.title


class Channel(models.TextChoices):
    EMAIL = "email", "e-mail"
    WEBHOOK = "webhook"


class DeliveryState(models.TextChoices):
    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed", "failed, will be repeated"
    DEAD = "dead"


DUE_STATES = [DeliveryState.PENDING, DeliveryState.FAILED]


class Delivery(TenantOwned):
    """A notice on its way to one webhook or one person. Its id is the message's id at every attempt, by which a receiver knows a repetition."""

    notice = models.ForeignKey(Notice, on_delete=models.PROTECT, related_name="deliveries")
    channel = models.CharField(max_length=10, choices=Channel.choices)
    webhook = models.ForeignKey(Webhook, on_delete=models.PROTECT, null=True, blank=True, related_name="deliveries")
    user = models.ForeignKey("identity.User", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    state = models.CharField(max_length=10, choices=DeliveryState.choices, default=DeliveryState.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    last_error = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["notice", "webhook"], name="notices_delivery_once_a_webhook"),
            models.UniqueConstraint(fields=["notice", "user"], name="notices_delivery_once_a_person"),
            models.CheckConstraint(condition=Q(state__in=DeliveryState.values), name="notices_delivery_state"),
            models.CheckConstraint(
                condition=Q(channel="webhook", webhook__isnull=False, user__isnull=True)
                | Q(channel="email", webhook__isnull=True, user__isnull=False),
                name="notices_delivery_target",
            ),
        ]
        indexes = [
            models.Index(
                fields=["tenant", "webhook", "next_attempt_at"], name="notices_delivery_due", condition=Q(state__in=["pending", "failed"])
            ),
            models.Index(fields=["tenant", "state", "-id"], name="notices_delivery_by_state"),
        ]

    def __str__(self) -> str:
        return f"{self.notice} to {self.webhook or self.user}"

    @property
    def message_id(self) -> str:
        return f"msg_{self.pk.hex}"


class NoticePreference(TenantOwned):
    """Whether a person wants e-mail of a kind; without a row they do."""

    user = models.ForeignKey("identity.User", on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=60, choices=KINDS)
    email = models.BooleanField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "user", "kind"], name="notices_preference_once")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {'e-mail' if self.email else 'no e-mail'}"
