"""Blast radius: what a change of one layer's champion does to every agent and layer below it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from apps.packs.domain.fold import effective_of
from apps.packs.domain.validate import settle
from apps.packs.domain.values import VersionRef, Violation


@dataclass(frozen=True, slots=True)
class Slot:
    """A layer's place on a chain and what is live in it; None: nothing, it inherits."""

    layer: str
    version: VersionRef | None


@dataclass(frozen=True, slots=True)
class Target:
    """Someone who resolves: an agent, or a layer by itself (its chain cut after it, as its evidence is made on).

    `key` names it: the agent (`acme/helpdesk-1`), or the layer as the slots do. `chain` has the slots in fold order, empty ones included,
    so that a first champion has a place. `tenant` is the slug, None above tenant.
    """

    kind: Literal["agent", "layer"]
    key: str
    tenant: str | None
    chain: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a target is served: the effective digest, or the code of the refusal; and the violations of the layers left out."""

    digest: str | None
    code: str | None
    violations: tuple[Violation, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change does to one target."""

    target: Target
    before: Outcome
    after: Outcome


@dataclass(frozen=True, slots=True)
class Blast:
    """`changed`: targets that are served other content, or a refusal instead. `invalid`: targets whose chain has violations that are new.

    `layers`, `agents`: the keys of those changed, `tenants`: their tenants' slugs; each sorted, without repeats.
    """

    layers: tuple[str, ...]
    tenants: tuple[str, ...]
    agents: tuple[str, ...]
    changed: tuple[Effect, ...]
    invalid: tuple[Effect, ...]


def outcome_of(chain: tuple[VersionRef, ...]) -> Outcome:
    """What `resolve_chain` serves for a chain, a refusal included."""
    settled = settle(chain)
    digest = effective_of(settled.merge).digest if settled.merge is not None else None
    return Outcome(digest, settled.code, settled.violations)


def blast_radius(targets: Iterable[Target], layer_key: str, replacement: VersionRef | None) -> Blast:
    """The effect of making `replacement` the champion of a layer (None: of leaving the layer without one) on each target.

    Each distinct chain is folded once, however many targets share it, so that the cost goes with the number of different chains.
    """
    folded: dict[tuple[VersionRef, ...], Outcome] = {}

    def outcome(chain: tuple[VersionRef, ...]) -> Outcome:
        if chain not in folded:
            folded[chain] = outcome_of(chain)
        return folded[chain]

    changed: list[Effect] = []
    invalid: list[Effect] = []
    for target in targets:
        now = tuple(slot.version for slot in target.chain if slot.version is not None)
        then = _replaced(target.chain, layer_key, replacement)
        if now == then:
            continue
        effect = Effect(target, outcome(now), outcome(then))
        if (effect.before.digest, effect.before.code) != (effect.after.digest, effect.after.code):
            changed.append(effect)
        if new_violations(effect):
            invalid.append(effect)
    agents = {effect.target.key for effect in changed if effect.target.kind == "agent"}
    layers = {effect.target.key for effect in changed if effect.target.kind == "layer"}
    tenants = {effect.target.tenant for effect in changed if effect.target.tenant is not None}
    return Blast(tuple(sorted(layers)), tuple(sorted(tenants)), tuple(sorted(agents)), tuple(changed), tuple(invalid))


def _replaced(chain: tuple[Slot, ...], layer_key: str, replacement: VersionRef | None) -> tuple[VersionRef, ...]:
    versions = (replacement if slot.layer == layer_key else slot.version for slot in chain)
    return tuple(version for version in versions if version is not None)


def new_violations(effect: Effect) -> list[Violation]:
    """What the change makes wrong on the target's chain; what was wrong before is not held against it."""
    known = {_key(violation) for violation in effect.before.violations}
    return [violation for violation in effect.after.violations if _key(violation) not in known]


def _key(violation: Violation) -> tuple[VersionRef | None, str, str, str]:
    return violation.layer, violation.pointer, violation.scope, violation.pack
