"""What is delivered with this room as data."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml


def price_list() -> list[dict[str, Any]]:
    """Rows of `prices.yaml` as fields of `Price`: dollars there, micro-dollars here."""
    listed = yaml.safe_load((Path(__file__).parent / "prices.yaml").read_text())
    return [_row(each, listed["effective_from"], provider) for each in listed["prices"] for provider in each["providers"]]


def _row(each: dict[str, Any], effective_from: date, provider: str) -> dict[str, Any]:
    prices = {f"{name}_micros": int(Decimal(each[name]) * 1_000_000) for name in ("input", "cache_read", "cache_write", "output")}
    return {"provider": provider, "model_id": each["model"], "effective_from": each.get("effective_from", effective_from), **prices}
