"""The four stories come out as told, by the evals' checks and the promotions' gate, whatever luck the seeds bring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from apps.demo import catalogue
from apps.evals.domain.checks import rubric_findings
from apps.packs.domain.fold import fold
from apps.promotions.domain.risk import RiskInput, assess
from apps.promotions.domain.verdict import Outcome
from tests.demo.arena import arms, baseline, judge, mean_score
from tests.demo.chains import chain, prefix, scopes_for

TENANTS = {cases.pack: cases.tenant for cases in catalogue.eval_sets()}
GOOD = [story for story in catalogue.challengers() if story.ends_as != "blocked"]


@pytest.mark.parametrize("slug", catalogue.PACKS)
def test_the_rubric_runs_and_leaves_room_to_improve(slug: str) -> None:
    content = fold(prefix(slug, TENANTS[slug])).content
    assert list(rubric_findings(content["rubric"])) == []
    answered = baseline(slug, TENANTS[slug])
    assert 70 <= mean_score(answered) <= 84
    assert not any(each.hard_failed() for each in answered)


@pytest.mark.parametrize("slug", catalogue.PACKS)
def test_what_the_cases_expect_of_safety_and_format_is_measured(slug: str) -> None:
    """Every rubric check is measured on some case, and every case by a quality check or the refusal check."""
    answered = baseline(slug, TENANTS[slug])
    measured = {result.id for each in answered for result in each.scores[0].results if result.passed is not None}
    assert measured == {check["id"] for check in fold(prefix(slug, TENANTS[slug])).content["rubric"]}
    assert sum(each.case.expected["refusal"] for each in answered) >= 3


@pytest.mark.parametrize("salt", ["", "b"])
@pytest.mark.parametrize("story", GOOD, ids=lambda story: story.name)
def test_a_good_challenger_passes_every_rule_but_approval(story: catalogue.Challenger, salt: str) -> None:
    verdict, old, new = judge(story, salt)
    assert [rule.sentence for rule in verdict.rules if rule.rule != "approvals" and rule.outcome is not Outcome.PASS] == []
    assert mean_score(new) - mean_score(old) >= 8
    assert len(new) >= 32


@pytest.mark.parametrize("story", [s for s in catalogue.challengers() if s.ends_as == "blocked"], ids=lambda story: story.name)
def test_a_format_regression_is_blocked_although_answers_get_better(story: catalogue.Challenger) -> None:
    verdict, old, new = judge(story)
    assert mean_score(new) > mean_score(old)
    assert [rule.rule for rule in verdict.rules if rule.outcome is Outcome.FAIL] == ["format_no_regression"]
    failed = verdict.rule("format_no_regression")
    assert failed is not None and failed.hard and "plan-headings" in failed.sentence
    assert failed.observed is not None and failed.observed >= 5
    assert not verdict.forceable


def test_the_friendly_letter_is_blocked_after_the_good_challenger_was_promoted() -> None:
    letter = catalogue.challenger("hr-ops-friendly-letter")
    layer = catalogue.pack(letter.pack).layer(letter.scope)
    promoted = catalogue.challenger("hr-ops-worked-answers").content(layer.content)
    verdict, _, _ = judge(letter, champion=promoted)
    assert {"format_no_regression", "quality"} <= {rule.rule for rule in verdict.rules if rule.outcome is Outcome.FAIL}


@pytest.mark.parametrize("story", catalogue.challengers(), ids=lambda story: story.name)
def test_no_story_needs_more_than_a_manager(story: catalogue.Challenger) -> None:
    champion, challenger = arms(story)
    risk = assess(RiskInput(champion.content, challenger.content, "tenant", ["human"]))
    assert risk.level == "medium", [reason.sentence for reason in risk.reasons]


def test_the_rollback_story_says_why() -> None:
    (story,) = [story for story in catalogue.challengers() if story.ends_as == "rolled_back"]
    assert len(story.rollback_reason) > 20


def test_the_stories_stand_on_different_layers_and_cover_every_ending() -> None:
    stories = catalogue.challengers()
    assert len({(story.pack, story.scope) for story in stories}) == len(stories)
    assert {story.ends_as for story in stories} == {"promoted", "blocked", "awaiting_approval", "rolled_back"}
    texts: list[Mapping[str, Any]] = [story.content(catalogue.pack(story.pack).layer(story.scope).content) for story in stories]
    assert all(text["sections"] for text in texts)


def test_agents_below_the_tenant_still_gain_from_its_promotion() -> None:
    """What a user of the kiosk gets changes with the tenant's layer: blast radius reaches down."""
    story = catalogue.challenger("hr-ops-worked-answers")
    content = story.content(catalogue.pack(story.pack).layer(story.scope).content)
    scopes = scopes_for(catalogue.pack(story.pack), "acme", "support", "helpdesk-1", "u-42")
    before, after = fold(chain(story.pack, scopes)), fold(chain(story.pack, scopes, {story.scope: content}))
    assert before.digest != after.digest
    assert "worked-answers" in after.content["sections"]
