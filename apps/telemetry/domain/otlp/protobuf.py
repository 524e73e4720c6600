"""Decodes the protobuf encoding. Values are read where they lie: no detour over dictionaries of whole messages."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from apps.core.errors import problem
from apps.telemetry.domain.otlp.spans import MAX_NESTING, MAX_SPANS, Decoded, Span, defect

_ERROR = Status.STATUS_CODE_ERROR


def decode(body: bytes) -> Decoded:
    """The spans of an ExportTraceServiceRequest. Raises Problem `bad_encoding`, or `too_large` for more than MAX_SPANS spans."""
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise problem("bad_encoding", "The body is not an ExportTraceServiceRequest in protobuf.") from None
    found = Decoded()
    for resource_spans in request.resource_spans:
        resource = attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope.name
            if found.total + len(scope_spans.spans) > MAX_SPANS:
                raise problem("too_large", f"A request holds at most {MAX_SPANS} spans; export smaller batches.")
            for raw in scope_spans.spans:
                _take(found, raw, resource, scope)
    return found


def _take(found: Decoded, raw: Any, resource: dict[str, Any], scope: str) -> None:
    index = found.total
    found.total += 1
    trace, id_, parent = raw.trace_id.hex(), raw.span_id.hex(), raw.parent_span_id.hex()
    start_ns, end_ns = raw.start_time_unix_nano, raw.end_time_unix_nano
    lacking = defect(trace, id_, parent, start_ns, end_ns)
    if lacking is not None:
        found.refused.append((index, lacking))
        return
    status = raw.status
    found.spans.append(
        Span(
            index,
            trace,
            id_,
            parent if parent.strip("0") else "",
            raw.name,
            start_ns,
            end_ns,
            status.code == _ERROR,
            status.message,
            attributes(raw.attributes),
            resource,
            scope,
            [(event.name, attributes(event.attributes)) for event in raw.events],
        )
    )


def attributes(pairs: Any, depth: int = 0) -> dict[str, Any]:
    """Key-value pairs as a dictionary; a value that is not set is null."""
    found: dict[str, Any] = {}
    for pair in pairs:
        value = pair.value
        # Most values are texts; asking for one costs less than asking which kind it is.
        text = value.string_value
        found[pair.key] = text or _value(value, depth)
    return found


def _value(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(each, depth + 1) for each in value.array_value.values] if depth < MAX_NESTING else None
    if kind == "kvlist_value":
        return attributes(value.kvlist_value.values, depth + 1) if depth < MAX_NESTING else None
    plain = getattr(value, kind)
    return plain.hex() if kind == "bytes_value" else plain
