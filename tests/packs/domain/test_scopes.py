from __future__ import annotations

import pytest

from apps.core.errors import Problem
from apps.packs.domain.scopes import Scope, ScopeType, chain_for, segment_of

WRITTEN = ["global", "segment:enterprise", "domain:hr-ops", "tenant:acme", "team:acme/support", "agent:acme/helpdesk-1", "user:acme/u-42"]


def test_a_chain_is_written_weakest_first() -> None:
    chain = chain_for(tier="enterprise", domain="hr-ops", tenant="acme", team="support", agent="helpdesk-1", user="u-42")
    assert [str(scope) for scope in chain] == WRITTEN
    assert [Scope.parse(text) for text in WRITTEN] == list(chain)
    assert [scope.tenant_slug for scope in chain] == [None, None, None, "acme", "acme", "acme", "acme"]
    assert [str(scope) for scope in chain_for(tier="personal", domain="d", tenant="t", agent="a")] == [
        *("global", "segment:individual", "domain:d", "tenant:t", "agent:t/a")
    ]


def test_types_are_ordered_by_strength_not_by_spelling() -> None:
    assert [kind.value for kind in sorted(ScopeType, reverse=True)][:3] == ["user", "agent", "team"]
    assert ScopeType.GLOBAL < ScopeType.DOMAIN < ScopeType.TENANT < ScopeType.AGENT
    assert ScopeType.USER >= ScopeType.USER > ScopeType.AGENT and not ScopeType.TEAM <= ScopeType.TENANT
    assert [kind.above_tenant for kind in ScopeType] == [True, True, True, False, False, False, False]


def test_a_user_reference_is_the_harness_own_string() -> None:
    assert Scope.parse("user:acme/eve@x.org/phone:1").ref == "acme/eve@x.org/phone:1"


@pytest.mark.parametrize(
    "text",
    [
        *("", "global:", "global:x", "tenant", "tenant:", "tenant:Acme", "tenant:a/b", "tenant:-a", "team:acme", "team:acme/", "team:/x"),
        *("team:acme/a/b", "segment:personal", "planet:x", "user:acme/", "user:acme/a b", "user:acme/" + "x" * 201, "domain:a\n", "Global"),
    ],
)
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(Problem) as refused:
        Scope.parse(text)
    assert refused.value.code == "invalid"


def test_segments_follow_from_tiers() -> None:
    assert [segment_of(tier) for tier in ("personal", "team", "enterprise")] == ["individual", "enterprise", "enterprise"]
    with pytest.raises(Problem):
        segment_of("gold")
