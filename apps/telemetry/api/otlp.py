"""`POST otlp/v1/traces`: OTLP over HTTP, so that an OpenTelemetry exporter works as it is. A plain view, as those of JSON batches are."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from apps.core.api.plain import documented
from apps.core.errors import Problem, problem
from apps.core.http import problem_response
from apps.telemetry.api.body import media_type_of, read_body
from apps.telemetry.api.views import ENCODING, gate, sender_of
from apps.telemetry.domain.otlp import jsoning, protobuf
from apps.telemetry.domain.otlp.answers import JSON, PROTOBUF, ExportTraceServiceResponse, answer, status_message
from apps.telemetry.services import Taken, ingest_spans

_DECODERS = {PROTOBUF: protobuf.decode, JSON: jsoning.decode}
# Reasons that a partial success gives.
MAX_REASONS = 5


@csrf_exempt
@documented(
    method="POST",
    operation_id="otlp_traces_create",
    summary="Send OpenTelemetry spans",
    request=jsoning.ExportTraceServiceRequest,
    responses={200: ExportTraceServiceResponse},
    parameters=[ENCODING],
)
def traces_view(request: HttpRequest) -> HttpResponse:
    """OTLP over HTTP, in JSON or in protobuf (`application/x-protobuf`): at most 10,000 spans and 5 MiB. Spans of agents, models, tools and
    MCP become runs and events; others are left out. The answer is in the request's encoding and sent after the durable write; spans that
    are refused for good are counted in `partialSuccess`. A refusal is problem+json, or a google.rpc.Status where protobuf was sent."""
    try:
        return _take(request)
    except Problem as error:
        refusal = problem_response(error, request)
        if media_type_of(request) == PROTOBUF:
            refusal.content = status_message(error.status, f"{error.code}: {error.detail}")
            refusal["Content-Type"] = PROTOBUF
        return refusal


def _take(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        raise problem("method_not_allowed", "Spans are sent with POST.")
    ctx, sender = sender_of(request)
    body = read_body(request, PROTOBUF, JSON)
    media_type = media_type_of(request)
    with gate():
        taken = ingest_spans(ctx=ctx, sender=sender, decoded=_DECODERS[media_type](body))
    response = HttpResponse(answer(media_type, len(taken.refused), _why(taken)), content_type=media_type)
    # For whoever wonders where their spans are: those that are no agent's.
    response["X-Spans-Ignored"] = str(taken.ignored)
    return response


def _why(taken: Taken) -> str:
    """For the log of whoever runs the exporter."""
    reasons: dict[str, int] = {}
    for reason in taken.refused.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    told = sorted(reasons.items(), key=lambda item: -item[1])[:MAX_REASONS]
    said = " ".join(f"{reason} ({times} times)" if times > 1 else reason for reason, times in told)
    return f"{len(taken.refused)} of {taken.spans} spans were not stored: {said}"
