"""`GET resolve`: a plain view, so that nothing stands between a harness and the memory."""

from __future__ import annotations

from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from apps.core.access import Action
from apps.core.api.plain import Parameter, documented
from apps.core.errors import problem
from apps.core.limits import address_of
from apps.identity.permissions import require
from apps.identity.tokens import authenticate
from apps.packs.resolve import resolve

KNOWN = frozenset({"pack", "user", "unit", "task_type", "version", "origins", "rendered"})
MAX_PARAMETER = 200


class ResolvedContent(msgspec.Struct):
    """The blocks of an effective pack; a block that nobody wrote is empty."""

    sections: dict[str, Any]
    tools: dict[str, Any]
    autonomy: dict[str, Any]
    limits: dict[str, Any]
    personality: dict[str, Any]
    contracts: dict[str, Any]
    rubric: list[dict[str, Any]]
    kpis: list[dict[str, Any]]
    model: dict[str, Any]
    constraints: list[dict[str, Any]]
    promotion: dict[str, Any]
    rollback: dict[str, Any]


class ResolvedPack(msgspec.Struct):
    """`origins` and `rendered` are left out by `origins=0` and `rendered=0`."""

    pack: str
    digest: str
    etag: str
    arm: str
    rollout: str | None
    ttl_s: int
    lineage: list[dict[str, Any]]
    content: ResolvedContent
    violations: list[dict[str, Any]]
    origins: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    rendered: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


@csrf_exempt
@documented(
    method="get",
    operation_id="resolve",
    summary="The effective pack of an agent",
    responses={200: ResolvedPack, 304: None},
    parameters=[
        Parameter("pack", "Slug; the agent's default pack when left out."),
        Parameter("user", "The harness's reference to the user."),
        Parameter("unit", "Key that keeps a canary's assignment; without a rollout it changes nothing."),
        Parameter("task_type", "What the run is for."),
        Parameter("version", "A version (or an evaluation run) that the agent holds a lease on."),
        Parameter("origins", "0 leaves the origins out."),
        Parameter("rendered", "0 leaves the rendered files out."),
        Parameter("If-None-Match", "An earlier answer's ETag.", where="header"),
    ],
)
def resolve_view(request: HttpRequest) -> HttpResponse:
    """Folded from every live layer on the agent's chain, with origins; 304 while the ETag still holds."""
    if request.method not in ("GET", "HEAD"):
        raise problem("method_not_allowed", "Resolve answers GET.")
    principal = authenticate(request.META.get("HTTP_AUTHORIZATION", ""), address_of(request))
    require(principal.context(request.request_id), Action.RESOLVE, tenant_id=principal.tenant_id)  # type: ignore[attr-defined]
    query = request.GET
    for name in query:
        if name not in KNOWN:
            raise problem(
                "unknown_key", f"Resolve has no parameter '{name[:50]}'; it knows {', '.join(sorted(KNOWN))}.", pointer=f"/{name[:50]}"
            )
        if len(query[name]) > MAX_PARAMETER or "\x00" in query[name]:
            raise problem("invalid", f"'{name}' is over {MAX_PARAMETER} characters or holds U+0000.", pointer=f"/{name}")
    pack = query.get("pack") or principal.default_pack
    if not pack:
        raise problem("invalid", "Name a pack: the agent has no default pack.", pointer="/pack")
    folded = resolve(principal, pack=pack, user=query.get("user"), version=query.get("version"))
    wanted = {"origins": query.get("origins") != "0", "rendered": query.get("rendered") != "0"}
    etag = f'"{folded.etag(**wanted)}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if etag in request.META.get("HTTP_IF_NONE_MATCH", ""):
        return HttpResponse(status=304, headers=headers)
    return HttpResponse(folded.body(**wanted), content_type="application/json", headers=headers)
