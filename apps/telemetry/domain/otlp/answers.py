"""What an OTLP/HTTP request is answered with, in its own encoding."""

from __future__ import annotations

from msgspec import Struct
from msgspec.json import encode as encode_json
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse as ResponseMessage

PROTOBUF, JSON = "application/x-protobuf", "application/json"
# google.rpc.Code by HTTP status; else UNKNOWN.
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 413: 3, 415: 3, 422: 3, 429: 8, 500: 13, 503: 14}
_MAX_MESSAGE = 1000


class PartialSuccess(Struct, rename="camel", omit_defaults=True):
    """`rejected_spans` is a 64-bit number: a text in JSON."""

    rejected_spans: str = "0"
    error_message: str = ""


class ExportTraceServiceResponse(Struct, rename="camel", omit_defaults=True):
    """`{}` when every span was taken."""

    partial_success: PartialSuccess | None = None


def answer(media_type: str, rejected: int, message: str) -> bytes:
    """The body of a 200: how many spans were refused for good, and why. None refused is an empty message."""
    if media_type == PROTOBUF:
        response = ResponseMessage()
        if rejected:
            response.partial_success.rejected_spans = rejected
            response.partial_success.error_message = message
        return response.SerializeToString()
    partial = PartialSuccess(str(rejected), message) if rejected else None
    return encode_json(ExportTraceServiceResponse(partial))


def status_message(http_status: int, message: str) -> bytes:
    """A google.rpc.Status in protobuf: `int32 code = 1; string message = 2` (OTLP, Failures: errors carry one)."""
    text = message[:_MAX_MESSAGE].encode()
    return b"\x08" + bytes([_CODES.get(http_status, 2)]) + b"\x12" + _varint(len(text)) + text


def _varint(number: int) -> bytes:
    pieces = bytearray()
    while number > 0x7F:
        pieces.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*pieces, number])
