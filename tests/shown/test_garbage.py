"""Every route and method of /api/v1, found in the URL configuration: anonymous, a stranger's token, a viewer's token, garbage.

A route that is added is covered by being there; a new kind of object in a path needs a line in `routing.World.names`.
"""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
from django.test import Client

from apps.evals.services.runs import start_eval_run
from apps.promotions.services.going_live import bootstrap
from apps.promotions.services.requests import request_promotion
from tests import factories as make
from tests.routing import EVERY, MARK, METHODS, ROUTES, RUBRIC, Findings, World, fingerprint, garbage, one_of_everything, undone


@pytest.fixture
def world(client: Client, db: None) -> World:
    return one_of_everything(client)


def test_the_routes_are_found() -> None:
    paths = {route.path: route.methods for route in ROUTES}
    assert paths["packs/{slug}/versions/"] == ("get", "post") and paths["resolve"] == ("get",)
    assert paths["promotions/{pk}/start/"] == ("post",) and paths["layers/{layer_id}/rollback/"] == ("post",) and len(paths) > 40


def test_without_a_token_nothing_is_answered(world: World) -> None:
    found = Findings()
    for route, method in EVERY:
        for headers in ({}, {"Authorization": "Bearer mc_aaaaaaaaaaaa_" + "a" * 43}, {"Authorization": "Basic eDp5"}):
            response = world.call(None, method, world.path(route), {}, **headers)
            found.expect(response.status_code == 401 and response.get("WWW-Authenticate") == "Bearer", f"{method} {route.path}", response)
            found.problem(f"{method} {route.path}", response)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("who", ["stranger", "strange agent", "platform"])
def test_another_tenants_token_reads_and_changes_nothing(world: World, who: str) -> None:
    """With acme's ids in the path and in the body. `platform` governs tenants and organisations, and not what is in them."""
    found, before = Findings(), fingerprint(world.acme)
    for route, method in EVERY:
        what = f"{who} {method} {route.path}"
        if who == "platform" and route.room in ("tenants", "organisations"):
            continue
        with undone():
            response = world.send(who, method, world.path(route), world.body(route, method))
            found.expect(MARK.encode() not in response.content, what, response)
            found.expect("{" not in route.path or response.status_code in (403, 404), what, response)
            found.expect(fingerprint(world.acme) == before, f"{what} changed acme", response)
        found.problem(what, response)
    assert not found, "\n".join(found)


def test_an_agents_token_reads_nothing_of_what_is_for_people(world: World) -> None:
    """Of evaluations it sees the runs that it may answer, and the cases that it leases."""
    found = Findings()
    for route, method in EVERY:
        if method == "get" and route.room not in ("resolve", "eval-runs"):
            response = world.call("agent", "get", world.path(route))
            found.expect(MARK.encode() not in response.content, route.path, response)
            found.expect("{" not in route.path or response.status_code in (403, 404), route.path, response)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("who", ["admin", "agent"])
def test_the_shared_library_is_written_by_its_own_people_only(world: World, who: str) -> None:
    house = make.platform()
    system = make.system(house.pk)
    live = make.version(house, "shared-desk", "global", make.content("one", rubric=RUBRIC))
    bootstrap(ctx=system, version_id=live.pk)
    draft = make.version(house, "shared-desk", "global", make.content("two", rubric=RUBRIC))
    cases = make.eval_set(house, live.layer.pack, 1)
    promotion = request_promotion(ctx=make.context(house.pk, "author"), version_id=draft.pk)
    replay = start_eval_run(ctx=system, eval_set_id=cases.pk, runner="replay", version_id=live.pk)
    shared = {
        "packs": "shared-desk",
        "versions": draft.pk,
        "layers": live.layer_id,
        "promotions": promotion.pk,
        "eval-sets": cases.pk,
        "eval-runs": replay.pk,
    }
    world.names.update({room: str(name) for room, name in shared.items()})
    ids = {"version": draft.pk, "eval_set": cases.pk, "parent": live.pk, "replaces": draft.pk, "to_version": live.pk}
    world.values.update({**{key: str(value) for key, value in ids.items()}, "pack": "shared-desk", "scope": "global"})
    found, before = Findings(), fingerprint(house)
    for route, method in EVERY:
        if method == "get":
            continue
        with undone():
            response = world.send(who, method, world.path(route), world.body(route, method))
            found.expect(fingerprint(house) == before, f"{method} {route.path} changed the shared library", response)
        if route.room in shared and "{" in route.path:
            found.expect(response.status_code in (403, 404), f"{method} {route.path}", response)
        found.problem(f"{method} {route.path}", response)
    assert not found, "\n".join(found)


def test_a_viewer_writes_nothing(world: World) -> None:
    found = Findings()
    for route, method in EVERY:
        if method != "get":
            response = world.call("viewer", method, world.path(route), world.body(route, method))
            found.expect(response.status_code == 403, f"{method} {route.path}", response)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("who", ["admin", "agent"])
def test_garbage_in_bodies_is_never_our_fault(world: World, who: str) -> None:
    found = Findings()
    for route, method in EVERY:
        if method == "get":
            continue
        # An agent's token gets as far as a body on few routes.
        reads = who == "admin" or route.room in ("telemetry", "eval-runs")
        for body in garbage(world.body(route, method) if reads else None):
            response = world.call(who, method, world.path(route), body)
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
        names = [*world.parameters(route), "unknown"]
        queries = [f"{name}={value}" for name in names for value in ALONE] + [
            "&".join(f"{name}={value}" for name in names) for value in TOGETHER
        ]
        for query in queries:
            found.problem(f"{route.path}?{query[:60]}", world.call(who, "get", f"{world.path(route)}?{query}"))
    assert not found, "\n".join(found)


NAMES = ("%00", "x", "..", "%2e%2e%2f", "é", "x" * 500, "0", str(uuid4()), "00000000-0000-0000-0000-00000000000g", "a%2Fb", " ", "'", "\\")


def test_garbage_in_paths_and_unknown_routes_are_not_found(world: World) -> None:
    found = Findings()
    for route, method in EVERY:
        if "{" in route.path:
            for name in NAMES:
                response = world.call("admin", method, re.sub(r"\{\w+\}", lambda _, name=name: name, route.path), {})
                found.problem(f"{method} {route.path} {name[:40]}", response)
                found.expect(response.status_code in (404, 403, 422), f"{method} {route.path} {name[:40]}", response)
        slashed = route.path[:-1] if route.path.endswith("/") else route.path + "/"
        response = world.call("admin", method, slashed.replace("{", "").replace("}", ""))
        found.problem(f"{method} {slashed}", response)
        found.expect(response.status_code == 404, f"{method} {slashed}", response)
    for path in ("", "nothing", "nothing/", "packs/desk/nothing/", "resolve/x", "telemetry/nothing", "heartbeat", "../admin/"):
        for method in METHODS:
            response = world.call("admin", method, path)
            found.problem(f"{method} {path}", response)
            found.expect(response.status_code == 404, f"{method} {path}", response)
    assert not found, "\n".join(found)


def test_other_methods_are_refused(world: World) -> None:
    found = Findings()
    for route in ROUTES:
        who = "agent" if route.room in ("resolve", "telemetry") else "admin"
        for method in (*METHODS, "trace", "propfind", "options", "head"):
            if method in route.methods or (method == "head" and "get" in route.methods and route.room != "telemetry"):
                continue
            response = world.call(who, method, world.path(route))
            if method == "head":
                found.expect(response.status_code == 405, f"head {route.path}", response)
                continue
            found.problem(f"{method} {route.path}", response)
            found.expect(response.status_code == 405 or method == "options", f"{method} {route.path}", response)
    assert not found, "\n".join(found)
