"""What the flags of runs and events mean, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MEANINGS: Final[Mapping[str, str]] = {
    "untraced": "Its effective digest is none that this portal has served: which texts the agent ran on is not known.",
    "mismatch": "It named a tenant, team, agent, pack or arm other than what its token and the rollout say; what they say is stored.",
    "redacted": "Something that looked like a secret was replaced before it was stored; the rules that fired stand beside it.",
}


def meaning(flag: str) -> str:
    """A sentence for a person; a flag without one stands for itself."""
    return MEANINGS.get(flag, flag.replace("_", " ").capitalize() + ".")
