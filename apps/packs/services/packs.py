"""Packs and subscriptions: making them, describing them, following the shared library."""

from __future__ import annotations

import re
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext, Topic
from apps.core.errors import Problem, problem
from apps.core.events import publish
from apps.core.generations import bump
from apps.identity.models import SLUG_PATTERN
from apps.identity.permissions import require
from apps.identity.selectors import platform_id
from apps.packs.models import Pack, PackKind, PackVersion, Subscription

_SLUG = re.compile(SLUG_PATTERN)


def create_pack(
    *, ctx: ActionContext, slug: str, kind: str, title: str, domain: str = "", description: str = "", visibility: str = "listed"
) -> Pack:
    """A new pack of the context's tenant (of the shared library when that is `platform`).

    Raises Problem `invalid`, `slug_taken`, `permission_denied`.
    """
    with ctx.transaction():
        require(ctx, Action.AUTHOR, tenant_id=ctx.tenant_id)
        for name, value, needed in (("slug", slug, True), ("domain", domain, kind == PackKind.DOMAIN)):
            if (value or needed) and not _SLUG.fullmatch(value):
                rule = "1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit"
                raise problem("invalid", f"The {name} must be {rule}.", pointer=f"/{name}")
        if kind not in PackKind.values:
            raise problem("invalid", "The kind is 'domain' or 'policy'.", pointer="/kind")
        if not title.strip():
            raise problem("invalid", "A pack needs a title.", pointer="/title")
        pack = Pack(
            tenant_id=ctx.tenant_id, slug=slug, kind=kind, domain=domain, title=title, description=description, visibility=visibility
        )
        try:
            with transaction.atomic():
                pack.save(force_insert=True)
        except IntegrityError:
            raise _taken(slug) from None
        record(ctx, "pack.created", pack, data={"slug": slug, "kind": kind, "domain": domain})
        bump(ctx, Topic.PACKS, ctx.tenant_id)
        return pack


def _taken(slug: str) -> Problem:
    return problem("slug_taken", f"The slug '{slug}' is taken, here or in the shared library; choose another.", pointer="/slug")


def update_pack(*, ctx: ActionContext, slug: str, **changes: str) -> Pack:
    """Changes title, description or visibility."""
    with ctx.transaction():
        seen: Pack = Pack.objects.visible(ctx, slug=slug)
        require(ctx, Action.AUTHOR, tenant_id=seen.tenant_id, on=seen)
        # Only what may be written can be locked, and a shared pack is seen by who may not.
        pack: Pack = Pack.objects.select_for_update().get(pk=seen.pk)
        allowed = {name: value for name, value in changes.items() if name in ("title", "description", "visibility")}
        moved = [name for name, value in allowed.items() if getattr(pack, name) != value]
        for name in moved:
            setattr(pack, name, allowed[name])
        pack.save(update_fields=moved)
        record(ctx, "pack.changed", pack, data={"fields": sorted(allowed)})
        return pack


def subscribe(*, ctx: ActionContext, pack_slug: str, pinned_version_id: UUID | None = None) -> Subscription:
    """Lets the tenant resolve a shared pack: following the shared champion, or pinned to a shared version."""
    with ctx.transaction():
        pack: Pack = Pack.objects.visible(ctx, slug=pack_slug)
        require(ctx, Action.ADOPT, tenant_id=ctx.tenant_id, on=pack)
        if pack.tenant_id != platform_id() or pack.tenant_id == ctx.tenant_id:
            raise problem("invalid", "Only packs of the shared library are subscribed to; your own need no subscription.", pointer="/pack")
        pinned = _pinned(ctx, pack, pinned_version_id)
        subscription, created = Subscription.objects.get_or_create(tenant_id=ctx.tenant_id, pack=pack, defaults={"pinned": pinned})
        if not created:
            subscription.pinned = pinned
            subscription.save(update_fields=["pinned"])
        record(ctx, "subscription.saved", subscription, data={"pack": pack.slug, "pinned": str(pinned.pk) if pinned else None})
        bump(ctx, Topic.PACKS, ctx.tenant_id)
        publish(ctx, "packs.subscription_moved", pack=pack.slug)
        return subscription


def _pinned(ctx: ActionContext, pack: Pack, version_id: UUID | None) -> PackVersion | None:
    if version_id is None:
        return None
    version: PackVersion | None = PackVersion.objects.restrict(ctx).filter(pk=version_id, layer__pack=pack, tenant_id=platform_id()).first()
    if version is None or not version.was_live:
        raise problem("invalid", "Pin a version of this pack that is or was champion in the shared library.", pointer="/pinned")
    if version.quarantined_at is not None:
        raise problem("quarantined", "That version is quarantined and cannot be pinned.")
    return version


def unsubscribe(*, ctx: ActionContext, subscription_id: UUID) -> None:
    """Ends it: from then on the tenant's agents get 404 for the pack."""
    with ctx.transaction():
        subscription: Subscription = Subscription.objects.select_for_update().visible(ctx, pk=subscription_id)
        require(ctx, Action.ADOPT, tenant_id=subscription.tenant_id, on=subscription)
        record(ctx, "subscription.ended", subscription, data={"pack": subscription.pack.slug})
        subscription.delete()
        bump(ctx, Topic.PACKS, ctx.tenant_id)
        publish(ctx, "packs.subscription_moved", pack=subscription.pack.slug)
