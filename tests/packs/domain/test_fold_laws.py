"""The laws of the fold (`domain.md` 3), over generated chains, valid and not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given

from apps.core.domain.canonical import canonical_bytes, parse_json
from apps.packs.domain.content import parse_content
from apps.packs.domain.fold import autonomy_for, fold, must_ask, permitted, permitted_model, risk_of
from apps.packs.domain.names import closest
from apps.packs.domain.values import VersionRef
from tests.packs.domain.strategies import LAWS, LEVELS, MODELS, NAMES, chains

RISKS = ("low", "medium", "high")


def matches(name: str, tool: str) -> bool:
    """The definition, written again: exact, or a family that ends in `.*`."""
    return name == tool or (name.endswith(".*") and tool.startswith(name[:-1]))


def lowered(content: Any, rule: str) -> list[Any]:
    return [entry["value"] for entry in content.get("constraints") or () if entry["rule"] == rule]


def block(content: Any, name: str) -> Any:
    return content.get(name) or {}


@LAWS
@given(chains())
def test_monotone(chain: tuple[VersionRef, ...]) -> None:
    """What the whole chain permits, each of its prefixes permits."""
    whole = fold(chain).content
    for end in range(1, len(chain)):
        prefix = fold(chain[:end]).content
        for tool in NAMES:
            assert permitted(prefix, tool) or not permitted(whole, tool)
            assert must_ask(whole, tool) or not must_ask(prefix, tool)
            assert autonomy_for(whole, tool) <= autonomy_for(prefix, tool)
            if any(version.kind == "domain" for version in chain[:end]):  # else there is no pack yet whose silence counts
                assert RISKS.index(risk_of(whole, tool)) >= RISKS.index(risk_of(prefix, tool))
        for model in MODELS:
            assert permitted_model(prefix, model) or not permitted_model(whole, model)
        for key, most in prefix["limits"].items():
            if key != "models":
                assert whole["limits"][key] <= most
        for key, threshold in prefix["promotion"].items():
            if key.startswith("min_"):
                assert whole["promotion"][key] >= threshold
            elif key.startswith("max_"):
                assert whole["promotion"][key] <= threshold
            else:
                assert set(threshold.get("stages", ())) <= set(whole["promotion"][key].get("stages", ()))
        assert [entry for entry in whole["constraints"] if entry in prefix["constraints"]] == prefix["constraints"]


@LAWS
@given(chains())
def test_restricts_exactly(chain: tuple[VersionRef, ...]) -> None:
    """The fold permits what every single layer permits: no more, and no less."""
    whole = fold(chain).content
    says = [version.content for version in chain]
    base = next((version.content for version in chain if version.kind == "domain"), None)
    for tool in NAMES:
        expected = all(
            (block(one, "tools").get("allow") is None or any(matches(name, tool) for name in block(one, "tools")["allow"]))
            and not any(matches(name, tool) for name in [*(block(one, "tools").get("deny") or ()), *lowered(one, "deny_tool")])
            for one in says
        )
        assert permitted(whole, tool) is expected
        named = [level for one in says if (level := closest(block(one, "tools").get("risk") or {}, tool))]
        if base is not None and closest(block(base, "tools").get("risk") or {}, tool) is None:
            named.append("medium")
        assert risk_of(whole, tool) == max(named, key=RISKS.index, default="medium")
        levels = [level for one in says if (level := closest(block(one, "autonomy").get("tools") or {}, tool))]
        levels += [ceiling for one in says if (ceiling := block(one, "autonomy").get("ceiling"))]
        levels += [level for one in says for level in lowered(one, "max_autonomy")]
        assert autonomy_for(whole, tool) == min(levels, default=LEVELS[-1])
    for model in MODELS:
        lists = [block(one, "limits").get("models") for one in says] + [value for one in says for value in lowered(one, "allow_models")]
        assert permitted_model(whole, model) is all(one is None or model in one for one in lists)


@LAWS
@given(chains())
def test_accounted(chain: tuple[VersionRef, ...]) -> None:
    """Each byte of section text has exactly one origin, and it is the version that wrote it; each leaf has an origin on the chain."""
    effective = fold(chain)
    for name, section in effective.content["sections"].items():
        text, end = section["text"].encode(), 0
        for span in effective.spans[name]:
            assert span.start == end < span.end
            end = span.end
            wrote = next(one for one in chain if (str(one.scope), one.pack) == (span.scope, span.pack))
            said = wrote.content["sections"][name]["text"]
            assert text[span.start : span.end].decode() in (said, "\n\n" + said, said + "\n\n")
        assert end == len(text)
    origins = {**effective.origins}
    on_chain = [version.origin for version in chain]
    for pointer in leaves(effective.content):
        found = origins.pop(pointer)
        spans = found if isinstance(found, list) else [found]
        assert spans and all({key: one[key] for key in ("scope", "pack", "version")} in on_chain for one in spans)
    assert origins == {}


@LAWS
@given(chains())
def test_a_restricted_leaf_comes_from_the_weakest_that_imposes_it(chain: tuple[VersionRef, ...]) -> None:
    whole = fold(chain)
    prefixes = [fold(chain[: end + 1]).content for end in range(len(chain))]
    for name in ("limits", "autonomy", "promotion"):
        for key, value in whole.content[name].items():
            if isinstance(value, dict):
                continue
            imposing = next(version for version, prefix in zip(chain, prefixes, strict=True) if prefix[name].get(key) == value)
            at = f"/{name}/{key}" if not isinstance(value, list) or not value else f"/{name}/{key}/0"
            assert whole.origins[at] == imposing.origin
    for place, tool in enumerate(whole.content["tools"].get("deny", ())):
        imposing = next(version for version, prefix in zip(chain, prefixes, strict=True) if tool in prefix["tools"].get("deny", ()))
        assert whole.origins[f"/tools/deny/{place}"] == imposing.origin


@LAWS
@given(chains())
def test_the_same_chain_is_the_same_bytes(chain: tuple[VersionRef, ...]) -> None:
    """Folded twice, or from the canonical bytes that are stored: so it may be memoised, on any machine."""
    again = tuple(replace(version, content=parse_json(canonical_bytes(version.content))) for version in chain)
    assert again == chain and hash(again) == hash(chain)
    first, second, third = fold(chain), fold(chain), fold(again)
    assert first.digest == second.digest == third.digest
    assert canonical_bytes(first.origins) == canonical_bytes(second.origins) == canonical_bytes(third.origins)


@LAWS
@given(chains(max_size=3))
def test_null_is_the_identity_of_every_restrict(chain: tuple[VersionRef, ...]) -> None:
    nulls: dict[str, Any] = {
        "tools": {"allow": None, "ask": None, "deny": None, "risk": None},
        "autonomy": {"ceiling": None, "tools": None},
        "limits": {"max_prompt_tokens": None, "max_cost_per_run": None, "max_latency_ms": None, "models": None},
        "promotion": {"min_cases": None, "canary": {"stages": None}},
        "constraints": None,
    }
    parse_content(nulls, kind="policy")
    silent = [replace(version, kind="policy", pack="a-silent", content=nulls) for version in chain]
    between = [one for pair in zip(silent, chain, strict=True) for one in pair]
    assert fold(between).content == fold(chain).content
    spelled = [
        replace(
            one, content={**one.content, **{name: {**nulls[name], **block(one.content, name)} for name in ("tools", "autonomy", "limits")}}
        )
        for one in chain
    ]
    assert fold(spelled).digest == fold(chain).digest


def leaves(value: Any, at: str = "") -> Iterator[str]:
    """Pointers of all scalars and of empty lists and objects, except whole blocks that nobody wrote."""
    items: Sequence[tuple[Any, Any]]
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else ()
    if not items:
        if at.count("/") > 1:
            yield at
        return
    for key, item in items:
        yield from leaves(item, f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}")
