"""Ways to sign in by OpenID Connect, and which group at the provider gives which role."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, NeededReasonForm, ReasonForm, Relatives, cells, columns, filters
from apps.identity.admin.people import ROLES, role_choices, team_choices
from apps.identity.models import GroupRole, OidcProvider
from apps.identity.services.oidc import map_group, switch_provider, unmap_group


def _switch(enabled: bool, message: str) -> Any:
    def run(call: Call) -> Done:
        reason = call.data.get("reason", "")
        return Done(message, switch_provider(ctx=call.ctx, provider_id=call.obj.pk, enabled=enabled, reason=reason))

    return run


@admin.register(OidcProvider)
class OidcProviderAdmin(GovernedAdmin):
    """Added by the operator (`manage.py oidc_provider`), who also keeps the secret; no column shows it."""

    list_display = (
        "name",
        columns.code("slug"),
        columns.text("issuer"),
        columns.yes_no("enabled", "On"),
        columns.moment("created_at", "Since"),
    )
    search_fields = ("slug", "name", "issuer")
    ordering = ("name",)
    when_empty = "The operator adds a provider with `manage.py oidc_provider`."
    facts = (
        Facts(
            "Provider",
            (
                columns.text("name"),
                columns.code("slug"),
                columns.text("issuer"),
                columns.code("client_id", "Client"),
                columns.code("secret_env", "Secret in"),
                columns.text("scopes"),
                columns.code("groups_claim", "Claim with the groups"),
                columns.code("verified_claim", "Claim that verifies the address"),
                columns.yes_no("enabled", "On"),
                columns.moment("created_at", "Since"),
            ),
        ),
    )
    relatives = (
        Relatives(
            "Roles by group",
            lambda ctx, provider: GroupRole.objects.restrict(ctx).filter(provider=provider).select_related("team"),
            (columns.itself("Entry"), columns.code("group"), columns.badge("role"), columns.link("team")),
            query=lambda provider: {"provider": provider.pk},
            empty="No group gives a role yet; roles given by hand hold.",
        ),
    )
    acts = (
        Act(
            name="switch-off",
            label="Switch off",
            icon="block",
            tone="danger",
            rights=(Action.MANAGE_TENANT,),
            form=NeededReasonForm,
            run=_switch(False, "Nobody signs in by this provider any longer."),
            when=lambda ctx, obj: obj.enabled,
            explain=lambda request, obj: ["Who signed in by it is out when their sign-in is to be confirmed, within a quarter of an hour."],
        ),
        Act(
            name="switch-on",
            label="Switch on",
            icon="play_circle",
            tone="primary",
            rights=(Action.MANAGE_TENANT,),
            run=_switch(True, "People sign in by this provider again."),
            when=lambda ctx, obj: not obj.enabled,
        ),
    )


class GroupRoleForm(ActForm):
    provider_id = forms.ChoiceField(label="Provider")
    group = forms.CharField(max_length=300, help_text="As the claim has it: a name or an id.")
    role = forms.ChoiceField(choices=ROLES)
    team = forms.ChoiceField(required=False, help_text="A role for one team holds for that team's objects.")

    def prepare(self) -> None:
        rows = OidcProvider.objects.restrict(self.ctx).filter(tenant_id=self.ctx.tenant_id)
        self.offer("provider_id", [(str(row.pk), row.name) for row in rows])
        self.offer("team", team_choices(self.ctx))
        self.offer("role", role_choices(self.ctx))


def _map(call: Call) -> Done:
    made = map_group(ctx=call.ctx, **{**call.data, "team": call.data["team"] or None})
    return Done(f"{made} from the next sign-in on.", made)


def _unmap(call: Call) -> Done:
    unmap_group(ctx=call.ctx, group_role_id=call.obj.pk, reason=call.data["reason"])
    return Done("The group gives the role no longer.", cells.list_url(GroupRole))


@admin.register(GroupRole)
class GroupRoleAdmin(GovernedAdmin):
    list_display = (
        "group",
        columns.badge("role"),
        columns.link("team"),
        columns.link("provider"),
        columns.moment("created_at", "Since"),
    )
    list_select_related = ("team", "provider")
    list_filter = ("role", filters.related("provider", "identity.OidcProvider", "provider"))
    search_fields = ("group",)
    ordering = ("group", "role")
    when_empty = "Map a group at your provider to a role here."
    facts = (
        Facts(
            "Entry",
            (
                columns.code("group"),
                columns.badge("role"),
                columns.link("team"),
                columns.link("provider"),
                columns.moment("created_at", "Since"),
            ),
        ),
    )
    acts = (
        Act(
            name="remove",
            label="Remove",
            icon="delete",
            tone="danger",
            rights=(Action.MANAGE_MEMBERS,),
            form=ReasonForm,
            run=_unmap,
            explain=lambda request, obj: ["Whoever holds the role by this group loses it when the provider confirms them next."],
        ),
    )
    list_acts = (
        Act(
            name="add",
            label="Map a group",
            icon="group_add",
            tone="primary",
            rights=(Action.MANAGE_MEMBERS,),
            form=GroupRoleForm,
            run=_map,
        ),
    )
