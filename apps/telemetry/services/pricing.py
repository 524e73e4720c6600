"""The price table: rows are added, and taken back while they are not in force; nothing is edited."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from uuid import UUID

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext, Topic
from apps.core.errors import problem
from apps.core.generations import bump
from apps.identity.permissions import require
from apps.identity.services.rows import save, validate
from apps.telemetry.domain.pricing import ANY
from apps.telemetry.models import Price

# Micro-dollars for a million tokens: a dollar a token is dearer than any model.
MAX_MICROS = 10**12
AMOUNTS = ("input", "cache_read", "cache_write", "output")


def add_price(
    *, ctx: ActionContext, provider: str, model_id: str, effective_from: date, amounts: Mapping[str, Decimal], note: str = ""
) -> Price:
    """A price of the context's tenant (of everybody, in `platform`). `amounts` are US dollars for a million tokens by `AMOUNTS`, rounded half
    to even to a micro-dollar. Runs that are stored already keep their cost.

    Raises Problem `permission_denied`, `invalid`, `slug_taken` (there is one from that day on), `wrong_state` (the price in force holds until
    today at least).
    """
    with ctx.transaction():
        require(ctx, Action.MANAGE_TENANT, tenant_id=ctx.tenant_id)
        micros = {f"{name}_micros": _micros(name, amounts[name]) for name in AMOUNTS}
        price = Price(
            tenant_id=ctx.tenant_id,
            provider=provider.strip().lower(),
            model_id=model_id.strip().lower(),
            effective_from=effective_from,
            note=note.strip(),
            **micros,
        )
        validate(price, "provider", "model_id", "effective_from", "note")
        _check(price, datetime.now(UTC).date())
        taken = {
            "telemetry_price_once_a_day": problem(
                "slug_taken", f"There is a price from {effective_from} on already.", pointer="/effective_from"
            )
        }
        save(price, taken=taken)
        bump(ctx, Topic.PRICES, ctx.tenant_id)
        record(ctx, "telemetry.price_added", price, data=_facts(price))
        return price


def withdraw_price(*, ctx: ActionContext, price_id: UUID | str, reason: str = "") -> None:
    """Takes back a price that is not in force yet. Raises Problem `not_found`, `permission_denied`, `wrong_state` (it is in force)."""
    with ctx.transaction():
        price: Price = Price.objects.visible(ctx, pk=price_id)
        require(ctx, Action.MANAGE_TENANT, tenant_id=price.tenant_id, on=price)
        if price.effective_from <= datetime.now(UTC).date():
            raise problem("wrong_state", "Runs are priced by it: it stays. Add another price with a later date.")
        record(ctx, "telemetry.price_withdrawn", price, data=_facts(price), reason=reason)
        price.delete()
        bump(ctx, Topic.PRICES, ctx.tenant_id)


def _micros(name: str, amount: Decimal) -> int:
    if not amount.is_finite() or amount < 0 or (found := int((amount * 1_000_000).to_integral_value(ROUND_HALF_EVEN))) > MAX_MICROS:
        raise problem("invalid", f"{name}: US dollars for a million tokens, from 0 to {MAX_MICROS // 10**6:,}.", pointer=f"/{name}")
    return found


def _check(price: Price, today: date) -> None:
    for name in ("provider", "model_id"):
        value = getattr(price, name)
        if ANY in value[:-1] or (name == "provider" and ANY in value and value != ANY):
            detail = "An exact name, or * for any provider." if name == "provider" else "An exact model, or * at the end alone."
            raise problem("invalid", detail, pointer=f"/{name}")
    same = Price.objects.filter(tenant_id=price.tenant_id, provider=price.provider, model_id=price.model_id)
    if price.effective_from <= today and (before := same.filter(effective_from__lte=today).order_by("-effective_from").first()) is not None:
        if before.effective_from == price.effective_from:
            return
        raise problem(
            "wrong_state", f"A price is in force since {before.effective_from} and holds today: let this one begin tomorrow or later.",
            pointer="/effective_from",
        )  # fmt: skip


def _facts(price: Price) -> dict[str, Any]:
    return {
        "provider": price.provider,
        "model_id": price.model_id,
        "effective_from": price.effective_from.isoformat(),
        **{f"{name}_micros": getattr(price, f"{name}_micros") for name in AMOUNTS},
    }
