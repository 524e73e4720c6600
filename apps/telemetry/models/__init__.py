"""What PostgreSQL holds of telemetry."""

from apps.telemetry.models.archives import Archive, ArchivePart, ArchiveState, Erasure, RetentionPolicy
from apps.telemetry.models.producers import Producer
from apps.telemetry.models.reported import Event, Reported, Run, Tier
from apps.telemetry.models.scores import RunScore, UnscoredBatch

__all__ = [
    "Archive",
    "ArchivePart",
    "ArchiveState",
    "Erasure",
    "Event",
    "Producer",
    "Reported",
    "RetentionPolicy",
    "Run",
    "RunScore",
    "Tier",
    "UnscoredBatch",
]
