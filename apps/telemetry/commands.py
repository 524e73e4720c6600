"""Commands in the answer to telemetry (pause, stop, …) are given by the fleet room, which stands above: it registers itself here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from apps.core.context import ActionContext

Commands = Callable[[ActionContext], Sequence[dict[str, Any]]]
_commands: list[Commands] = []


def register_commands(commands: Commands) -> Commands:
    """`commands(ctx)` gives what waits for the agent of `ctx`; asked after the batch is durable, outside of its transaction."""
    _commands[:] = [commands]
    return commands


def commands_for(ctx: ActionContext) -> list[dict[str, Any]]:
    return list(_commands[0](ctx)) if _commands else []
