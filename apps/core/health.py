"""Whether the process is up, whether it can do its work, and a few figures for Prometheus."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from redis.exceptions import RedisError

from apps.core.generations import watcher
from apps.core.models import ChangeCounter

_remarks: dict[str, Callable[[], str]] = {}
_figures: list[Callable[[], list[str]]] = []


def figures(lines: Callable[[], list[str]]) -> Callable[[], list[str]]:
    """Has /metrics show a room's figures: lines of Prometheus text, HELP and TYPE included."""
    _figures.append(lines)
    return lines


def remark(name: str, state: Callable[[], str]) -> None:
    """Has the readiness page tell the state of something that others must look after, and that the portal works without."""
    _remarks[name] = state


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return HttpResponse(b"ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Database, broker and migrations: 200 when all are well, else 503 naming what is not; and what rooms have to remark besides."""
    checks: dict[str, str] = {"database": "ok", "broker": "ok", "migrations": "ok"}
    try:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            checks["migrations"] = "pending: run `manage.py migrate --database owner`"
    except DatabaseError:
        checks["database"] = checks["migrations"] = "unreachable"
    try:
        cache.set("readyz", 1, timeout=10)
    except (RedisError, OSError):
        checks["broker"] = "unreachable"
    ready = all(state == "ok" for state in checks.values())
    if ready:
        checks |= {name: state() for name, state in _remarks.items()}
    return JsonResponse(checks, status=200 if ready else 503)


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text; private: asks for METRICS_TOKEN, and does not exist where none is set."""
    token = settings.METRICS_TOKEN
    sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not token or not hmac.compare_digest(sent.encode(), token.encode()):
        return HttpResponse(status=404)
    generation = ChangeCounter.objects.values_list("value", flat=True).first() or 0
    lines = [
        "# HELP mission_control_generation Last cache generation in the database.",
        "# TYPE mission_control_generation counter",
        f"mission_control_generation {generation}",
        "# HELP mission_control_generation_seen Last cache generation that this process has applied.",
        "# TYPE mission_control_generation_seen gauge",
        f"mission_control_generation_seen {watcher.seen}",
        *(line for lines in _figures for line in lines()),
    ]
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain; version=0.0.4")
