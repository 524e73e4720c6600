"""What harnesses reported: runs, their events and scores, and how complete each producer's stream is."""

from apps.telemetry.admin import events, models, producers, runs, scores

__all__ = ["events", "models", "producers", "runs", "scores"]
