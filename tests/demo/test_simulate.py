"""The simulated agent is pure, and each of its abilities hangs on a sentence of the pack."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.demo import catalogue
from apps.demo.simulate import Answer, answer, decide_tool
from apps.packs.domain.fold import fold
from tests.demo.chains import prefix

SEED = "case-1:0"


def effective(slug: str = "hr-ops-pack", tenant: str = "acme") -> dict[str, Any]:
    return copy.deepcopy(dict(fold(prefix(slug, tenant)).content))


def without(content: dict[str, Any], section: str, words: str) -> dict[str, Any]:
    text = content["sections"][section]["text"]
    lines = [line for line in text.splitlines() if words not in line]
    assert len(lines) < len(text.splitlines()), f"{words!r} is not in {section}"
    content["sections"][section] = {**content["sections"][section], "text": "\n".join(lines)}
    return content


def ask(content: dict[str, Any], message: str) -> Answer:
    return answer(content, None, message, seed=SEED)


def test_a_fact_that_is_taken_out_is_not_known() -> None:
    question = "When is a sabbatical possible?"
    assert "5 years of service" in ask(effective(), question).output
    gone = ask(without(effective(), "leave-rules", "sabbatical"), question)
    assert "5 years of service" not in gone.output
    assert "HR-LV-09" not in gone.output


@pytest.mark.parametrize(
    ("slug", "section", "words", "message", "present"),
    [
        ("hr-ops-pack", "how-to-answer", "Cite the rule", "When is a sabbatical possible?", "HR-LV-09"),
        (
            "hr-ops-pack",
            "escalation",
            "Escalate to employee-relations",
            "I am being harassed, what about a grievance?",
            "employee-relations",
        ),
        ("hr-ops-pack", "output-format", "one JSON object", "When is a sabbatical possible?", '"escalate_to"'),
        ("infra-sre-pack", "severity-matrix", "`sev1`", "Checkout down for all customers", '"severity": "sev1"'),
        ("infra-sre-pack", "tools-guide", "metrics.query", "Error rate?\n[tool metrics.query] it is 2.4 percent", "2.4 percent"),
        ("legal-intake-pack", "missing-facts", "counterparty's full", "Please review this NDA", "counterparty's full legal name"),
        (
            "engineering-delivery-pack",
            "how-to-work",
            "Procedure for a bug fix",
            "A bug fix is due, issue 7",
            "note the fix in the changelog",
        ),
    ],
)
def test_dropping_a_sentence_drops_what_it_brought(slug: str, section: str, words: str, message: str, present: str) -> None:
    assert present in ask(effective(slug), message).output
    assert present not in ask(without(effective(slug), section, words), message).output


def test_refusals_and_discretion_come_from_the_locked_section() -> None:
    content = effective()
    assert "I can't share" in ask(content, "What is my colleague's salary?").output
    del content["sections"]["safety-boundaries"]
    assert "I can't" not in ask(content, "What is my colleague's salary?").output
    message = "My bank details DE89 3704 0044 0532 0130 00: when do they reach the payslip?"
    assert "DE89" not in ask(effective(), message).output
    assert "DE89" in ask(content, message).output


def test_it_knows_nothing_but_the_text() -> None:
    """Same texts, other section names and no other block: the same words. An empty pack: nothing at all."""
    content = effective()
    question = "When is a sabbatical possible?"
    renamed = {"sections": {f"s-{name}": section for name, section in content["sections"].items()}, "personality": content["personality"]}
    assert ask(renamed, question).output == ask(content, question).output
    assert "instructions" in ask({"sections": {}}, question).output
    assert not ask({"sections": {}}, question).success


def test_tools_follow_the_effective_permissions() -> None:
    message = "What is my balance, the remaining days?\n[tool hris.lookup] 11.5 days"
    content = effective()
    assert ask(content, message).tools == ("hris.lookup",)
    content["tools"]["deny"] = [*content["tools"]["deny"], "hris.*"]
    denied = ask(content, message)
    assert (denied.tools, denied.refused) == ((), ("hris.lookup",))
    assert "11.5 days" not in denied.output


@pytest.mark.parametrize(
    ("ceiling", "risk", "asks", "decision"),
    [
        ("A0", "low", [], "refuse"),
        ("A1", "low", [], "call"),
        ("A1", "low", ["db.*"], "ask"),
        ("A1", "medium", [], "refuse"),
        ("A2", "medium", [], "ask"),
        ("A2", "high", [], "refuse"),
        ("A3", "high", [], "ask"),
    ],
)
def test_autonomy_and_risk_decide(ceiling: str, risk: str, asks: list[str], decision: str) -> None:
    content = {"tools": {"ask": asks, "risk": {"db.read": risk}}, "autonomy": {"ceiling": ceiling}}
    assert decide_tool(content, "db.read") == decision


def test_longer_prompts_are_slower_and_dearer() -> None:
    content = effective()
    short = ask(content, "When is a sabbatical possible?")
    content["sections"]["essay"] = {"text": "Some thoughts on the history of holidays follow here. " * 200, "order": 1}
    long = ask(content, "When is a sabbatical possible?")
    assert long.output == short.output
    assert long.tokens_in > short.tokens_in and long.latency_ms > short.latency_ms and long.cost_micros > short.cost_micros


def test_engineering_runs_report_the_delivery_checks() -> None:
    content = effective("engineering-delivery-pack")
    checks = ask(content, "Add a button to the settings page\n[labels] ui").checks
    assert checks == {
        "pr_created": True,
        "ci_passed": checks["ci_passed"],
        "human_reviewed": True,
        "ui_labeled": True,
        "ui_screenshot_present": True,
    }
    assert ask(effective(), "Add a button to the settings page").checks == {}


@given(st.text(max_size=300), st.text(max_size=20))
def test_any_message_gets_the_same_answer_twice_and_keeps_the_contract(message: str, seed: str) -> None:
    content = fold(prefix("hr-ops-pack", "acme")).content
    first = answer(content, None, message, seed=seed)
    assert first == answer(content, None, message, seed=seed)
    assert set(json.loads(first.output)) == {"answer", "policy", "escalate_to", "next_steps", "ask_back"}


def test_luck_differs_between_seeds_but_not_between_arms() -> None:
    content, message = effective(), catalogue.eval_set("hr-ops-pack").cases[0].input
    found = {answer(content, None, message, seed=str(n)).output for n in range(60)}
    assert len(found) == 2
