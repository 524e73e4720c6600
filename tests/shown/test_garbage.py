"""Every route and method of /api/v1 with garbage in bodies, queries and paths: never our fault, and always said in the same form."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest

from tests.routing import EVERY, METHODS, Findings, garbage
from tests.shown.calls import body_of, operation, send
from tests.shown.world import World, undone


def path_of(world: World, path: str) -> str:
    name = world.places["own"].names.get(path.split("/")[0], "")
    return re.sub(r"\{\w+\}", name, path, count=1)


@pytest.mark.parametrize("who", ["admin", "agent"])
def test_garbage_in_bodies_is_never_our_fault(world: World, who: str) -> None:
    found = Findings()
    for route, method in EVERY:
        if method == "get":
            continue
        # An agent's token gets as far as a body on few routes.
        reads = who == "admin" or route.room in ("telemetry", "otlp", "eval-runs")
        for body in garbage(body_of(route.path, method, world.places["own"]) if reads else None):
            with undone():
                response = send(world, who, method, path_of(world, route.path), body)
            found.problem(f"{method} {route.path} {str(body)[:120]}", response)
    assert not found, "\n".join(found)


# The first few for each parameter alone, the rest for all parameters at once.
ALONE = ("%00", "x", "-1", "99999999999999999999")
TOGETHER = (*ALONE, "", "0", "1e9", "%ff", "2026-13-45T99:99:99Z", "é%2F..", "x" * 3000, str(uuid4()))


def test_garbage_in_queries_is_never_our_fault(world: World) -> None:
    found = Findings()
    for route, method in EVERY:
        if method != "get":
            continue
        who = "agent" if route.room == "resolve" else "admin"
        known = [each["name"] for each in operation(route.path, "get").get("parameters", ()) if each["in"] == "query"]
        names = [*known, "unknown"]
        queries = [f"{name}={value}" for name in names for value in ALONE]
        queries += ["&".join(f"{name}={value}" for name in names) for value in TOGETHER]
        for query in queries:
            with undone():
                response = send(world, who, "get", f"{path_of(world, route.path)}?{query}")
            found.problem(f"{route.path}?{query[:60]}", response)
    assert not found, "\n".join(found)


NAMES = ("%00", "x", "..", "%2e%2e%2f", "é", "x" * 500, "0", str(uuid4()), "00000000-0000-0000-0000-00000000000g", "a%2Fb", " ", "'", "\\")


def test_garbage_in_paths_and_unknown_routes_are_not_found(world: World) -> None:
    found = Findings()
    for route, method in EVERY:
        for name in NAMES if "{" in route.path else ():
            with undone():
                response = send(world, "admin", method, re.sub(r"\{\w+\}", lambda _, name=name: name, route.path), {})
            found.problem(f"{method} {route.path} {name[:40]}", response)
            found.expect(response.status_code in (404, 403, 422), f"{method} {route.path} {name[:40]}", response)
        slashed = route.path[:-1] if route.path.endswith("/") else route.path + "/"
        response = send(world, "admin", method, slashed.replace("{", "").replace("}", ""))
        found.problem(f"{method} {slashed}", response)
        found.expect(response.status_code == 404, f"{method} {slashed}", response)
    for path in ("", "nothing", "nothing/", "packs/desk-own/nothing/", "resolve/x", "telemetry/nothing", "heartbeats", "../admin/"):
        for method in METHODS:
            response = send(world, "admin", method, path)
            found.problem(f"{method} {path}", response)
            found.expect(response.status_code == 404, f"{method} {path}", response)
    assert not found, "\n".join(found)
