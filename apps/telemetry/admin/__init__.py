"""What harnesses reported: runs, their events and scores, and how complete each producer's stream is."""

from apps.telemetry.admin import events, exports, producers, runs, scores

__all__ = ["events", "exports", "producers", "runs", "scores"]
