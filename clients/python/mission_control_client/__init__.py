"""Client of Mission Control for harnesses. `Client` is where to begin; the README has a quick start."""

from __future__ import annotations

from .client import Client
from .errors import MissionControlError, RefusedError, SpoolInUseError, UnavailableError
from .resolving import Resolved
from .stream import StreamEvent
from .telemetry import Stats

__all__ = ["Client", "MissionControlError", "RefusedError", "Resolved", "SpoolInUseError", "Stats", "StreamEvent", "UnavailableError"]
