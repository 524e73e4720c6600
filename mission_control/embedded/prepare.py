"""What a database needs before the portal can serve: `python -m mission_control.embedded.prepare migrate admin demo`.

One process for all steps, since most of the time goes into starting Django. Each finished step is printed as `done <step>`.
"""

from __future__ import annotations

import os
import sys

import django
from django.core.management import call_command


def pending() -> bool:
    """Whether the database lacks a migration."""
    from django.db import connections
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connections["owner"])
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def main(steps: list[str]) -> None:
    django.setup()
    for step in steps:
        if step == "migrate":
            call_command("migrate", database="owner", verbosity=0, interactive=False)
        elif step == "migrate-if-pending":
            if pending():
                call_command("migrate", database="owner", verbosity=0, interactive=False)
        elif step == "admin":
            call_command("create_admin", email=os.environ.get("ADMIN_EMAIL") or "admin@example.com", print_once=True)
        elif step == "demo":
            call_command("seed_demo")
        else:
            raise SystemExit(f"Not known: {step}")


if __name__ == "__main__":
    main(sys.argv[1:])
