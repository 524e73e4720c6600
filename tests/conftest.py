"""Services and databases of the tests.

The first test that needs a database has the services started for the whole run; the owner migrates a template once; each xdist
worker gets a clone, and a test that commits gets a fresh one afterwards (the application may not TRUNCATE). Tests log in as the
application role. With DATABASE_URL, DATABASE_OWNER_URL and REDIS_URL set, the same tests run on those services.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

# Before anything of the project is imported: importing it chooses the settings of a workplace.
_SETTINGS = "mission_control.settings.test"
_before = {name: os.environ.get(name) for name in ("DJANGO_SETTINGS_MODULE", "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL")}

import django  # noqa: E402
import psycopg  # noqa: E402
import pytest  # noqa: E402
from django.conf import settings  # noqa: E402
from hypothesis import settings as hypothesis_settings  # noqa: E402
from psycopg import sql  # noqa: E402

from mission_control.embedded import ephemeral, kept  # noqa: E402
from mission_control.embedded.urls import with_path  # noqa: E402
from tests import isolation  # noqa: E402

if settings.configured and _before["DJANGO_SETTINGS_MODULE"] != _SETTINGS:
    pytest.exit("DJANGO_SETTINGS_MODULE is set: unset it, the tests bring their own settings and databases.", returncode=2)

RUN = ephemeral.current(os.environ)
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
# Our own cluster is the run's alone, and may be kept for the next one.
TEMPLATE = kept.TEMPLATE if RUN.embedded else f"mc_test_{RUN.id}_template"
DATABASE = f"mc_test_{RUN.id}_{WORKER}"
# Of the server's numbered databases; 0 stays for what is not a test.
REDIS_NUMBER = 1 + int(WORKER.removeprefix("gw")) % 15 if WORKER != "main" else 1

# Processes that a test starts inherit these, and so work on the same database as the test.
os.environ.update(
    {
        ephemeral.VARIABLE: json.dumps(asdict(RUN)),
        "DJANGO_SETTINGS_MODULE": _SETTINGS,
        "DATABASE_URL": with_path(RUN.application_url, DATABASE),
        "DATABASE_OWNER_URL": with_path(RUN.owner_url, DATABASE),
        "REDIS_URL": with_path(RUN.redis_url, str(REDIS_NUMBER)),
        # Each worker's own, as its database is: files that belong to no row are swept away.
        "EXPORTS_STORE": str(RUN.folder / "exports" / WORKER),
    }
)
django.setup()
isolation.install()

# Time limits for an example say more of the machine than of the code; a failure in CI can be replayed from its blob.
hypothesis_settings.register_profile("mission_control", deadline=None, print_blob=True)
hypothesis_settings.load_profile("mission_control")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--schemathesis-examples", type=int, default=2, help="requests to each operation of the API by each kind of person")


def pytest_configure(config: pytest.Config) -> None:
    """The controller of an xdist run gives its workers the run, not its own settings: each loads them after its own conftest."""
    if getattr(config.option, "numprocesses", None) and WORKER == "main":
        for name, value in _before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    """Replaces pytest-django's set-up: a clone of the migrated template for this worker."""
    from django.test import TransactionTestCase

    RUN.start()
    with RUN.locked("template"):
        if not _exists(TEMPLATE):
            with django_db_blocker.unblock():
                _make_template()
    _clone()
    patch = pytest.MonkeyPatch()
    patch.setattr(TransactionTestCase, "_fixture_teardown", lambda self: _clone())
    yield
    patch.undo()
    if not RUN.embedded:
        _drop(DATABASE)
        if WORKER == "main":
            _drop(TEMPLATE)


def pytest_unconfigure(config: pytest.Config) -> None:
    """On services of one's own the run leaves nothing behind."""
    if WORKER == "main" and not RUN.embedded and RUN.folder.exists():
        _drop(TEMPLATE)
        shutil.rmtree(RUN.folder)


@pytest.fixture
def owner_connection(transactional_db: None) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection to the test's database as the owner, in autocommit: for what the application role may not do.

    Brings `transactional_db`: the owner sees committed rows only, and its changes are gone with the clone.
    """
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture
def owner_sql(owner_connection: psycopg.Connection[tuple[Any, ...]]) -> Callable[..., list[tuple[Any, ...]]]:
    """Runs one statement as the owner: `owner_sql("SELECT ... WHERE id = %s", [id])` gives its rows, or [] when it has none."""

    def run(statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        cursor = owner_connection.execute(statement, parameters)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []

    return run


def _maintenance() -> psycopg.Connection[tuple[Any, ...]]:
    """As the owner, on the database that the owner's URL names: not one of the tests'."""
    return psycopg.connect(RUN.owner_url, autocommit=True)


def _exists(name: str) -> bool:
    with _maintenance() as connection:
        return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


def _make_template() -> None:
    """Migrates under another name first: a template that exists is complete."""
    from django.core.management import call_command
    from django.db import connections

    unfinished = f"{TEMPLATE}_new"
    with _maintenance() as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(unfinished)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(unfinished)))
    names = {alias: connections[alias].settings_dict["NAME"] for alias in connections}
    try:
        for alias in names:
            connections[alias].settings_dict["NAME"] = unfinished
        call_command("migrate", database="owner", verbosity=0, interactive=False)
        isolation.open_to_tests(connections["owner"])
    finally:
        connections.close_all()
        for alias, name in names.items():
            connections[alias].settings_dict["NAME"] = name
    with _maintenance() as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(unfinished), sql.Identifier(TEMPLATE)))


def _clone() -> None:
    """A fresh copy of the template under this worker's name; who is still connected to the old one is thrown out."""
    _drop(DATABASE)
    with _maintenance() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(DATABASE), sql.Identifier(TEMPLATE)))


def _drop(name: str) -> None:
    from django.db import connections

    connections.close_all()
    if not _exists(name):
        return
    # Each role may end its own sessions only.
    for url in (RUN.application_url, RUN.owner_url):
        with psycopg.connect(with_path(url, name), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
            )
    with _maintenance() as connection:
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


@pytest.fixture(autouse=True)
def _fresh_process() -> None:
    """Each test begins as a process that remembers nothing: a rolled-back test takes its generations back."""
    from django.db import connections

    from apps.core.generations import watcher
    from apps.identity import tokens

    watcher.seen = -1
    watcher.forget()
    # Nor is it due to write when tokens were last used: that is once a minute, in whichever test is then counting queries.
    tokens._used.clear()
    tokens._flushed = time.monotonic()
    for connection in connections.all(initialized_only=True):
        # A browser's event loop has connections of its own: when its test's clone went, they went with it.
        if connection.connection is not None and not connection.is_usable():
            connection.close()
