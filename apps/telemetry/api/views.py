"""`POST telemetry/runs` and `telemetry/events`: plain views, so that nothing stands between a harness and the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from apps.core.access import Action
from apps.core.api.plain import Parameter, documented
from apps.core.context import EVERY_USER, ActionContext
from apps.core.errors import Problem, problem
from apps.core.http import request_id_of
from apps.core.limits import address_of
from apps.identity.permissions import require
from apps.identity.tokens import authenticate
from apps.telemetry.api.body import read_json_body
from apps.telemetry.api.gate import Gate
from apps.telemetry.domain.contract import DecodedBatch, decode_events, decode_runs
from apps.telemetry.domain.items import EventEnvelope, EventItem, RunEnvelope, RunItem
from apps.telemetry.selectors.rules import redactor_of
from apps.telemetry.services import Receipt, Sender, ingest_events, ingest_runs
from apps.telemetry.services.screening import screen_error

Item = TypeVar("Item", RunItem, EventItem)

# A batch takes some 40 MiB at the most while it is worked on; more at a time than the database can use at once gains nothing. Together they are
# fewer than the threads of a web process (16 under `make up`), so that batches never keep resolve and the pages waiting.
gate = Gate(working=4, waiting=8, patience_s=2.0)

ENCODING = Parameter("Content-Encoding", "gzip or zstd; the limit of 5 MiB holds before and after decompression.", where="header")


@csrf_exempt
@documented(
    method="POST",
    operation_id="telemetry_runs_create",
    summary="Send a batch of runs",
    request=RunEnvelope,
    responses={202: Receipt},
    parameters=[ENCODING],
)
def runs_view(request: HttpRequest) -> HttpResponse:
    """1 to 1000 runs, 5 MiB. A bad item is rejected by its index and never costs a good one; an item that was stored before counts as a
    duplicate. The answer is sent after the durable write. A producer numbers all its batches, runs and events alike, by one."""
    return _take(request, decode_runs, ingest_runs)


@csrf_exempt
@documented(
    method="POST",
    operation_id="telemetry_events_create",
    summary="Send a batch of events",
    request=EventEnvelope,
    responses={202: Receipt},
    parameters=[ENCODING],
)
def events_view(request: HttpRequest) -> HttpResponse:
    """1 to 1000 events, 5 MiB; else as for runs."""
    return _take(request, decode_events, ingest_events)


def _take(request: HttpRequest, decode: Callable[[bytes], DecodedBatch[Item]], ingest: Callable[..., Receipt]) -> HttpResponse:
    if request.method != "POST":
        raise problem("method_not_allowed", "Batches of telemetry are sent with POST.")
    ctx, sender = sender_of(request)
    body = read_json_body(request)
    with gate():
        receipt = ingest(ctx=ctx, sender=sender, batch=_decoded(decode, body, ctx))
    return HttpResponse(msgspec.json.encode(receipt), status=202, content_type="application/json")


def _decoded(decode: Callable[[bytes], DecodedBatch[Item]], body: bytes, ctx: ActionContext) -> DecodedBatch[Item]:
    try:
        return decode(body)
    except Problem as error:
        raise screen_error(error, redactor_of(ctx.tenant_id)) from None


def sender_of(request: HttpRequest) -> tuple[ActionContext, Sender]:
    """Who sends, before a byte of the body is read."""
    principal = authenticate(request.META.get("HTTP_AUTHORIZATION", ""), address_of(request))
    ctx = principal.context(request_id_of(request))
    # A batch holds runs of any of the harness's users.
    ctx.user_ref = EVERY_USER
    require(ctx, Action.TELEMETRY, tenant_id=principal.tenant_id, team_id=principal.team_id)
    return ctx, Sender(principal.tenant, principal.agent, principal.team)
