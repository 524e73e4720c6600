"""What harnesses reported: runs, their events and scores, how complete each producer's stream is, and what it is all judged by."""

from apps.telemetry.admin import archives, events, exports, models, prices, producers, redaction, runs, scores

__all__ = [
    "archives",
    "events",
    "exports",
    "models",
    "prices",
    "producers",
    "redaction",
    "runs",
    "scores",
]
