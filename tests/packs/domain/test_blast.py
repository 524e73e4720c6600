"""The blast radius is what one finds by resolving everyone before and after."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.core.domain.canonical import canonical_bytes, digest
from apps.core.errors import Problem
from apps.packs.domain import blast
from apps.packs.domain.blast import Slot, Target, blast_radius
from apps.packs.domain.scopes import Scope, chain_for
from apps.packs.domain.validate import resolve_chain
from apps.packs.domain.values import VersionRef
from tests.packs.domain.strategies import CONSTRAINTS, LAWS, SCHEMAS

# Two agents that share all but the last scope, one without a team, one of another segment.
AGENTS = (("team", "acme", "desk", "a1"), ("team", "acme", "desk", "a2"), ("team", "bolt", None, "a1"), ("personal", "cara", None, "a1"))
CHAINS = {
    f"{tenant}/{agent}": chain_for(tier=tier, domain="hr", tenant=tenant, team=team, agent=agent) for tier, tenant, team, agent in AGENTS
}
SCOPES = tuple(dict.fromkeys(scope for chain in CHAINS.values() for scope in chain))
POLICY_SCOPES = tuple(str(scope) for scope in SCOPES if scope.type.value in ("global", "tenant"))
LAYERS = tuple(f"{pack}@{scope}" for scope in SCOPES for pack in ("policy", "pack") if pack == "pack" or str(scope) in POLICY_SCOPES)

texts = st.sampled_from(("foo", "alpha", "beta"))
contents: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "policy": st.sampled_from([{}, {"tools": {"deny": ["x"]}}, *({"constraints": [one]} for one in CONSTRAINTS)]),
    "pack": st.fixed_dictionaries(
        {},
        optional={
            "sections": st.dictionaries(
                st.sampled_from(("s1", "s2")),
                st.fixed_dictionaries(
                    {"text": texts, "locked": st.sampled_from((False, False, True)), "mode": st.sampled_from(("append", "replace"))}
                ),
                min_size=1,
            ),
            "tools": st.sampled_from(({"allow": ["a.b"]}, {"deny": ["x"]})),
            "contracts": st.sampled_from([{"t": schema} for schema in SCHEMAS]),
        },
    ),
}


def version_at(layer: str, number: int, content: dict[str, Any]) -> VersionRef:
    pack, _, scope = layer.partition("@")
    kind: Any = "policy" if pack == "policy" else "domain"
    return VersionRef(Scope.parse(scope), pack, kind, number, f"{layer}#{number}", digest(canonical_bytes(content)), content)


@st.composite
def forests(draw: st.DrawFn) -> tuple[dict[str, VersionRef], str, VersionRef | None]:
    """What is live in each layer, the layer that changes, and what becomes its champion."""
    live = {layer: version_at(layer, 1, draw(contents[layer.partition("@")[0]])) for layer in LAYERS if draw(st.integers(0, 2)) == 0}
    layer = draw(st.sampled_from(LAYERS))
    content = draw(st.none() | contents[layer.partition("@")[0]])
    return live, layer, None if content is None else version_at(layer, 2, content)


def targets_of(live: dict[str, VersionRef]) -> list[Target]:
    found: dict[tuple[str, str, tuple[Slot, ...]], Target] = {}
    for agent, scopes in CHAINS.items():
        slots = tuple(
            Slot(f"{pack}@{scope}", live.get(f"{pack}@{scope}"))
            for scope in scopes
            for pack in ("policy", "pack")
            if f"{pack}@{scope}" in LAYERS
        )
        everyone = [Target("agent", agent, agent.partition("/")[0], slots)]
        for end, slot in enumerate(slots, 1):
            everyone.append(Target("layer", slot.layer, Scope.parse(slot.layer.partition("@")[2]).tenant_slug, slots[:end]))
        found |= {(one.kind, one.key, one.chain): one for one in everyone}
    return list(found.values())


def served(chain: list[VersionRef]) -> tuple[Any, set[Any]]:
    try:
        effective, violations = resolve_chain(chain)
    except Problem as refused:
        assert refused.code in ("no_champion", "no_valid_pack")
        found = refused.extra.get("violations", [])
        assert isinstance(found, list)
        return refused.code, {(one["layer"]["scope"], one["layer"]["version"], one["pointer"], one["scope"], one["pack"]) for one in found}
    return effective.digest, {(str(one.layer.scope), one.layer.number, one.pointer, one.scope, one.pack) for one in violations if one.layer}


@LAWS
@given(forests())
def test_equal_to_brute_force(forest: tuple[dict[str, VersionRef], str, VersionRef | None]) -> None:
    live, layer, replacement = forest
    after = {key: one for key, one in {**live, layer: replacement}.items() if one is not None}
    targets = targets_of(live)
    changed, invalid = set(), set()
    for target in targets:
        (before_served, before_broken), (after_served, after_broken) = (
            served([state[slot.layer] for slot in target.chain if slot.layer in state]) for state in (live, after)
        )
        if before_served != after_served:
            changed.add(target)
        if after_broken - before_broken:
            invalid.add(target)
    found = blast_radius(targets, layer, replacement)
    assert {effect.target for effect in found.changed} == changed and {effect.target for effect in found.invalid} == invalid
    assert found.agents == tuple(sorted({one.key for one in changed if one.kind == "agent"}))
    assert found.layers == tuple(sorted({one.key for one in changed if one.kind == "layer"}))
    assert found.tenants == tuple(sorted({one.tenant for one in changed if one.tenant}))


def test_each_distinct_chain_is_folded_once(monkeypatch: Any) -> None:
    asked: list[tuple[VersionRef, ...]] = []
    fold_once = blast.outcome_of
    monkeypatch.setattr(blast, "outcome_of", lambda chain: asked.append(chain) or fold_once(chain))
    shared = Slot("pack@global", version_at("pack@global", 1, {"sections": {"s": {"text": "a"}}}))
    targets = [Target("agent", f"t{number}/a", f"t{number}", (shared, Slot(f"pack@tenant:t{number}", None))) for number in range(1000)]
    found = blast_radius(targets, "pack@global", version_at("pack@global", 2, {"sections": {"s": {"text": "b"}}}))
    assert len(found.agents) == 1000 and len(found.tenants) == 1000
    assert len(asked) == 2


def test_a_policy_that_makes_a_layer_invalid() -> None:
    pack = Slot("pack@global", version_at("pack@global", 1, {"sections": {"s": {"text": "fine"}}}))
    tenant = Slot("pack@tenant:acme", version_at("pack@tenant:acme", 1, {"sections": {"s": {"text": "foo"}}}))
    policy = Slot("policy@global", None)
    everyone = [Target("agent", "acme/a", "acme", (policy, pack, tenant)), Target("agent", "bolt/a", "bolt", (policy, pack))]
    strict = version_at("policy@global", 1, {"constraints": [{"rule": "forbid_text", "value": "foo"}]})
    found = blast_radius(everyone, "policy@global", strict)
    assert found.agents == ("acme/a", "bolt/a")  # the constraint itself is new content for everyone
    (effect,) = found.invalid
    assert effect.target.key == "acme/a" and effect.after.code is None
    assert [violation.layer for violation in effect.after.violations] == [tenant.version]
