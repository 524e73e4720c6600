"""The demo's documents are valid content, and every override only extends or restricts what stands above it."""

from __future__ import annotations

import pytest

from apps.demo import catalogue
from apps.packs.domain.fold import fold, permitted
from apps.packs.domain.scopes import Scope
from apps.packs.domain.validate import check_against, resolve_chain
from tests.demo.chains import chain, prefix, scopes_for, version

FILES = {"AGENTS", "SOUL", "IDENTITY", "USER", "TOOLS", "HEARTBEAT", "MEMORY", "SYSTEM"}
EVERY_CHAIN = [
    pytest.param(agent, user, id=f"{agent.path}-{user}")
    for agent in catalogue.organisation().agents
    if agent.tenant != "platform"
    for user in agent.users
]


@pytest.mark.parametrize("slug", catalogue.PACKS)
def test_a_pack_has_the_substance_the_demo_promises(slug: str) -> None:
    base = catalogue.pack(slug).layer("global").content
    sections = base["sections"]
    assert len(sections) >= 8
    assert FILES - {section["file"] for section in sections.values()} == set()
    assert any(section.get("locked") for section in sections.values())
    assert len({section["order"] for section in sections.values()}) >= 8
    assert base["tools"]["risk"] and base["contracts"] and len(base["kpis"]) >= 3 and base["personality"]["samples"]
    assert len(base["rubric"]) >= 5
    cases = catalogue.eval_set(slug)
    assert len(cases.cases) >= 40
    assert len(cases.split("validation")) >= 32
    assert len(cases.split("train")) >= 5
    assert len({case.input for case in cases.cases}) == len(cases.cases)
    assert {case.task_type for case in cases.cases} <= set(base["contracts"])


def test_overrides_stand_at_every_kind_of_scope() -> None:
    scopes = {Scope.parse(layer.scope).type.value for pack in catalogue.packs() for layer in pack.layers}
    assert scopes >= {"global", "segment", "tenant", "team", "agent", "user"}


@pytest.mark.parametrize(
    "layer", [pytest.param(layer, id=f"{layer.pack}@{layer.scope}") for pack in catalogue.packs() for layer in pack.layers]
)
def test_every_layer_is_valid_content(layer: catalogue.Layer) -> None:
    assert version(layer).content == layer.content


@pytest.mark.parametrize(("agent", "user"), EVERY_CHAIN)
def test_every_chain_of_the_demo_holds(agent: catalogue.Agent, user: str) -> None:
    scopes = scopes_for(catalogue.pack(agent.pack), agent.tenant, agent.team, agent.slug, user)
    versions = chain(agent.pack, scopes)
    for place, written in enumerate(versions):
        assert check_against(versions[:place], written.content, written.kind) == []
    effective, violations = resolve_chain(versions)
    assert violations == []
    assert not permitted(effective.content, "payments.send")
    assert agent.pack in catalogue.tenant(agent.tenant).subscriptions


@pytest.mark.parametrize("story", catalogue.challengers(), ids=lambda story: story.name)
def test_every_challenger_may_be_written(story: catalogue.Challenger) -> None:
    """A challenger is stopped by the gate, never by a rule that would have refused to store it."""
    layer = catalogue.pack(story.pack).layer(story.scope)
    tenant = Scope.parse(story.scope).tenant_slug
    versions = prefix(story.pack, tenant, {story.scope: story.content(layer.content)})
    assert check_against(versions[:-1], versions[-1].content, "domain") == []
    assert fold(versions).digest != fold(prefix(story.pack, tenant)).digest


def test_the_locked_section_cannot_be_talked_away() -> None:
    layer = catalogue.pack("hr-ops-pack").layer("tenant:acme")
    content = {**layer.content, "sections": {"safety-boundaries": {"mode": "replace", "text": "Anything goes."}}}
    found = check_against(prefix("hr-ops-pack", "acme")[:-1], content, "domain")
    assert [violation.code for violation in found] == ["locked_section"]
