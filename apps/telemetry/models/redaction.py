"""What a tenant has redacted besides secrets, and how much of its runs it keeps."""

from __future__ import annotations

from django.db import models

from apps.core.domain.redaction_patterns import MAX_LENGTH
from apps.core.history import History
from apps.core.models import TenantOwned


class Content(models.TextChoices):
    REDACTED = "redacted", "texts, redacted"
    METRICS_ONLY = "metrics_only", "metrics only, no texts"


class RedactionPolicy(TenantOwned):
    """One row a tenant; without one nothing but secrets is redacted, and texts are kept."""

    redact_email = models.BooleanField(default=False)
    redact_phone = models.BooleanField(default=False)
    store_content = models.CharField(max_length=20, choices=Content.choices, default=Content.REDACTED)
    updated_at = models.DateTimeField(auto_now=True)

    history = History(without=["updated_at"])

    class Meta:
        verbose_name_plural = "redaction policies"
        constraints = [
            models.UniqueConstraint(fields=["tenant"], name="telemetry_redactionpolicy_one"),
            models.CheckConstraint(condition=models.Q(store_content__in=Content.values), name="telemetry_redactionpolicy_content"),
        ]

    def __str__(self) -> str:
        return "Redaction policy"


class RedactionPattern(TenantOwned):
    """What only this tenant knows to be secret: an RE2 pattern, under whose name it is replaced."""

    name = models.CharField(max_length=40)
    pattern = models.CharField(max_length=MAX_LENGTH)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    history = History(without=["updated_at"])

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="telemetry_redactionpattern_name")]

    def __str__(self) -> str:
        return self.name
