"""Schemathesis on the OpenAPI document: requests that fit it and requests that do not, with ids that exist, answers held to the document."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

import schemathesis
from django.test.client import ClientHandler
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as conformance

from tests.routing import PREFIX
from tests.shown.bodies import BODIES
from tests.shown.calls import body_of, document, filled
from tests.shown.world import World, undone

CHECKS = [
    schemathesis.checks.not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_headers_conformance,
    conformance.response_schema_conformance,
]
# Of which else a path may speak than of the usual one of its room.
KINDS = {
    "eval-runs": ("replay", "answered run"),
    "layers": ("layer",),
    "promotions": ("ready promotion",),
    "tokens": ("person's token",),
    "versions": ("live", "policy draft", "former"),
}
# What a request may carry besides: a key that was never used, one that is too long, and a state that nothing has.
HEADERS: tuple[dict[str, str], ...] = (
    *({},) * 6,
    {"Idempotency-Key": "k"},
    {"Idempotency-Key": "k" * 300},
    {"If-Match": '"none"'},
    {"If-Match": "*"},
    {"If-None-Match": "*"},
    {"Accept": "application/xml"},
    {"Content-Type": "text/plain"},
)


def load(change: Callable[[dict[str, Any]], None] = lambda raw: None) -> Any:
    """The document, as `change` leaves it, over the whole application."""
    raw = copy.deepcopy(document())
    change(raw)
    handler = ClientHandler(enforce_csrf_checks=False)

    def application(environ: Any, start_response: Any) -> Any:
        """The test client's handler, which leaves the connection alone, as a WSGI application."""
        response = handler(environ)
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
        return [b"".join(response)]

    loaded = schemathesis.openapi.from_dict(raw, config=schemathesis.Config())
    loaded.app = application
    return loaded


def make_real(world: World, case: Any, chance: Random) -> None:
    """Puts what exists into a request that was made up, so that it gets past 404 and 422: mostly of one's own tenant, at times of others."""
    path, method = case.operation.path.removeprefix(PREFIX), case.operation.method.lower()
    place = world.places[chance.choice(("own", "own", "own", "team", "shared", "other"))]
    room, key = path.split("/")[0], f"{method} {path}"
    if case.path_parameters and chance.random() < 0.85:
        named = [place.names.get(room) or "none"]
        named += [str(place.objects[kind].pk) for kind in KINDS.get(room, ()) if kind in place.objects]
        case.path_parameters = dict.fromkeys(case.path_parameters, chance.choice(named))
    if isinstance(case.query, dict):
        kept = {name: value for name, value in case.query.items() if chance.random() < 0.4}
        case.query = {name: place.values.get(name, value) if chance.random() < 0.7 else value for name, value in kept.items()}
    if method != "get" and isinstance(case.body, dict) and chance.random() < 0.7:
        valid = filled(BODIES[key], place) if key in BODIES else body_of(path, method, place) or {}
        odd = chance.sample(sorted(case.body, key=str), min(len(case.body), chance.choice((0, 0, 1, 1, 2))))
        case.body = {**valid, **{name: case.body[name] for name in odd}}


def operations(loaded: Any) -> Iterator[Any]:
    for found in loaded.get_all_operations():
        yield found.ok()


def explore(world: World, operation: Any, who: str | None, examples: int, seed: int) -> list[str]:
    """What was wrong with the answers of one operation to one person, each kind of it once."""
    found: Counter[str] = Counter()
    shown: dict[str, str] = {}
    strategies = []
    for mode in GenerationMode:
        try:
            strategy = operation.as_strategy(generation_mode=mode)
            strategy.validate()
        except Unsatisfiable:
            continue
        strategies.append(strategy)

    @seeded(seed)
    @settings(max_examples=examples, deadline=None, database=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
    @given(case=st.one_of(strategies), headers=st.sampled_from(HEADERS), chance=st.integers(0, 2**32))
    def run(case: Any, headers: dict[str, str], chance: int) -> None:
        make_real(world, case, Random(chance))
        sent = dict(headers)
        if who is not None:
            sent["Authorization"] = f"Bearer {world.tokens[who]}"
        with undone():
            try:
                case.call_and_validate(headers=sent, checks=CHECKS)
            except FailureGroup as group:
                for failure in group.exceptions:
                    what = f"{who} {operation.label}: {failure.title}: {failure.message[:300]}"
                    found[what] += 1
                    shown.setdefault(what, str(group)[-900:])

    with suppress(Unsatisfiable):
        run()
    return [f"{what} ({times} times)\n{shown[what]}" for what, times in found.items()]
