"""Effective packs for rooms above that judge by them, and send nothing to a harness: no bytes are put together, nothing is written down.

They are folded as resolve folds them, and remembered by the chain (scope, pack, kind, version), whose versions never change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any
from uuid import UUID

from apps.core.errors import Problem, problem
from apps.identity.models import Agent
from apps.packs.chains import Pictures
from apps.packs.domain.validate import resolve_chain
from apps.packs.pointers import Entry, Stored, find_pack, reference, references, scopes_of, version_ids

Chain = tuple[Entry, ...]
MAX_DIGESTS = 50_000
_digests: dict[Chain, str] = {}
_lock = Lock()


def content_for_agent(agent: Agent, pack: str) -> Mapping[str, Any]:
    """The content that the agent (with its tenant and team) is given of a pack now, without a user, as this transaction sees it.

    Raises Problem `not_found`, `no_champion`, `no_valid_pack`.
    """
    pictures = Pictures.of(agent.tenant_id)
    facts = find_pack(pictures.shared, pictures.own, pack)
    if facts is None or facts.kind == "policy":
        raise problem("not_found", f"There is no pack '{pack}' here, or the tenant is not subscribed to it.")
    team = agent.team.slug if agent.team else None
    scopes = scopes_of(facts, tier=agent.tenant.tier, tenant=agent.tenant.slug, team=team, agent=agent.slug)
    return resolve_chain(references(version_ids(pictures.shared, pictures.own, facts, scopes)))[0].content


def digests_of(chains: Iterable[Chain], stored: Mapping[UUID, Stored] | None = None) -> dict[Chain, str | None]:
    """The effective digest of each chain, None where nothing can be served. Each is folded once for as long as the process remembers it;
    versions come from `stored`, else from memory, the missing ones by one query."""
    found: dict[Chain, str | None] = {chain: _digests.get(chain) for chain in chains}
    missing = [chain for chain, digest in found.items() if digest is None]
    entries = [entry for chain in missing for entry in chain]
    refs = iter(references(entries) if stored is None else [reference(entry, stored.get(entry[3])) for entry in entries])
    for chain in missing:
        try:
            found[chain] = resolve_chain([next(refs) for _ in chain])[0].digest
        except Problem:
            continue
    with _lock:
        if len(_digests) + len(missing) > MAX_DIGESTS:
            _digests.clear()
        _digests.update({chain: digest for chain in missing if (digest := found[chain]) is not None})
    return found
