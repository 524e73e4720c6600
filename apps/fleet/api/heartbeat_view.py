"""`POST heartbeat`: a plain view, so that nothing stands between a harness and the database."""

from __future__ import annotations

import msgspec
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from apps.core.api.plain import documented
from apps.core.errors import problem
from apps.core.http import request_id_of
from apps.core.limits import address_of
from apps.fleet.domain.heartbeat import MAX_BODY_BYTES, Heartbeat, decode
from apps.fleet.services import Beaten, beat
from apps.identity.tokens import authenticate
from apps.telemetry.api.body import read_json_body
from apps.telemetry.selectors.rules import redactor_of


@csrf_exempt
@documented(
    method="POST",
    operation_id="heartbeat_create",
    summary="Say that a harness is there, and what it serves",
    request=Heartbeat,
    responses={200: Beaten},
)
def heartbeat_view(request: HttpRequest) -> HttpResponse:
    """Answers what waits for the agent: commands, each until its id comes in `acks`, and the packs that it should resolve again. A harness
    counts as live for three times its `ttl_s`. 64 KiB at most."""
    if request.method != "POST":
        raise problem("method_not_allowed", "Heartbeats are sent with POST.")
    principal = authenticate(request.META.get("HTTP_AUTHORIZATION", ""), address_of(request))
    ctx = principal.context(request_id_of(request))
    sent = decode(read_json_body(request, limit=MAX_BODY_BYTES), redactor_of(principal.tenant_id))
    return HttpResponse(msgspec.json.encode(beat(ctx=ctx, principal=principal, sent=sent)), content_type="application/json")
