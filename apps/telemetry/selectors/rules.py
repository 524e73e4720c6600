"""What a tenant's telemetry is judged by: its redactor and its prices, remembered in each process until one of them changes."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from django.conf import settings

from apps.core.cache import GenerationCache
from apps.core.context import Topic, in_tenant
from apps.core.domain.redaction import Redactor
from apps.core.domain.redaction_patterns import Pattern
from apps.core.generations import watcher
from apps.identity.domain.platform import PLATFORM_ID
from apps.telemetry.domain.items import MAX_NAME
from apps.telemetry.domain.pricing import Price, PriceTable
from apps.telemetry.models import Content, RedactionPattern, RedactionPolicy
from apps.telemetry.models import Price as PriceRow


@dataclass(frozen=True, slots=True)
class Rules:
    redactor: Redactor
    prices: PriceTable


MAX_TENANTS = 2_000
# The shared prices are `platform`'s: when they change, everybody's rules go.
_rules: GenerationCache[UUID, Rules] = GenerationCache(
    Topic.PRICES, Topic.REDACTION, tenant_of=lambda tenant_id, _: tenant_id, limit=MAX_TENANTS, root=PLATFORM_ID
)


def rules_of(tenant_id: UUID) -> Rules:
    """The rules of a tenant as they stand; no query when nothing has changed."""
    watcher.fresh()
    return _rules.get(tenant_id, _load)


def redactor_of(tenant_id: UUID) -> Redactor:
    """What everything that is stored, exported or compared for a tenant goes through."""
    return rules_of(tenant_id).redactor


def stored_reference(tenant_id: UUID, name: str) -> str:
    """What rows hold of a reference (a user, a task) that harnesses send."""
    return redactor_of(tenant_id).reference(name)[0][:MAX_NAME]


def _load(tenant_id: UUID) -> Rules:
    with in_tenant(tenant_id):
        return Rules(load_redactor(tenant_id), _prices(tenant_id))


def load_redactor(tenant_id: UUID) -> Redactor:
    """The redactor by what this transaction sees, its own changes included."""
    policy = RedactionPolicy.objects.filter(tenant_id=tenant_id).first() or RedactionPolicy()
    patterns = RedactionPattern.objects.filter(tenant_id=tenant_id, enabled=True).values_list("name", "pattern")
    return Redactor(
        email=policy.redact_email,
        phone=policy.redact_phone,
        patterns=[Pattern(name, text) for name, text in patterns],
        stores_texts=policy.store_content == Content.REDACTED,
        salt=blake2b(tenant_id.bytes, key=settings.SECRET_KEY.encode()[:64], person=b"references", digest_size=32).digest(),
    )


def _prices(tenant_id: UUID) -> PriceTable:
    rows = PriceRow.objects.filter(tenant_id__in=[tenant_id, PLATFORM_ID])
    return PriceTable.of(
        Price(
            row.provider,
            row.model_id,
            row.effective_from,
            row.input_micros,
            row.cache_read_micros,
            row.cache_write_micros,
            row.output_micros,
            own=row.tenant_id == tenant_id,
        )
        for row in rows
    )
