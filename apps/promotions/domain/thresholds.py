"""What the gate demands (`domain.md` 6): the defaults, the stricter of two packs' demands, and the presets of the tiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from apps.core.domain.canonical import canonical_bytes
from apps.core.domain.canonical import digest as digest_of
from apps.packs.domain.presets import TIER_PRESETS


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The numbers of the gate, all integers in the units of pack content: `_pct` in hundredths of a percent (500 = 5 %), the margin, the
    voice drop and the mean in points of 100."""

    min_cases: int = 30
    min_runs: int = 100
    min_units: int = 20
    min_quality_gain_pct: int = 500
    non_inferiority_margin: int = 2
    max_allowed_latency_regression_pct: int = 2000
    max_cost_regression_pct: int = 1500
    max_prompt_growth_tokens: int = 500
    max_voice_drop: int = 5
    absolute_min_mean: int = 70

    def to_json(self) -> dict[str, int]:
        """The fields by name, as they are stored with a promotion."""
        return asdict(self)

    @classmethod
    def of(cls, block: Mapping[str, Any] | None) -> Thresholds:
        """The thresholds of an effective `promotion` block; a field that is null or absent has its default, other keys are left alone."""
        given = {name: block[name] for name in FIELDS if block.get(name) is not None} if block else {}
        return cls(**given)

    def looser_than(self, other: Thresholds) -> tuple[str, ...]:
        """The fields in which this demands less than the other."""
        return tuple(name for name in FIELDS if _stricter(name, getattr(self, name), getattr(other, name)) != getattr(self, name))


FIELDS: Final[tuple[str, ...]] = tuple(field.name for field in fields(Thresholds))
# In these more is stricter; in all others less is.
DEMANDS: Final[frozenset[str]] = frozenset({"min_cases", "min_runs", "min_units", "min_quality_gain_pct", "absolute_min_mean"})

# The `promotion` blocks that a new tenant gets as a policy layer, by tier.
PRESETS: Final[dict[str, dict[str, Any]]] = {tier: preset["promotion"] for tier, preset in TIER_PRESETS.items()}


def strictest(a_block: Mapping[str, Any] | None, b_block: Mapping[str, Any] | None) -> Thresholds:
    """Field by field the stricter of two effective `promotion` blocks, the champion's and the challenger's.

    Defaults are filled in before the comparison, so that a challenger can't loosen a default by being the first to name the field.
    """
    a, b = Thresholds.of(a_block), Thresholds.of(b_block)
    return Thresholds(**{name: _stricter(name, getattr(a, name), getattr(b, name)) for name in FIELDS})


def digest(thresholds: Thresholds) -> str:
    """`sha256:…` over the canonical JSON of all fields: what an approval is bound to."""
    return digest_of(canonical_bytes(thresholds.to_json()))


def _stricter(name: str, a: int, b: int) -> int:
    return max(a, b) if name in DEMANDS else min(a, b)
