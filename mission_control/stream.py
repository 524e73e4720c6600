"""What granian serves as the push stream: `granian --interface asgi mission_control.stream:application`. No part of Django is used."""

from __future__ import annotations

import logging.config
import os

from apps.fleet.stream.app import Settings, Stream
from mission_control.embedded.environment import load
from mission_control.logs import logging_configuration

DEVELOPMENT = "mission_control.settings.dev"


def settings(environ: dict[str, str]) -> Settings:
    """Raises SystemExit where the database or Redis is not named."""
    missing = [name for name in ("DATABASE_URL", "REDIS_URL") if not environ.get(name)]
    if missing:
        raise SystemExit(f"{' and '.join(missing)} must be set for the push stream (see .env.example).")
    return Settings(
        database_url=environ["DATABASE_URL"],
        redis_url=environ["REDIS_URL"],
        max_connections=int(environ.get("STREAM_MAX_CONNECTIONS") or "20000"),
        max_per_token=int(environ.get("STREAM_MAX_PER_TOKEN") or "20"),
        failures_per_s=float(environ.get("RATE_FAILURES_PER_S") or "10"),
        trust_proxy=environ.get("TRUST_PROXY") == "1",
    )


def _application() -> Stream:
    if os.environ.get("DJANGO_SETTINGS_MODULE", DEVELOPMENT) == DEVELOPMENT:
        load()
    logging.config.dictConfig(logging_configuration(os.environ.get("LOG_LEVEL", "INFO"), as_json=os.environ.get("LOG_JSON", "1") == "1"))
    return Stream(settings(dict(os.environ)))


application = _application()
