"""Attribute values as our fields take them. What does not fit is left out or cut: an exporter cannot mend it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from apps.telemetry.domain.contract import storable
from apps.telemetry.domain.items import MAX_INT, MAX_NAME

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_USD = Decimal(MAX_INT).scaleb(-6)


def moment(nanoseconds: int) -> datetime:
    """Of nanoseconds since 1970 the whole microseconds."""
    return EPOCH + timedelta(microseconds=nanoseconds // 1000)


def plain(text: str) -> str:
    """Without U+0000, which PostgreSQL does not hold."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text


def name_of(value: Any, cut: set[str], field: str) -> str | None:
    """A text of 1 to 200 characters; a longer one is cut, and `field` added to `cut`."""
    if type(value) is str and len(value) <= MAX_NAME and "\0" not in value:
        return value.strip() or None
    if value is None or isinstance(value, dict | list):
        return None
    text = plain(value if isinstance(value, str) else str(value)).strip()
    if len(text) > MAX_NAME:
        cut.add(field)
        text = text[:MAX_NAME]
    return text or None


def count_of(value: Any, most: int = MAX_INT) -> int | None:
    """A whole number from 0 to `most`, also one written as a text or as 3.0."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 17:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def truth_of(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


def dollars_of(value: Any) -> Decimal | None:
    """An amount of US dollars, also one written as a text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount <= _MAX_USD else None


def names_of(value: Any, cut: set[str], field: str) -> list[str] | None:
    """At most 100 names."""
    found = [name for each in (value if isinstance(value, list) else [value]) if (name := name_of(each, cut, field))]
    if len(found) > 100:
        cut.add(field)
    return found[:100] or None


def object_of(value: Any, most: int) -> dict[str, Any] | None:
    """An object of at most `most` bytes of JSON that is not too deep to be stored, also one written as a text: attributes of most SDKs hold no
    objects."""
    if isinstance(value, str) and len(value) <= most:
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
    return value if isinstance(value, dict) and storable(value, nul=True) and len(str(value)) <= most else None


def text_of(value: Any) -> str | None:
    """A text as it is, anything else as JSON."""
    if value is None or value == "":
        return None
    return plain(value) if isinstance(value, str) else plain(msgspec.json.encode(value).decode())


def shortened(text: str, most: int, cut: set[str], field: str) -> str:
    """At most `most` bytes of it."""
    if len(text) * 4 <= most:
        return text
    encoded = text.encode()
    if len(encoded) <= most:
        return text
    cut.add(field)
    return encoded[:most].decode(errors="ignore")


def small(value: Any, most: int, cut: set[str], field: str) -> Any:
    """The value with each text inside it at most `most` characters long."""
    if isinstance(value, str):
        if len(value) > most:
            cut.add(field)
            value = value[:most]
        return plain(value)
    if isinstance(value, list):
        return [small(each, most, cut, field) for each in value]
    if isinstance(value, Mapping):
        return {plain(key[:200]): small(each, most, cut, field) for key, each in value.items()}
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value
