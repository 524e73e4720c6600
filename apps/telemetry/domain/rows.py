"""Turns items into rows for COPY. Every text and every JSON value of an item is redacted here, and only here (`domain.md` 4)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from apps.core.domain.redaction import BUILT_IN, Redactor
from apps.telemetry.domain.contract import encode_item, refused
from apps.telemetry.domain.items import MAX_NAME, EventItem, RunItem

# jsonb columns; their values here are JSON text, or None.
JSON_COLUMNS = frozenset({"mcp_servers", "safety_flags", "checks", "metadata", "payload"})
# Taken over from the item under the same name, redacted.
_RUN_FIELDS = (
    *(
        "user_ref",
        "pack",
        "pack_version",
        "effective_digest",
        "task_type",
        "root_task_id",
        "task_id",
        "tier",
        "actor",
        "provider",
        "model_id",
    ),
    *("persona", "skill", "mcp_servers", "adapter_kind", "status", "started_at", "ended_at", "latency_ms", "tokens_in", "tokens_out"),
    *("token_delta", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "cost_micros", "success", "error_code", "retries"),
    *("format_passed", "approval_passed", "safety_flags", "checks", "input", "output", "metadata"),
)
_EVENT_FIELDS = (
    *(
        "run_id",
        "root_task_id",
        "task_id",
        "tier",
        "actor",
        "action",
        "status",
        "phase",
        "message",
        "provider",
        "model_id",
        "persona",
        "skill",
    ),
    *("mcp_server", "mcp_tool", "latency_ms", "retry_count", "tokens_in", "tokens_out", "token_delta", "cost_micros", "payload", "seq"),
)
# The same for all rows of a batch, and last: they are not sent with each row.
BATCH_COLUMNS = ("day", "tenant_id", "team_id", "agent_id", "received_at", "producer", "producer_seq")
# text[] columns. Empty in most rows; they stand last of what is sent.
_ARRAYS = ("flags", "redactions")
ARRAY_COLUMNS = frozenset(_ARRAYS)
_REFERENCES = frozenset({"user_ref", "root_task_id", "task_id", "run_id"})
_CONTENT = frozenset({"input", "output", "message", "payload"})
# What a payload may hold besides texts, and where the metadata of a span's run holds some.
_COUNTS = ("cached_tokens", "cache_write_tokens", "reasoning_tokens")
_TEXTS_OF_SPANS = frozenset({"attributes", "exceptions"})
_CLAIMS = ("tenant", "team", "agent", "arm", "rollout")
_EVENT_CLAIMS = _CLAIMS[:3]


@dataclass(frozen=True, slots=True)
class _Fields:
    """What is read of an item: getters for all fields and for all claims at once, and the places of those that hold JSON, or text of any
    length."""

    get: Callable[[Any], tuple[Any, ...]]
    claims: Callable[[Any], tuple[str | None, ...]]
    json_or_text: tuple[int, ...]
    catch_all: int
    # What refers to something, and must still tell one from another when it was redacted; texts of content, which a tenant may not keep.
    references: tuple[int, ...]
    content: tuple[int, ...]
    # The place of the key of another row, which is stored there as it came.
    key: int | None


def _fields(names: tuple[str, ...], claims: tuple[str, ...], catch_all: str) -> _Fields:
    places = _places(names, JSON_COLUMNS | {"input", "output", "message"})
    references, content = _places(names, _REFERENCES), _places(names, _CONTENT)
    key = names.index("run_id") if "run_id" in names else None
    return _Fields(attrgetter(*names), attrgetter(*claims), places, names.index(catch_all), references, content, key)


def _places(names: tuple[str, ...], wanted: frozenset[str]) -> tuple[int, ...]:
    return tuple(place for place, name in enumerate(names) if name in wanted)


RUN_COLUMNS = ("id", "run_id", "final", "arm", "rollout", *_RUN_FIELDS, "created_at", *_ARRAYS, *BATCH_COLUMNS)
EVENT_COLUMNS = ("id", "event_id", *_EVENT_FIELDS, "created_at", *_ARRAYS, *BATCH_COLUMNS)
# Under this key of `metadata` (runs) or `payload` (events) stands what a payload claimed against the truth of its token.
CLAIMED = "mc.claimed"

_RUN = _fields(_RUN_FIELDS, _CLAIMS, "metadata")
_EVENT = _fields(_EVENT_FIELDS, _EVENT_CLAIMS, "payload")
_JSON = msgspec.json.Encoder(order="deterministic")


class Row(NamedTuple):
    """`values` in the order of RUN_COLUMNS or EVENT_COLUMNS; absent is None. `flags` and `redactions` (names of rules) are in them too."""

    values: tuple[Any, ...]
    flags: tuple[str, ...]
    redactions: tuple[str, ...]


def mismatches(item: RunItem | EventItem, truth: Mapping[str, Collection[str]]) -> dict[str, str]:
    """The claims of a payload (tenant, team, agent, arm, rollout) that the token or the rollout contradicts.

    `truth` gives for a claim the spellings that are right (`{"agent": {"helpdesk-1", "acme/helpdesk-1"}}`); an empty collection contradicts
    every claim, an absent one none.
    """
    found = {}
    names, claims = (_CLAIMS, _RUN.claims(item)) if isinstance(item, RunItem) else (_EVENT_CLAIMS, _EVENT.claims(item))
    for name, claimed in zip(names, claims, strict=True):
        if claimed is not None and name in truth and claimed not in truth[name]:
            found[name] = claimed
    return found


def run_row(
    item: RunItem,
    *,
    row_id: UUID,
    day: date,
    tenant_id: UUID,
    team_id: UUID | None,
    agent_id: UUID | None,
    received_at: datetime,
    arm: str | None = None,
    rollout: str | None = None,
    truth: Mapping[str, Collection[str]] | None = None,
    producer: str | None = None,
    producer_seq: int | None = None,
    flags: Iterable[str] = (),
    body: bytes | None = None,
    clean: bool = False,
    redactor: Redactor = BUILT_IN,
) -> Row:
    """One row of `runs`, under our key `row_id`. `arm` and `rollout` are ours; the item's are compared with `truth` (see `mismatches`).

    `flags` are what the caller found (`untraced`, `mismatch`); `redacted` and `mismatch` are added here. `body` is the item's canonical JSON when
    the caller has it (`DecodedBatch.bodies`); `clean` says that it holds nothing to redact (`Redactor.clean_jsons`). `redactor` is the tenant's.
    `created_at` is the harness's, else the time of receipt.
    """
    fields, names, marks = _prepared(item, _RUN, truth, flags, body, clean, redactor)
    values = (
        *(row_id, item.run_id, item.final, arm, rollout),
        *fields,
        *(item.created_at or received_at, list(marks), list(names)),
        *(day, tenant_id, team_id, agent_id, received_at, producer, producer_seq),
    )
    return Row(values, marks, names)


def event_row(
    item: EventItem,
    *,
    row_id: UUID,
    day: date,
    tenant_id: UUID,
    team_id: UUID | None,
    agent_id: UUID | None,
    received_at: datetime,
    truth: Mapping[str, Collection[str]] | None = None,
    producer: str | None = None,
    producer_seq: int | None = None,
    flags: Iterable[str] = (),
    body: bytes | None = None,
    clean: bool = False,
    redactor: Redactor = BUILT_IN,
) -> Row:
    """One row of `events`; parameters as for `run_row`."""
    fields, names, marks = _prepared(item, _EVENT, truth, flags, body, clean, redactor)
    values = (
        *(row_id, item.event_id),
        *fields,
        *(item.created_at or received_at, list(marks), list(names)),
        *(day, tenant_id, team_id, agent_id, received_at, producer, producer_seq),
    )
    return Row(values, marks, names)


def _without_texts(value: Any) -> dict[str, Any] | None:
    """Of a payload what says where an event stands and what it used; of a text nothing."""
    if not isinstance(value, dict):
        return None
    kept = {name: value[name] for name in _COUNTS if isinstance(value.get(name), int)}
    parent = value.get("parent_task_id")
    if isinstance(parent, str) and len(parent) <= MAX_NAME:
        kept["parent_task_id"] = parent
    return kept or None


def _prepared(
    item: RunItem | EventItem,
    fields: _Fields,
    truth: Mapping[str, Collection[str]] | None,
    flags: Iterable[str],
    body: bytes | None,
    clean: bool,
    redactor: Redactor,
) -> tuple[list[Any], tuple[str, ...], tuple[str, ...]]:
    """The redacted values of `fields` as columns take them, the names of the rules that fired, and the flags of the row."""
    values = list(fields.get(item))
    marks, names = set(flags), set[str]()
    if not redactor.stores_texts:
        for place in fields.content:
            if values[place] is not None:
                values[place] = _without_texts(values[place])
                marks.add("metrics_only")
        if fields is _RUN and values[fields.catch_all]:
            values[fields.catch_all] = {
                name: value for name, value in values[fields.catch_all].items() if name not in _TEXTS_OF_SPANS
            } or None
    claimed = mismatches(item, truth) if truth else None
    if claimed:
        marks.add("mismatch")
        values[fields.catch_all] = {**(values[fields.catch_all] or {}), CLAIMED: claimed}
    # One look at the whole item decides for nearly all that there is nothing to redact.
    if not clean and not redactor.clean_json(encode_item(item) if body is None else body):
        for place, value in enumerate(values):
            if isinstance(value, str | list | dict):
                refers = isinstance(value, str) and place in fields.references
                cleaned, fired = redactor.reference(str(value)) if refers else redactor.redact_json(value)
                if place == fields.key and not refused(str(value), fired):
                    # Such a number is taken for a key, and what refers to it must find it.
                    continue
                names.update(fired)
                # A mark may be longer than what it replaces; a name must still fit its column.
                values[place] = cleaned[:MAX_NAME] if fired and isinstance(cleaned, str) and place not in fields.json_or_text else cleaned
        if names:
            marks.add("redacted")
    for place in fields.json_or_text:
        value = values[place]
        if isinstance(value, dict | list):
            values[place] = _JSON.encode(value).decode()
    return values, tuple(sorted(names)) if names else (), tuple(sorted(marks)) if marks else ()
