"""What resolve serves breaks nothing (`domain.md` 3), over generated chains, and the rules one by one."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from apps.core.errors import Problem
from apps.packs.domain.fold import autonomy_for, fold, permitted, permitted_model
from apps.packs.domain.validate import check_against, refusal, resolve_chain
from apps.packs.domain.values import VersionRef
from tests.packs.domain.strategies import LAWS, MODELS, chains, version

GLOBAL_POLICY, GLOBAL_PACK = (0, 0, "house-policy", "policy"), (0, 2, "hr-pack", "domain")
TENANT_POLICY, TENANT_PACK, AGENT_PACK = (3, 0, "house-policy", "policy"), (3, 2, "hr-pack", "domain"), (5, 2, "hr-pack", "domain")


@LAWS
@given(chains() | chains(max_size=6, risky=True))
def test_no_violating_content_is_served(chain: tuple[VersionRef, ...]) -> None:
    try:
        effective, violations = resolve_chain(chain)
    except Problem as refused:
        packs = [one for one in chain if one.kind == "domain"]
        assert refused.code == ("no_valid_pack" if packs else "no_champion")
        if packs:  # no layer below is to blame: the weakest is refused without them too
            assert refused.extra["violations"]
            with pytest.raises(Problem):
                resolve_chain([one for one in chain if one.kind == "policy" or one is packs[0]])
        return
    served = [one for one in chain if one.lineage in effective.lineage]
    left_out = [one for one in chain if one not in served]
    assert effective.digest == fold(served).digest and effective.violations == tuple(violations)
    assert breaks(effective.content) == []
    for end in range(1, len(served)):
        prefix = fold(served[:end]).content
        for name, section in prefix["sections"].items():
            assert not section.get("locked") or effective.content["sections"][name] == section
        assert not prefix["model"].get("locked") or effective.content["model"] == prefix["model"]
        for hard in (check for check in prefix["rubric"] if check.get("hard")):
            now = next(check for check in effective.content["rubric"] if check["id"] == hard["id"])
            assert now["weight"] >= hard["weight"] and {**now, "weight": 0} == {**hard, "weight": 0}
    assert all(one.kind == "domain" for one in left_out)
    assert {found.layer for found in violations} == set(left_out)
    assert fold(served).digest == effective.digest


def breaks(content: Any) -> list[Any]:
    """The constraints that an effective content breaks, found without the code under test."""
    texts = [section["text"] for section in content["sections"].values()]
    voice = [*content["personality"].get("samples", ()), content["personality"].get("tone") or ""]
    found = []
    for entry in content["constraints"]:
        rule, value = entry["rule"], entry["value"]
        if rule == "forbid_text":
            broken = any(re.search(value, text) for text in [*texts, *voice])
        elif rule == "require_text":
            broken = not any(re.search(value, text) for text in texts)
        elif rule == "require_section":
            broken = not content["sections"].get(value, {"text": ""})["text"].strip()
        elif rule == "deny_egress":
            broken = any("://evil.example" in text for text in texts)
        elif rule == "deny_tool":
            broken = permitted(content, value)
        elif rule == "max_autonomy":
            broken = autonomy_for(content, "any") > value
        elif rule == "allow_models":
            broken = any(permitted_model(content, model) and model not in value for model in MODELS)
        else:
            broken = content["limits"]["max_prompt_tokens"] > value
        found += [entry] if broken else []
    if sum(-(-len(text.encode()) // 4) for text in texts) > content["limits"].get("max_prompt_tokens", 10**9):
        found.append("max_prompt_tokens")
    named = [content["model"].get("primary"), *content["model"].get("fallbacks", ())]
    return found + [model for model in named if model is not None and not permitted_model(content, model)]


def chain_of(*layers: tuple[Any, dict[str, Any]]) -> tuple[VersionRef, ...]:
    return tuple(version(slot, content) for slot, content in layers)


RULES: list[tuple[str, dict[str, Any], dict[str, Any], str, bool]] = [
    # (what, ancestor, child, pointer, neutral: the fold already takes the stricter)
    ("locked", {"sections": {"s": {"text": "x", "locked": True}}}, {"sections": {"s": {"text": "y"}}}, "/sections/s", False),
    (
        "forbid_text",
        {"constraints": [{"rule": "forbid_text", "value": "(?i)foo"}]},
        {"sections": {"s": {"text": "a Foo"}}},
        "/sections/s/text",
        False,
    ),
    (
        "forbid_text",
        {"constraints": [{"rule": "forbid_text", "value": "foo"}]},
        {"personality": {"do": ["foo"]}},
        "/personality/do/0",
        False,
    ),
    (
        "forbid_text over a join",
        {"sections": {"s": {"text": "never"}}, "constraints": [{"rule": "forbid_text", "value": "never\\s+mind"}]},
        {"sections": {"s": {"text": "mind"}}},
        "/sections/s/text",
        False,
    ),
    (
        "require_text",
        {"sections": {"s": {"text": "be kind"}}, "constraints": [{"rule": "require_text", "value": "kind"}]},
        {"sections": {"s": {"text": "x", "mode": "replace"}}},
        "/sections",
        False,
    ),
    (
        "require_section",
        {"sections": {"s": {"text": "x"}}, "constraints": [{"rule": "require_section", "value": "s"}]},
        {"sections": {"s": {"text": "", "mode": "replace"}}},
        "/sections/s",
        False,
    ),
    ("deny_tool", {"constraints": [{"rule": "deny_tool", "value": "sh.*"}]}, {"tools": {"allow": ["a", "sh.x"]}}, "/tools/allow/1", False),
    ("denied tool", {"tools": {"deny": ["sh.*"]}}, {"tools": {"allow": ["sh.x"]}}, "/tools/allow/0", True),
    (
        "max_autonomy",
        {"constraints": [{"rule": "max_autonomy", "value": "A1"}]},
        {"autonomy": {"ceiling": "A2"}},
        "/autonomy/ceiling",
        False,
    ),
    ("ceiling", {"autonomy": {"ceiling": "A1"}}, {"autonomy": {"tools": {"x": "A2"}}}, "/autonomy/tools/x", True),
    (
        "max_prompt_tokens",
        {"constraints": [{"rule": "max_prompt_tokens", "value": 1}]},
        {"sections": {"s": {"text": "12345"}}},
        "/sections",
        False,
    ),
    ("limit", {"limits": {"max_latency_ms": 5}}, {"limits": {"max_latency_ms": 6}}, "/limits/max_latency_ms", True),
    ("models", {"limits": {"models": ["m"]}}, {"limits": {"models": ["m", "n"]}}, "/limits/models/1", True),
    (
        "allow_models",
        {"constraints": [{"rule": "allow_models", "value": ["m"]}]},
        {"model": {"fallbacks": ["m", "n"]}},
        "/model/fallbacks/1",
        False,
    ),
    (
        "deny_egress",
        {"constraints": [{"rule": "deny_egress", "value": "*.example"}]},
        {"sections": {"s": {"text": "post to HTTPS://me@drop.Example:8443/x"}}},
        "/sections/s/text",
        False,
    ),
    ("locked model", {"model": {"primary": "m", "locked": True}}, {"model": {"primary": "n"}}, "/model/primary", False),
    (
        "hard check",
        {"rubric": [{"id": "r", "check": "no_pii", "weight": 5, "dimension": "safety", "hard": True}]},
        {"rubric": [{"id": "r", "check": "no_pii", "weight": 5, "dimension": "safety"}]},
        "/rubric/0",
        False,
    ),
    ("threshold", {"promotion": {"min_cases": 30}}, {"promotion": {"min_cases": 10}}, "/promotion/min_cases", True),
    (
        "stages",
        {"promotion": {"canary": {"stages": [5, 100]}}},
        {"promotion": {"canary": {"stages": [50, 100]}}},
        "/promotion/canary/stages",
        True,
    ),
    ("auto", {"rollback": {"auto": True}}, {"rollback": {"auto": False}}, "/rollback/auto", True),
    (
        "kpi",
        {"kpis": [{"name": "k", "direction": "up", "target": 1, "tolerance": 2}]},
        {"kpis": [{"name": "k", "direction": "up", "target": 1, "tolerance": 3}]},
        "/kpis/0/tolerance",
        True,
    ),
]


@pytest.mark.parametrize(
    ("what", "ancestor", "child", "pointer", "neutral"), RULES, ids=[f"{rule[0]}-{place}" for place, rule in enumerate(RULES)]
)
def test_what_breaks_an_ancestor_is_named_with_ancestor_and_leaf(
    what: str, ancestor: dict[str, Any], child: dict[str, Any], pointer: str, neutral: bool
) -> None:
    above = chain_of((GLOBAL_PACK, ancestor))
    (found,) = check_against(above, child, "domain")
    assert (found.scope, found.pack, found.version, found.pointer, found.neutral) == ("global", "hr-pack", 1, pointer, neutral)
    assert "hr-pack version 1 at global" in found.detail
    assert (
        check_against(above, ancestor | {"constraints": []} if what != "locked" else {}, "domain") == []
    )  # saying the same breaks nothing
    # Live, a breach that the fold can't neutralise costs its layer; the pack is served without it.
    effective, violations = resolve_chain([*above, version(TENANT_PACK, child)])
    assert effective.content == fold([*above, version(TENANT_PACK, child)][: 2 if neutral else 1]).content
    assert [one.pointer for one in violations] == ([] if neutral else [pointer])


def test_a_hard_check_may_weigh_more_but_not_less() -> None:
    hard = {"id": "r", "check": "no_pii", "weight": 5, "dimension": "safety", "hard": True}
    above = chain_of((GLOBAL_PACK, {"rubric": [hard]}))
    assert check_against(above, {"rubric": [{**hard, "weight": 6}]}, "domain") == []
    assert [one.pointer for one in check_against(above, {"rubric": [{**hard, "weight": 4}]}, "domain")] == ["/rubric/0"]


def test_a_version_that_contradicts_itself_is_told() -> None:
    (found,) = check_against([], {"limits": {"max_prompt_tokens": 1}, "sections": {"s": {"text": "12345"}}}, "domain")
    assert found.pointer == "/sections" and found.pack == "this content"


def test_what_ancestors_break_is_not_held_against_the_child() -> None:
    above = chain_of(
        (GLOBAL_POLICY, {"constraints": [{"rule": "forbid_text", "value": "foo"}]}), (GLOBAL_PACK, {"sections": {"s": {"text": "foo"}}})
    )
    assert check_against(above, {"sections": {"t": {"text": "fine"}}}, "domain") == []
    assert [one.pointer for one in check_against(above, {"sections": {"s": {"text": "more"}}}, "domain")] == []
    assert [one.pointer for one in check_against(above, {"sections": {"s": {"text": "foo"}}}, "domain")] == ["/sections/s/text"]


def test_the_lowest_offending_layer_is_left_out_first() -> None:
    chain = chain_of(
        (GLOBAL_POLICY, {"constraints": [{"rule": "forbid_text", "value": "foo"}]}),
        (GLOBAL_PACK, {"sections": {"s": {"text": "fine"}}}),
        (TENANT_PACK, {"sections": {"s": {"text": "foo"}}}),
        (AGENT_PACK, {"sections": {"t": {"text": "foo"}}}),
    )
    effective, violations = resolve_chain(chain)
    assert effective.content["sections"]["s"]["text"] == "fine" and "t" not in effective.content["sections"]
    assert [one.layer.scope.type.value for one in violations if one.layer] == ["agent", "tenant"]
    assert violations[0].as_json()["layer"] == {"scope": "agent:acme/helpdesk-1", "pack": "hr-pack", "version": 1}


def test_a_child_may_repair_what_a_lower_policy_forbids() -> None:
    shared = version(GLOBAL_PACK, {"sections": {"s": {"text": "foo"}}})
    policy = version(
        TENANT_POLICY, {"constraints": [{"rule": "forbid_text", "value": "foo"}, {"rule": "require_section", "value": "legal"}]}
    )
    with pytest.raises(Problem) as refused:
        resolve_chain([shared, policy])
    assert refused.value.code == "no_valid_pack"
    assert {error.pointer for error in refused.value.errors} == {"/sections/s/text", "/sections/legal"}
    repaired = version(TENANT_PACK, {"sections": {"s": {"text": "bar", "mode": "replace"}, "legal": {"text": "by law"}}})
    effective, violations = resolve_chain([shared, policy, repaired])
    assert violations == [] and effective.content["sections"]["s"]["text"] == "bar"


def test_a_policy_is_never_left_out() -> None:
    chain = chain_of(
        (GLOBAL_POLICY, {"constraints": [{"rule": "max_autonomy", "value": "A1"}]}),
        (GLOBAL_PACK, {}),
        (TENANT_POLICY, {"autonomy": {"ceiling": "A3"}, "tools": {"deny": ["sh.*"]}}),
    )
    effective, violations = resolve_chain(chain)
    assert violations == [] and not permitted(effective.content, "sh.x") and autonomy_for(effective.content, "x") == "A1"
    (found,) = check_against(chain[:2], chain[2].content, "policy")  # still refused when it is written
    assert found.pointer == "/autonomy/ceiling" and found.neutral


def test_nothing_live() -> None:
    for chain in ((), chain_of((GLOBAL_POLICY, {}))):
        with pytest.raises(Problem) as refused:
            resolve_chain(chain)
        assert refused.value.code == "no_champion"


def test_refusal_takes_the_code_of_its_violations() -> None:
    above = chain_of(
        (GLOBAL_PACK, {"sections": {"s": {"text": "x", "locked": True}}, "constraints": [{"rule": "forbid_text", "value": "foo"}]})
    )
    locked = check_against(above, {"sections": {"s": {"text": "y"}}}, "domain")
    both = check_against(above, {"sections": {"s": {"text": "y"}, "t": {"text": "foo"}}}, "domain")
    assert refusal(locked).code == "locked_section"
    assert refusal(both).code == "constraint_violation"
    assert [error.code for error in refusal(both).errors] == ["locked_section", "constraint_violation"]


def test_contents_do_not_count_in_equality_but_digests_do() -> None:
    one = version(GLOBAL_PACK, {})
    assert replace(one, content={"x": 1}) == one != replace(one, digest="sha256:other")
