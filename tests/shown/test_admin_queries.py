"""The query strings of the admin's lists and pages: whatever stands in them is never our fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.admin import ListFilter
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.shown.admin_table import PAGE_ROWS, Page
from tests.shown.test_admin_table import enter, path_of
from tests.shown.world import World, undone

NASTY = (
    *(
        "",
        "\x00",
        "a\x00b",
        "0",
        "-1",
        "1",
        "99999999999999999999999",
        "1e400",
        "NaN",
        "null",
        "true",
        "x",
        "é\u202e",
        "%",
        "_",
        "\\",
        "'",
        '"',
    ),
    *("2026-13-45", "2026-02-30T25:61:61Z", "0001-01-01", "9999-12-31T23:59:59.999999Z", "00000000-0000-0000-0000-00000000000g"),
    *("1.2.-3", "-", "..", "a" * 3000, "_state__exact=x", "q=%00&o=1", "id__in=1,2", "<script>", "{{ 7*7 }}", "١٢٣"),
)
VALUES = st.one_of(st.sampled_from(NASTY), st.text(max_size=20), st.integers().map(str), st.uuids().map(str), st.datetimes().map(str))
STANDARD = (
    "q",
    "o",
    "p",
    "all",
    "e",
    "_changelist_filters",
    "_popup",
    "_to_field",
    "pack",
    "user",
    "s",
    "unknown",
    "pk__in",
    "tenant__slug",
)


def names_of(page: Page) -> list[str]:
    """What the list's filters ask by, and what Django's lists understand."""
    site = next(site for model, site in admin.site._registry.items() if model._meta.label == page.model)

    def asked() -> Iterator[str]:
        for each in site.list_filter:
            if isinstance(each, type) and issubclass(each, ListFilter):
                yield str(getattr(each, "parameter_name", ""))
            else:
                name = each if isinstance(each, str) else str(each[0])
                yield from (
                    name,
                    f"{name}__exact",
                    f"{name}__isnull",
                    f"{name}_from",
                    f"{name}_to",
                    f"{name}_from_0",
                    f"{name}_to_1",
                    f"{name}__gte",
                )

    return [*STANDARD, *asked()]


@pytest.mark.parametrize("page", PAGE_ROWS, ids=lambda page: page.model)
def test_no_query_string_is_our_fault(world: World, page: Page, request: pytest.FixtureRequest) -> None:
    governed = page.right == "govern"
    client, obj = Client(), world.places["shared" if governed else "own"].objects[page.kind]
    names, asked = names_of(page), request.config.getoption("--schemathesis-examples")

    @settings(max_examples=6 * asked, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(query=st.lists(st.tuples(st.sampled_from(names), VALUES), min_size=1, max_size=4))
    def asks(query: list[tuple[str, str]]) -> None:
        said = urlencode(query, errors="surrogatepass")
        for path in (path_of(page.model, "changelist"), path_of(page.model, "change", obj.pk), f"/admin/search/?{said}"):
            response: Any = client.get(f"{path}?{said}" if "?" not in path else path)
            assert response.status_code in (200, 302, 400), (path, said, response.content[:300])

    with undone():
        client = enter(world, "platform-admin" if governed else "admin")
        client.raise_request_exception = False
        try:
            asks()
        finally:
            client.raise_request_exception = True
