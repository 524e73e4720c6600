from __future__ import annotations

import copy
import re
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.packs.domain.diff import Change, apply_changes, readable, same, structural, three_way, unified
from tests.packs.domain.strategies import LAWS, block, domain_content, limits, model, sections


@LAWS
@given(domain_content, domain_content)
def test_applied_to_the_one_the_difference_gives_the_other(a: dict[str, Any], b: dict[str, Any]) -> None:
    before = copy.deepcopy(a)
    changes = structural(a, b)
    assert same(apply_changes(a, changes), b) and a == before
    assert (changes == []) is same(a, b) is (unified(a, b) == "")


edits = block(limits=limits, sections=sections, model=model)


@LAWS
@given(edits, edits, edits)
def test_two_edits(base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    found, swapped = three_way(base, mine, theirs), three_way(base, theirs, mine)
    assert [one["pointer"] for one in found["conflicts"]] == [one["pointer"] for one in swapped["conflicts"]]
    # Of a conflict `theirs` stays; else it doesn't matter who is who.
    assert found["conflicts"] or same(found["merged"], swapped["merged"])
    assert same(three_way(base, mine, base)["merged"], mine) and same(three_way(base, base, theirs)["merged"], theirs)
    assert three_way(base, mine, base)["conflicts"] == three_way(base, mine, mine)["conflicts"] == []


lines = st.lists(st.sampled_from("abc"), max_size=30)


def test_lists_change_by_element() -> None:
    assert structural({"deny": ["a", "b", "d"]}, {"deny": ["b", "c", "d"]}) == [
        Change("/deny/2", "add", None, "c"),
        Change("/deny/0", "remove", "a", None),
    ]
    assert structural([{"id": 1, "w": 1}], [{"id": 1, "w": 2}]) == [Change("/0/w", "replace", 1, 2)]
    assert structural({"a/b": True}, {"a/b": 1}) == [Change("/a~1b", "replace", True, 1)]
    assert structural({"a": None}, {}) == [Change("/a", "remove", None, None)]
    assert structural(1, 2)[0].as_json() == {"pointer": "", "op": "replace", "before": 1, "after": 2}


@given(lines, lines)
def test_the_unified_text_turns_the_one_into_the_other(a: list[str], b: list[str]) -> None:
    before, after = ({"sections": {"s": {"text": "\n".join(text)}}} for text in (a, b))
    assert patched(readable(before).splitlines(), unified(before, after)) == readable(after).splitlines()


def patched(old: list[str], text: str) -> list[str]:
    new: list[str] = []
    place = 0
    for line in text.splitlines()[2:]:
        if hunk := re.fullmatch(r"@@ -(\d+)(,0)?(?:,\d+)? \+\d+(?:,\d+)? @@", line):
            start = int(hunk[1]) - (hunk[2] is None)
            new, place = new + old[place:start], start
        elif line[0] == "+":
            new.append(line[1:])
        else:
            assert old[place] == line[1:]
            new, place = new + [line[1:]] * (line[0] == " "), place + 1
    return new + old[place:]


def test_what_is_large_and_different_throughout_is_told_in_a_moment() -> None:
    numbers = [str(n) for n in range(40_000)]
    for a, b in ((numbers, numbers[::-1]), (["a"] * 1000, ["b", *["a", "b"] * 499, "c"]), (["a"] * 20_000, ["b", *["a"] * 19_999, "c"])):
        started = time.perf_counter()
        assert apply_changes(a, structural(a, b)) == b
        assert unified({"text": "\n".join(a)}, {"text": "\n".join(b)}) != ""
        assert time.perf_counter() - started < 5


def test_readable_shows_texts_as_they_are() -> None:
    content = {
        "sections": {"s": {"text": "one\ntwo", "order": 1}},
        "tools": {"allow": [], "deny": ["a", "-1"]},
        "rubric": [{"id": "x", "weight": 2}],
    }
    assert readable(content) == (
        "rubric:\n  - id: x\n    weight: 2\nsections:\n  s:\n    order: 1\n    text:\n      | one\n      | two\n"
        'tools:\n  allow: []\n  deny:\n    - a\n    - "-1"\n'
    )
    changed = {**content, "sections": {"s": {"text": "one\nthree", "order": 1}}}
    assert "-      | two\n+      | three\n" in unified(content, changed, before="version 1", after="version 2")


def test_three_way_tells_clean_changes_from_conflicts() -> None:
    base = {"limits": {"a": 1, "b": 1}, "sections": {"s": {"text": "x"}}, "model": {"primary": "m"}}
    mine = {"limits": {"a": 2, "b": 1}, "sections": {"s": {"text": "y"}}, "kpis": []}
    theirs = {"limits": {"a": 1, "b": 3}, "sections": {"s": {"text": "z"}}, "model": {"primary": "m"}, "kpis": []}
    found = three_way(base, mine, theirs)
    assert found["conflicts"] == [{"pointer": "/sections/s/text", "base": "x", "mine": "y", "theirs": "z"}]
    assert [(one["pointer"], one["side"], one["op"]) for one in found["clean"]] == [
        ("/kpis", "both", "add"),
        ("/limits/a", "mine", "replace"),
        ("/limits/b", "theirs", "replace"),
        ("/model", "mine", "remove"),
    ]
    assert found["merged"] == {"limits": {"a": 2, "b": 3}, "sections": {"s": {"text": "z"}}, "kpis": []}
