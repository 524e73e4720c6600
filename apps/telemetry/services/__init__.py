"""What a harness or a task does with telemetry."""

from apps.telemetry.services.ingest import Receipt, Sender, ingest_events, ingest_runs
from apps.telemetry.services.scores import Score, store_scores

__all__ = ["Receipt", "Score", "Sender", "ingest_events", "ingest_runs", "store_scores"]
