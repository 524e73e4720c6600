"""The body of a heartbeat: strict, small, and without secrets before anything of it is stored."""

from __future__ import annotations

import re
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from apps.core.domain.redaction import Redactor
from apps.core.errors import problem
from apps.fleet.domain.liveness import DEFAULT_TTL_S, LONGEST_TTL_S, SHORTEST_TTL_S

MAX_BODY_BYTES = 64 * 1024
MAX_SERVED = 100
MAX_ACKS = 500

Name = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Slug = Annotated[str, Meta(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]


class Served(Struct, frozen=True, forbid_unknown_fields=True):
    """One pack that the harness serves, as resolve answered it without a user."""

    pack: Slug
    digest: Annotated[str, Meta(pattern="^sha256:[0-9a-f]{64}$")]
    arm: Annotated[str, Meta(pattern="^[a-z][a-z_]{0,19}$")] = "champion"


class Heartbeat(Struct, frozen=True, forbid_unknown_fields=True):
    """`instance` tells the harness processes of one agent apart; `ttl_s` is how often this one sends heartbeats, in seconds."""

    serving: Annotated[list[Served], Meta(max_length=MAX_SERVED)] = []
    acks: Annotated[list[UUID], Meta(max_length=MAX_ACKS)] = []
    status: Name = ""
    instance: Name = ""
    ttl_s: Annotated[int, Meta(ge=SHORTEST_TTL_S, le=LONGEST_TTL_S)] = DEFAULT_TTL_S


class Beat(Struct, frozen=True):
    """What may be stored of a heartbeat: secrets are replaced, and `redactions` names the rules that fired. One entry a pack and arm."""

    serving: dict[tuple[str, str], str]
    acks: list[UUID]
    status: str
    instance: str
    ttl_s: int
    redactions: list[str]


_DECODER = msgspec.json.Decoder(Heartbeat)


def decode(body: bytes, redactor: Redactor) -> Beat:
    """What may be stored of it, by the tenant's redactor. Raises Problem `bad_encoding` for what is not JSON, `unknown_key` or `invalid` for
    another shape."""
    try:
        sent = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise _refused(str(error), redactor) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise problem("bad_encoding", "The body is not JSON in UTF-8.") from None
    _refuse_line_ends(sent)
    names: set[str] = set()

    def clean(text: str) -> str:
        found, fired = redactor.redact_text(text)
        names.update(fired)
        return found

    status, instance, served = sent.status, sent.instance, sent.serving
    # One look at all of it: nearly every heartbeat is free of secrets.
    if redactor.clean_json(msgspec.json.encode([status, instance, [each.pack for each in served]])):
        serving = {(each.pack, each.arm): each.digest for each in served}
    else:
        status = clean(status)
        # Processes are told apart by it.
        instance, fired = redactor.reference(instance)
        names.update(fired)
        serving = {(clean(each.pack), each.arm): each.digest for each in served}
    if len(serving) < len(served):
        raise problem("invalid", "A pack is served once for each arm.", pointer="/serving")
    return Beat(serving, list(dict.fromkeys(sent.acks)), status[:200], instance[:200], sent.ttl_s, sorted(names))


def _refuse_line_ends(sent: Heartbeat) -> None:
    """A pattern's `$` lets one pass at the very end."""
    named = {"/status": sent.status, "/instance": sent.instance}
    for index, each in enumerate(sent.serving):
        named |= {f"/serving/{index}/{name}": getattr(each, name) for name in ("pack", "digest", "arm")}
    for pointer, text in named.items():
        if text.endswith("\n"):
            raise problem("invalid", "Line breaks are not taken.", pointer=pointer)


_AT = re.compile(r" - at `\$(.*)`$", re.DOTALL)
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


def _refused(message: str, redactor: Redactor) -> Exception:
    """Of a decoder's message, which ends in a path such as `$.serving[3].digest`."""
    at = _AT.search(message)
    pointer = "".join(f"/{name or number}" for name, number in _STEP.findall(at[1])) if at else ""
    detail = message[: at.start()] if at else message
    unknown = _UNKNOWN.fullmatch(detail)
    if unknown:
        key = redactor.redact_text(unknown[1])[0][:100]
        return problem(
            "unknown_key", f"A heartbeat has no field {key!r}.", pointer=f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
        )
    return problem("invalid", f"{detail.replace('`', '')}.", pointer=pointer)
