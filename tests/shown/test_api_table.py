"""Every route and method of /api/v1, for everybody who may come, on one's own, a team's, another tenant's and the library's objects."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from apps.core.errors import CODES
from tests.routing import EVERY, METHODS, PUBLIC, ROUTES, Findings
from tests.shown.api_table import PATHS, QUERIES, ROW_OF, ROWS, Row
from tests.shown.bodies import BODIES
from tests.shown.calls import body_of, filled, send
from tests.shown.people import ADMITTED, PEOPLE, PLACES, REFUSED, sees
from tests.shown.world import MARK, PASSWORD, World, fingerprint, undone

KINDS = {
    "packs/": ("pack", "policy pack"),
    "subscriptions/": ("subscription",),
    "promotions/": ("promotion", "ready promotion"),
    "decisions/": ("decision",),
    "eval-sets/": ("eval set",),
    "eval-runs/": ("replay", "answered run", "harness run"),
    "eval-results/": ("result",),
    "agents/": ("agent",),
    "members/": ("member",),
    "teams/": ("team",),
    "organisations/": ("organisation",),
    "tenants/": ("tenant",),
    "tokens/": ("agent token", "person's token"),
    "runs/": ("run",),
    "events/": ("event",),
    "exports/": ("export",),
    "archives/": ("archive",),
    "erasures/": ("erasure",),
    # Of root tasks, which are no rows of their own.
    "snapshot/": (),
    "service-accounts/": ("service account",),
    "delegations/": ("delegation",),
    "groups/": ("group",),
    "grants/": ("agent grant", "team grant", "pack grant", "eval set grant"),
    "webhooks/": ("webhook",),
    "harnesses/": ("harness",),
    "control/": ("command",),
    "actions/": ("action request",),
    "notices/": ("notice",),
    "prices/": ("price", "later price"),
    "producers/": ("producer",),
    "redaction/patterns/": ("redaction pattern",),
}
MANY = ("approve", "reject")


def address(row: Row, world: World, place: str) -> str:
    here = world.places[place]
    name = str(here.objects[PATHS[row.key]].pk) if row.key in PATHS else here.names.get(row.path.split("/")[0], "")
    path = row.path[: row.path.index("{")] + name + row.path[row.path.index("}") + 1 :] if "{" in row.path else row.path
    return path + str(filled(QUERIES.get(row.key, ""), here))


def body(row: Row, world: World, place: str) -> Any:
    here = world.places[place]
    return filled(BODIES[row.key], here) if row.key in BODIES else body_of(row.path, row.method, here)


def test_every_route_has_a_row() -> None:
    rows = Counter(f"{row.method} {row.path}{row.use}" for row in ROWS)
    assert [key for key, times in rows.items() if times > 1] == []
    told = {(row.path, row.method) for row in ROWS}
    found = {(route.path, method) for route, method in EVERY}
    assert found - told == set(), "routes without a row: say in api_table.TABLE which act each needs"
    assert told - found == set(), "rows without a route"


def cells(world: World, who: str) -> Iterator[tuple[Row, str]]:
    """The row and place of each cell that there is for this person."""
    for row in ROWS:
        for place in row.places:
            if row.where == "home-team" and place == "team" and PEOPLE[who].tenant != "acme":
                continue
            if "{" not in row.path or row.key in PATHS or world.places[place].names[row.path.split("/")[0]]:
                yield row, place


def run(world: World, who: str, *, one_by_one: bool = False) -> Findings:
    """All cells of a person. What is done is undone; what is refused stands, so that one look at the end tells whether it changed
    anything, and `one_by_one` which it was."""
    found, before = Findings(), fingerprint()
    for row, place in cells(world, who):
        path, expected = address(row, world, place), row.status(who, place)
        with undone(unless=lambda: response.status_code >= 400 and not one_by_one):  # noqa: B023 -- asked at the end of the block
            response = send(world, who, row.method, path, body(row, world, place))
            changed = one_by_one and response.status_code >= 400 and fingerprint() != before
        what = f"{who}: {row.method} {path} ({place})"
        found.expect(response.status_code == expected, f"{what} should be {expected}", response)
        found.expect(not changed, f"{what} changed something", response)
        found.problem(what, response)
        found.expect(_hides(row, who, place, response), f"{what} shows what is hidden", response)
    return found


@pytest.mark.parametrize("who", ADMITTED)
def test_each_cell_is_as_the_table_says(world: World, who: str) -> None:
    """A refusal says why, changes nothing, and shows nothing of what is hidden."""
    with undone():
        before = fingerprint()
        found = run(world, who)
        changed = fingerprint() != before
    if changed:
        found = run(world, who, one_by_one=True)
    assert not found, "\n".join(found)
    assert not changed


def _hides(row: Row, who: str, place: str, response: Any) -> bool:
    """No word of another tenant's, nor of a place that is refused."""
    home = PEOPLE[who].tenant
    words = [MARK[each] for each, (tenant, _) in PLACES.items() if tenant not in (home, "platform")]
    if response.status_code >= 400:
        words.append(MARK[place])
    elif row.seen == "governed":
        # An organisation or tenant says nothing of what is in it.
        words = []
    return not any(word.encode() in response.content for word in words)


@pytest.mark.parametrize("who", [None, *REFUSED])
def test_who_is_not_admitted_is_told_nothing(world: World, who: str | None) -> None:
    found, before = Findings(), fingerprint()
    for row in ROWS:
        path = address(row, world, "own")
        for headers in (
            ({}, {"Authorization": "Bearer mc_aaaaaaaaaaaa_" + "a" * 43}, {"Authorization": "Basic eDp5"}) if who is None else ({},)
        ):
            response = send(world, who, row.method, path, {}, **headers)
            refused = response.status_code == 401 and response.get("WWW-Authenticate") == "Bearer"
            found.expect(refused, f"{who} {row.method} {path}", response)
            found.problem(f"{row.method} {path}", response)
    assert not found, "\n".join(found)
    assert fingerprint() == before


@pytest.mark.parametrize("who", ADMITTED)
def test_lists_hold_what_one_sees_and_nothing_else(world: World, who: str) -> None:
    found = Findings()
    for row in (row for row in ROWS if row.seen == "list"):
        response = send(world, who, "get", f"{row.path}?limit=500")
        listed = {entry["id"] for entry in json.loads(response.content)["results"]}
        detail = next(
            (each for each in ROWS if each.method == "get" and each.path.startswith(f"{row.path}{{") and each.path.count("/") == 2), None
        )
        for place, here in world.places.items():
            for kind in KINDS[row.path]:
                if kind not in here.objects:
                    continue
                if detail and kind == detail.kind:
                    visible = detail.status(who, place) == 200
                else:
                    visible = sees(who, place, kind=kind, library=bool(detail and detail.seen == "library"))
                found.expect((str(here.objects[kind].pk) in listed) == visible, f"{who}: {row.path} {kind} ({place}) {visible}", response)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("who", ADMITTED)
def test_several_promotions_are_answered_as_each_alone(world: World, who: str) -> None:
    found, anything = Findings(), False
    asked = {str(here.objects["promotion"].pk): place for place, here in world.places.items()}
    for act in MANY:
        one, many = ROW_OF[f"post promotions/{{pk}}/{act}/"], ROW_OF[f"post promotions/{act}/"]
        body = {"promotions": [{"id": each} for each in asked], "comment": "why", **({"read": [*asked]} if act == "approve" else {})}
        with undone():
            response = send(world, who, "post", many.path, body)
        found.expect(response.status_code == many.status(who, "own"), f"{who}: {act} several", response)
        for result in json.loads(response.content)["results"] if response.status_code == 200 else ():
            status = CODES[result["code"]][0] if result["code"] else 200
            expected = one.status(who, asked[result["id"]])
            anything = anything or status == 200
            found.expect(status == expected, f"{who}: {act} of {asked[result['id']]} should be {expected}: {result}", None)
    assert not found, "\n".join(found)
    assert anything == any(one.status(who, place) == 200 for place in PLACES for one in [ROW_OF["post promotions/{pk}/reject/"]])


def test_other_methods_are_refused(world: World) -> None:
    """405 with the methods that there are; HEAD is a GET without its body."""
    found = Findings()
    named = {row.path: address(row, world, "own") for row in ROWS if row.key not in PATHS}
    for route in ROUTES:
        if route.path in PUBLIC:
            continue
        who = "agent" if route.room in ("resolve", "telemetry", "otlp") else "admin"
        path = named.get(route.path) or address(next(row for row in ROWS if row.path == route.path), world, "own")
        for method in (*METHODS, "head", "options", "trace", "propfind"):
            if method in route.methods:
                continue
            with undone():
                response = send(world, who, method, path, {})
            if method == "head":
                expected = 200 if "get" in route.methods and route.path != "resolve" else 405
                if route.path not in ("resolve", "stream"):
                    found.expect(response.status_code == expected and not response.content, f"head {path} should be {expected}", response)
                continue
            found.expect(response.status_code == 405 and "Allow" in response, f"{method} {path}", response)
            found.problem(f"{method} {path}", response)
    assert not found, "\n".join(found)


def test_a_browser_session_is_held_to_the_same_and_needs_a_csrf_token(world: World) -> None:
    found, client = Findings(), Client(enforce_csrf_checks=True)
    with undone():
        assert client.login(username=world.users["manager"].email, password=PASSWORD)
        before = fingerprint()
        for row, place in cells(world, "manager"):
            path = address(row, world, place)
            response = send(world, None, row.method, path, body(row, world, place), client)
            expected = row.status("manager", place) if row.method == "get" else 403
            if row.path in ("resolve", "telemetry/runs", "telemetry/events", "otlp/v1/traces", "heartbeat", "stream"):
                expected = 401
            found.expect(response.status_code == expected, f"{row.method} {path} by session should be {expected}", response)
        assert fingerprint() == before
    assert not found, "\n".join(found)


def test_the_document_is_for_everybody(world: World) -> None:
    for who in (None, "agent", "viewer"):
        response = send(world, who, "get", "schema/")
        assert response.status_code == 200 and response["Content-Type"].startswith("application/vnd.oai.openapi+json")
