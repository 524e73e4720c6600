"""Generated contents and chains: rich enough to meet every rule of the fold, small enough for thousands of examples."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from apps.core.domain.canonical import canonical_bytes, digest
from apps.packs.domain.scopes import chain_for
from apps.packs.domain.values import VersionRef

LAWS = settings(max_examples=1000, deadline=None)

TOOLS = ("a", "a.b", "a.b.c", "a.d", "b", "b.x")
NAMES = (*TOOLS, "a.*", "a.b.*", "b.*")
MODELS = ("m1", "m2", "m3")
LEVELS = ("A0", "A1", "A2", "A3")
SCOPES = chain_for(tier="enterprise", domain="hr-ops", tenant="acme", team="support", agent="helpdesk-1", user="u-42")
TEXTS = ("", "alpha", "bêta\n", "foo", "mind the foo", "日本 alpha", "see https://evil.example/a", "x" * 60, "  ")
SCHEMAS: tuple[dict[str, Any], ...] = (
    {"type": "object"},
    {"type": "object", "required": ["answer"]},
    {"$defs": {"t": {"type": "string"}}, "properties": {"answer": {"$ref": "#/$defs/t"}}},
)
CONSTRAINTS: tuple[dict[str, Any], ...] = (
    {"rule": "deny_tool", "value": "a.b"},
    {"rule": "deny_tool", "value": "b.*", "reason": "b is closed"},
    {"rule": "max_autonomy", "value": "A1"},
    {"rule": "require_section", "value": "s1"},
    {"rule": "forbid_text", "value": "foo"},
    {"rule": "forbid_text", "value": "(?i)ALPHA\\s"},
    {"rule": "require_text", "value": "alpha|foo"},
    {"rule": "max_prompt_tokens", "value": 20},
    {"rule": "allow_models", "value": ["m2", "m1"]},
    {"rule": "deny_egress", "value": "*.example"},
)

counts = st.none() | st.sampled_from((0, 5, 10, 30, 100))
flags = st.sampled_from((None, False, True))
names = st.lists(st.sampled_from(NAMES), max_size=4)
models = st.lists(st.sampled_from(MODELS), max_size=3, unique=True)


def block(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with any of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


tools = block(
    allow=st.none() | names,
    ask=st.none() | names,
    deny=st.none() | names,
    risk=st.none() | st.dictionaries(st.sampled_from(NAMES), st.sampled_from(("low", "medium", "high")), max_size=3),
)
autonomy = block(
    ceiling=st.none() | st.sampled_from(LEVELS),
    tools=st.none() | st.dictionaries(st.sampled_from(NAMES), st.sampled_from(LEVELS), max_size=2),
)
limits = block(max_prompt_tokens=counts, max_cost_per_run=counts, max_latency_ms=counts, models=st.none() | models)
constraints = st.lists(st.sampled_from(CONSTRAINTS), max_size=2)
promotion = block(
    min_cases=counts,
    max_cost_regression_pct=counts,
    canary=st.none() | block(stages=st.sampled_from((None, [100], [50, 100], [10, 50, 100])), min_runs=counts),
)
sections = st.dictionaries(
    st.sampled_from(("s1", "s2", "S 3")),
    st.fixed_dictionaries(
        {"text": st.sampled_from(TEXTS)},
        optional={
            "order": st.sampled_from((None, -1, 0, 5)),
            "file": st.sampled_from((None, "SOUL", "TOOLS", "HEARTBEAT")),
            "mode": st.sampled_from((None, "append", "prepend", "replace")),
            "locked": st.sampled_from((None, False, False, True)),
        },
    ),
    max_size=3,
)
check = st.fixed_dictionaries(
    {
        "id": st.sampled_from(("r1", "r2")),
        "check": st.sampled_from(("contains", "no_pii")),
        "weight": st.sampled_from((1, 5)),
        "dimension": st.sampled_from(("quality", "safety")),
    },
    optional={"hard": flags, "params": st.sampled_from((None, {}, {"value": "x"}))},
)
kpi = st.fixed_dictionaries(
    {"name": st.sampled_from(("k1", "k2")), "direction": st.sampled_from(("up", "down")), "target": st.sampled_from((-5, 70))},
    optional={"tolerance": counts},
)
model = block(
    primary=st.none() | st.sampled_from(MODELS),
    fallbacks=st.none() | models,
    locked=st.sampled_from((None, False, False, True)),
    reasoning=st.sampled_from((None, "low")),
)
rollback = block(
    zero_tolerance=st.sampled_from((None, [], ["r1"], ["r2", "r1"])),
    auto=flags,
    kpi_tolerances=st.none() | st.dictionaries(st.sampled_from(("k1", "k2")), st.sampled_from((0, 5, 10)), max_size=2),
)

policy_content = block(constraints=st.none() | constraints, tools=st.none() | tools, autonomy=autonomy, limits=limits, promotion=promotion)
domain_content = block(
    constraints=constraints,
    tools=tools,
    autonomy=st.none() | autonomy,
    limits=limits,
    promotion=promotion,
    sections=st.none() | sections,
    personality=st.sampled_from((None, {}, {"tone": "dry", "do": [], "samples": ["alpha x"]}, {"traits": ["calm"], "tone": None})),
    rubric=st.none() | st.lists(check, max_size=2, unique_by=lambda one: one["id"]),
    contracts=st.none() | st.dictionaries(st.sampled_from(("t1", "t/2")), st.sampled_from(SCHEMAS), max_size=2),
    kpis=st.lists(kpi, max_size=2, unique_by=lambda one: one["name"]),
    model=st.none() | model,
    rollback=st.none() | rollback,
)

# (place of the scope, place at the scope, slug, kind): policies by slug come before the pack.
_PLACES = ((0, "house-policy", "policy"), (1, "night-policy", "policy"), (2, "hr-pack", "domain"))
_SLOTS = tuple((scope, *place) for scope in range(len(SCOPES)) for place in _PLACES)


def version(slot: tuple[int, int, str, Any], content: dict[str, Any], number: int = 1) -> VersionRef:
    scope, _, slug, kind = slot
    return VersionRef(SCOPES[scope], slug, kind, number, f"{scope}-{slug}-{number}", digest(canonical_bytes(content)), content)


# Contents that often get in each other's way: constraints and locks above, texts, models and checks below.
strict_policy = st.fixed_dictionaries(
    {"constraints": st.lists(st.sampled_from(CONSTRAINTS), min_size=1, max_size=2)}, optional={"limits": limits}
)
risky_content = st.fixed_dictionaries(
    {"sections": sections},
    optional={"model": model, "rubric": st.lists(check, min_size=1, max_size=1), "tools": tools, "constraints": constraints},
)


@st.composite
def chains(draw: st.DrawFn, max_size: int = 5, *, risky: bool = False) -> tuple[VersionRef, ...]:
    """Up to `max_size` versions in fold order; one in ten without a layer of the pack. `risky`: many break a rule of an ancestor."""
    slots = sorted(draw(st.lists(st.sampled_from(_SLOTS), min_size=3 if risky else 1, max_size=max_size, unique=True)))
    if not any(slot[3] == "domain" for slot in slots) and draw(st.integers(0, 9)):
        slots[-1] = (slots[-1][0], *_PLACES[2])
    contents = {"domain": risky_content if risky else domain_content, "policy": strict_policy if risky else policy_content}
    return tuple(version(slot, draw(contents[slot[3]])) for slot in slots)
