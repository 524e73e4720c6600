"""The prefix of a version: the effective pack of the chain cut after its layer, which is what a lease resolves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.core.errors import Problem
from apps.packs.chains import prefix_entries
from apps.packs.domain.content import prompt_tokens
from apps.packs.domain.validate import refusal, resolve_chain
from apps.packs.models import Layer, PackVersion
from apps.packs.pointers import references


@dataclass(frozen=True, slots=True)
class Prefix:
    """`prompt_tokens` is the estimated size of its sections, `lineage` the versions it is made of, in the form of resolve's answer."""

    digest: str
    content: Mapping[str, Any]
    prompt_tokens: int
    lineage: tuple[Mapping[str, Any], ...]


def prefix_of(layer: Layer, version: PackVersion | None) -> Prefix:
    """The prefix with `version` in the layer's place (None: the chain without this layer).

    Raises Problem `no_champion` when no pack is left on the chain, `no_valid_pack`, and `constraint_violation` or `locked_section` when
    resolve would leave the version out.
    """
    effective, violations = resolve_chain(references(prefix_entries(layer, version)))
    if version is not None and (own := [found for found in violations if found.layer and found.layer.version_id == str(version.pk)]):
        raise refusal(own)
    return Prefix(effective.digest, effective.content, prompt_tokens(effective.content), effective.lineage)


def prefix_or_none(layer: Layer, version: PackVersion | None) -> Prefix | None:
    """The same, or None where nothing is live (or what is live is not valid)."""
    try:
        return prefix_of(layer, version)
    except Problem as error:
        if error.code in ("no_champion", "no_valid_pack", "constraint_violation", "locked_section"):
            return None
        raise
