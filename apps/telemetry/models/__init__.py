"""What PostgreSQL holds of telemetry."""

from apps.telemetry.models.producers import Producer
from apps.telemetry.models.reported import Event, Reported, Run, Tier
from apps.telemetry.models.scores import RunScore, UnscoredBatch
from apps.telemetry.models.traces import OpenTraces

__all__ = ["Event", "OpenTraces", "Producer", "Reported", "Run", "RunScore", "Tier", "UnscoredBatch"]
