"""What is neither API nor a model's page in the admin: sign-in, the admin's own pages, health. Every URL of the resolver has its row somewhere."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.test.utils import override_settings
from django.urls import get_resolver

from tests.routing import Findings, urls_of
from tests.shown.admin_table import PAGE_ROWS, VISITORS
from tests.shown.test_admin_table import enter
from tests.shown.world import World, fingerprint, undone

# Path, then GET and POST for nobody and for whoever is signed in, whatever their role. 302 leads nobody to the sign-in, and the signed-in to
# the page they asked for or to the first one; `callback` and `begin` are shown with a provider in `tests/identity/test_oidc.py`.
TABLE = """
/                           302  302  302  302
/healthz                    200  405  200  405
/readyz                     200  405  200  405
/metrics                    404  404  404  404
/admin/                     302  302  200  200
/admin/login/               200  200  302  200
/admin/logout/              405  200  405  200
/admin/password_change/     302  302  200  200
/admin/password_change/done/  302  302  200  405
/admin/tenant/              302  405  302  405
/admin/search/              302  302  200  200
/admin/autocomplete/        302  302  403  405
/admin/jsi18n/              302  302  200  405
/admin/access/              302  405  200  405
/admin/orchestrations/      302  405  200  405
/admin/figures/             302  405  200  405
/admin/promotions/awaited/answer/  302  302  302  302
/admin/r/1/1/               302  302  404  404
/admin/nothing/             302  302  404  404
/admin/packs/               302  302  200  200
/oidc/callback/             403  405  403  405
/oidc/confirmed/            200  405  200  405
/oidc/nobody/begin/         403  405  403  405
"""
ROWS = [(path, [int(status) for status in statuses]) for path, *statuses in (line.split() for line in TABLE.strip().splitlines())]
# A pattern's URL with `x` for its parameters -> the row that tries it.
EXAMPLES = {
    "/admin/x/": "/admin/packs/",
    "/admin/x": "/admin/nothing/",
    "/admin/r/x/x/": "/admin/r/1/1/",
    "/oidc/x/begin/": "/oidc/nobody/begin/",
}
# What Django gives each model: in `admin_table`.
OF_A_MODEL = re.compile(r"(act/[^/]+/|add/|[^/]+/(history|delete|change|act/[^/]+|part/[^/]+)/|[^/]+/|)")


def test_every_url_has_a_row() -> None:
    models = {f"/admin/{page.model.lower().replace('.', '/')}/" for page in PAGE_ROWS}
    missing = []
    for pattern, view in urls_of(get_resolver().url_patterns, ""):
        path = "/" + re.sub(r"\(\?P<\w+>[^)]*\)|<[^>]+>", "x", pattern).replace("^", "").replace("$", "")
        told = path.startswith("/api/v1/") or any(re.fullmatch(re.escape(model) + OF_A_MODEL.pattern, path) for model in models)
        if not told and EXAMPLES.get(path, path) not in {row for row, _ in ROWS}:
            missing.append((path, view))
    assert missing == [], "say in TABLE who gets what"


@pytest.mark.parametrize("who", [None, *VISITORS])
def test_each_answers_as_the_table_says(world: World, who: str | None) -> None:
    found = Findings()
    for path, statuses in ROWS:
        for method, expected in zip(("get", "post"), statuses[2:] if who else statuses[:2], strict=True):
            if who == "former-admin" and path == "/admin/packs/":
                # To whom no page of the room is open, the room does not exist.
                expected = 404
            with undone():
                client = enter(world, who) if who else nobody()
                before = fingerprint()
                response = getattr(client, method)(
                    path, {"username": "nobody@example.test", "password": "wrong"} if method == "post" else {}
                )
                changed = fingerprint() != before
            found.expect(response.status_code == expected, f"{who}: {method} {path} should be {expected}", response)
            # A wrong password and a sign-out are recorded.
            found.expect(
                not changed or (method == "post" and path in ("/admin/login/", "/admin/logout/")),
                f"{who}: {method} {path} changed something",
                response,
            )
            if who is None and path.startswith("/admin/") and response.status_code == 302:
                found.expect(response["Location"].startswith("/admin/login/"), f"{method} {path} leads elsewhere", response)
    assert not found, "\n".join(found)


def nobody() -> Client:
    return Client()


def test_figures_are_for_who_has_their_token(world: World) -> None:
    client: Any = Client()
    with override_settings(METRICS_TOKEN="figures"):
        assert client.get("/metrics").status_code == 404
        assert client.get("/metrics", headers={"Authorization": f"Bearer {world.tokens['admin']}"}).status_code == 404
        assert b"mission_control_generation" in client.get("/metrics", headers={"Authorization": "Bearer figures"}).content
