"""One line of JSON for each log record (LOG_JSON=0: readable lines), structlog's and everyone else's alike."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import structlog

from apps.core.domain.redaction import redact_json

_PLAIN = (str, int, float, dict, list, tuple, type(None))


def without_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What is logged goes through the rules of redaction: a message of a library may repeat what it was given."""
    cleaned: dict[str, Any] = redact_json({name: value if isinstance(value, _PLAIN) else repr(value) for name, value in event.items()})[0]
    return cleaned


def logging_configuration(level: str, *, as_json: bool) -> dict[str, Any]:
    """Django's LOGGING; sets structlog up on the way."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # No local variables: they would carry content and secrets into the log.
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, without_secrets, renderer],
            }
        },
        "handlers": {"standard": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["standard"], "level": level},
        "loggers": {
            "django.request": {"level": "ERROR"},
            "httpx": {"level": "WARNING"},
            "httpcore": {"level": "WARNING"},
            "axes": {"level": "WARNING"},
        },
    }
