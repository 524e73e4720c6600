"""Organisations and tenants: governed by the people of `platform`, each tenant's own page by its admins."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, NeededReasonForm, Relatives, columns, filters
from apps.core.context import ActionContext
from apps.identity.domain.platform import PLATFORM_ID
from apps.identity.models import Agent, Organisation, Team, Tenant, TenantStatus, Tier
from apps.identity.permissions import manages_platform
from apps.identity.services import (
    activate_tenant,
    create_organisation,
    create_tenant,
    delete_tenant,
    suspend_tenant,
    update_organisation,
    update_tenant,
)


def _of_platform(ctx: ActionContext, obj: Any) -> bool:
    return manages_platform(ctx)


class OrganisationForm(ActForm):
    slug = forms.SlugField(max_length=63, help_text="1 to 63 of a-z, 0-9 and “-”. It stays for good.")
    name = forms.CharField(max_length=200)


class RenameForm(ActForm):
    name = forms.CharField(max_length=200)

    def prepare(self) -> None:
        self.fields["name"].initial = self.obj.name


def _create_organisation(call: Call) -> Done:
    made = create_organisation(ctx=call.ctx, **call.data)
    return Done(f"The organisation {made} is there; give it a tenant next.", made)


def _rename_organisation(call: Call) -> Done:
    return Done("Renamed.", update_organisation(ctx=call.ctx, slug=call.obj.slug, **call.data))


@admin.register(Organisation)
class OrganisationAdmin(GovernedAdmin):
    list_display = ("name", columns.code("slug"), columns.moment("created_at", "Since"))
    search_fields = ("slug", "name")
    ordering = ("slug",)
    when_empty = "An organisation holds tenants."
    facts = (Facts("Organisation", (columns.code("slug"), columns.moment("created_at", "Since"))),)
    relatives = (
        Relatives(
            "Tenants",
            lambda ctx, obj: Tenant.objects.restrict(ctx).filter(organisation=obj),
            (columns.itself("Tenant"), columns.text("name"), columns.text("tier"), columns.badge("status")),
            query=lambda obj: {"organisation": obj.pk},
        ),
    )
    acts = (
        Act(
            name="rename",
            label="Rename",
            icon="edit",
            rights=(Action.MANAGE_TENANT,),
            form=RenameForm,
            run=_rename_organisation,
            when=_of_platform,
        ),
    )
    list_acts = (
        Act(
            name="create",
            label="New organisation",
            icon="add",
            tone="primary",
            rights=(Action.MANAGE_TENANT,),
            form=OrganisationForm,
            run=_create_organisation,
            when=_of_platform,
        ),
    )


class TenantForm(ActForm):
    organisation = forms.ChoiceField()
    slug = forms.SlugField(max_length=63, help_text="1 to 63 of a-z, 0-9 and “-”. It stands in every scope and stays for good.")
    name = forms.CharField(max_length=200)
    tier = forms.ChoiceField(choices=Tier.choices, help_text="Decides presets and how many people must approve a change.")
    admin_email = forms.EmailField(label="First tenant admin", help_text="Their e-mail address; a person who is new is made.")

    def prepare(self) -> None:
        rows = Organisation.objects.restrict(self.ctx)
        self.offer("organisation", [(row.slug, row.name) for row in rows])


class ChangeTenantForm(RenameForm):
    pooling_opt_in = forms.BooleanField(required=False, label="Pool with other tenants of the organisation")
    tier = forms.ChoiceField(choices=Tier.choices)

    def prepare(self) -> None:
        super().prepare()
        self.fields["pooling_opt_in"].initial, self.fields["tier"].initial = self.obj.pooling_opt_in, self.obj.tier
        if self.obj.tier == Tier.PERSONAL:
            del self.fields["pooling_opt_in"]
        if not manages_platform(self.ctx):
            del self.fields["tier"]


def _create_tenant(call: Call) -> Done:
    made = create_tenant(ctx=call.ctx, **call.data)
    return Done(f"The tenant {made} is there with the presets of its tier.", made)


def _change_tenant(call: Call) -> Done:
    return Done("Saved.", update_tenant(ctx=call.ctx, slug=call.obj.slug, **call.data))


def _status(service: Any, message: str) -> Any:
    return lambda call: Done(message, service(ctx=call.ctx, slug=call.obj.slug, reason=call.data["reason"]))


def _delete(call: Call) -> Done:
    delete_tenant(ctx=call.ctx, slug=call.obj.slug, reason=call.data["reason"])
    return Done(f"The tenant {call.obj} is deleted.", "admin:index")


@admin.register(Tenant)
class TenantAdmin(GovernedAdmin):
    list_display = (
        "slug",
        columns.text("name"),
        columns.link("organisation"),
        columns.text("tier"),
        columns.badge("status"),
        columns.yes_no("pooling_opt_in", "Pools"),
    )
    list_select_related = ("organisation",)
    list_filter = ("tier", "status", filters.related("organisation", "identity.Organisation", "organisation"))
    search_fields = ("slug", "name")
    ordering = ("slug",)
    when_empty = "Tenants are made by the tenant admins of “platform”."
    facts = (
        Facts(
            "Tenant",
            (
                columns.code("slug"),
                columns.text("name"),
                columns.link("organisation"),
                columns.text("tier"),
                columns.badge("status"),
                columns.yes_no("pooling_opt_in", "Pools"),
                columns.moment("created_at", "Since"),
            ),
        ),
    )
    relatives = (
        Relatives(
            "Teams",
            lambda ctx, obj: Team.objects.restrict(ctx).filter(tenant=obj),
            (columns.itself("Team"), columns.text("name")),
            empty="No teams, or they are seen from inside the tenant only.",
        ),
        Relatives(
            "Agents",
            lambda ctx, obj: Agent.objects.restrict(ctx).filter(tenant=obj).select_related("team"),
            (columns.itself("Agent"), columns.text("domain"), columns.badge("autonomy"), columns.badge("status")),
            empty="No agents, or they are seen from inside the tenant only.",
        ),
    )
    acts = (
        Act(name="change", label="Change", icon="edit", rights=(Action.MANAGE_TENANT,), form=ChangeTenantForm, run=_change_tenant),
        Act(
            name="suspend",
            label="Suspend",
            icon="pause_circle",
            tone="danger",
            rights=(Action.MANAGE_TENANT,),
            form=NeededReasonForm,
            run=_status(suspend_tenant, "The tenant is suspended."),
            when=lambda ctx, obj: manages_platform(ctx) and obj.status == TenantStatus.ACTIVE and obj.pk != PLATFORM_ID,
            explain=lambda request, obj: ["Its people and harnesses are shut out within a second, until it is activated.", "Tokens stay."],
        ),
        Act(
            name="activate",
            label="Activate",
            icon="play_circle",
            tone="primary",
            rights=(Action.MANAGE_TENANT,),
            run=_status(activate_tenant, "The tenant is active."),
            when=lambda ctx, obj: manages_platform(ctx) and obj.status == TenantStatus.SUSPENDED,
            explain=lambda request, obj: ["Its people and harnesses come in again."],
        ),
        Act(
            name="delete",
            label="Delete",
            icon="delete",
            tone="danger",
            rights=(Action.MANAGE_TENANT,),
            form=NeededReasonForm,
            run=_delete,
            when=lambda ctx, obj: obj.status != TenantStatus.DELETED and obj.pk != PLATFORM_ID,
            explain=lambda request, obj: [
                "Every token of the tenant is revoked, and everything in it is hidden. For good: it cannot be activated again.",
                "The rows stay until `manage.py purge_tenant` removes them.",
            ],
        ),
    )
    list_acts = (
        Act(
            name="create",
            label="New tenant",
            icon="add",
            tone="primary",
            rights=(Action.MANAGE_TENANT,),
            form=TenantForm,
            run=_create_tenant,
            when=_of_platform,
        ),
    )
