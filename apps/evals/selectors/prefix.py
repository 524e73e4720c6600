"""The prefix of a version: the effective pack of the chain cut after its layer, which is what a lease resolves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.core.errors import Problem
from apps.packs.chains import Pictures, prefix_entries
from apps.packs.domain.content import prompt_tokens
from apps.packs.domain.validate import refusal, resolve_chain
from apps.packs.domain.values import Violation
from apps.packs.models import Layer, PackVersion
from apps.packs.pointers import references


@dataclass(frozen=True, slots=True)
class Prefix:
    """`prompt_tokens` is the estimated size of its sections."""

    digest: str
    content: Mapping[str, Any]
    prompt_tokens: int


def prefix_of(layer: Layer, version: PackVersion | None, pictures: Pictures | None = None) -> Prefix:
    """The prefix with `version` in the layer's place (None: the chain without this layer).

    Raises Problem `no_champion` when no pack is left on the chain, `no_valid_pack`, and `constraint_violation` or `locked_section` when
    resolve would leave the version out.
    """
    prefix, violations = _resolved(layer, version, pictures)
    if version is not None and (own := [found for found in violations if found.layer and found.layer.version_id == str(version.pk)]):
        raise refusal(own)
    return prefix


def prefix_or_none(layer: Layer, version: PackVersion | None, pictures: Pictures | None = None) -> Prefix | None:
    """What is served with `version` in the layer's place: without it where resolve leaves it out; None where nothing is."""
    try:
        return _resolved(layer, version, pictures)[0]
    except Problem as error:
        if error.code in ("no_champion", "no_valid_pack"):
            return None
        raise


def _resolved(layer: Layer, version: PackVersion | None, pictures: Pictures | None) -> tuple[Prefix, list[Violation]]:
    effective, violations = resolve_chain(references(prefix_entries(layer, version, pictures)))
    return Prefix(effective.digest, effective.content, prompt_tokens(effective.content)), violations
