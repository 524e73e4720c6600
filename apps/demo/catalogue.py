"""The demo as data: who exists, which packs and layers, eval sets and challengers, read from `content/*.yaml`.

For whoever seeds the portal (second wave): nothing here touches a database. `packs()` gives every pack with its layers in the order they
must be written (weakest scope first), `eval_sets()` the cases as the portal stores them, `challengers()` the four stories of the demo and
`organisation()` the people, tenants, teams and agents. All values are plain strings, integers, booleans, None, lists and dicts.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

CONTENT = Path(__file__).parent / "content"
POLICY = "house-policy"
PACKS = (
    "hr-ops-pack",
    "legal-intake-pack",
    "infra-sre-pack",
    "engineering-delivery-pack",
    "personal-exec-assistant-pack",
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One document: what a pack says at one scope (`global`, `tenant:acme`, …)."""

    pack: str
    scope: str
    notes: str
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack of the shared library, owned by `platform`; `domain` is "" for a policy pack. Layers are weakest scope first."""

    slug: str
    kind: Literal["domain", "policy"]
    domain: str
    title: str
    description: str
    layers: tuple[Layer, ...]

    def layer(self, scope: str) -> Layer:
        """The layer at a scope. Raises KeyError."""
        for layer in self.layers:
            if layer.scope == scope:
                return layer
        raise KeyError(f"{self.slug} has no layer at {scope}")


@dataclass(frozen=True, slots=True)
class Case:
    """One case, in the fields of the portal: `input` is text (what a tool would answer stands in it as `[tool x] …`), `number` begins at 1."""

    number: int
    input: str
    expected: dict[str, Any]
    tags: tuple[str, ...]
    task_type: str
    split: Literal["train", "validation"]


@dataclass(frozen=True, slots=True)
class EvalSet:
    """`tenant` owns the set, since some cases ask for its own rules; it holds for every layer of the pack in that tenant."""

    slug: str
    pack: str
    tenant: str
    title: str
    description: str
    cases: tuple[Case, ...]

    def split(self, name: str) -> tuple[Case, ...]:
        """The cases of one split."""
        return tuple(case for case in self.cases if case.split == name)


@dataclass(frozen=True, slots=True)
class Challenger:
    """A change to one layer. `changes` is a JSON merge patch (RFC 7396) on the content of the layer's champion, so that it can follow another
    promotion of the same layer; `ends_as` is the state of the promotion at the end of its story."""

    name: str
    pack: str
    scope: str
    aim: str
    notes: str
    story: str
    ends_as: Literal["promoted", "blocked", "awaiting_approval", "rolled_back"]
    changes: dict[str, Any]
    rollback_reason: str = ""

    def content(self, champion: Mapping[str, Any]) -> dict[str, Any]:
        """The challenger's whole content, made from the champion's."""
        merged: dict[str, Any] = merge_patch(champion, self.changes)
        return merged


@dataclass(frozen=True, slots=True)
class Tenant:
    slug: str
    name: str
    tier: Literal["personal", "team", "enterprise"]
    subscriptions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Team:
    tenant: str
    slug: str
    name: str


@dataclass(frozen=True, slots=True)
class Agent:
    """`users` are the harness's user references whose runs this agent makes."""

    tenant: str
    team: str | None
    slug: str
    name: str
    domain: str
    autonomy: str
    pack: str
    users: tuple[str, ...]

    @property
    def path(self) -> str:
        """`acme/helpdesk-1`, as `issue_token --agent` takes it."""
        return f"{self.tenant}/{self.slug}"


@dataclass(frozen=True, slots=True)
class User:
    email: str
    name: str
    tenant: str
    team: str | None
    role: str
    user_ref: str


@dataclass(frozen=True, slots=True)
class Organisation:
    slug: str
    name: str
    tenants: tuple[Tenant, ...]
    teams: tuple[Team, ...]
    agents: tuple[Agent, ...]
    users: tuple[User, ...]


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: objects are merged, null removes a key, anything else replaces. The arguments stay as they are."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    merged = {key: copy.deepcopy(value) for key, value in target.items()} if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def _plain(value: Any, at: str) -> Iterator[str]:
    """Where a document holds something JSON content may not: floats, dates, keys that aren't text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield f"{at}/{key} (a key that is not text)"
            yield from _plain(inner, f"{at}/{key}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _plain(inner, f"{at}/{place}")
    elif not isinstance(value, (str, int, bool)) and value is not None:
        yield f"{at} ({type(value).__name__})"


@cache
def _load(name: str) -> dict[str, Any]:
    """One file of `content/`. Raises ValueError when it holds floats or dates."""
    document: dict[str, Any] = yaml.safe_load((CONTENT / name).read_text(encoding="utf-8"))
    if wrong := list(_plain(document, "")):
        raise ValueError(f"{name}: only text, integers, booleans and null are content; found {', '.join(wrong)}")
    return document


@cache
def pack(slug: str) -> Pack:
    """One pack by its slug, with all its layers."""
    document = _load(f"{slug}.yaml")
    head = document["pack"]
    layers = tuple(Layer(slug, layer["scope"], layer["notes"], layer["content"]) for layer in document["layers"])
    return Pack(head["slug"], head["kind"], head["domain"], head["title"], head["description"], layers)


def packs() -> tuple[Pack, ...]:
    """The policy pack first (it constrains the others), then the domain packs."""
    return tuple(pack(slug) for slug in (POLICY, *PACKS))


def _input(raw: Mapping[str, Any]) -> str:
    """The message, then what the harness would know besides: `[tool x] what it answers`, `[labels] ui`."""
    lines = [raw["ask"], *(f"[tool {tool}] {text}" for tool, text in raw.get("tools", {}).items())]
    if raw.get("labels"):
        lines.append(f"[labels] {', '.join(raw['labels'])}")
    return "\n".join(lines)


def _expected(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What the checks of the rubric compare with."""
    contains = [*raw.get("has", ()), *([raw["ref"]] if "ref" in raw else ()), *([raw["route"]] if "route" in raw else ())]
    expected: dict[str, Any] = {}
    if contains:
        expected["contains"] = contains
    if raw.get("not"):
        expected["not_contains"] = list(raw["not"])
    if raw.get("fields"):
        expected["fields"] = dict(raw["fields"])
    expected["refusal"] = bool(raw.get("refuse"))
    return expected


@cache
def eval_set(slug: str) -> EvalSet:
    """The eval set of a domain pack, by the pack's slug."""
    document = _load(f"cases/{slug}.yaml")
    cases = tuple(
        Case(number, _input(raw), _expected(raw), tuple(raw["tags"]), document["task_type"], raw.get("split", "validation"))
        for number, raw in enumerate(document["cases"], 1)
    )
    return EvalSet(document["slug"], document["pack"], document["tenant"], document["title"], document["description"], cases)


def eval_sets() -> tuple[EvalSet, ...]:
    """One for each domain pack."""
    return tuple(eval_set(slug) for slug in PACKS)


def live_inputs(slug: str) -> tuple[str, ...]:
    """Messages for the fleet's live runs on a pack: those of the whole set, since live traffic asks what people ask."""
    return tuple(case.input for case in eval_set(slug).cases)


@cache
def challenger(name: str) -> Challenger:
    """One story by its name; besides those of `challengers()` there is `hr-ops-friendly-letter`, for a walk on one layer only."""
    return Challenger(**_load(f"challengers/{name}.yaml"))


def challengers() -> tuple[Challenger, ...]:
    """The four stories, each on a layer of its own so that none expires another: promoted, blocked, waiting, rolled back."""
    names = ("hr-ops-worked-answers", "engineering-shorter-plans", "legal-intake-new-desks", "infra-sre-on-call-map")
    return tuple(challenger(name) for name in names)


@cache
def organisation() -> Organisation:
    """The organisation with its tenants, teams, agents and people. People and agents of the tenant `platform` are among them; the tenant
    itself exists in every installation and is not."""
    document = _load("organisation.yaml")
    subscribed = document["subscriptions"]
    return Organisation(
        slug=document["organisation"]["slug"],
        name=document["organisation"]["name"],
        tenants=tuple(Tenant(t["slug"], t["name"], t["tier"], tuple(subscribed[t["slug"]])) for t in document["tenants"]),
        teams=tuple(Team(**team) for team in document["teams"]),
        agents=tuple(Agent(**{"team": None, **agent, "users": tuple(agent["users"])}) for agent in document["agents"]),
        users=tuple(User(**{"team": None, "user_ref": "", **user}) for user in document["users"]),
    )


def tenant(slug: str) -> Tenant:
    """One tenant of the demo. Raises KeyError."""
    for found in organisation().tenants:
        if found.slug == slug:
            return found
    raise KeyError(slug)
