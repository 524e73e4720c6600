"""What harnesses reported: runs, their events and scores, and how complete each producer's stream is."""

from apps.telemetry.admin import archives, events, producers, runs, scores

__all__ = ["archives", "events", "producers", "runs", "scores"]
