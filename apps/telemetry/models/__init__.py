"""What PostgreSQL holds of telemetry."""

from apps.telemetry.models.archives import Archive, ArchivePart, ArchiveState, Erasure, RetentionPolicy
from apps.telemetry.models.exports import UNDER_WAY, Export, ExportFormat, ExportKind, ExportState
from apps.telemetry.models.pricing import Price
from apps.telemetry.models.producers import Producer
from apps.telemetry.models.redaction import Content, RedactionPattern, RedactionPolicy
from apps.telemetry.models.reported import Event, Reported, Run, Tier
from apps.telemetry.models.rollups import ModelHealth, Rollup, UnrolledBatch
from apps.telemetry.models.scores import RunScore, UnscoredBatch
from apps.telemetry.models.traces import OpenTraces

__all__ = [
    "UNDER_WAY",
    "Archive",
    "ArchivePart",
    "ArchiveState",
    "Content",
    "Erasure",
    "Event",
    "Export",
    "ExportFormat",
    "ExportKind",
    "ExportState",
    "ModelHealth",
    "OpenTraces",
    "Price",
    "Producer",
    "RedactionPattern",
    "RedactionPolicy",
    "Reported",
    "RetentionPolicy",
    "Rollup",
    "Run",
    "RunScore",
    "Tier",
    "UnrolledBatch",
    "UnscoredBatch",
]
