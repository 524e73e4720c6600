"""The body of an ingest request: bounded before and after decompression, so that no request costs more memory than its limit."""

from __future__ import annotations

import zlib
from typing import Any

import zstandard
from django.http import HttpRequest, UnreadablePostError

from apps.core.errors import Problem, problem

MAX_BODY_BYTES = 5 * 1024 * 1024
# A gzip stream may consist of several members; each costs a pass over what follows it.
MAX_MEMBERS = 100
# The window that every zstd decoder supports (RFC 8878, 3.1.1.1.2).
MAX_WINDOW_BYTES = 8 * 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS


def read_json_body(request: HttpRequest, *, limit: int = MAX_BODY_BYTES) -> bytes:
    """The decoded bytes of a JSON request; as `read_body`."""
    return read_body(request, "application/json", limit=limit)


def media_type_of(request: HttpRequest) -> str:
    """The Content-Type without its parameters, in lower case."""
    media_type: str = request.META.get("CONTENT_TYPE", "")
    return media_type.partition(";")[0].strip().lower()


def read_body(request: HttpRequest, *media_types: str, limit: int = MAX_BODY_BYTES) -> bytes:
    """The decoded bytes of a request of one of these media types, at most `limit` sent and `limit` decompressed.

    Raises Problem `unsupported_media_type`, `too_large`, `bad_encoding`.
    """
    if media_type_of(request) not in media_types:
        raise problem("unsupported_media_type", f"Send Content-Type: {' or '.join(media_types)}.")
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "zstd"):
        raise problem("unsupported_media_type", "Content-Encoding may be gzip or zstd.")
    sent = _read(request, limit)
    if encoding == "gzip":
        return gunzip(sent, limit)
    if encoding == "zstd":
        return unzstd(sent, limit)
    return sent


def gunzip(sent: bytes, limit: int) -> bytes:
    """Raises Problem `bad_encoding` for what is not one whole gzip stream, `too_large` when it holds more than `limit` bytes."""
    pieces: list[bytes] = []
    left, rest = limit, sent
    try:
        for _ in range(MAX_MEMBERS):
            member = zlib.decompressobj(_GZIP)
            piece = member.decompress(rest, left + 1)
            left -= len(piece)
            if left < 0:
                raise _too_large(limit, "decompressed")
            if not member.eof:
                raise _broken("gzip")
            pieces.append(piece)
            rest = member.unused_data
            if not rest:
                return b"".join(pieces) if len(pieces) > 1 else piece
    except zlib.error:
        raise _broken("gzip") from None
    raise problem("bad_encoding", f"The gzip stream has more than {MAX_MEMBERS} members; compress the body in one piece.")


def unzstd(sent: bytes, limit: int) -> bytes:
    """Raises Problem `bad_encoding` for what is not zstd, `too_large` when it holds more than `limit` bytes."""
    try:
        declared = zstandard.frame_content_size(sent)
        if declared > limit:
            raise _too_large(limit, "decompressed")
        reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).stream_reader(sent, read_across_frames=True)
        found = reader.read(limit + 1)
    except zstandard.ZstdError:
        raise _broken("zstd") from None
    if len(found) > limit:
        raise _too_large(limit, "decompressed")
    if len(found) < max(declared, 1):
        raise _broken("zstd")
    return found


def _read(request: HttpRequest, limit: int) -> bytes:
    declared = request.META.get("CONTENT_LENGTH") or ""
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit, "sent")
    stream: Any = request
    if not declared and request.META.get("wsgi.input_terminated"):
        # Chunked: Django takes a missing length for an empty body; the server says that its stream ends by itself.
        stream = request.META["wsgi.input"]
    try:
        sent: bytes = stream.read(limit + 1)
    except UnreadablePostError:
        raise problem("bad_encoding", "The body ended before its Content-Length.") from None
    if len(sent) > limit:
        raise _too_large(limit, "sent")
    return sent


def _too_large(limit: int, when: str) -> Problem:
    return problem("too_large", f"The body is over {limit} bytes {when}; send fewer items in a batch.")


def _broken(encoding: str) -> Problem:
    return problem("bad_encoding", f"The body is not a whole {encoding} stream, though Content-Encoding says so.")
