"""Runs and events as a harness sends them (`domain.md` 4): each field has one type and bounds; null is the same as absent."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

MAX_ITEMS = 1000
MAX_TEXT_BYTES = 256 * 1024
MAX_OBJECT_BYTES = 16 * 1024
MAX_DEPTH = 64
# The largest integer that every JSON reader keeps exactly (`domain.md` 3).
MAX_INT = 2**53 - 1
MAX_NAME = 200

Id = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Names = Annotated[list[Name], Meta(max_length=100)]
Count = Annotated[int, Meta(ge=0, le=MAX_INT)]
SmallCount = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Delta = Annotated[int, Meta(ge=-MAX_INT, le=MAX_INT)]
Moment = Annotated[datetime, Meta(tz=True)]
Tier = Literal["T1", "T2", "T3"]
# Text, or JSON that is stored as its text. Here a limit of characters; `contract` holds the limit of bytes.
Text = Annotated[str, Meta(max_length=MAX_TEXT_BYTES)]
TextOrJson = Text | dict[str, Any] | list[Any]

_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN, traps=[])
_MICRO = Decimal("0.000001")
_MAX_USD = Decimal(MAX_INT).scaleb(-6)


class _Item(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """What both kinds of item share. Times become UTC and costs whole micro-dollars; a ValueError reads `<field>: <what is wrong>`."""

    @property
    def cost_micros(self) -> int | None:
        """`cost_usd` in micro-dollars, exact."""
        cost: Decimal | None = getattr(self, "cost_usd")  # noqa: B009 -- the field belongs to the two kinds
        return None if cost is None else int(cost.scaleb(6, _EXACT))


class RunItem(_Item, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One run of an agent. `tenant`, `team`, `agent`, `arm` and `rollout` are the harness's claims: compared, never believed.

    Latencies are milliseconds, `cost_usd` is US dollars (a decimal string, or a number read exactly), rounded half to even to a micro-dollar;
    `tokens_in` includes cached, `tokens_out` includes reasoning tokens (`domain.md` 8).
    """

    run_id: Id
    started_at: Moment
    final: bool = True
    tenant: Name | None = None
    team: Name | None = None
    agent: Name | None = None
    user_ref: Id | None = None
    pack: Name | None = None
    pack_version: SmallCount | None = None
    effective_digest: Name | None = None
    arm: Name | None = None
    rollout: Id | None = None
    task_type: Name | None = None
    root_task_id: Id | None = None
    task_id: Id | None = None
    tier: Tier | None = None
    actor: Name | None = None
    provider: Name | None = None
    model_id: Name | None = None
    persona: Name | None = None
    skill: Name | None = None
    mcp_servers: Names | None = None
    adapter_kind: Name | None = None
    status: Name | None = None
    ended_at: Moment | None = None
    latency_ms: Count | None = None
    tokens_in: Count | None = None
    tokens_out: Count | None = None
    token_delta: Delta | None = None
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    cost_usd: Decimal | None = None
    success: bool | None = None
    error_code: Name | None = None
    retries: SmallCount | None = None
    format_passed: bool | None = None
    approval_passed: bool | None = None
    safety_flags: Names | None = None
    checks: dict[str, Any] | None = None
    input: TextOrJson | None = None
    output: TextOrJson | None = None
    metadata: dict[str, Any] | None = None
    created_at: Moment | None = None

    def __post_init__(self) -> None:
        if self.started_at.tzinfo is not UTC:
            self.started_at = _utc("started_at", self.started_at)
        if self.ended_at is not None and self.ended_at.tzinfo is not UTC:
            self.ended_at = _utc("ended_at", self.ended_at)
        if self.created_at is not None and self.created_at.tzinfo is not UTC:
            self.created_at = _utc("created_at", self.created_at)
        if self.cost_usd is not None:
            self.cost_usd = _dollars(self.cost_usd)


class EventItem(_Item, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One step of a run. `action: output` carries a chunk of the agent's terminal output in `message`, ordered by `seq`."""

    event_id: Id
    action: Name
    run_id: Id | None = None
    root_task_id: Id | None = None
    task_id: Id | None = None
    tenant: Name | None = None
    team: Name | None = None
    agent: Name | None = None
    tier: Tier | None = None
    actor: Name | None = None
    status: Name | None = None
    phase: Name | None = None
    message: Text | None = None
    provider: Name | None = None
    model_id: Name | None = None
    persona: Name | None = None
    skill: Name | None = None
    mcp_server: Name | None = None
    mcp_tool: Name | None = None
    latency_ms: Count | None = None
    retry_count: SmallCount | None = None
    tokens_in: Count | None = None
    tokens_out: Count | None = None
    token_delta: Delta | None = None
    cost_usd: Decimal | None = None
    payload: dict[str, Any] | None = None
    seq: Count | None = None
    created_at: Moment | None = None

    def __post_init__(self) -> None:
        if self.created_at is not None and self.created_at.tzinfo is not UTC:
            self.created_at = _utc("created_at", self.created_at)
        if self.cost_usd is not None:
            self.cost_usd = _dollars(self.cost_usd)


class RunEnvelope(Struct, forbid_unknown_fields=True, gc=False):
    """A batch of runs. A producer numbers its batches from any start, by one; both or neither are given."""

    runs: Annotated[list[RunItem], Meta(min_length=1, max_length=MAX_ITEMS)]
    producer: Id | None = None
    seq: Count | None = None


class EventEnvelope(Struct, forbid_unknown_fields=True, gc=False):
    """A batch of events, numbered like batches of runs."""

    events: Annotated[list[EventItem], Meta(min_length=1, max_length=MAX_ITEMS)]
    producer: Id | None = None
    seq: Count | None = None


def _utc(name: str, moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{name}: the time is outside the years 1 to 9999 in UTC") from None


def _dollars(amount: Decimal) -> Decimal:
    """The amount in whole micro-dollars, always written the same way, so that `0.1` and `"0.10"` are the same content."""
    if not amount.is_finite() or amount < 0 or amount > _MAX_USD:
        raise ValueError(f"cost_usd: must be an amount of US dollars from 0 to {_MAX_USD}")
    return amount.copy_abs().quantize(_MICRO, context=_EXACT)
