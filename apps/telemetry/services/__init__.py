"""What a harness or a task does with telemetry."""

from apps.telemetry.services.ingest import Receipt, Sender, ingest_events, ingest_runs
from apps.telemetry.services.otlp import Taken, ingest_spans
from apps.telemetry.services.scores import Score, store_scores

__all__ = ["Receipt", "Score", "Sender", "Taken", "ingest_events", "ingest_runs", "ingest_spans", "store_scores"]
