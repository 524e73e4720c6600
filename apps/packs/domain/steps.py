"""What the blocks of a fold have in common: the step of one version, what it breaks, and the effective content as it is written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from apps.packs.domain.values import VersionRef


class By(NamedTuple):
    """A value and the place in the chain of the version that imposes it."""

    value: Any
    layer: int


@dataclass(frozen=True, slots=True)
class Breach:
    """Version `layer` of the chain breaks what version `by` says (both are places in the chain); see `Violation`."""

    layer: int
    by: int
    pointer: str
    code: Literal["constraint_violation", "locked_section"]
    detail: str
    neutral: bool


@dataclass(slots=True)
class Step:
    """One version being folded onto those before it. `first` says that it is the pack's weakest layer."""

    chain: Sequence[VersionRef]
    index: int
    first: bool
    breaches: list[Breach]

    @property
    def policy(self) -> bool:
        return self.chain[self.index].kind == "policy"

    def breach(self, pointer: str, by: int, detail: str, *, neutral: bool = False, locked: bool = False) -> None:
        """Records that this version breaks version `by`; `detail` is a sentence to which the ancestor's name is added.

        A policy only restricts, so the fold takes the stricter of both whatever it says: its breaches are always neutral.
        """
        code: Literal["constraint_violation", "locked_section"] = "locked_section" if locked else "constraint_violation"
        self.breaches.append(Breach(self.index, by, pointer, code, f"{detail} (set by {self.chain[by]}).", neutral or self.policy))


@dataclass(slots=True)
class Out:
    """The effective content while it is written, with the origin of each leaf."""

    sources: Sequence[dict[str, Any]]
    origins: dict[str, Any] = field(default_factory=dict)

    def put(self, block: dict[str, Any], key: str, at: str, value: Any, index: int) -> None:
        """Sets `block[key]`, whose pointer is `at`, to what version `index` imposes."""
        block[key] = value
        self.trace(at, value, index)

    def trace(self, at: str, value: Any, index: int) -> None:
        """Gives every leaf of `value` its origin. An empty list or object is a leaf."""
        if isinstance(value, Mapping) and value:
            for key, item in value.items():
                self.trace(f"{at}/{escape(key)}", item, index)
        elif isinstance(value, list) and value:
            for place, item in enumerate(value):
                self.trace(f"{at}/{place}", item, index)
        else:
            self.origins[at] = self.sources[index]


def escape(token: str) -> str:
    """A key as a token of a JSON pointer."""
    return token.replace("~", "~0").replace("/", "~1") if "~" in token or "/" in token else token


def given(block: Mapping[str, Any]) -> dict[str, Any]:
    """What a block says: null is the same as absent."""
    return {key: value for key, value in block.items() if value is not None}
