"""A request's spans as a batch of runs and a batch of events, ready for the same ingest as those sent as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from apps.telemetry.domain.contract import DecodedBatch, Rejection, encode_item
from apps.telemetry.domain.items import MAX_OBJECT_BYTES, EventItem, RunItem
from apps.telemetry.domain.otlp.mapping import Mapped, map_span, resource_facts
from apps.telemetry.domain.otlp.spans import Decoded
from apps.telemetry.domain.otlp.tree import Node, places

# Flags of rows: a text of it was cut to the limit; its run is not known yet (services/otlp.py settles it).
CUT, UNSETTLED = "cut", "unsettled"
# What goes first when a payload is over its limit.
_DISPENSABLE = ("attributes", "exceptions", "output", "input")


@dataclass(slots=True)
class TraceBatch:
    """`roots` are the root tasks that this batch leaves to be settled; `ignored` counts spans that have nothing to do with agents."""

    runs: DecodedBatch[RunItem]
    events: DecodedBatch[EventItem]
    roots: list[str]
    spans: int
    ignored: int


def to_batch(decoded: Decoded) -> TraceBatch:
    """Maps the spans, finds their places as far as the request tells, and refuses what has no id or time.

    A body (of which the ledger keeps the hash) is of the span alone: what its neighbours add comes after it, so that a span which is sent
    again in other company is the same delivery.
    """
    mapped: list[Mapped] = []
    shared: dict[int, dict[str, object]] = {}
    for span in decoded.spans:
        facts = shared.get(id(span.resource))
        if facts is None:
            facts = shared[id(span.resource)] = resource_facts(span.resource)
        found = map_span(span, facts)
        if found is not None:
            mapped.append(found)
    bodies = [_body(found) for found in mapped]
    roots = _place(decoded, mapped)
    runs: list[tuple[int, RunItem]] = []
    run_bodies: list[bytes] = []
    flags: dict[str, tuple[str, ...]] = {}
    run_flags: dict[str, tuple[str, ...]] = {}
    for found, (_, run_body) in zip(mapped, bodies, strict=True):
        key = found.event.event_id
        if found.cut:
            flags[key] = run_flags[key] = (CUT,)
        if found.event.run_id is None and found.root in roots:
            flags[key] = (*flags.get(key, ()), UNSETTLED)
        if found.run is not None:
            runs.append((found.span.index, found.run))
            run_bodies.append(run_body)
    refused = [Rejection(index, "invalid", f"/spans/{index}", f"A span has {detail}.") for index, detail in decoded.refused]
    events = [(found.span.index, found.event) for found in mapped]
    return TraceBatch(
        DecodedBatch(None, None, runs, run_bodies, [], run_flags),
        DecodedBatch(None, None, events, [body for body, _ in bodies], refused, flags),
        sorted(roots),
        decoded.total,
        len(decoded.spans) - len(mapped),
    )


def _body(found: Mapped) -> tuple[bytes, bytes]:
    """The canonical JSON of the event and of the run, within the limits of `items`."""
    body = encode_item(found.event)
    if len(body) > MAX_OBJECT_BYTES and found.event.payload is not None and _fit(found.event.payload):
        found.cut = tuple(sorted({*found.cut, "payload"}))
        body = encode_item(found.event)
    if found.run is None:
        return body, b""
    if len(body) > MAX_OBJECT_BYTES // 2 and found.run.metadata is not None and _fit(found.run.metadata):
        found.cut = tuple(sorted({*found.cut, "metadata"}))
    return body, encode_item(found.run)


def _fit(values: dict[str, Any]) -> bool:
    """Leaves out what can be spared until the object is within its limit; whether anything was."""
    dropped: set[str] = set()
    for name in _DISPENSABLE:
        if len(msgspec.json.encode(values)) <= MAX_OBJECT_BYTES - 64:
            break
        if values.pop(name, None) is not None:
            dropped.add(name)
            values["cut"] = sorted({*values.get("cut", ()), name})
    return bool(dropped)


def _place(decoded: Decoded, mapped: list[Mapped]) -> set[str]:
    """Gives the items what the other spans of the request tell of them; the root tasks that wait for more."""
    stored = {found.event.event_id: found for found in mapped}
    nodes: dict[str, Node[str]] = {}
    for span in decoded.spans:
        key = f"{span.trace}-{span.id}"
        item = stored.get(key)
        nodes[key] = Node(
            f"{span.trace}-{span.parent}" if span.parent else None, key if item is not None and item.run is not None else None
        )
    at = places(nodes, stored)
    # An agent that says its own tier says it for its steps.
    told = {found.run.run_id: found.run.tier for found in mapped if found.run is not None and found.run.tier is not None}
    roots: set[str] = set()
    for found in mapped:
        event, run = found.event, found.run
        place = at[event.event_id]
        if event.run_id is None:
            event.run_id = place.run
        if event.tier is None:
            event.tier = told.get(place.run or "") or place.tier
        if run is not None and run.tier is None:
            run.tier = event.tier
        above = nodes[event.event_id].parent
        if above is not None and above in nodes and above not in stored:
            _hang_higher(found, above, nodes, stored)
        if run is not None or not place.known:
            roots.add(found.root)
    return roots


def _hang_higher(found: Mapped, above: str | None, nodes: Mapping[str, Node[str]], stored: Mapping[str, Mapped]) -> None:
    """A span under one that is not stored hangs under the nearest above that is, or may be."""
    seen: set[str] = set()
    while above is not None and above in nodes and above not in stored and above not in seen:
        seen.add(above)
        above = nodes[above].parent
    for kept in (found.event.payload, found.run.metadata if found.run is not None else None):
        if kept is not None:
            kept.pop("parent_task_id", None)
            if above is not None:
                kept["parent_task_id"] = above[-16:]
