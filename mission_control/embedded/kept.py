"""The cluster that a test run leaves for the next one: migrating takes longer than most tests, copying a migrated cluster a moment.

It stands in `.cache/`, under the fingerprint of what decides the schema and the day (partitions are made ahead of that). CI begins without.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from .environment import ROOT
from .instance import fingerprint
from .postgres import Passwords, Postgres

TEMPLATE = "mc_test_template"
_FOLDER = ROOT / ".cache" / "test-cluster"


def place() -> Path:
    """Where the cluster of today's schema is, or will be."""
    digest = hashlib.sha256(f"{datetime.now(UTC):%Y-%m-%d} {fingerprint()}".encode())
    for path in (ROOT / "apps/core/sql.py", ROOT / "apps/telemetry/partitions.py", ROOT / "tests/isolation.py"):
        digest.update(path.read_bytes())
    return _FOLDER / digest.hexdigest()[:16]


def passwords() -> Passwords | None:
    """Those of the kept cluster's roles; None where there is none."""
    try:
        return Passwords(**json.loads((place() / "passwords.json").read_text()))
    except OSError:
        return None


def restore(postgres: Postgres, kept: Path) -> None:
    """Puts the cluster kept at a place in the place of `postgres`, whose passwords are its own."""
    if (kept / "passwords.json").exists():
        _copy(kept / "postgres", postgres.data)


def keep(postgres: Postgres, kept: Path) -> None:
    """Keeps the running cluster, which it stops, where its template is complete and there is no kept one yet. The place is that of the run's
    beginning: files may have changed since."""
    if kept.exists():
        return
    with psycopg.connect(postgres.admin_url, autocommit=True) as connection:
        names = [name for (name,) in connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'mc_test_%'").fetchall()]
        if TEMPLATE not in names:
            return
        for name in names:
            if name != TEMPLATE:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute("CHECKPOINT")
    postgres.stop()
    shutil.rmtree(_FOLDER, ignore_errors=True)
    part = kept.with_name(f"{kept.name}.{os.getpid()}")
    part.mkdir(parents=True)
    _copy(postgres.data, part / "postgres")
    (part / "postgres" / "postmaster.pid").unlink(missing_ok=True)
    secret = part / "passwords.json"
    secret.touch(mode=0o600)
    secret.write_text(json.dumps(asdict(postgres.passwords)))
    part.rename(kept)


def _copy(source: Path, target: Path) -> None:
    """With owners and modes: the server insists on its own."""
    subprocess.run(["cp", "--archive", "--reflink=auto", str(source), str(target)], check=True)
