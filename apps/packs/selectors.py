"""What people and other rooms ask of packs: effective packs with their origins, known digests, what a change would reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from apps.core.access import Action
from apps.core.context import ActionContext, for_every_user
from apps.core.errors import Problem, problem
from apps.identity.models import Agent, Team, Tenant
from apps.identity.permissions import can
from apps.identity.selectors import platform_id
from apps.packs.across import serving_everywhere
from apps.packs.blast import blast_targets, layer_key
from apps.packs.chains import Pictures, facts_of, prefix_chain
from apps.packs.domain.blast import Blast, Effect, blast_radius, new_violations
from apps.packs.domain.render import render
from apps.packs.domain.scopes import Scope
from apps.packs.domain.validate import resolve_chain
from apps.packs.domain.values import Effective, VersionRef
from apps.packs.models import Layer, Pack, PackVersion
from apps.packs.pointers import find_pack, references, scopes_of, version_ids

__all__ = ["EffectivePack", "Reach", "blast_radius_of", "champion_of", "effective_for", "layers_serving", "prefix_chain"]

MAX_LISTED = 500


@dataclass(frozen=True, slots=True)
class EffectivePack:
    """What resolve would answer on a chain."""

    pack: str
    scopes: tuple[Scope, ...]
    effective: Effective

    def as_json(self) -> dict[str, Any]:
        found = self.effective
        return {
            "pack": self.pack,
            "digest": found.digest,
            "lineage": list(found.lineage),
            "content": found.content,
            "origins": found.origins,
            "rendered": render(found.content),
            "violations": [violation.as_json() for violation in found.violations],
        }


def effective_for(
    ctx: ActionContext,
    *,
    pack_slug: str,
    tenant: str | None = None,
    team: str | None = None,
    agent: str | None = None,
    user: str | None = None,
    as_of: str | datetime | None = None,
) -> EffectivePack:
    """The effective pack of the context's tenant at an agent, team or user, for people. Raises Problem `not_found`,
    `invalid`, `no_champion`, `no_valid_pack`."""
    try:
        Pack.objects.visible(ctx, slug=pack_slug)
    except Problem:
        raise _no_pack(pack_slug) from None
    whole_tenant(ctx, "the effective pack")
    here = Tenant.objects.get(pk=ctx.tenant_id)
    if tenant is not None and tenant != here.slug:
        raise problem("not_found", f"There is no tenant '{tenant[:63]}' here.")
    pictures = Pictures.of(ctx.tenant_id, as_of=_time(as_of))
    pack = find_pack(pictures.shared, pictures.own, pack_slug)
    if pack is None or pack.kind == "policy":
        raise _no_pack(pack_slug)
    if agent is not None:
        found = Agent.objects.filter(tenant=here, slug=agent).select_related("team").first()
        if found is None:
            raise problem("not_found", f"There is no agent '{agent[:63]}' here.")
        team = found.team.slug if found.team else None
    elif team is not None and not Team.objects.filter(tenant=here, slug=team).exists():
        raise problem("not_found", f"There is no team '{team[:63]}' here.")
    scopes = scopes_of(pack, tier=here.tier, tenant=here.slug, team=team, agent=agent, user=user)
    effective, _ = resolve_chain(references(version_ids(pictures.shared, pictures.own, pack, scopes)))
    return EffectivePack(pack.slug, scopes, effective)


def _no_pack(slug: str) -> Problem:
    return problem("not_found", f"There is no pack '{slug[:63]}' here, or the tenant is not subscribed to it.")


def whole_tenant(ctx: ActionContext, what: str) -> None:
    """For what is put together from all over the tenant. Raises Problem `permission_denied` for who sees single objects of it only."""
    if not can(ctx, Action.VIEW, tenant_id=ctx.tenant_id):
        raise problem(
            "permission_denied", f"A role in the tenant shows {what}: it names and holds more than what is granted to your groups."
        )


def _time(value: str | datetime | None) -> datetime | None:
    if not isinstance(value, str):
        return value
    try:
        found = parse_datetime(value.replace(" ", "+"))
    except ValueError:
        found = None
    if found is None or timezone.is_naive(found):
        raise problem("invalid", "as_of is a time with its zone, such as 2026-05-01T12:00:00Z.", pointer="/as_of")
    return found


def champion_of(layer: Layer) -> PackVersion | None:
    """What the layer serves: nothing while it is suspended."""
    return None if layer.suspended_by else layer.champion


def layers_serving(versions: Sequence[UUID], *, of: Layer) -> list[tuple[UUID, UUID]]:
    """The layers that serve one of these versions, with their tenants, in order: of all tenants for a layer `of` the shared library, which
    `platform` may ask, else of its own."""
    if of.tenant_id == platform_id():
        return serving_everywhere(versions)
    with for_every_user():
        rows = Layer.objects.filter(champion_id__in=versions, suspended_by__isnull=True, tenant_id=of.tenant_id)
        return list(rows.order_by("id").values_list("id", "tenant_id"))


@dataclass(frozen=True, slots=True)
class Reach:
    """A blast radius with what may be shown of it."""

    blast: Blast

    def as_json(self) -> dict[str, Any]:
        blast = self.blast
        return {
            "layers": len(blast.layers),
            "tenants": len(blast.tenants),
            "agents": len(blast.agents),
            "changed": [_effect(effect) for effect in blast.changed[:MAX_LISTED]],
            "invalid": [
                {**_effect(effect), "violations": [violation.as_json() for violation in effect.after.violations]}
                for effect in blast.invalid[:MAX_LISTED]
            ],
        }

    def offenders(self) -> dict[VersionRef, str]:
        """The versions that resolve would leave out because of the change (also where no target is their own layer), each with a sentence
        that says why."""
        return {
            violation.layer: violation.detail
            for effect in self.blast.invalid
            for violation in new_violations(effect)
            if violation.layer is not None
        }


def _effect(effect: Effect) -> dict[str, Any]:
    return {
        "kind": effect.target.kind,
        "key": effect.target.key,
        "tenant": effect.target.tenant,
        "before": effect.before.digest or effect.before.code,
        "after": effect.after.digest or effect.after.code,
    }


def blast_radius_of(ctx: ActionContext, layer: Layer, version: PackVersion | None) -> Reach:
    """Whose effective pack changes when `version` (None: nothing) becomes the layer's champion. For a layer of the shared library the
    people of `platform` see all tenants, everyone else their own. Belongs into the context's transaction."""
    everyone = layer.tenant_id == platform_id() and ctx.tenant_id == platform_id()
    replacement = None
    if version is not None:
        pack = facts_of(layer)
        replacement = VersionRef(
            Scope.parse(layer.scope), pack.slug, pack.kind, version.number, str(version.pk), version.digest, version.content
        )
    # Every user's layer counts, whoever asks.
    with for_every_user():
        targets = blast_targets(layer, only_tenant=None if everyone else ctx.tenant_id)
        return Reach(blast_radius(targets, layer_key(layer.pack.slug, layer.scope), replacement))
