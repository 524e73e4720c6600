"""Content is refused with every finding at its pointer, and published as a JSON Schema."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from apps.core.errors import Problem
from apps.packs.domain.content import content_schema, estimate_tokens, parse_content, prompt_tokens
from apps.packs.domain.schema import MAX_CONSTRAINTS, MAX_SECTIONS
from tests.packs.domain.strategies import LAWS, domain_content, policy_content

FULL: dict[str, Any] = {
    "sections": {"greeting": {"text": "Hello", "order": 1, "file": "SOUL", "mode": "append", "locked": True}},
    "prompts": [],
    "tools": {"allow": None, "ask": ["mail.send"], "deny": [], "risk": {"mail.*": "low", "mcp__git/push": "high"}},
    "autonomy": {"ceiling": "A2", "tools": {"mail.*": "A1"}},
    "limits": {"max_prompt_tokens": 6000, "max_cost_per_run": 60000, "max_latency_ms": 15000, "models": ["x/y"]},
    "constraints": [{"rule": "forbid_text", "value": "(?i)secret", "reason": "no"}, {"rule": "deny_egress", "value": "*.example.org"}],
    "personality": {"traits": ["warm"], "tone": "plain", "do": ["x"], "dont": [], "samples": ["y"]},
    "rubric": [{"id": "a", "check": "regex", "weight": 5, "dimension": "quality", "hard": True, "params": {"pattern": "a+"}}],
    "contracts": {"t": {"$defs": {"a": {"type": "string", "pattern": "^a"}}, "properties": {"x": {"$ref": "#/$defs/a"}}}},
    "kpis": [{"name": "k", "direction": "up", "target": -1, "tolerance": 2}],
    "promotion": {"min_cases": 30, "canary": {"stages": [5, 25, 50, 100], "min_runs": 100}},
    "rollback": {"zero_tolerance": ["a"], "auto": False, "kpi_tolerances": {"k": 1}},
    "model": {"primary": "x/y", "fallbacks": [], "locked": False, "fallback_on": ["timeout"], "reasoning": "low"},
}

# What is written, as which kind, and the pointer and code of each finding.
REFUSED: list[tuple[Any, str, list[tuple[str, str]]]] = [
    ([], "domain", [("", "invalid")]),
    ({"promts": []}, "domain", [("/promts", "unknown_key")]),
    (
        {"sections": {"s": {"text": "x", "tone": 1, "colour": 2}}},
        "domain",
        [("/sections/s/colour", "unknown_key"), ("/sections/s/tone", "unknown_key")],
    ),
    ({"sections": {"s": {}, "a\n# b": {"text": ""}}}, "domain", [("/sections/a\n# b", "invalid"), ("/sections/s/text", "invalid")]),
    ({"sections": {"s": {"text": 1, "order": True}}}, "domain", [("/sections/s/order", "invalid"), ("/sections/s/text", "invalid")]),
    ({"prompts": [{"slug": "x"}]}, "domain", [("/prompts", "not_available")]),
    ({"prompts": {"slug": "x"}}, "domain", [("/prompts", "not_available")]),
    (
        {"limits": {"max_latency_ms": 1.0, "max_cost_per_run": -1}},
        "domain",
        [("/limits/max_cost_per_run", "invalid"), ("/limits/max_latency_ms", "invalid")],
    ),
    ({"tools": {"allow": ["*", "a.*.b", "a b", ""]}}, "policy", [(f"/tools/allow/{place}", "invalid") for place in range(4)]),
    ({"tools": {"risk": {"a.*x": "low", "b": "huge"}}}, "policy", [("/tools/risk/a.*x", "invalid"), ("/tools/risk/b", "invalid")]),
    ({"autonomy": {"ceiling": "A4"}}, "policy", [("/autonomy/ceiling", "invalid")]),
    ({"constraints": [{"rule": "forbid_text", "value": "(a"}]}, "policy", [("/constraints/0/value", "invalid")]),
    ({"constraints": [{"rule": "forbid_text", "value": "(?=a)b"}]}, "policy", [("/constraints/0/value", "invalid")]),
    ({"constraints": [{"rule": "forbid_text", "value": "a*"}]}, "policy", [("/constraints/0/value", "invalid")]),
    (
        {"constraints": [{"rule": "no_fun", "value": 1}, {"value": 1}]},
        "policy",
        [("/constraints/0/rule", "invalid"), ("/constraints/1", "invalid")],
    ),
    ({"constraints": [{"rule": "deny_tool", "value": "a", "why": "x"}]}, "policy", [("/constraints/0/why", "unknown_key")]),
    ({"constraints": [{"rule": "deny_egress", "value": "https://x"}]}, "policy", [("/constraints/0/value", "invalid")]),
    ({"rubric": [{"id": "a", "check": "judge", "weight": 1, "dimension": "quality"}]}, "domain", [("/rubric/0/check", "not_available")]),
    ({"rubric": [FULL["rubric"][0], FULL["rubric"][0]]}, "domain", [("/rubric/1/id", "invalid")]),
    ({"rubric": [{**FULL["rubric"][0], "params": {"pattern": "(?<!a)b"}}]}, "domain", [("/rubric/0/params/pattern", "invalid")]),
    (
        {"rubric": [{**FULL["rubric"][0], "check": "json_schema", "params": {"schema": {"type": "x"}}}]},
        "domain",
        [("/rubric/0/params/schema/type", "invalid")],
    ),
    ({"kpis": [FULL["kpis"][0], FULL["kpis"][0]]}, "domain", [("/kpis/1/name", "invalid")]),
    ({"contracts": {"a/b": {"type": "objekt"}}}, "domain", [("/contracts/a~1b/type", "invalid")]),
    ({"contracts": {"t": {"properties": {"x": {"pattern": "(?!a)"}}}}}, "domain", [("/contracts/t/properties/x/pattern", "invalid")]),
    ({"contracts": {"t": {"items": {"$ref": "https://evil.example/s"}}}}, "domain", [("/contracts/t/items/$ref", "invalid")]),
    (
        {"contracts": {"t": {"$ref": "#/$defs/none", "$id": "urn:x"}}},
        "domain",
        [("/contracts/t/$id", "invalid"), ("/contracts/t/$ref", "invalid")],
    ),
    ({"promotion": {"canary": {"stages": [50, 10]}}}, "policy", [("/promotion/canary/stages", "invalid")]),
    ({"sections": {}, "model": {}, "tools": {}}, "policy", [("/model", "unknown_key"), ("/sections", "unknown_key")]),
    ({"personality": {"tone": "\ud800"}}, "domain", [("/personality/tone", "invalid")]),
]


@pytest.mark.parametrize(("content", "kind", "expected"), REFUSED, ids=range(len(REFUSED)))
def test_every_finding_has_its_pointer(content: Any, kind: Any, expected: list[tuple[str, str]]) -> None:
    with pytest.raises(Problem) as refused:
        parse_content(content, kind=kind)
    assert sorted((error.pointer, error.code) for error in refused.value.errors) == expected
    codes = {code for _, code in expected}
    assert refused.value.code == (codes.pop() if len(codes) == 1 else "invalid")
    assert all(error.detail for error in refused.value.errors)


def test_findings_of_different_kinds_come_together() -> None:
    with pytest.raises(Problem) as refused:
        parse_content({"x": 1, "prompts": [1], "limits": {"models": "m"}}, kind="domain")
    assert {error.code for error in refused.value.errors} == {"unknown_key", "not_available", "invalid"}
    assert refused.value.code == "invalid"


@pytest.mark.parametrize(("block", "most"), [("sections", MAX_SECTIONS), ("constraints", MAX_CONSTRAINTS)])
def test_what_every_fold_pays_for_is_bounded(block: str, most: int) -> None:
    def many(count: int) -> dict[str, Any]:
        rules = [{"rule": "deny_tool", "value": f"t{n}"} for n in range(count)]
        return {block: {f"s{n}": {"text": "x"} for n in range(count)} if block == "sections" else rules}

    parse_content(many(most), kind="domain")
    with pytest.raises(Problem) as refused:
        parse_content(many(most + 1), kind="domain")
    assert [(found.pointer, found.code) for found in refused.value.errors] == [(f"/{block}", "invalid")]


def test_nothing_is_added_and_the_copy_is_its_own() -> None:
    written = copy.deepcopy(FULL)
    parsed = parse_content(written, kind="domain")
    assert parsed == FULL
    written["tools"]["ask"].append("x")
    assert parsed == FULL


def test_keywords_inside_data_of_a_contract_are_data() -> None:
    schema = {
        "properties": {"pattern": {"type": "string"}, "$ref": {"const": {"$ref": "anything", "pattern": "(?=x)"}}},
        "enum": [{"$id": 1}],
    }
    assert parse_content({"contracts": {"t": schema}}, kind="domain")


def test_the_published_schema_refuses_what_it_can() -> None:
    schema = content_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    validator.validate(FULL)
    domain = Draft202012Validator({"$ref": "#/$defs/DomainContent", "$defs": schema["$defs"]})
    policy = Draft202012Validator({"$ref": "#/$defs/PolicyContent", "$defs": schema["$defs"]})
    assert (
        not domain.is_valid({"promts": []}) and not domain.is_valid({"tools": {"allow": ["*"]}}) and not domain.is_valid({"prompts": [1]})
    )
    assert not policy.is_valid({"sections": {}}) and policy.is_valid({"constraints": FULL["constraints"]})
    assert not policy.is_valid({"constraints": [{"rule": "deny_tool"}]})


VALIDATOR = Draft202012Validator(content_schema())


@LAWS
@given(st.tuples(st.just("domain"), domain_content) | st.tuples(st.just("policy"), policy_content))
def test_what_is_accepted_satisfies_the_published_schema(written: tuple[Any, dict[str, Any]]) -> None:
    """Also guards the other laws: what they generate is content that can be written."""
    kind, content = written
    assert parse_content(content, kind=kind) == content
    assert VALIDATOR.is_valid(content)


def test_tokens() -> None:
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "abcde", "日本")] == [0, 1, 1, 2, 2]
    assert prompt_tokens({"sections": {"a": {"text": "abcde"}, "b": {"text": "a"}}}) == 3
