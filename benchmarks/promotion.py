"""How soon two web processes serve what a promotion or a rollback, made elsewhere, has put live."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator

from apps.core.context import in_tenant, system_context
from apps.identity.selectors import platform_id
from apps.packs.models import Layer
from apps.packs.services.layers import locked_layer, set_champion
from apps.packs.services.versions import create_version
from benchmarks.seeding import PACK, shared_pack, tenants
from benchmarks.stage import web

CHANGES = 20


def run() -> Iterator[tuple[str, str]]:
    pack = shared_pack(body_bytes=20 * 1024)
    token = tenants(pack, 1)[0]
    with in_tenant(platform_id()):
        layer = Layer.objects.get(pack=pack, scope="domain:bench")
    with web(core=None) as (one, _), web(core=None) as (two, _):
        connections = [http.client.HTTPConnection("127.0.0.1", port) for port in (one, two)]
        waits = [_change(layer, connections, token, number) for number in range(CHANGES)]
    waits.sort()
    yield (
        "Promotion or rollback committed -> served by both of two web processes",
        f"median {1000 * waits[CHANGES // 2]:.0f} ms, worst of {CHANGES} {1000 * waits[-1]:.0f} ms",
    )


def _change(layer: Layer, connections: list[http.client.HTTPConnection], token: str, number: int) -> float:
    """Seconds from the commit until neither process serves the old text any more."""
    ctx = system_context("benchmark", tenant_id=platform_id())
    text = f"Change {number}."
    content = {"sections": {"change": {"text": text, "order": 1, "file": "AGENTS", "mode": "append"}}}
    version = create_version(ctx=ctx, pack_slug=PACK, scope=layer.scope, content=content)
    with ctx.transaction():
        set_champion(ctx, locked_layer(layer.pk), version, archived_reason="replaced")
    committed = time.perf_counter()
    for connection in connections:
        while _served(connection, token) != text:
            time.sleep(0.002)
    return time.perf_counter() - committed


def _served(connection: http.client.HTTPConnection, token: str) -> str:
    connection.request("GET", f"/api/v1/resolve?pack={PACK}", headers={"Authorization": f"Bearer {token}"})
    content = json.loads(connection.getresponse().read())["content"]
    return str(content["sections"].get("change", {}).get("text", ""))
