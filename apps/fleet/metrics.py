"""The fleet's figures for Prometheus, over all tenants."""

from __future__ import annotations

from django.db import connection

from apps.core.health import figures


@figures
def fleet_figures() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT live, stale, silent, laggards, waiting FROM fleet_figures()")
        live, stale, silent, laggards, waiting = cursor.fetchone()
    return [
        "# HELP mission_control_fleet_harnesses Harness processes: live, of these stale (serving another version than they should), silent.",
        "# TYPE mission_control_fleet_harnesses gauge",
        *(
            f'mission_control_fleet_harnesses{{state="{state}"}} {number}'
            for state, number in (("live", live), ("stale", stale), ("silent", silent))
        ),
        "# HELP mission_control_fleet_laggards Deliveries of commands that were not acknowledged for 30 seconds.",
        "# TYPE mission_control_fleet_laggards gauge",
        f"mission_control_fleet_laggards {laggards}",
        "# HELP mission_control_fleet_action_requests Requests to use a tool that wait for an answer.",
        "# TYPE mission_control_fleet_action_requests gauge",
        f"mission_control_fleet_action_requests {waiting}",
    ]
