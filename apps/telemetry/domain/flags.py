"""What the flags of runs and events mean, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MEANINGS: Final[Mapping[str, str]] = {
    "untraced": "Its effective digest is none that this portal has served: which texts the agent ran on is not known.",
    "mismatch": "It named a tenant, team, agent, pack or arm other than what its token and the rollout say; what they say is stored.",
    "priced": "Its source gave no cost; it is computed of its tokens by the price table.",
    "unpriced": "Its source gave no cost, and the price table has none for its provider and model on that day.",
    "tokens_inconsistent": "Its token counts cannot all be true: more came from the cache than went in, or more was reasoning than came out.",
    "cost_differs": "Its source's cost is off by more than a tenth from what the price table gives; the source's is stored.",
    "clock_skew": "Its times cannot all be true: one lay in the future when it arrived, or it ended before it began.",
    "cut": "A text of it was over the limit and was cut; `cut` in its payload or metadata says which.",
    "unsettled": "It came before the run that it belongs to; whose step it is, is not known yet.",
    "metrics_only": "This tenant stores no texts of runs and events: what it held of them was dropped on arrival.",
    "redacted": "Something that looked like a secret was replaced before it was stored; the rules that fired stand beside it.",
}


def meaning(flag: str) -> str:
    """A sentence for a person; a flag without one stands for itself."""
    return MEANINGS.get(flag, flag.replace("_", " ").capitalize() + ".")
