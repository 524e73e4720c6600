"""Spans as an exporter sends them, in both encodings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from apps.telemetry.domain.items import EventItem, RunItem
from apps.telemetry.domain.otlp import jsoning, protobuf
from apps.telemetry.domain.otlp.batch import TraceBatch, to_batch
from tests.telemetry.sending import Harness

_numbers = count(1)
NOW_NS = 4_000_000_000_000_000_000
PROTOBUF = "application/x-protobuf"
PARENT = {"parent": "bb" * 8}


def any_value(value: Any) -> AnyValue:
    found = AnyValue()
    if isinstance(value, bool):
        found.bool_value = value
    elif isinstance(value, int):
        found.int_value = value
    elif isinstance(value, float):
        found.double_value = value
    elif isinstance(value, str):
        found.string_value = value
    elif isinstance(value, list):
        found.array_value.values.extend(any_value(each) for each in value)
    elif isinstance(value, Mapping):
        found.kvlist_value.values.extend(pairs(value))
    return found


def pairs(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def new_trace() -> str:
    return f"{next(_numbers):032x}"


def span(name: str, attributes: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A span of one second; `fields` replace its own: trace, id, parent, start, end (ns), error (its message), events (name -> attributes)."""
    return {"name": name, "attributes": attributes or {}, "trace": "f" * 32, "id": f"{next(_numbers):016x}", "parent": "", **fields}


def request(
    spans: Iterable[Mapping[str, Any]], resource: Mapping[str, Any] | None = None, scope: str = "tests"
) -> ExportTraceServiceRequest:
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add()
    resource_spans.resource.attributes.extend(pairs({"service.name": "desk", **(resource or {})}))
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = scope
    for given in spans:
        made = scope_spans.spans.add(
            trace_id=bytes.fromhex(given["trace"]),
            span_id=bytes.fromhex(given["id"]),
            parent_span_id=bytes.fromhex(given["parent"]),
            name=given["name"],
            start_time_unix_nano=given.get("start", NOW_NS),
            end_time_unix_nano=given.get("end", NOW_NS + 10**9),
            attributes=pairs(given["attributes"]),
        )
        if "error" in given:
            made.status.code, made.status.message = 2, given["error"]
        for name, attributes in given.get("events", ()):
            made.events.add(name=name, attributes=pairs(attributes))
    return message


def as_protobuf(spans: Iterable[Mapping[str, Any]], **more: Any) -> bytes:
    return request(spans, **more).SerializeToString()


def as_json(spans: Iterable[Mapping[str, Any]], **more: Any) -> bytes:
    """OTLP's JSON differs from protobuf's own: ids are hex."""
    sent = MessageToDict(request([], **more))
    bare = sent["resourceSpans"][0]["scopeSpans"][0]
    bare["spans"] = []
    for given in spans:
        made = MessageToDict(request([given]))["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
        made |= {"traceId": given["trace"], "spanId": given["id"], "parentSpanId": given["parent"]}
        if "status" in made:
            made["status"]["code"] = 2
        bare["spans"].append(made)
    return json.dumps(sent).encode()


def post(sender: Harness, body: bytes, media_type: str = PROTOBUF, **environ: Any) -> Any:
    return sender.post("/api/v1/otlp/v1/traces", body, CONTENT_TYPE=media_type, **environ)


def send(sender: Harness, *spans: Mapping[str, Any], **more: Any) -> None:
    """A request of which every span must be taken."""
    response = post(sender, as_protobuf(spans, **more))
    assert (response.status_code, response.content) == (200, b"")


def batch_of(*spans: dict[str, Any], **more: Any) -> TraceBatch:
    """Of both encodings, which must say the same."""
    one, two = to_batch(protobuf.decode(as_protobuf(spans, **more))), to_batch(jsoning.decode(as_json(spans, **more)))
    assert one == two
    return one


def event_of(given: dict[str, Any], **more: Any) -> EventItem:
    ((_, event),) = batch_of(given, **more).events.items
    return event


def run_of(given: dict[str, Any], **more: Any) -> RunItem:
    ((_, run),) = batch_of(given, **more).runs.items
    return run
