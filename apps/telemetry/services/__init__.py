"""What a harness or a task does with telemetry."""

from apps.telemetry.services.ingest import Receipt, Sender, ingest_events, ingest_runs
from apps.telemetry.services.otlp import Taken, ingest_spans
from apps.telemetry.services.pricing import add_price, withdraw_price
from apps.telemetry.services.redaction import add_pattern, set_policy, try_text, update_pattern
from apps.telemetry.services.scores import Score, store_scores

__all__ = [
    "Receipt",
    "Score",
    "Sender",
    "Taken",
    "add_pattern",
    "add_price",
    "ingest_events",
    "ingest_runs",
    "ingest_spans",
    "set_policy",
    "store_scores",
    "try_text",
    "update_pattern",
    "withdraw_price",
]
