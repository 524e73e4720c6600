"""Writing rows: validators first, then the database's own word turned into a Problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Model

from apps.core.domain.canonical import pointer
from apps.core.errors import FieldError, Problem, problem


def validate(obj: Model, *fields: str) -> None:
    """Holds these fields to their validators, choices and lengths. Raises Problem `invalid` with one error for each finding."""
    broken = [
        FieldError(pointer(name), "invalid", "Line breaks and control characters are not taken.")
        for name in fields
        if isinstance(value := getattr(obj, name), str) and not value.isprintable()
    ]
    if broken:
        raise problem("invalid", f"{broken[0].pointer[1:]}: {broken[0].detail}", errors=broken)
    exclude = {field.name for field in obj._meta.concrete_fields} - set(fields)
    try:
        obj.clean_fields(exclude=exclude)
    except ValidationError as error:
        found = [FieldError(pointer(name), "invalid", text) for name, texts in error.message_dict.items() for text in texts]
        raise problem("invalid", f"{found[0].pointer[1:]}: {found[0].detail}", errors=found) from None


def save(obj: Model, *, taken: Mapping[str, Problem], fields: list[str] | None = None) -> None:
    """Inserts the row, or updates `fields`. A broken constraint named in `taken` is its Problem."""
    try:
        with transaction.atomic():
            obj.save(force_insert=fields is None, update_fields=fields)
    except IntegrityError as error:
        diagnostics: Any = getattr(error.__cause__, "diag", None)
        found = taken.get(diagnostics.constraint_name or "") if diagnostics is not None else None
        if found is None:
            raise
        raise found from None


def assign(obj: Model, changes: Mapping[str, Any], allowed: tuple[str, ...]) -> dict[str, dict[str, str | None]]:
    """Sets and validates the changed fields. Answers field -> {from, to} for the log. Raises Problem `unknown_key`, `invalid`."""
    unknown = sorted(set(changes) - set(allowed))
    if unknown:
        raise problem("unknown_key", f"'{unknown[0]}' cannot be changed; what can: {', '.join(allowed)}.", pointer=pointer(unknown[0]))
    moved: dict[str, dict[str, str | None]] = {}
    for name, value in changes.items():
        before = getattr(obj, name)
        if before != value:
            setattr(obj, name, value)
            moved[name] = {"from": _said(before), "to": _said(value)}
    validate(obj, *moved)
    return moved


def _said(value: Any) -> str | None:
    if isinstance(value, Model):
        return str(value.pk)
    if value is None or isinstance(value, (UUID, str)):
        return None if value is None else str(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
