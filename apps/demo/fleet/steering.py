"""What a simulated harness says of itself, and how it obeys: the smallest harness that can be paused, stopped and restarted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Seconds between heartbeats; the portal takes one for silent after three of them.
BEAT_S = 5


@dataclass(slots=True)
class Steering:
    """`mode` is what the fleet's page shows. A command is acknowledged with the heartbeat after the one that brought it, once it is obeyed."""

    mode: str = "working"
    acks: list[str] = field(default_factory=list)

    @property
    def works(self) -> bool:
        return self.mode == "working"

    def heartbeat(self, pack: str, served: Mapping[str, Any] | None) -> dict[str, Any]:
        """The body: what is served to users without a layer of their own."""
        serving = [{"pack": pack, "digest": served["digest"], "arm": served["arm"]}] if served is not None else []
        return {"instance": "demo", "status": self.mode, "ttl_s": BEAT_S, "serving": serving, "acks": list(self.acks)}

    def obey(self, commands: Sequence[Mapping[str, Any]]) -> bool:
        """Does as it is told, the oldest first; whether it was told to start anew. What it was told before it has forgotten: it was heard."""
        self.acks = [str(command["id"]) for command in commands]
        restarted = False
        for command in commands:
            match command["action"]:
                case "pause" if self.mode == "working":
                    self.mode = "paused"
                case "resume" if self.mode == "paused":
                    self.mode = "working"
                case "stop":
                    self.mode = "stopped"
                case "restart":
                    self.mode, restarted = "working", True
        return restarted
