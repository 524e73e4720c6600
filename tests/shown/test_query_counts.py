"""How many queries each list and page takes: exactly as many as `query_counts.json` says, with ten rows and with a hundred.

After a change that is meant: `QUERY_COUNTS=write pytest tests/shown/test_query_counts.py`, and look at the difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.identity.tokens import flush_last_used
from tests.routing import PUBLIC, ROUTES
from tests.shown.admin_table import PAGE_ROWS
from tests.shown.calls import document, operation, send
from tests.shown.growing import grow
from tests.shown.test_admin_table import enter, path_of
from tests.shown.test_api_table import PATHS, ROWS, address
from tests.shown.world import World, undone

BASELINE = Path(__file__).with_name("query_counts.json")
FEW, MANY = 10, 100
# Of the tenants and organisations of an installation, and of its schedule, only who governs it sees many.
GOVERNED = ("tenants", "organisations")


def measured(call: Any) -> tuple[int, Any]:
    """The queries of a call, once what it folds is in memory."""
    call()
    flush_last_used()
    with CaptureQueriesContext(connection) as queries:
        response = call()
    assert response.status_code == 200, response.content[:500]
    return len(queries), response


def all_counts(world: World) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in ROWS:
        if row.method != "get" or row.use or row.key in PATHS or row.path == "stream":
            continue
        place = "shared" if row.path.split("/")[0] in GOVERNED else "own"
        who = {"resolve": "agent"}.get(row.path, "platform-admin" if place == "shared" else "admin")
        path = address(row, world, place)
        path += ("&" if "?" in path else "?") + "limit=500" if is_list(row.path) else ""
        found[f"GET {row.path}"], _ = measured(lambda who=who, path=path: send(world, who, "get", path))
    with undone():
        clients = {who: enter(world, who) for who in ("admin", "platform-admin")}
        for page in PAGE_ROWS:
            governed = page.seen == "governed" or page.right == "govern"
            client, obj = (
                clients["platform-admin" if governed else "admin"],
                world.places["shared" if governed else "own"].objects[page.kind],
            )
            found[f"list of {page.model}"], _ = measured(lambda c=client, m=page.model: c.get(path_of(m, "changelist") + "?all="))
            if page.seen == "waits":
                # Its rows have their pages among the promotions.
                continue
            found[f"page of {page.model}"], _ = measured(lambda c=client, m=page.model, pk=obj.pk: c.get(path_of(m, "change", pk)))
        found["first page"], _ = measured(lambda: clients["admin"].get("/admin/"))
    return found


def is_list(path: str) -> bool:
    names = {parameter["name"] for parameter in operation(path, "get").get("parameters", ())}
    return "cursor" in names


def test_every_list_and_page_takes_as_many_queries_as_are_written_down(world: World) -> None:
    with undone():
        grow(world, FEW)
        few = all_counts(world)
        grow(world, MANY - FEW)
        many = all_counts(world)
    assert {name: (few[name], many[name]) for name in few if few[name] != many[name]} == {}, "these grow with their rows"
    if os.environ.get("QUERY_COUNTS") == "write":
        BASELINE.write_text(json.dumps(many, indent=2, sort_keys=True) + "\n")
    written = json.loads(BASELINE.read_text())
    assert many == written


def test_every_list_has_a_baseline() -> None:
    written = set(json.loads(BASELINE.read_text()))
    lists = {f"GET {route.path}" for route in ROUTES if "get" in route.methods and route.path not in PUBLIC and is_list(route.path)}
    assert lists - written == set() and len(lists) > 15 and document()["paths"]
    assert {f"list of {page.model}" for page in PAGE_ROWS} - written == set()
