"""What PostgreSQL holds of telemetry."""

from apps.telemetry.models.producers import Producer
from apps.telemetry.models.reported import Event, Reported, Run, Tier
from apps.telemetry.models.rollups import ModelHealth, Rollup, UnrolledBatch
from apps.telemetry.models.scores import RunScore, UnscoredBatch

__all__ = ["Event", "ModelHealth", "Producer", "Reported", "Rollup", "Run", "RunScore", "Tier", "UnrolledBatch", "UnscoredBatch"]
