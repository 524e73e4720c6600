"""Decodes the JSON encoding (OTLP, JSON Protobuf Encoding): ids in hex, 64-bit numbers as texts or numbers, unknown fields ignored."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from apps.core.errors import problem
from apps.telemetry.domain.otlp.spans import MAX_NESTING, MAX_SPANS, Decoded, Span, defect

_INT64 = range(-(2**63), 2**63)
_HEX = re.compile(r"[0-9a-fA-F]*")


class _Camel(Struct, rename="camel", gc=False):
    """Fields are named as protobuf's JSON names them; null is the same as absent."""


class AnyValue(_Camel):
    """One of them is set. `arrayValue` is `{"values": [AnyValue, …]}`, `kvlistValue` `{"values": [{"key", "value"}, …]}`."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    array_value: dict[str, Any] | None = None
    kvlist_value: dict[str, Any] | None = None
    bytes_value: str | None = None


class KeyValue(_Camel):
    key: str = ""
    value: AnyValue | None = None


class SpanEvent(_Camel):
    name: str | None = None
    time_unix_nano: int | str | None = None
    attributes: list[KeyValue] | None = None


class SpanStatus(_Camel):
    code: int | str | None = None
    message: str | None = None


class SpanJson(_Camel):
    """A span; ids are hexadecimal, times nanoseconds since 1970."""

    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str | None = None
    start_time_unix_nano: int | str | None = None
    end_time_unix_nano: int | str | None = None
    attributes: list[KeyValue] | None = None
    events: list[SpanEvent] | None = None
    status: SpanStatus | None = None


class Resource(_Camel):
    attributes: list[KeyValue] | None = None


class Scope(_Camel):
    name: str | None = None


class ScopeSpans(_Camel):
    spans: list[SpanJson] | None = None
    scope: Scope | None = None


class ResourceSpans(_Camel):
    scope_spans: list[ScopeSpans] | None = None
    resource: Resource | None = None


class ExportTraceServiceRequest(_Camel):
    """OTLP's request, in JSON. In protobuf it is `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`."""

    resource_spans: list[ResourceSpans] | None = None


class _RawScopeSpans(_Camel):
    spans: list[msgspec.Raw] | None = None
    scope: Scope | None = None


class _RawResourceSpans(_Camel):
    scope_spans: list[_RawScopeSpans] | None = None
    resource: Resource | None = None


class _RawRequest(_Camel):
    resource_spans: list[_RawResourceSpans] | None = None


_REQUEST = msgspec.json.Decoder(ExportTraceServiceRequest)
_RAW = msgspec.json.Decoder(_RawRequest)
_SPAN = msgspec.json.Decoder(SpanJson)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# What values raise that are not of OTLP's shape.
_ILL_TYPED = (ValueError, TypeError, AttributeError)
# An escape of half a character: what JavaScript writes when a text was cut inside one.
_PAIR_OR_LONE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL)


def decode(body: bytes) -> Decoded:
    """The spans of an ExportTraceServiceRequest. A span of the wrong shape is refused alone. Raises Problem `bad_encoding` for a
    body that is not JSON or no such request, `too_large` for more than MAX_SPANS spans."""
    request: Any
    try:
        request = _REQUEST.decode(body)
    except _UNREADABLE:
        body = _mended(body)
        try:
            request = _RAW.decode(body)
        except msgspec.ValidationError as error:
            raise problem("bad_encoding", f"The body is no ExportTraceServiceRequest: {error}.", pointer="") from None
        except _UNREADABLE:
            raise problem("bad_encoding", "The body is not JSON in UTF-8, though its content type says so.", pointer="") from None
    found = Decoded()
    for resource_spans in request.resource_spans or ():
        resource = _resource(resource_spans.resource)
        for scope_spans in resource_spans.scope_spans or ():
            scope = (scope_spans.scope.name or "") if scope_spans.scope is not None else ""
            if found.total + len(scope_spans.spans or ()) > MAX_SPANS:
                raise problem("too_large", f"A request holds at most {MAX_SPANS} spans; export smaller batches.")
            for raw in scope_spans.spans or ():
                _take(found, raw, resource, scope)
    return found


def _resource(resource: Resource | None) -> dict[str, Any]:
    """Its attributes; none of them when one cannot be read, since no span is to be lost for it."""
    try:
        return _attributes(resource.attributes) if resource is not None else {}
    except _ILL_TYPED:
        return {}


def _take(found: Decoded, raw: SpanJson | msgspec.Raw, resource: dict[str, Any], scope: str) -> None:
    index = found.total
    found.total += 1
    try:
        span = raw if isinstance(raw, SpanJson) else _SPAN.decode(raw)
        trace, id_, parent = _id(span.trace_id), _id(span.span_id), _id(span.parent_span_id)
        start_ns, end_ns = _number(span.start_time_unix_nano), _number(span.end_time_unix_nano)
        attributes = _attributes(span.attributes)
        events = [(event.name or "", _attributes(event.attributes)) for event in span.events or ()]
    except (*_UNREADABLE, *_ILL_TYPED):
        found.refused.append((index, "a field of another type than OTLP's"))
        return
    lacking = defect(trace, id_, parent, start_ns, end_ns)
    if lacking is not None:
        found.refused.append((index, lacking))
        return
    failed, problem_ = False, ""
    if span.status is not None:
        failed, problem_ = span.status.code in (2, "2", "STATUS_CODE_ERROR"), span.status.message or ""
    parent = parent if parent.strip("0") else ""
    name = span.name or ""
    found.spans.append(Span(index, trace, id_, parent, name, start_ns, end_ns, failed, problem_, attributes, resource, scope, events))


def _mended(body: bytes) -> bytes:
    """With what no decoder reads (bytes that are not UTF-8, halves of characters) replaced by U+FFFD."""
    body = body.decode("utf-8", "replace").encode()
    return _PAIR_OR_LONE.sub(lambda match: rb"\ufffd" if match[1] else match[0], body)


def _id(text: str | None) -> str:
    if not text:
        return ""
    if not _HEX.fullmatch(text):
        raise ValueError(text)
    return text.lower()


def _number(value: int | str | None) -> int:
    """Raises ValueError for what is not a 64-bit number."""
    number = int(value) if value is not None and len(str(value)) < 21 else 0
    if not 0 <= number < 2**63:
        raise ValueError(value)
    return number


def _attributes(pairs: list[KeyValue] | None) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs or ()}


def _value(value: AnyValue | None) -> Any:
    """Raises ValueError for a number that is none, and for what is nested in it and no AnyValue."""
    if value is None:
        return None
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        return _integer(value.int_value)
    if value.bool_value is not None:
        return value.bool_value
    if value.double_value is not None:
        return float(value.double_value)
    if value.array_value is not None:
        return _nested("arrayValue", value.array_value, 0)
    if value.kvlist_value is not None:
        return _nested("kvlistValue", value.kvlist_value, 0)
    return value.bytes_value


def _nested(kind: str, value: Any, depth: int) -> Any:
    """What stands inside an array or a list of pairs, which may hold such again."""
    if kind == "intValue":
        return _integer(value)
    if kind == "doubleValue":
        return float(value)
    if kind not in ("arrayValue", "kvlistValue"):
        return value if isinstance(value, str | bool) else None
    if depth == MAX_NESTING:
        return None
    members = value.get("values") or []
    if kind == "arrayValue":
        return [_member(member, depth) for member in members]
    return {str(member.get("key", "")): _member(member.get("value"), depth) for member in members}


def _member(member: Any, depth: int) -> Any:
    return next((_nested(kind, value, depth + 1) for kind, value in (member or {}).items() if value is not None), None)


def _integer(value: Any) -> int:
    number = int(value) if isinstance(value, int | str) and len(str(value)) < 21 else 2**63
    if number not in _INT64:
        raise ValueError(number)
    return number
