"""`GET stream`, where it reaches the web: the stream is a process of its own."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.encoding import iri_to_uri
from django.views.decorators.csrf import csrf_exempt

from apps.core.access import Action
from apps.core.api.plain import Parameter, documented
from apps.core.errors import problem
from apps.core.http import request_id_of
from apps.core.limits import address_of
from apps.identity.permissions import require
from apps.identity.tokens import authenticate


@csrf_exempt
@documented(
    method="get",
    operation_id="stream",
    summary="What has changed, as Server-Sent Events",
    responses={200: None, 307: None},
    parameters=[
        Parameter("last_event_id", "As the header, for readers that cannot send it."),
        Parameter("Last-Event-ID", "The id of the last event that was read: what was missed since comes first.", where="header"),
    ],
)
def stream_view(request: HttpRequest) -> HttpResponse:
    """`text/event-stream` for an agent's token: `pack.changed`, `pack.rolled_back`, `control`, `ping` every 15 seconds, and `resync` where
    something may have been missed: then resolve and send a heartbeat. Each has an `id` and JSON as `data`. The web answers 307 where the
    stream has an address of its own; the token goes along."""
    if request.method != "GET":
        raise problem("method_not_allowed", "The stream answers GET.")
    principal = authenticate(request.META.get("HTTP_AUTHORIZATION", ""), address_of(request))
    require(principal.context(request_id_of(request)), Action.HEARTBEAT, tenant_id=principal.tenant_id)
    if principal.agent_id is None:
        raise problem("permission_denied", "The stream is for agents: use an agent's token.")
    if not settings.STREAM_URL:
        raise problem("unavailable", "The push stream has no address here: let the proxy route this path to it, or set STREAM_URL.")
    query = request.META.get("QUERY_STRING", "")
    return HttpResponse(
        status=307, headers={"Location": settings.STREAM_URL + (f"?{iri_to_uri(query)}" if query else ""), "Cache-Control": "no-store"}
    )
