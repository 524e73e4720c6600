"""Writing versions: checked against the schema, the parent and every ancestor before a row exists."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Max

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.domain.canonical import canonical_bytes, digest
from apps.core.errors import FieldError, Problem, problem
from apps.core.ids import new_id
from apps.identity.models import Agent, Team, Tenant
from apps.identity.permissions import can, require
from apps.identity.selectors import platform_id
from apps.packs.chains import facts_of, violations_of
from apps.packs.domain.content import parse_content
from apps.packs.domain.diff import three_way
from apps.packs.domain.presets import PRESETS_PACK
from apps.packs.domain.scopes import Scope, ScopeType
from apps.packs.domain.validate import refusal
from apps.packs.models import AuthorKind, Layer, Pack, PackKind, PackVersion, Subscription, VersionStatus

MAX_CONTENT_BYTES = 512 * 1024
MAX_NOTES = 10_000


def create_version(
    *,
    ctx: ActionContext,
    pack_slug: str,
    scope: str,
    content: Any,
    notes: str = "",
    parent_id: UUID | None = None,
    replaces_id: UUID | None = None,
    author_kind: str = AuthorKind.HUMAN,
) -> PackVersion:
    """A new draft in the pack's layer at `scope`, which is made when it is the first there.

    `parent_id` is the champion it was made from (the present one when left out); `replaces_id` a draft that it supersedes.
    Raises Problem `not_found`, `permission_denied`, `invalid`, `unknown_key`, `not_available`, `constraint_violation`, `locked_section`,
    `stale_parent` (with a three-way difference), `too_large`.
    """
    with ctx.transaction():
        pack: Pack = Pack.objects.visible(ctx, slug=pack_slug)
        layer = _layer(ctx, pack, scope)
        require(ctx, Action.AUTHOR, tenant_id=layer.tenant_id, team_id=layer.team_id, on=layer)
        clean = _parsed(layer, content)
        raw = canonical_bytes(clean)
        if len(raw) > MAX_CONTENT_BYTES:
            raise problem(
                "too_large", f"The content is {len(raw)} bytes in canonical form; {MAX_CONTENT_BYTES} are allowed.", pointer="/content"
            )
        if len(notes) > MAX_NOTES:
            raise problem("invalid", f"Notes are at most {MAX_NOTES} characters.", pointer="/notes")
        parent = _parent(layer, parent_id, clean)
        refuse_violations(layer, clean)
        version = PackVersion(
            id=new_id(),
            tenant_id=layer.tenant_id,
            layer=layer,
            number=(layer.versions.aggregate(last=Max("number"))["last"] or 0) + 1,
            content=clean,
            canonical=raw,
            digest=digest(raw),
            parent=parent,
            author_kind=author_kind,
            notes=notes,
            created_by_id=ctx.user_id,
        )
        version.save(force_insert=True)
        if replaces_id is not None:
            _supersede(ctx, layer, replaces_id)
        record(
            ctx, "version.created", version, data={"pack": pack.slug, "scope": scope, "number": version.number, "digest": version.digest}
        )
        return version


def refuse_preset(pack: Pack, scope_type: str) -> None:
    """Raises Problem `permission_denied` for a layer that the portal writes: what a tier or an agent's autonomy allows is changed there."""
    if pack.slug == PRESETS_PACK and not ScopeType(scope_type).above_tenant:
        raise problem(
            "permission_denied",
            "This layer follows the tenant's tier, or its agent's autonomy, and is changed with them; to restrict more, write a policy pack.",
        )


def refuse_violations(layer: Layer, content: dict[str, Any]) -> None:
    """Raises Problem `constraint_violation` or `locked_section` with every violation, each naming its ancestor."""
    found = violations_of(layer, content)
    if found:
        error = _in_content(refusal(found))
        error.extra["violations"] = [violation.as_json() for violation in found]
        raise error


def _parsed(layer: Layer, content: Any) -> dict[str, Any]:
    try:
        return parse_content(content, kind=facts_of(layer).kind)
    except Problem as error:
        raise _in_content(error) from None


def _in_content(error: Problem) -> Problem:
    """Pointers into what was sent, where the content stands under its own key."""
    error.errors = [FieldError(f"/content{found.pointer}", found.code, found.detail) for found in error.errors]
    return error


def _layer(ctx: ActionContext, pack: Pack, text: str) -> Layer:
    """The layer at a scope, locked; made where the scope exists and none is there yet."""
    scope = Scope.parse(text)
    owner, team, agent = _owner(ctx, pack, scope)
    refuse_preset(pack, scope.type)
    under = [found for found in (pack, team, agent) if found is not None]
    require(ctx, Action.AUTHOR, tenant_id=owner, team_id=team.pk if team else agent.team_id if agent else None, on=under)
    defaults = {"scope_type": scope.type.value, "team": team, "agent": agent}
    Layer.objects.get_or_create(tenant_id=owner, pack=pack, scope=text, defaults=defaults)
    found: Layer = (
        Layer.objects.select_for_update(of=("self",))
        .select_related("pack", "tenant", "champion", "team", "agent__team")
        .get(tenant_id=owner, pack=pack, scope=text)
    )
    return found


def _owner(ctx: ActionContext, pack: Pack, scope: Scope) -> tuple[UUID, Team | None, Agent | None]:
    """Whose a scope is, with its team and agent. Raises Problem `invalid` with what is wrong with the scope."""
    if scope.type.above_tenant:
        if pack.tenant_id != platform_id():
            raise problem("invalid", f"{scope} is above tenant, where only packs of the shared library have layers.", pointer="/scope")
        if scope.type is ScopeType.DOMAIN and pack.kind == PackKind.DOMAIN and scope.ref != pack.domain:
            raise problem("invalid", f"The pack's domain is '{pack.domain}', so {scope} is on none of its chains.", pointer="/scope")
        return platform_id(), None, None
    tenant = Tenant.objects.restrict(ctx).filter(slug=scope.tenant_slug, pk=ctx.tenant_id).first()
    if tenant is None:
        raise problem("invalid", f"There is no tenant '{scope.tenant_slug}' here.", pointer="/scope")
    shared = pack.tenant_id == platform_id() and pack.kind == PackKind.DOMAIN
    if shared and not Subscription.objects.filter(tenant=tenant, pack=pack).exists():
        raise problem("invalid", f"The tenant is not subscribed to '{pack.slug}'; subscribe first.", pointer="/scope")
    name = scope.ref.partition("/")[2]
    team = agent = None
    if scope.type is ScopeType.TEAM:
        team = Team.objects.filter(tenant=tenant, slug=name).first()
    elif scope.type is ScopeType.AGENT:
        agent = Agent.objects.filter(tenant=tenant, slug=name).first()
    if scope.type in (ScopeType.TEAM, ScopeType.AGENT) and team is None and agent is None:
        # Who does not see the tenant's teams and agents learns of them only where they may write.
        if not can(ctx, Action.VIEW, tenant_id=tenant.pk):
            require(ctx, Action.AUTHOR, tenant_id=tenant.pk, on=[pack])
        raise problem("invalid", f"There is no {scope.type.value} '{name}' in '{tenant.slug}'.", pointer="/scope")
    return tenant.pk, team, agent


def _parent(layer: Layer, parent_id: UUID | None, content: dict[str, Any]) -> PackVersion | None:
    champion: PackVersion | None = layer.champion
    if parent_id is None or (champion is not None and champion.pk == parent_id):
        return champion
    parent = layer.versions.filter(pk=parent_id).first()
    if parent is None:
        raise problem("wrong_layer", "The parent is a version of another layer.", pointer="/parent")
    now = f"version {champion.number} is" if champion else "none is"
    raise problem(
        "stale_parent",
        f"The parent, version {parent.number}, is not the champion of {layer.scope}: {now}. Merge your change onto it and send it again.",
        pointer="/parent",
        three_way=three_way(parent.content, content, champion.content if champion else {}),
        champion=str(champion.pk) if champion else None,
    )


def _supersede(ctx: ActionContext, layer: Layer, draft_id: UUID) -> None:
    draft = layer.versions.select_for_update().filter(pk=draft_id).first()
    if draft is None:
        raise problem("wrong_layer", "The draft to replace is a version of another layer.", pointer="/replaces")
    if draft.status != VersionStatus.DRAFT:
        raise problem("wrong_state", f"Version {draft.number} is {draft.status}; only a draft can be replaced.", pointer="/replaces")
    archive(draft, "superseded")
    record(ctx, "version.archived", draft, data={"number": draft.number, "archived_reason": "superseded"})


def archive(version: PackVersion, reason: str) -> None:
    """Takes a version out of the running; it stays readable."""
    version.status, version.archived_reason = VersionStatus.ARCHIVED, reason
    version.save(update_fields=["status", "archived_reason"])
