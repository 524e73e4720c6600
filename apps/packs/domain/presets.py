"""The presets of the tiers (`domain.md` 2), written as policy content so that resolve has one source."""

from __future__ import annotations

from typing import Any, Final

# Slug of the shared policy pack whose tenant layers hold the tier presets and whose agent layers hold an agent's own autonomy.
PRESETS_PACK: Final = "presets"

TIER_PRESETS: Final[dict[str, dict[str, Any]]] = {
    "personal": {
        "autonomy": {"ceiling": "A1"},
        "promotion": {"max_prompt_growth_tokens": 300, "max_allowed_latency_regression_pct": 2500, "canary": {"stages": [50, 100]}},
    },
    "team": {
        "autonomy": {"ceiling": "A2"},
        "promotion": {"max_prompt_growth_tokens": 500, "max_allowed_latency_regression_pct": 2000, "canary": {"stages": [10, 50, 100]}},
    },
    "enterprise": {
        "autonomy": {"ceiling": "A3"},
        "promotion": {"max_prompt_growth_tokens": 500, "max_allowed_latency_regression_pct": 1500, "canary": {"stages": [5, 25, 50, 100]}},
    },
}


def agent_preset(autonomy: str) -> dict[str, Any]:
    """What an agent's own autonomy (`A0` to `A3`) says at agent scope."""
    return {"autonomy": {"ceiling": autonomy}}
