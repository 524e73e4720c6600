"""What models cost."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from apps.core.history import History
from apps.core.models import TenantOwned


def _micros(label: str) -> models.BigIntegerField:
    return models.BigIntegerField(label, help_text="Micro-dollars for a million tokens.")


class Price(TenantOwned):
    """What a model costs from a day on, until the next row for the same provider and model. Rows of `platform` are everybody's; a tenant's
    own go before them. A price in force never changes: another one follows it."""

    provider = models.CharField(max_length=100, help_text="As harnesses report it, or * for any.")
    model_id = models.CharField(max_length=200, help_text="Exact, or with * at the end for all that begin so.")
    effective_from = models.DateField(help_text="UTC date from which it holds.")
    input_micros = _micros("input")
    cache_read_micros = _micros("cache read")
    cache_write_micros = _micros("cache write")
    output_micros = _micros("output")
    note = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    history = History()

    SHARED = True

    class Meta:
        ordering = ["provider", "model_id", "-effective_from"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "provider", "model_id", "effective_from"], name="telemetry_price_once_a_day"),
            models.CheckConstraint(
                condition=Q(input_micros__gte=0, cache_read_micros__gte=0, cache_write_micros__gte=0, output_micros__gte=0),
                name="telemetry_price_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider}/{self.model_id} from {self.effective_from}"
