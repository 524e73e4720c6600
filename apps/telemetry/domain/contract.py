"""Decodes batches of runs and events (`domain.md` 4, `api.md` Harness endpoints): strict, fast, and a bad item never costs a good one.

The whole envelope is decoded at once; only when something in it is wrong are its items decoded one by one, and the bad ones rejected with
index, code and pointer. An unknown key is refused: a misspelled field would be lost evidence. What PostgreSQL cannot store (U+0000,
unpaired surrogates, bytes that are not UTF-8) and what nests too deep is refused for its item only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from apps.core.domain.redaction import clean_jsons, redact_text
from apps.core.errors import problem
from apps.telemetry.domain.items import (
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_OBJECT_BYTES,
    MAX_TEXT_BYTES,
    Count,
    EventEnvelope,
    EventItem,
    Id,
    RunEnvelope,
    RunItem,
)

__all__ = ["DecodedBatch", "EventItem", "Rejection", "RunItem", "body_hash", "decode_events", "decode_runs", "encode_item", "hash_body"]

Item = TypeVar("Item", RunItem, EventItem)

_ENCODER = msgspec.json.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one item is not stored. `index` is its place in the batch, `pointer` an RFC 6901 pointer into the body that was sent."""

    index: int
    code: str
    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class DecodedBatch(Generic[Item]):
    """A batch: the good items with their index in what was sent, their canonical JSON (`bodies`, in step with `items`), and the rejections.

    `flags` are what the decoder found of an item, by its id.
    """

    producer: str | None
    seq: int | None
    items: list[tuple[int, Item]]
    bodies: list[bytes]
    rejected: list[Rejection]
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class _RawRuns(Struct, forbid_unknown_fields=True):
    runs: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_ITEMS)]
    producer: Id | None = None
    seq: Count | None = None


class _RawEvents(Struct, forbid_unknown_fields=True):
    events: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_ITEMS)]
    producer: Id | None = None
    seq: Count | None = None


_RUN = msgspec.json.Decoder(RunItem)
_EVENT = msgspec.json.Decoder(EventItem)
_RUNS = msgspec.json.Decoder(RunEnvelope)
_EVENTS = msgspec.json.Decoder(EventEnvelope)
_RAW_RUNS = msgspec.json.Decoder(_RawRuns)
_RAW_EVENTS = msgspec.json.Decoder(_RawEvents)

# What the decoder raises on bytes that are not JSON, or nest deeper than it can follow. ValidationError (JSON of the wrong shape) is a DecodeError.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_runs(body: bytes) -> DecodedBatch[RunItem]:
    """Decodes `{"producer", "seq", "runs": [...]}`. Raises Problem `bad_encoding` (not JSON), or `invalid` or `unknown_key` (the envelope)."""
    try:
        envelope = _RUNS.decode(body)
    except _UNREADABLE:
        raw = _raw_envelope(body, _RAW_RUNS, "runs")
        return _each(raw.producer, raw.seq, raw.runs, _RUN, "runs")
    return _batch(envelope.producer, envelope.seq, list(enumerate(envelope.runs)), [], "runs", "run_id")


def decode_events(body: bytes) -> DecodedBatch[EventItem]:
    """Decodes `{"producer", "seq", "events": [...]}`. Raises as `decode_runs` does."""
    try:
        envelope = _EVENTS.decode(body)
    except _UNREADABLE:
        raw = _raw_envelope(body, _RAW_EVENTS, "events")
        return _each(raw.producer, raw.seq, raw.events, _EVENT, "events")
    return _batch(envelope.producer, envelope.seq, list(enumerate(envelope.events)), [], "events", "event_id")


def encode_item(item: RunItem | EventItem) -> bytes:
    """The item's canonical JSON: fields in the order of the contract, keys of objects sorted, absent and null fields left out."""
    return _ENCODER.encode(item)


def hash_body(body: bytes) -> bytes:
    """16 bytes of BLAKE2b over an item's canonical JSON: equal content has an equal hash, whatever its order of keys and spelling."""
    return blake2b(body, digest_size=16).digest()


def body_hash(item: RunItem | EventItem) -> bytes:
    """`hash_body` of `encode_item`, for the key ledger (`database.md`, Ingest)."""
    return hash_body(_ENCODER.encode(item))


def _raw_envelope(body: bytes, decoder: msgspec.json.Decoder[Any], kind: str) -> Any:
    """The envelope with its items undecoded, once more with what spoils the whole body confined to its item."""
    for candidate in (body, None):
        try:
            return decoder.decode(_confined(body) if candidate is None else candidate)
        except msgspec.ValidationError as error:
            code, pointer, detail = _explain(str(error))
            if pointer == f"/{kind}" and "length" in detail:
                detail = f"A batch holds 1 to {MAX_ITEMS} {kind}."
            raise problem(code, detail, pointer=pointer) from None
        except _UNREADABLE:
            continue
    raise problem("bad_encoding", "The body is not JSON in UTF-8. Send one object with the content type application/json.", pointer="")


def _each(
    producer: str | None, seq: int | None, raws: Sequence[msgspec.Raw], decoder: msgspec.json.Decoder[Item], kind: str
) -> DecodedBatch[Item]:
    items: list[tuple[int, Item]] = []
    rejected: list[Rejection] = []
    for index, raw in enumerate(raws):
        try:
            items.append((index, _decode_one(raw, decoder)))
        except msgspec.ValidationError as error:
            code, pointer, detail = _explain(str(error))
            rejected.append(Rejection(index, code, f"/{kind}/{index}{pointer}", detail))
        except _UNREADABLE:
            rejected.append(Rejection(index, "invalid", f"/{kind}/{index}", _UNSTORABLE))
    return _batch(producer, seq, items, rejected, kind, "run_id" if kind == "runs" else "event_id")


def _decode_one(raw: msgspec.Raw, decoder: msgspec.json.Decoder[Item]) -> Item:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        raise
    except _UNREADABLE:
        # Confined, it can be said which field holds what cannot be read.
        return decoder.decode(_confined(bytes(raw)))


def _batch(
    producer: str | None, seq: int | None, items: list[tuple[int, Item]], rejected: list[Rejection], kind: str, key: str
) -> DecodedBatch[Item]:
    """Applies what types cannot say: storable text, limits of bytes and depth, no secret in a key."""
    if (producer is None) != (seq is None):
        missing = "producer" if producer is None else "seq"
        raise problem("invalid", "producer and seq come together: a producer numbers its batches.", pointer=f"/{missing}")
    if producer is not None and ("\0" in producer or redact_text(producer)[1]):
        raise problem("invalid", "producer must be a plain name: it holds U+0000 or what looks like a secret.", pointer="/producer")
    keys = [getattr(item, key) for _, item in items]
    plain = clean_jsons([name.encode() for name in keys])
    kept: list[tuple[int, Item]] = []
    bodies: list[bytes] = []
    for (index, item), name, clean in zip(items, keys, plain, strict=True):
        secret = not clean and refused(name, redact_text(name)[1])
        found = (key, "invalid", f"{key} holds what looks like a secret. Send another id.") if secret else None
        body = b""
        if found is None:
            try:
                body = _ENCODER.encode(item)
            except RecursionError:
                found = _refusal(item)
            else:
                if len(body) > MAX_OBJECT_BYTES or b"\\u0000" in body or body.count(b"{") + body.count(b"[") > MAX_DEPTH:
                    found = _refusal(item)
        if found is None:
            kept.append((index, item))
            bodies.append(body)
        else:
            field, code, detail = found
            rejected.append(Rejection(index, code, f"/{kind}/{index}/{field}", detail))
    rejected.sort(key=lambda rejection: rejection.index)
    return DecodedBatch(producer, seq, kept, bodies, rejected)


def refused(name: str, fired: Iterable[str]) -> set[str]:
    """Of the rules that fired in an id those for which it is not taken as a key. A number is, even one in ten that passes for a card's, or one
    for a telephone's: harnesses count with long numbers."""
    return set(fired) - _NUMBERS if name.isdigit() else set(fired)


_NUMBERS = frozenset({"card_number", "phone"})
_UNSTORABLE = f"Text must be UTF-8 without U+0000 and unpaired surrogates, JSON at most {MAX_DEPTH} levels deep."
_TEXTS = ("input", "output", "message")


def _refusal(item: RunItem | EventItem) -> tuple[str, str, str] | None:
    """(field, code, detail) of the first field that cannot be stored, else None."""
    for name in item.__struct_fields__:
        value = getattr(item, name)
        if not isinstance(value, str | list | dict):
            continue
        if not storable(value):
            return name, "invalid", _UNSTORABLE
        limit = MAX_TEXT_BYTES if name in _TEXTS else MAX_OBJECT_BYTES
        size = len(value.encode() if isinstance(value, str) else _ENCODER.encode(value))
        if size > limit and (name in _TEXTS or isinstance(value, dict)):
            return name, "too_large", f"{name} has {size} bytes; at most {limit} are stored."
    return None


def storable(value: Any, *, nul: bool = False) -> bool:
    """No more than MAX_DEPTH levels, and no U+0000 in any string or key (with `nul` there may be). Not recursive: what it judges may be deep."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for member in level:
            if isinstance(member, str):
                if "\0" in member and not nul:
                    return False
            elif isinstance(member, dict):
                below += member.keys()
                below += member.values()
            elif isinstance(member, list):
                below += member
        if not below:
            return True
        level = below
    return not any(isinstance(member, dict | list) or (isinstance(member, str) and "\0" in member and not nul) for member in level)


_AT = re.compile(r" - at `(?:key` in `)?\$(.*)`$", re.DOTALL)
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")
_NAMED = re.compile(r"Object (contains unknown|missing required) field `(.*)`", re.DOTALL)
_OWN = re.compile(r"([a-z_]+): (.*)", re.DOTALL)


def _explain(message: str) -> tuple[str, str, str]:
    """(code, pointer, detail) of a decoder's message, which ends in a path such as `$.runs[3].tier`."""
    at = _AT.search(message)
    pointer = "".join(f"/{name or number}" for name, number in _STEP.findall(at[1])) if at else ""
    detail = message[: at.start()] if at else message
    named = _NAMED.fullmatch(detail)
    if named and named[1] == "missing required":
        return "invalid", f"{pointer}/{named[2]}", f"{named[2]} is required."
    if named:
        key = redact_text(named[2])[0][:200]
        return (
            "unknown_key",
            f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}",
            f"There is no field {key!r}. Leave it out, or put it into metadata.",
        )
    if detail.startswith("Invalid enum value"):
        # The decoder repeats the value, which may be anything.
        return "invalid", pointer, f"{pointer.rpartition('/')[2]} holds none of the values that it may have."
    own = _OWN.fullmatch(detail)
    if own:
        return "invalid", f"{pointer}/{own[1]}", f"{own[1]}: {own[2]}."
    return "invalid", pointer, f"{detail.replace('`', '')}."


_PAIR_OR_LONE = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL)
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{]+|[\]}]+', re.DOTALL)
_MARK = r"\u0000"


def _confined(body: bytes) -> bytes:
    """The body with what no decoder can read (bytes that are not UTF-8, unpaired surrogates, endless nesting) replaced by U+0000.

    The item that holds it is then rejected for U+0000, and its neighbours are read.
    """
    text = re.sub("[\udc80-\udcff]", lambda _: _MARK, body.decode("utf-8", "surrogateescape"))
    text = _PAIR_OR_LONE.sub(lambda match: _MARK if match[1] else match[0], text)
    pieces: list[str] = []
    depth = position = 0
    limit = MAX_DEPTH + 8
    for token in _TOKEN.finditer(text):
        if token[0][0] == '"':
            continue
        start = token.start()
        for offset in range(len(token[0])):
            opening = token[0][0] in "[{"
            depth += 1 if opening else -1
            if opening and depth == limit + 1:
                pieces += text[position : start + offset], f'"{_MARK}"'
            elif not opening and depth == limit:
                position = start + offset + 1
    if depth <= limit:
        pieces.append(text[position:])
    return "".join(pieces).encode("utf-8", "surrogatepass")
