"""Packs and subscriptions."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import Q

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, Relatives, cells, columns, filters, holds
from apps.core.admin.columns import Column
from apps.core.context import ActionContext
from apps.identity.selectors import platform_id
from apps.packs.admin.writing import WRITE_FOR_PACK
from apps.packs.models import LIVE_REASONS, Layer, Pack, PackKind, PackVersion, Subscription, VersionStatus
from apps.packs.services.packs import create_pack, subscribe, unsubscribe, update_pack

VISIBILITY = [("listed", "listed"), ("unlisted", "unlisted")]
OWNER = Column("Owner", lambda pack: cells.badge("shared", "info") if pack.shared else pack.tenant.slug, order="tenant__slug")


class PackForm(ActForm):
    slug = forms.SlugField(
        max_length=63, help_text="1 to 63 of a-z, 0-9 and “-”. Unique here and in the shared library; it stays for good."
    )
    title = forms.CharField(max_length=200)
    kind = forms.ChoiceField(
        choices=[("domain", "domain: what agents are told and may do"), ("policy", "policy: rules for every pack at or below its scope")]
    )
    domain = forms.SlugField(max_length=63, required=False, help_text="Such as hr-ops; a domain pack needs one.")
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))
    visibility = forms.ChoiceField(choices=VISIBILITY, help_text="A listed shared pack stands in the marketplace.")


class ChangePackForm(ActForm):
    title = forms.CharField(max_length=200)
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))
    visibility = forms.ChoiceField(choices=VISIBILITY)

    def prepare(self) -> None:
        for name in ("title", "description", "visibility"):
            self.fields[name].initial = getattr(self.obj, name)


class SubscribeForm(ActForm):
    pinned = forms.TypedChoiceField(
        required=False,
        coerce=UUID,
        empty_value=None,
        label="Version",
        help_text="Follow the shared champion, or stay on one version whatever is promoted.",
    )

    def prepare(self) -> None:
        pack = self.obj.pack if isinstance(self.obj, Subscription) else self.obj
        live = Q(status=VersionStatus.CHAMPION) | Q(archived_reason__in=LIVE_REASONS)
        rows = PackVersion.objects.restrict(self.ctx).filter(live, layer__pack=pack, tenant_id=platform_id(), quarantined_at__isnull=True)
        rows = rows.select_related("layer").defer("content", "canonical").order_by("layer__scope", "-number")[:200]
        choices = [(str(row.pk), f"pin version {row.number} at {row.layer.scope} ({row.status})") for row in rows]
        self.offer("pinned", [("", "follow the shared champion"), *choices])
        if isinstance(self.obj, Subscription):
            self.fields["pinned"].initial = str(self.obj.pinned_id or "")


def _create(call: Call) -> Done:
    made = create_pack(ctx=call.ctx, **call.data)
    return Done(f"The pack {made} is there; write its first version next.", made)


def _subscribe(call: Call) -> Done:
    pack = call.obj.pack if isinstance(call.obj, Subscription) else call.obj
    made = subscribe(ctx=call.ctx, pack_slug=pack.slug, pinned_version_id=call.data["pinned"])
    how = f"stays on version {made.pinned.number}" if made.pinned else "follows the shared champion"
    return Done(f"Your tenant {how} of {pack}.", made)


def _unsubscribe(call: Call) -> Done:
    unsubscribe(ctx=call.ctx, subscription_id=call.obj.pk)
    return Done(f"The subscription to {call.obj.pack} has ended.", cells.list_url(Subscription))


def _adoptable(ctx: ActionContext, pack: Pack) -> bool:
    if not pack.shared or pack.kind == PackKind.POLICY or ctx.tenant_id == platform_id():
        return False
    return not Subscription.objects.restrict(ctx).filter(pack=pack, tenant_id=ctx.tenant_id).exists()


def live(layer: Layer) -> object:
    """What a layer serves, in a word."""
    if layer.suspended_by:
        return cells.badge("suspended")
    if layer.champion is None:
        return cells.badge("inherits", "off")
    return cells.link_to(layer.champion)


@admin.register(Pack)
class PackAdmin(GovernedAdmin):
    list_display = (
        "slug",
        columns.text("title"),
        columns.badge("kind"),
        columns.text("domain"),
        OWNER,
        columns.text("visibility"),
        columns.moment("created_at", "Since"),
    )
    list_select_related = ("tenant",)
    list_filter = ("kind", filters.exact("domain", "domain"), "visibility", filters.when("created_at"))
    search_fields = ("slug", "title", "description", "domain")
    ordering = ("slug",)
    when_empty = "A pack holds what agents are told and may do. Make one, or subscribe to one of the shared library."
    facts = (
        Facts(
            "Pack",
            (
                columns.code("slug"),
                columns.badge("kind"),
                columns.text("domain"),
                OWNER,
                columns.text("visibility"),
                columns.moment("created_at", "Since"),
            ),
            long=(columns.block("description"),),
        ),
    )
    relatives = (
        Relatives(
            "Layers",
            lambda ctx, pack: (
                Layer.objects.restrict(ctx)
                .filter(pack=pack)
                .select_related("champion")
                .defer("champion__content", "champion__canonical")
                .order_by("scope")
            ),
            (
                Column("Scope", lambda layer: cells.link_to(layer, layer.scope)),
                Column("Champion", live),
                columns.moment("flagged_at", "Flagged"),
                columns.moment("created_at", "Since"),
            ),
            query=lambda pack: {"pack": pack.pk},
            empty="No layer yet: the first version at a scope makes it.",
            limit=25,
        ),
    )
    acts = (
        WRITE_FOR_PACK,
        Act(
            name="subscribe",
            label="Subscribe",
            icon="bookmark_add",
            tone="primary",
            allowed=lambda ctx, pack: holds(ctx, Action.ADOPT),
            form=SubscribeForm,
            run=_subscribe,
            when=_adoptable,
            explain=lambda request, pack: [
                "The tenant's agents can resolve this shared pack within a second, and you can write layers of your own on it."
            ],
        ),
        Act(
            name="change",
            label="Describe",
            icon="edit",
            rights=(Action.AUTHOR,),
            form=ChangePackForm,
            run=lambda call: Done("Saved.", update_pack(ctx=call.ctx, slug=call.obj.slug, **call.data)),
        ),
    )
    list_acts = (Act(name="create", label="New pack", icon="add", tone="primary", rights=(Action.AUTHOR,), form=PackForm, run=_create),)

    def heading(self, obj: Pack) -> object:
        return f"{obj.title} ({obj.slug})"


@admin.register(Subscription)
class SubscriptionAdmin(GovernedAdmin):
    list_display = (
        Column("Pack", lambda row: row.pack.slug, order="pack__slug"),
        columns.text("pack.title", "Title"),
        Column("Serves", lambda row: cells.link_to(row.pinned, f"pinned: {row.pinned}") if row.pinned else "the shared champion"),
        columns.moment("created_at", "Since"),
    )
    list_select_related = ("pack", "pinned", "tenant")
    list_filter = (
        filters.related("pack", "packs.Pack", "pack"),
        filters.empty("pinned", "pinned", "pinned", "follows"),
        filters.when("created_at"),
    )
    search_fields = ("pack__slug", "pack__title")
    ordering = ("pack__slug",)
    when_empty = "Shared packs are resolved by subscription: open one under Packs and subscribe."
    facts = (
        Facts(
            "Subscription",
            (columns.link("pack"), columns.text("tenant"), columns.link("pinned", "Pinned version"), columns.moment("created_at", "Since")),
        ),
    )
    acts = (
        Act(
            name="pin",
            label="Pin or follow",
            icon="push_pin",
            rights=(Action.ADOPT,),
            form=SubscribeForm,
            run=_subscribe,
            explain=lambda request, row: ["It holds from the next resolve on."],
        ),
        Act(
            name="unsubscribe",
            label="Unsubscribe",
            icon="bookmark_remove",
            tone="danger",
            rights=(Action.ADOPT,),
            form=ActForm,
            run=_unsubscribe,
            explain=lambda request, row: [
                f"From then on the tenant's agents get 404 for {row.pack}.",
                "Layers that you wrote on it stay, and count again after subscribing anew.",
            ],
        ),
    )

    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).defer("pinned__content", "pinned__canonical")
