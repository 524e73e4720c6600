"""`GET resolve`: a plain view, so that nothing stands between a harness and the memory."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from apps.core.access import Action
from apps.core.errors import problem
from apps.identity.permissions import require
from apps.identity.tokens import authenticate
from apps.packs.resolve import resolve

KNOWN = frozenset({"pack", "user", "unit", "task_type", "version", "origins", "rendered"})
MAX_PARAMETER = 200


@csrf_exempt
def resolve_view(request: HttpRequest) -> HttpResponse:
    if request.method not in ("GET", "HEAD"):
        raise problem("method_not_allowed", "Resolve answers GET.")
    principal = authenticate(request.META.get("HTTP_AUTHORIZATION", ""))
    require(principal.context(request.request_id), Action.RESOLVE, tenant_id=principal.tenant_id)  # type: ignore[attr-defined]
    query = request.GET
    for name in query:
        if name not in KNOWN:
            raise problem("unknown_key", f"Resolve has no parameter '{name[:50]}'; it knows {', '.join(sorted(KNOWN))}.", pointer=f"/{name[:50]}")
        if len(query[name]) > MAX_PARAMETER or "\x00" in query[name]:
            raise problem("invalid", f"'{name}' is over {MAX_PARAMETER} characters or holds U+0000.", pointer=f"/{name}")
    pack = query.get("pack") or principal.default_pack
    if not pack:
        raise problem("invalid", "Name a pack: the agent has no default pack.", pointer="/pack")
    folded = resolve(principal, pack=pack, user=query.get("user"), version=query.get("version"))
    body = folded.body(origins=query.get("origins") != "0", rendered=query.get("rendered") != "0")
    etag = f'"{body.etag}"'
    if etag in request.META.get("HTTP_IF_NONE_MATCH", ""):
        return HttpResponse(status=304, headers={"ETag": etag, "Cache-Control": "private, no-cache"})
    return HttpResponse(body.raw, content_type="application/json", headers={"ETag": etag, "Cache-Control": "private, no-cache"})
