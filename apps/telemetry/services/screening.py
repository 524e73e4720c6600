"""Keys of a batch against what a tenant adds to the rules: a key is stored as it came, or its item is not stored at all."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from apps.core.domain.redaction import Redactor
from apps.core.errors import FieldError, Problem, problem
from apps.telemetry.domain.contract import DecodedBatch, Rejection, refused
from apps.telemetry.domain.items import EventItem, RunItem

Item = TypeVar("Item", RunItem, EventItem)
Finding = TypeVar("Finding", Rejection, FieldError)


def screen(batch: DecodedBatch[Item], redactor: Redactor, plural: str, key: str) -> DecodedBatch[Item]:
    """The batch without the items whose key the tenant's own rules would replace; what everybody's rules find was rejected before (`contract`).
    Raises Problem `invalid` where it is the producer's name."""
    if not redactor.adds:
        return batch
    rejected = [screened(redactor, each) for each in batch.rejected]
    if batch.producer is not None and refused_in(redactor, batch.producer):
        raise problem("invalid", f"producer must be a plain name: {_why(redactor, batch.producer)}", pointer="/producer")
    items, bodies = [], []
    for (index, item), body in zip(batch.items, batch.bodies, strict=True):
        name: str = getattr(item, key)
        if refused_in(redactor, name):
            detail = f"{key} cannot be stored: {_why(redactor, name)} Send another id."
            rejected.append(Rejection(index, "invalid", f"/{plural}/{index}/{key}", detail))
        else:
            items.append((index, item))
            bodies.append(body)
    return replace(batch, items=items, bodies=bodies, rejected=sorted(rejected, key=lambda rejection: rejection.index))


def screen_error(error: Problem, redactor: Redactor) -> Problem:
    """The refusal without what the tenant's own rules replace: it may repeat a name that was sent."""
    if not redactor.adds:
        return error
    errors = [screened(redactor, each) for each in error.errors]
    return Problem(error.code, redactor.redact_text(error.detail)[0], errors, error.extra)


def screened(redactor: Redactor, found: Finding) -> Finding:
    """The finding without what the redactor replaces."""
    return replace(found, pointer=redactor.redact_text(found.pointer)[0], detail=redactor.redact_text(found.detail)[0])


def refused_in(redactor: Redactor, name: str) -> set[str]:
    """The rules that find something in a name which is stored as it came, or not at all."""
    return refused(name, redactor.redact_text(name)[1])


def _why(redactor: Redactor, name: str) -> str:
    return f"it holds what the tenant's redaction policy replaces ({', '.join(sorted(refused_in(redactor, name)))})."
