"""Schemathesis on the OpenAPI document: requests that fit it and requests that do not, with ids that exist, answers held to the document."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
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
from tests.shown.calls import document
from tests.shown.world import World, undone

CHECKS = [
    schemathesis.checks.not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_headers_conformance,
    conformance.response_schema_conformance,
]
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


def load(world: World, change: Callable[[dict[str, Any]], None] = lambda raw: None) -> Any:
    """The document, as `change` leaves it, with what exists in the world as values of its parameters and bodies, over the whole application."""
    raw = copy.deepcopy(document())
    change(raw)
    places = list(world.places.values())
    values: dict[str, list[Any]] = {}
    for place in places:
        for key, value in place.values.items():
            if value not in values.setdefault(key, []):
                values[key].append(value)
    for path, operations in raw["paths"].items():
        room = path.removeprefix(PREFIX).split("/")[0]
        named = [place.names[room] for place in places if place.names.get(room)]
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                known = named if parameter["in"] == "path" else values.get(parameter["name"])
                if known:
                    parameter["schema"] = {"anyOf": [{"enum": known}, parameter["schema"]]}
    for schema in raw["components"]["schemas"].values():
        for key, inner in schema.get("properties", {}).items():
            if key in values:
                schema["properties"][key] = {"anyOf": [{"enum": values[key]}, inner]}
    handler = ClientHandler(enforce_csrf_checks=False)

    def application(environ: Any, start_response: Any) -> Any:
        """The test client's handler, which leaves the connection alone, as a WSGI application."""
        response = handler(environ)
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
        return [b"".join(response)]

    loaded = schemathesis.openapi.from_dict(raw, config=schemathesis.Config())
    loaded.app = application
    return loaded


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
    @given(case=st.one_of(strategies), headers=st.sampled_from(HEADERS))
    def run(case: Any, headers: dict[str, str]) -> None:
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
