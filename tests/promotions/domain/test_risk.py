"""Risk: each reason, and that no more of anything ever lowers it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.packs.domain.content import parse_content
from apps.packs.domain.names import RISKS
from apps.promotions.domain.loosening import loosened, new_tools, raised_autonomy
from apps.promotions.domain.risk import Risk, RiskInput, assess

BASE: dict[str, Any] = {
    "sections": {
        "rules": {"text": "Cite the rule you used. " * 40, "order": 10, "file": "AGENTS", "locked": True},
        "voice": {"text": "Plain and warm.", "order": 20, "file": "SOUL"},
    },
    "tools": {
        "allow": ["hris.*", "ticket.create", "mail.send"],
        "ask": ["mail.send"],
        "deny": ["hris.export"],
        "risk": {"hris.*": "medium", "mail.send": "high"},
    },
    "autonomy": {"ceiling": "A2", "tools": {"ticket.create": "A1"}},
    "limits": {"max_prompt_tokens": 6000, "models": ["m/one", "m/two"]},
    "constraints": [
        {"rule": "deny_tool", "value": "shell.*"},
        {"rule": "max_autonomy", "value": "A2"},
        {"rule": "require_section", "value": "rules", "reason": "Law."},
        {"rule": "allow_models", "value": ["m/one", "m/two"]},
        {"rule": "deny_egress", "value": "*.paste.example"},
    ],
    "personality": {"tone": "plain", "traits": ["warm"]},
    "rubric": [
        {"id": "contract", "check": "json_schema", "weight": 20, "hard": True, "dimension": "format"},
        {"id": "cites", "check": "regex", "weight": 15, "dimension": "quality", "params": {"pattern": "HR-"}},
    ],
    "contracts": {"hr": {"type": "object", "required": ["answer"]}},
    "kpis": [{"name": "resolved", "direction": "up", "target": 70, "tolerance": 5}],
    "promotion": {"min_cases": 40, "canary": {"stages": [10, 50, 100], "min_runs": 100}},
    "rollback": {"zero_tolerance": ["contract"], "auto": True, "kpi_tolerances": {"resolved": 5}},
    "model": {"primary": "m/one", "locked": True},
}
Change = Callable[[dict[str, Any]], Any]


def changed(change: Change) -> dict[str, Any]:
    content = copy.deepcopy(BASE)
    change(content)
    return content


def put(path: str, value: Any) -> Change:
    """Sets the leaf at a path of keys and indexes; None takes it away."""

    def change(content: dict[str, Any]) -> None:
        *way, last = (int(step) if step.isdigit() else step for step in path.split("/"))
        at: Any = content
        for step in way:
            at = at[step]
        if value is None:
            del at[last]
        else:
            at[last] = value

    return change


def risk(change: Change = lambda _: None, **more: Any) -> Risk:
    return assess(RiskInput(BASE, changed(change), **{"scope_type": "agent", **more}))


def codes(found: Risk) -> list[str]:
    return [reason.code for reason in found.reasons]


def test_the_base_is_valid_content() -> None:
    assert parse_content(BASE, kind="domain") == BASE


def test_no_change_at_an_agent_is_low() -> None:
    assert risk().to_json() == {
        "level": "low",
        "reasons": [
            {"code": "scope", "level": "low", "sentence": "It reaches one agent."},
            {"code": "size", "level": "low", "sentence": "The change is small: 0 words added or removed, where there were 203."},
        ],
    }


@pytest.mark.parametrize(
    ("scope", "level"),
    [
        ("user", "low"),
        ("agent", "low"),
        ("team", "low"),
        ("tenant", "medium"),
        ("domain", "medium"),
        ("segment", "high"),
        ("global", "high"),
    ],
)
def test_breadth(scope: str, level: str) -> None:
    assert risk(scope_type=scope).level == level


@pytest.mark.parametrize(
    ("given", "level", "code"),
    [
        ({"no_champion": True}, "medium", "no_champion"),
        ({"author_kinds": ["human", "optimizer"]}, "medium", "optimizer"),
        ({"suspends": True}, "high", "suspend"),
        ({"aim": "non_inferior"}, "medium", "aim"),
        ({"aim": "policy"}, "medium", "aim"),
        ({"aim": "policy", "scope_type": "tenant"}, "high", "aim"),
        ({"aim": "policy", "scope_type": "global"}, "high", "aim"),
    ],
)
def test_circumstances(given: dict[str, Any], level: str, code: str) -> None:
    found = risk(**given)
    assert found.level == level
    assert code in codes(found)


@pytest.mark.parametrize(
    ("change", "level", "sentence"),
    [
        (put("tools/allow", ["hris.*", "ticket.create", "mail.send", "calendar.read"]), "medium", "were not permitted: calendar.read."),
        (put("tools/allow", ["hris.*", "ticket.*", "mail.send"]), "medium", "were not permitted: ticket.*."),
        (put("tools/allow", None), "medium", "were not permitted: any other tool."),
        (put("tools/deny", None), "medium", "were not permitted: hris.export."),
        (put("personality/tone", "cheeky"), "medium", "It changes the personality, and with it the voice."),
        (put("model/primary", "m/two"), "medium", "It changes the primary model."),
        (put("autonomy/tools", None), "medium", "It raises the autonomy of the tool ticket.create from A1 to A2."),
        (put("autonomy/ceiling", "A3"), "high", "It raises the autonomy of the agents from A2 to A3."),
        (
            put("sections/extra", {"text": "word " * 60, "order": 1, "file": "USER"}),
            "medium",
            "The change is large: 60 words added or removed",
        ),
        (
            put("sections/extra", {"text": "word " * 50, "order": 1, "file": "USER"}),
            "low",
            "The change is small: 50 words added or removed",
        ),
    ],
)
def test_changes_of_content(change: Change, level: str, sentence: str) -> None:
    found = risk(change)
    assert found.level == level
    assert any(sentence in reason.sentence for reason in found.reasons)


def test_a_new_tool_of_high_risk_is_high() -> None:
    def permit(content: dict[str, Any]) -> None:
        content["tools"]["allow"].append("payroll.run")
        content["tools"]["risk"]["payroll.run"] = "high"

    assert risk(permit).level == "high"
    assert risk(permit).reasons[0].sentence == "It permits tools that were not permitted: payroll.run, of high risk: payroll.run."


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (put("constraints/0", None), "The constraint deny_tool shell.* no longer holds."),
        (put("constraints/0/value", "shell.exec"), "The constraint deny_tool shell.* no longer holds."),
        (put("constraints/1/value", "A3"), "The constraint max_autonomy A2 no longer holds."),
        (put("constraints/2/value", "voice"), "The constraint require_section rules no longer holds."),
        (put("constraints/3/value", ["m/one", "m/three"]), "The constraint allow_models m/one, m/two no longer holds."),
        (put("constraints/4/value", "a.paste.example"), "The constraint deny_egress *.paste.example no longer holds."),
        (put("tools/ask", None), "The tool mail.send no longer has to ask."),
        (put("tools/risk/mail.send", "low"), "The risk of the tool mail.send goes from high to low."),
        (put("limits/max_prompt_tokens", 6001), "The limit max_prompt_tokens goes from 6,000 to 6,001."),
        (put("limits/max_prompt_tokens", None), "The limit max_prompt_tokens is gone."),
        (put("limits/models", ["m/one", "m/three"]), "The limit on models now admits m/three."),
        (put("limits/models", None), "The limit models is gone."),
        (put("sections/rules/locked", None), "The section rules is no longer locked."),
        (put("sections/rules", None), "The section rules is no longer locked."),
        (put("model/locked", None), "The model is no longer locked."),
        (put("rubric/1", None), "The check cites is gone."),
        (put("rubric/0/hard", False), "The check contract is no longer hard."),
        (put("rubric/0/weight", 10), "The weight of the check contract goes from 20 to 10."),
        (put("rubric/1/params", {"pattern": ""}), "The check cites checks something else than before."),
        (put("contracts/hr", {"type": "object"}), "The output contract of hr no longer holds as it was."),
        (put("contracts/hr", None), "The output contract of hr is gone."),
        (put("kpis/0/target", 60), "The target of the KPI resolved goes from 70 to 60."),
        (put("kpis/0/tolerance", None), "The KPI resolved tolerates more than before."),
        (put("kpis/0/direction", "down"), "The KPI resolved points the other way."),
        (put("kpis/0", None), "The KPI resolved is gone."),
        (put("promotion/min_cases", None), "The threshold min_cases goes from 40 to 30."),
        (put("promotion/max_cost_regression_pct", 1600), "The threshold max_cost_regression_pct goes from 1500 to 1600."),
        (put("promotion/canary/stages", [50, 100]), "The canary no longer stops at 10 %."),
        (put("promotion/canary/min_runs", 99), "The canary's min_runs goes from 100 to 99."),
        (put("rollback/zero_tolerance", []), "A failure of contract no longer rolls a canary back."),
        (put("rollback/auto", False), "The champion watch no longer rolls back by itself."),
        (put("rollback/kpi_tolerances/resolved", 6), "The rollback tolerates more of resolved than before."),
    ],
)
def test_whatever_is_loosened_is_high(change: Change, sentence: str) -> None:
    assert loosened(BASE, changed(change)) == (sentence,)
    assert risk(change).level == "high"


@pytest.mark.parametrize(
    "change",
    [
        put("constraints/1/value", "A1"),
        put("constraints/2/reason", "Custom."),
        put("constraints/3/value", ["m/one"]),
        put("constraints/4/value", "*"),
        put("tools/deny", ["hris.*"]),
        put("tools/ask", ["mail.*", "ticket.*"]),
        put("tools/risk/mail.send", "high"),
        put("limits/max_prompt_tokens", 5000),
        put("limits/models", []),
        put("sections/voice/locked", True),
        put("rubric/0/weight", 30),
        put("rubric/1/hard", True),
        put("contracts/legal", {"type": "object"}),
        put("contracts/hr", {"allOf": [{"type": "object", "required": ["answer"]}, {"maxProperties": 9}]}),
        put("kpis/0/target", 80),
        put("promotion/min_cases", 50),
        put("promotion/canary/stages", [5, 10, 50, 100]),
        put("autonomy/ceiling", "A1"),
    ],
)
def test_what_is_tightened_is_low(change: Change) -> None:
    content = changed(change)
    assert loosened(BASE, content) == ()
    assert new_tools(BASE, content) == ()
    assert raised_autonomy(BASE, content) == ()
    assert assess(RiskInput(BASE, content, "agent")).level == "low"


def test_where_nothing_is_live_every_tool_is_new() -> None:
    first = assess(RiskInput(None, BASE, "agent"))
    assert (first.level, codes(first)) == ("high", ["new_tools", "no_champion", "scope"])
    assert assess(RiskInput(None, {"sections": {}, "tools": {"allow": []}}, "agent")).level == "medium"


def test_a_short_text_may_change_much_and_stay_small() -> None:
    short, other = ({"sections": {"rules": {"text": text}}} for text in ("Be brief.", "Answer in at most ten words."))
    assert assess(RiskInput(short, other, "agent")).level == "low"


def test_retiring_a_layer_is_the_change_to_the_chain_without_it() -> None:
    without = changed(put("constraints", []))
    assert assess(RiskInput(BASE, without, "agent")).level == "high"


tools = st.sampled_from(["a.*", "a.b", "a.b.*", "a.b.c", "d", "e.*", "e.f"])
names = st.lists(tools, max_size=4, unique=True)
levels = st.sampled_from(["A0", "A1", "A2", "A3"])
contents = st.fixed_dictionaries(
    {},
    optional={
        "tools": st.fixed_dictionaries(
            {},
            optional={
                "allow": st.none() | names,
                "ask": names,
                "deny": names,
                "risk": st.dictionaries(tools, st.sampled_from(RISKS), max_size=3),
            },
        ),
        "autonomy": st.fixed_dictionaries({}, optional={"ceiling": levels, "tools": st.dictionaries(tools, levels, max_size=3)}),
        "limits": st.fixed_dictionaries(
            {},
            optional={"max_prompt_tokens": st.integers(0, 9), "models": st.lists(st.sampled_from("xyz"), unique=True)},
        ),
        "constraints": st.lists(
            st.fixed_dictionaries({"rule": st.just("deny_tool"), "value": tools})
            | st.fixed_dictionaries({"rule": st.just("max_autonomy"), "value": levels}),
            max_size=3,
        ),
        "promotion": st.fixed_dictionaries({}, optional={"min_cases": st.integers(0, 60), "max_voice_drop": st.integers(0, 10)}),
        "personality": st.fixed_dictionaries({"tone": st.sampled_from(["plain", "warm"])}),
        "sections": st.dictionaries(
            st.sampled_from("pq"), st.fixed_dictionaries({"text": st.sampled_from(["a " * 60, "b"]), "locked": st.booleans()})
        ),
    },
)
inputs = st.builds(
    RiskInput,
    st.none() | contents,
    contents,
    st.sampled_from(["user", "agent", "team", "tenant", "domain", "segment", "global"]),
    st.lists(st.sampled_from(["human", "optimizer", "harness", "import"]), max_size=2),
    st.sampled_from(["improve", "non_inferior", "policy"]),
    st.booleans(),
    st.booleans(),
)


def rank(of: RiskInput) -> int:
    return RISKS.index(assess(of).level)


@given(inputs)
def test_risk_is_monotone_in_its_circumstances(of: RiskInput) -> None:
    more = [replace(of, suspends=True), replace(of, no_champion=True), replace(of, author_kinds=[*of.author_kinds, "optimizer"])]
    if of.aim == "improve":
        more += [replace(of, aim="policy"), replace(of, aim="non_inferior")]
    assert all(rank(each) >= rank(of) for each in more)
    scopes = ["user", "agent", "team", "tenant", "domain", "segment", "global"]
    ranks = [rank(replace(of, scope_type=scope)) for scope in scopes]
    assert ranks == sorted(ranks)


def _without(content: dict[str, Any], block: str, *keys: str) -> dict[str, Any]:
    looser = copy.deepcopy(content)
    if keys:
        for key in keys:
            looser.get(block, {}).pop(key, None)
    else:
        looser.pop(block, None)
    return looser


@given(inputs)
def test_risk_is_monotone_in_what_is_taken_off(of: RiskInput) -> None:
    """Each of these takes a restriction off the new content, and so can't make the promotion less risky."""
    after = dict(of.after)
    looser = [
        _without(after, "tools", "deny"),
        _without(after, "tools", "ask"),
        _without(after, "tools", "allow"),
        _without(after, "autonomy"),
        _without(after, "limits"),
        _without(after, "constraints"),
    ]
    assert all(rank(replace(of, after=content)) >= rank(of) for content in looser)


@given(contents, contents)
def test_new_tools_are_those_a_brute_force_finds(before: dict[str, Any], after: dict[str, Any]) -> None:
    universe = ["a.b", "a.b.c", "a.b.zz", "a.zz", "d", "e.f", "e.zz", "zz"]

    def may(content: dict[str, Any], tool: str) -> bool:
        def named(listed: list[str]) -> bool:
            return any(tool == name or (name.endswith(".*") and tool.startswith(name[:-1])) for name in listed)

        profile = content.get("tools", {})
        return (profile.get("allow") is None or named(profile["allow"])) and not named(profile.get("deny", []))

    gained = any(may(after, tool) and not may(before, tool) for tool in universe)
    assert bool(new_tools(before, after)) == gained


@given(contents)
def test_the_same_content_is_never_loosened(content: dict[str, Any]) -> None:
    assert (loosened(content, content), new_tools(content, content), raised_autonomy(content, content)) == ((), (), ())
