"""An agent's page: what it would be served, and from where each piece of it comes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.utils.safestring import SafeString

from apps.core.access import Action
from apps.core.admin import Panel, cells, extend
from apps.core.context import ActionContext
from apps.core.errors import Problem
from apps.core.http import context_of
from apps.identity.models import Agent
from apps.identity.permissions import can
from apps.packs.chains import Pictures
from apps.packs.domain.values import Effective
from apps.packs.models import PackVersion
from apps.packs.selectors import effective_for

Origin = Mapping[str, Any]


def resolvable(tenant_id: UUID) -> list[str]:
    """The packs that the tenant's agents can resolve: its own and the shared ones that it subscribed to."""
    pictures = Pictures.of(tenant_id)
    own = [pack.slug for pack in pictures.own.packs.values() if pack.kind == "domain"]
    shared = [pack.slug for pack in pictures.shared.packs.values() if pack.kind == "domain" and pack.id in pictures.own.subscriptions]
    return sorted({*own, *shared})


def _effective(request: HttpRequest, agent: Agent) -> dict[str, Any] | None:
    ctx: ActionContext = context_of(request)
    if not can(ctx, Action.VIEW, tenant_id=ctx.tenant_id):
        return None
    packs = resolvable(agent.tenant_id)
    pack = request.GET.get("pack") or (agent.default_pack if agent.default_pack in packs else next(iter(packs), ""))
    user = request.GET.get("user", "").strip()
    found: dict[str, Any] = {"packs": packs, "pack": pack, "user": user}
    if not pack:
        return found
    try:
        answer = effective_for(ctx, pack_slug=pack, agent=agent.slug, user=user or None)
    except Problem as error:
        return {**found, "refusal": error.detail, "code": error.code}
    effective = answer.effective
    links = _links(ctx, effective)
    return {
        **found,
        "digest": cells.digest(effective.digest, 16),
        "scopes": [str(scope) for scope in answer.scopes],
        "lineage": [{**each, "link": links.show(each), "digest": cells.digest(each["digest"])} for each in effective.lineage],
        "violations": [{**violation.as_json(), "left_out": str(violation.layer)} for violation in effective.violations],
        "sections": _sections(effective, links),
        "blocks": _blocks(effective, links),
    }


class _Links:
    """Leads from an origin to the version it names."""

    def __init__(self, versions: Mapping[tuple[str, str, int], PackVersion]) -> None:
        self.versions = versions

    def show(self, origin: Origin) -> SafeString:
        key = (origin["pack"], origin["scope"], origin["version"])
        text = f"{origin['pack']} {origin['version']} at {origin['scope']}"
        version = self.versions.get(key)
        return cells.link_to(version, text) if version is not None else cells.code(text)


def _links(ctx: ActionContext, effective: Effective) -> _Links:
    rows = (
        PackVersion.objects.restrict(ctx)
        .filter(
            layer__pack__slug__in={each["pack"] for each in effective.lineage},
            layer__scope__in={each["scope"] for each in effective.lineage},
            number__in={each["version"] for each in effective.lineage},
        )
        .select_related("layer__pack")
        .defer("content", "canonical")
    )
    return _Links({(row.layer.pack.slug, row.layer.scope, row.number): row for row in rows})


def _sections(effective: Effective, links: _Links) -> list[dict[str, Any]]:
    """Each section in its order, cut where another version's text begins."""
    shown = []
    for name, section in sorted(effective.content["sections"].items(), key=lambda item: (item[1]["order"], item[0])):
        raw = section["text"].encode()
        spans = [
            {"text": raw[span.start : span.end].decode().strip("\n"), "origin": links.show(span.as_json())}
            for span in effective.spans.get(name, ())
        ]
        shown.append({"name": name, "file": section["file"], "order": section["order"], "locked": section.get("locked"), "spans": spans})
    return shown


def _blocks(effective: Effective, links: _Links) -> list[tuple[str, list[dict[str, Any]]]]:
    """Every other leaf with its origin, block by block."""
    blocks: dict[str, list[dict[str, Any]]] = {}
    for place, origin in effective.origins.items():
        if isinstance(origin, list):
            continue
        tokens = [token.replace("~1", "/").replace("~0", "~") for token in place.split("/")[1:]]
        if tokens[0] == "sections" and tokens[-1] == "text":
            continue
        row = {"pointer": place, "value": _leaf(effective.content, tokens), "origin": links.show(origin)}
        blocks.setdefault(tokens[0], []).append(row)
    return [(name, blocks[name]) for name in effective.content if name in blocks]


def _leaf(content: Any, tokens: Iterable[str]) -> SafeString:
    for token in tokens:
        content = content[int(token)] if isinstance(content, list) else content[token]
    return cells.tree(content)


extend(Agent, panels=(Panel("What it is served now", "packs/effective.html", _effective),))
