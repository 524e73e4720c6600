"""What PostgreSQL holds of telemetry."""

from apps.telemetry.models.exports import UNDER_WAY, Export, ExportFormat, ExportKind, ExportState
from apps.telemetry.models.producers import Producer
from apps.telemetry.models.reported import Event, Reported, Run, Tier
from apps.telemetry.models.scores import RunScore, UnscoredBatch

__all__ = [
    "UNDER_WAY",
    "Event",
    "Export",
    "ExportFormat",
    "ExportKind",
    "ExportState",
    "Producer",
    "Reported",
    "Run",
    "RunScore",
    "Tier",
    "UnscoredBatch",
]
