"""Whether a version holds what its ancestors demand, and which layers of a chain may be served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from apps.core.errors import Problem, problem
from apps.packs.domain.fold import effective_of
from apps.packs.domain.merge import Merge
from apps.packs.domain.rules import result_breaches
from apps.packs.domain.scopes import Scope, ScopeType
from apps.packs.domain.steps import Breach
from apps.packs.domain.values import Effective, Kind, VersionRef, Violation

__all__ = ["Violation", "check_against", "refusal", "resolve_chain"]


def check_against(ancestors: Sequence[VersionRef], content: Mapping[str, Any], kind: Kind) -> list[Violation]:
    """What `content`, put below `ancestors` (in fold order), breaks of what they say: every rule, lock and attempt to loosen, at its leaf.

    To be asked for each chain of ancestors that is possible. What the ancestors break among themselves is not held against it.
    """
    scope = ancestors[-1].scope if ancestors else Scope(ScopeType.GLOBAL, "")
    child = VersionRef(scope, "this content", kind, 0, "", "", content)
    chain = (*ancestors, child)
    return [_violation(chain, breach, None) for breach in _breaches(Merge(chain)) if breach.layer == len(ancestors)]


def resolve_chain(versions: Sequence[VersionRef]) -> tuple[Effective, list[Violation]]:
    """The effective pack that may be served for a chain in fold order, and the violations of the layers left out of it.

    Leaves out the lowest offending layer until what remains offends nothing. Policies are never left out: they only restrict. Raises
    Problem `no_champion` without a pack layer, `no_valid_pack` (with its violations) when the pack's weakest layer itself offends.
    """
    settled = settle(versions)
    if settled.merge is not None:
        return effective_of(settled.merge, settled.violations), list(settled.violations)
    if settled.code == "no_champion":
        raise problem("no_champion", "No version of this pack is live on the chain. Promote one at any of its scopes.")
    raise _no_valid_pack(settled.violations)


@dataclass(frozen=True, slots=True)
class Settled:
    """What `resolve_chain` may serve: the fold of the layers that remain, or the code of the refusal; and what the others violate."""

    merge: Merge | None
    code: Literal["no_champion", "no_valid_pack"] | None
    violations: tuple[Violation, ...]


def settle(versions: Sequence[VersionRef]) -> Settled:
    """`resolve_chain` without writing anything out or raising."""
    kept = list(versions)
    reported: list[Violation] = []
    if not any(version.kind == "domain" for version in kept):
        return Settled(None, "no_champion", ())
    while True:
        merge = Merge(tuple(kept))
        breaches = [breach for breach in _breaches(merge) if not breach.neutral]
        if not breaches:
            return Settled(merge, None, tuple(reported))
        worst = max(breach.layer for breach in breaches)
        found = [_violation(kept, breach, kept[worst]) for breach in breaches if breach.layer == worst]
        if worst == merge.packs[0]:
            return Settled(None, "no_valid_pack", (*found, *reported))
        reported += found
        del kept[worst]


def refusal(violations: Sequence[Violation]) -> Problem:
    """The Problem for a content that breaks its ancestors: `locked_section` when that is all, else `constraint_violation`."""
    codes = {violation.code for violation in violations}
    first = violations[0]
    detail = first.detail if len(violations) == 1 else f"{len(violations)} rules of ancestors are broken. The first: {first.detail}"
    code = "locked_section" if codes == {"locked_section"} else "constraint_violation"
    return problem(code, detail, errors=[violation.as_error() for violation in violations])


def _breaches(merge: Merge) -> list[Breach]:
    return [*merge.breaches, *result_breaches(merge)]


def _violation(chain: Sequence[VersionRef], breach: Breach, layer: VersionRef | None) -> Violation:
    by = chain[breach.by]
    return Violation(str(by.scope), by.pack, by.number, breach.pointer, breach.code, breach.detail, layer, breach.neutral)


def _no_valid_pack(violations: Sequence[Violation]) -> Problem:
    detail = f"{violations[0].layer}, the pack's weakest layer on this chain, breaks a rule itself: {violations[0].detail}"
    found = [violation.as_json() for violation in violations]
    return problem("no_valid_pack", detail, errors=[violation.as_error() for violation in violations], violations=found)
