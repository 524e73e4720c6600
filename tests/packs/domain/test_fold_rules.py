"""The fold by example, block by block, and the rendered files."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from apps.packs.domain.fold import autonomy_for, fold, must_ask, permitted, risk_of
from apps.packs.domain.names import covers, intersection
from apps.packs.domain.render import render
from apps.packs.domain.restrict import stricter_thresholds
from apps.packs.domain.values import Effective
from tests.packs.domain.strategies import version

PACKS = [(place, 2, "hr-pack", "domain") for place in range(7)]
POLICY = (0, 0, "house-policy", "policy")


def folded(*contents: dict[str, Any]) -> Effective:
    return fold([version(slot, content) for slot, content in zip(PACKS, contents, strict=False)])


def test_sections_join_with_a_blank_line_that_belongs_to_the_added_part() -> None:
    effective = folded(
        {"sections": {"s": {"text": "bêta", "order": 5, "file": "SOUL"}}},
        {"sections": {"s": {"text": "more"}}},
        {"sections": {"s": {"text": "first", "mode": "prepend", "order": 7}}},
    )
    assert effective.content["sections"]["s"] == {"text": "first\n\nbêta\n\nmore", "order": 7, "file": "SOUL"}
    spans = effective.origins["/sections/s/text"]
    assert [(span["scope"], span["start"], span["end"]) for span in spans] == [
        ("domain:hr-ops", 0, 7),
        ("global", 7, 12),
        ("segment:enterprise", 12, 18),
    ]
    assert effective.origins["/sections/s/order"]["scope"] == "domain:hr-ops" and effective.origins["/sections/s/file"]["scope"] == "global"


def test_a_replaced_section_has_one_origin() -> None:
    effective = folded({"sections": {"s": {"text": "a"}}}, {"sections": {"s": {"text": "b", "mode": "replace"}}})
    assert effective.content["sections"]["s"]["text"] == "b"
    assert effective.origins["/sections/s/text"] == {"scope": "segment:enterprise", "pack": "hr-pack", "version": 1}


@pytest.mark.parametrize("mode", [None, "append", "prepend", "replace"])
def test_locked_sections_stay(mode: str | None) -> None:
    effective = folded(
        {"sections": {"s": {"text": "a", "locked": True}}},
        {"sections": {"s": {"text": "b", "order": 3, "locked": False, "mode": mode}}},
    )
    assert effective.content["sections"]["s"] == {"text": "a", "order": 0, "file": "AGENTS", "locked": True}


def test_constraints_bind_a_harness_that_reads_only_the_blocks() -> None:
    content = folded(
        {
            "constraints": [
                {"rule": "deny_tool", "value": "sh.*"},
                {"rule": "max_autonomy", "value": "A1"},
                {"rule": "max_prompt_tokens", "value": 9},
                {"rule": "allow_models", "value": ["m"]},
            ]
        },
        {"tools": {"allow": ["sh.x", "mail"]}, "autonomy": {"ceiling": "A3", "tools": {"mail": "A2"}}, "limits": {"models": ["m", "n"]}},
    ).content
    assert (
        content["tools"] == {"allow": ["mail", "sh.x"], "deny": ["sh.*"]} and not permitted(content, "sh.x") and permitted(content, "mail")
    )
    assert content["autonomy"] == {"ceiling": "A1", "tools": {"mail": "A1"}} and autonomy_for(content, "mail") == "A1"
    assert content["limits"] == {"max_prompt_tokens": 9, "models": ["m"]}


def test_in_one_layer_the_most_specific_name_counts() -> None:
    content = folded({"tools": {"risk": {"sh.*": "high", "sh.ls": "low"}}, "autonomy": {"tools": {"sh.*": "A0", "sh.ls": "A2"}}}).content
    assert (risk_of(content, "sh.rm"), risk_of(content, "sh.ls"), risk_of(content, "x")) == ("high", "low", "medium")
    assert (autonomy_for(content, "sh.rm"), autonomy_for(content, "sh.ls"), autonomy_for(content, "x")) == ("A0", "A2", "A3")


def test_a_layer_below_cannot_call_low_what_the_weakest_left_out() -> None:
    effective = folded({}, {"tools": {"risk": {"a": "low"}}}, {"tools": {"risk": {"b": "high"}}})
    assert effective.content["tools"]["risk"] == {"a": "medium", "b": "high"}
    assert effective.origins["/tools/risk/a"]["scope"] == "global" and effective.origins["/tools/risk/b"]["scope"] == "domain:hr-ops"
    with_policy = fold([version(POLICY, {"tools": {"risk": {"a": "low"}}}), version(PACKS[0], {"tools": {"risk": {"a": "low"}}})])
    assert risk_of(with_policy.content, "a") == "low"


def test_asking_grants_nothing() -> None:
    content = folded({"tools": {"allow": [], "ask": ["a.*"]}}).content
    assert must_ask(content, "a.b") and not permitted(content, "a.b") and not must_ask(content, "a")


def test_families() -> None:
    assert covers(["a.*"], "a.b.c") and covers(["a.*"], "a.b.*") and not covers(["a.*"], "a") and not covers(["a.b"], "a.*")
    assert intersection(["a.*", "c"], ["a.b.*", "a.x", "a.b.c", "d"]) == ["a.b.*", "a.x"]


def test_a_contract_can_only_be_added_to() -> None:
    ancestor = {"$defs": {"t": {"type": "string"}}, "required": ["x"], "properties": {"x": {"$ref": "#/$defs/t"}}}
    child = {"$defs": {"t": {"type": "integer"}}, "properties": {"y": {"$ref": "#/$defs/t"}}}
    effective = folded({"contracts": {"t": ancestor}}, {"contracts": {"t": child}}, {"contracts": {"t": ancestor}})
    schema = effective.content["contracts"]["t"]
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    # Each part's references lead into that part.
    assert validator.is_valid({"x": "a", "y": 1})
    assert not any(validator.is_valid(output) for output in ({"y": 1}, {"x": 1}, {"x": "a", "y": "b"}))
    assert [effective.origins[f"/contracts/t/allOf/{part}/$defs/t/type"]["scope"] for part in (0, 1)] == ["global", "segment:enterprise"]
    assert folded({"contracts": {"t": ancestor}}, {"contracts": {"t": ancestor}}).content["contracts"]["t"] == ancestor


def test_overrides() -> None:
    effective = folded(
        {
            "personality": {"tone": "dry", "do": ["x"]},
            "model": {"primary": "m", "fallbacks": ["n"]},
            "kpis": [{"name": "k", "direction": "up", "target": 1, "tolerance": 2}],
            "rubric": [{"id": "a", "check": "no_pii", "weight": 1, "dimension": "safety"}],
        },
        {
            "personality": {"tone": "warm"},
            "model": {"primary": "o", "locked": True},
            "kpis": [{"name": "k", "direction": "up", "target": 5, "tolerance": 9}],
            "rubric": [{"id": "b", "check": "no_pii", "weight": 1, "dimension": "safety"}],
        },
        {"model": {"primary": "p", "reasoning": "low"}},
    )
    content = effective.content
    assert content["personality"] == {"tone": "warm"}
    assert content["model"] == {"primary": "o", "fallbacks": ["n"], "locked": True}
    assert content["kpis"] == [{"name": "k", "direction": "up", "target": 5, "tolerance": 2}]
    assert [check["id"] for check in content["rubric"]] == ["a", "b"]
    assert (
        effective.origins["/kpis/0/tolerance"]["scope"] == "global" and effective.origins["/kpis/0/target"]["scope"] == "segment:enterprise"
    )


def test_thresholds_take_the_stricter_field_by_field() -> None:
    left = {"min_cases": 30, "max_voice_drop": 5, "canary": {"stages": [50, 100], "min_runs": 100}}
    right = {"min_cases": 40, "max_voice_drop": None, "max_cost_regression_pct": 1500, "canary": {"stages": [5, 100], "min_runs": 50}}
    strict = {"min_cases": 40, "max_voice_drop": 5, "max_cost_regression_pct": 1500, "canary": {"stages": [5, 50, 100], "min_runs": 100}}
    assert stricter_thresholds(left, right) == stricter_thresholds(right, left) == strict
    assert folded({"promotion": left}, {"promotion": right}).content["promotion"] == strict
    assert stricter_thresholds(None, None) == {}


def test_equal_texts_of_another_scope_have_the_same_digest_and_other_origins() -> None:
    content = {"sections": {"s": {"text": "a"}}}
    one, other = fold([version(PACKS[0], content)]), fold([version(PACKS[3], content)])
    assert one.digest == other.digest and one.origins != other.origins


@pytest.mark.parametrize("level", ["first", "second"])
def test_lineage_names_policies_too(level: str) -> None:
    effective = fold([version(POLICY, {}), version(PACKS[0], {"sections": {"s": {"text": level}}})])
    assert [(one["pack"], one["kind"], one["version"]) for one in effective.lineage] == [
        ("house-policy", "policy", 1),
        ("hr-pack", "domain", 1),
    ]


def test_render() -> None:
    content = folded(
        {
            "sections": {
                "zeta": {"text": "last\n", "order": 1},
                "alpha": {"text": "first", "order": 1},
                "soul": {"text": "be kind", "file": "SOUL"},
                "empty": {"text": " \n", "file": "USER"},
                "tools guide": {"text": "read before you write", "file": "TOOLS"},
                "beat": {"text": "each morning", "file": "HEARTBEAT", "order": -1},
            }
        }
    ).content
    assert render(content) == {
        "AGENTS.md": "## alpha\n\nfirst\n\n## zeta\n\nlast\n\n## Tools\n\n### tools guide\n\nread before you write\n\n"
        "## Heartbeat\n\n### beat\n\neach morning\n",
        "SOUL.md": "## soul\n\nbe kind\n",
        "TOOLS.md": "## tools guide\n\nread before you write\n",
        "HEARTBEAT.md": "## beat\n\neach morning\n",
    }
    assert render(folded({}).content) == {}
