"""No answer outside the OpenAPI document, and no fault of ours, whatever is sent by whomever.

Ten thousand examples and more: `pytest tests/shown/test_schemathesis.py --schemathesis-examples 200`; see docs/development.md.
"""

from __future__ import annotations

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
    loaded = load(world)
    found = [finding for operation in operations(loaded) for finding in explore(world, operation, who, examples, SEED)]
    assert not found, "\n\n".join(found)
