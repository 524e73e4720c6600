"""A part of a tenant's chain as a file with its proof, and the check of such a file without the database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from django.db.models import Max, Min
from django.http import StreamingHttpResponse

from apps.audit.domain.chain import Break, Link, text_hash, verify
from apps.audit.models import Event, Head
from apps.audit.selectors import events, head
from apps.audit.services import content_of, record, text_of
from apps.audit.signing import check, signed
from apps.core.access import Action, demand
from apps.core.context import ActionContext
from apps.core.domain import spreadsheet
from apps.core.errors import Problem, problem

Format = Literal["jsonl", "csv"]
MEDIA_TYPES: dict[Format, str] = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8"}
COLUMNS = (
    *("seq", "at", "action", "actor_kind", "actor_id", "actor", "channel", "request_id", "object_type", "object_id", "reason", "data"),
    *("text_hash", "previous", "hash"),
)
# Events read at once.
PIECE = 1000


@dataclass(frozen=True, slots=True)
class Export:
    """The events of a range of numbers, and what is said of them: `proof` is written as the last line of a JSONL file."""

    tenant_id: UUID
    first: int
    last: int
    proof: Mapping[str, Any]


def export(*, ctx: ActionContext, since: datetime | None, until: datetime | None, file_format: Format) -> Export:
    """The tenant's events from the first at or after `since` to the last before `until`, none left out between. The export itself is
    recorded. Raises Problem `permission_denied`, or `invalid` for a range that ends before it begins."""
    demand(ctx, Action.AUDIT)
    demand(ctx, Action.EXPORT)
    if since is not None and until is not None and until <= since:
        raise problem("invalid", "The range ends before it begins.", pointer="/until")
    with ctx.transaction():
        found = events(ctx)
        if since is not None:
            found = found.filter(at__gte=since)
        if until is not None:
            found = found.filter(at__lt=until)
        ends = found.order_by().aggregate(first=Min("seq"), last=Max("seq"))
        first, last = ends["first"] or 0, ends["last"] or -1
        proof = _proof(ctx, first, last)
        here = Head(tenant_id=ctx.tenant_id)
        record(
            ctx,
            "audit.exported",
            here,
            data={"first": proof["first"], "last": proof["last"], "count": proof["count"], "format": file_format},
        )
    return Export(ctx.tenant_id, first, last, proof)


def _proof(ctx: ActionContext, first: int, last: int) -> dict[str, Any]:
    present = head(ctx)
    edges = {event.seq: event for event in Event.objects.filter(tenant_id=ctx.tenant_id, seq__in=(first, last))}
    return signed(
        {
            "tenant_id": str(ctx.tenant_id),
            "count": len(range(first, last + 1)),
            "first": first if edges else None,
            "last": last if edges else None,
            "previous": bytes(edges[first].previous).hex() if edges else None,
            "hash": bytes(edges[last].hash).hex() if edges else None,
            "head": {"seq": present.seq, "hash": bytes(present.hash).hex()} if present else None,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def answer(ctx: ActionContext, exported: Export, file_format: Format) -> StreamingHttpResponse:
    """The file, sent while it is read; the proof stands in a header as well, since CSV has no place for it."""
    lines = _jsonl(ctx, exported) if file_format == "jsonl" else _csv(ctx, exported)
    response = StreamingHttpResponse(lines, content_type=MEDIA_TYPES[file_format])
    response["Content-Disposition"] = f'attachment; filename="audit-{max(exported.first, 0)}-{max(exported.last, 0)}.{file_format}"'
    response["X-Audit-Proof"] = msgspec.json.encode(exported.proof).decode()
    return response


def _rows(ctx: ActionContext, exported: Export) -> Iterator[Event]:
    """Read after the request's own transaction has ended. Events never change, so each piece has a short transaction of its own, and who
    downloads slowly keeps none open."""
    for begin in range(exported.first, exported.last + 1, PIECE):
        with ctx.transaction():
            found = Event.objects.filter(tenant_id=exported.tenant_id, seq__range=(begin, min(begin + PIECE - 1, exported.last)))
            rows = list(found.select_related("text").order_by("seq"))
        yield from rows


def _jsonl(ctx: ActionContext, exported: Export) -> Iterator[bytes]:
    for event in _rows(ctx, exported):
        text = getattr(event, "text", None)
        line = {
            "event": content_of(event),
            "text": {"salt": bytes(text.salt).hex(), "text": text.text} if text is not None else None,
            "previous": bytes(event.previous).hex(),
            "hash": bytes(event.hash).hex(),
        }
        yield msgspec.json.encode(line) + b"\n"
    yield msgspec.json.encode({"proof": exported.proof}) + b"\n"


def _csv(ctx: ActionContext, exported: Export) -> Iterator[bytes]:
    yield spreadsheet.line(COLUMNS)
    for event in _rows(ctx, exported):
        text = getattr(event, "text", None)
        words = text.text if text is not None else {}
        row = {
            **content_of(event),
            "data": msgspec.json.encode(event.data).decode(),
            "actor": words.get("actor", ""),
            "reason": words.get("reason", ""),
            "previous": bytes(event.previous).hex(),
            "hash": bytes(event.hash).hex(),
        }
        yield spreadsheet.line(row[column] for column in COLUMNS)


class ExportError(ValueError):
    """A file that is not what its proof says; the message says why."""


def verify_file(lines: Iterable[bytes], *, trusted: str | None = None) -> Mapping[str, Any]:
    """The proof of a JSONL export whose every event, text, link and signature holds. `trusted` is the public key, in hex, that must have
    signed it. Raises ExportError."""
    parsed = _parse(lines)
    if not parsed or not isinstance(parsed[-1].get("proof"), dict):
        raise ExportError("its last line is no proof: the file was cut off")
    proof = parsed.pop()["proof"]
    try:
        _verify(parsed, proof, trusted)
    except ExportError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, Problem) as error:
        raise ExportError("a line does not have the fields of an export") from error
    return dict(proof)


def _verify(parsed: list[dict[str, Any]], proof: Mapping[str, Any], trusted: str | None) -> None:
    reason = check(proof, trusted=trusted)
    if reason is not None:
        raise ExportError(f"the proof does not hold: {reason}")
    if len(parsed) != proof["count"]:
        raise ExportError(f"the proof speaks of {proof['count']} events, {len(parsed)} are there")
    if not parsed:
        return
    links = [_link(line) for line in parsed]
    found: Break | None = next(
        (Break(link.seq, "it belongs to another tenant") for link in links if link.content["tenant_id"] != proof["tenant_id"]), None
    )
    previous, last = bytes.fromhex(proof["previous"]), bytes.fromhex(proof["hash"])
    found = found or verify(links, head_seq=int(proof["last"]), head_hash=last, first=int(proof["first"]), previous=previous)
    if found is not None:
        raise ExportError(f"broken at event {found.seq}: {found.reason}")


def _parse(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    parsed = []
    for number, line in enumerate(lines, 1):
        try:
            parsed.append(msgspec.json.decode(line, type=dict[str, Any]))
        except msgspec.MsgspecError as error:
            raise ExportError(f"line {number} is not a JSON object") from error
    return parsed


def _link(line: Mapping[str, Any]) -> Link:
    content, text = dict(line["event"]), line["text"]
    if text is not None and text_hash(bytes.fromhex(text["salt"]), text_of(text["text"])).hex() != content["text_hash"]:
        content["text_hash"] = "the text was changed"
    return Link(int(content["seq"]), content, bytes.fromhex(line["previous"]), bytes.fromhex(line["hash"]))
