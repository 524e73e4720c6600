"""No answer outside the OpenAPI document, and no fault of ours, whatever is sent by whomever.

Ten thousand examples and more: `pytest tests/shown/test_schemathesis.py --schemathesis-examples 200`; see docs/development.md.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.shown.fuzzing import explore, load, operations
from tests.shown.people import PEOPLE
from tests.shown.world import World

SEED = 20_260_000
FEW = (None, "viewer", "admin", "platform-admin", "agent")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "who" in metafunc.fixturenames:
        many = metafunc.config.getoption("--schemathesis-examples") > 10
        metafunc.parametrize("who", (None, *PEOPLE) if many else FEW)


def test_every_answer_is_as_documented(world: World, who: str | None, request: pytest.FixtureRequest) -> None:
    examples = request.config.getoption("--schemathesis-examples")
    loaded = load()
    found = [finding for operation in operations(loaded) for finding in explore(world, operation, who, examples, SEED)]
    assert not found, "\n\n".join(found)


def test_an_answer_that_is_not_documented_is_noticed(world: World) -> None:
    """So that the test above cannot pass because nothing is looked at."""

    def wrong(raw: dict[str, Any]) -> None:
        del raw["paths"]["/api/v1/me/"]["get"]["responses"]["401"]
        raw["components"]["schemas"]["Team"]["properties"]["slug"] = {"type": "integer"}

    of = {operation.label: operation for operation in operations(load(wrong))}
    assert any("401" in finding for finding in explore(world, of["GET /api/v1/me/"], None, 2, SEED))
    assert any("integer" in finding for finding in explore(world, of["GET /api/v1/teams/{slug}/"], "admin", 20, SEED))
    assert explore(world, of["GET /api/v1/me/"], "admin", 2, SEED) == []
