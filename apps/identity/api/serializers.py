"""Identity as clients see it. Objects are named by slug, people by e-mail."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.identity.models import Agent, AgentToken, ApiToken, Autonomy, Membership, Organisation, Team, Tenant, Tier

ROLES = list(Membership._meta.get_field("role").choices or ())


class OrganisationSerializer(serializers.ModelSerializer[Organisation]):
    class Meta:
        model = Organisation
        fields = ["id", "slug", "name", "created_at"]


class OrganisationCreate(serializers.Serializer[Any]):
    slug = serializers.CharField(max_length=63)
    name = serializers.CharField(max_length=200)


class NameChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=200, required=False)


class TenantSerializer(serializers.ModelSerializer[Tenant]):
    organisation = serializers.CharField(source="organisation.slug")

    class Meta:
        model = Tenant
        fields = ["id", "slug", "name", "organisation", "tier", "pooling_opt_in", "status", "created_at"]


class TenantCreate(serializers.Serializer[Any]):
    organisation = serializers.CharField(max_length=63, help_text="The organisation's slug.")
    slug = serializers.CharField(max_length=63)
    name = serializers.CharField(max_length=200)
    tier = serializers.ChoiceField(Tier.choices)
    pooling_opt_in = serializers.BooleanField(default=False)
    admin_email = serializers.EmailField(required=False, help_text="The first tenant admin.")


class TenantChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=200, required=False)
    tier = serializers.ChoiceField(Tier.choices, required=False, help_text="Changed by the people of `platform` only.")
    pooling_opt_in = serializers.BooleanField(required=False)


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=2000, required=False, allow_blank=True, default="")


class TeamSerializer(serializers.ModelSerializer[Team]):
    tenant = serializers.CharField(source="tenant.slug")

    class Meta:
        model = Team
        fields = ["id", "slug", "name", "tenant", "created_at"]


class TeamCreate(serializers.Serializer[Any]):
    slug = serializers.CharField(max_length=63)
    name = serializers.CharField(max_length=200)


class AgentSerializer(serializers.ModelSerializer[Agent]):
    tenant = serializers.CharField(source="tenant.slug")
    team = serializers.CharField(source="team.slug", allow_null=True, default=None)
    model_policy = serializers.DictField()

    class Meta:
        model = Agent
        fields = [
            "id", "slug", "name", "tenant", "team", "domain", "autonomy", "harness_kind", "model_policy", "default_pack", "status",
            "created_at",
        ]  # fmt: skip


class AgentChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=200, required=False, allow_blank=True)
    team = serializers.CharField(max_length=63, required=False, allow_null=True, help_text="A team's slug, or null for none.")
    domain = serializers.CharField(max_length=63, required=False, allow_blank=True)
    autonomy = serializers.ChoiceField(Autonomy.choices, required=False)
    harness_kind = serializers.CharField(max_length=40, required=False)
    model_policy = serializers.DictField(required=False)
    default_pack = serializers.CharField(max_length=63, required=False, allow_blank=True, help_text="A pack's slug.")


class AgentCreate(AgentChange):
    slug = serializers.CharField(max_length=63)


class MemberSerializer(serializers.ModelSerializer[Membership]):
    user = serializers.UUIDField(source="user_id")
    email = serializers.EmailField(source="user.email")
    name = serializers.CharField(source="user.name")
    kind = serializers.CharField(source="user.kind", help_text="`person`, or `service` for a service account.")
    tenant = serializers.CharField(source="tenant.slug")
    team = serializers.CharField(source="team.slug", allow_null=True, default=None)

    class Meta:
        model = Membership
        fields = ["id", "user", "email", "name", "kind", "tenant", "team", "role", "until", "user_ref", "created_at"]


class MemberCreate(serializers.Serializer[Any]):
    email = serializers.EmailField()
    name = serializers.CharField(max_length=200, required=False, allow_blank=True, help_text="Taken when the person is new.")
    role = serializers.ChoiceField(ROLES)
    team = serializers.CharField(max_length=63, required=False, allow_null=True, help_text="A team's slug; else the role is tenant-wide.")
    until = serializers.DateTimeField(required=False, allow_null=True)
    user_ref = serializers.CharField(max_length=200, required=False, allow_blank=True)


class MemberChange(serializers.Serializer[Any]):
    role = serializers.ChoiceField(ROLES, required=False)
    until = serializers.DateTimeField(required=False, allow_null=True)
    user_ref = serializers.CharField(max_length=200, required=False, allow_blank=True)


class ServiceAccountSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.EmailField(help_text="Its name in `tokens/` and `members/`; no mail reaches it.")
    name = serializers.CharField()
    is_active = serializers.BooleanField()
    created_at = serializers.DateTimeField()


class ServiceAccountCreate(serializers.Serializer[Any]):
    slug = serializers.CharField(max_length=63)
    name = serializers.CharField(max_length=200)
    role = serializers.ChoiceField(ROLES)
    team = serializers.CharField(
        max_length=63, required=False, allow_null=True, default=None, help_text="A team's slug; else the role is tenant-wide."
    )


class TokenSerializer(serializers.Serializer[Any]):
    """An agent's token, or a person's."""

    id = serializers.UUIDField()
    kind = serializers.SerializerMethodField()
    prefix = serializers.CharField(help_text="The part of the token that is not secret: `mc_<prefix>_…`.")
    name = serializers.CharField()
    agent = serializers.SerializerMethodField()
    user = serializers.SerializerMethodField()
    scopes = serializers.ListField(child=serializers.CharField(), help_text="The actions it may do; none means all that its holder may.")
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="Written once a minute.")
    revoked_at = serializers.DateTimeField(allow_null=True)
    replaced_by = serializers.UUIDField(
        source="successor_id", allow_null=True, help_text="The token that takes its place once it ends, at `expires_at` or `revoked_at`."
    )
    created_at = serializers.DateTimeField()

    @extend_schema_field(serializers.CharField(help_text="`agent`, `user` (a person's own) or `service` (a service account's)."))
    def get_kind(self, token: AgentToken | ApiToken) -> str:
        return "agent" if isinstance(token, AgentToken) else "service" if token.user.kind == "service" else "user"

    @extend_schema_field(serializers.CharField(allow_null=True, help_text="The agent's slug."))
    def get_agent(self, token: AgentToken | ApiToken) -> str | None:
        return token.agent.slug if isinstance(token, AgentToken) else None

    @extend_schema_field(serializers.CharField(allow_null=True, help_text="The person's e-mail address."))
    def get_user(self, token: AgentToken | ApiToken) -> str | None:
        return token.user.email if isinstance(token, ApiToken) else None


class TokenQuery(serializers.Serializer[Any]):
    """What the list of tokens can be asked for."""

    kind = serializers.RegexField(r"^(agent|user|service)$", required=False, help_text="`agent`, `user` or `service`.")
    agent = serializers.CharField(required=False, help_text="An agent's slug.")
    user = serializers.CharField(required=False, help_text="A person's e-mail address.")
    revoked = serializers.BooleanField(required=False)
    expiring_days = serializers.IntegerField(required=False, min_value=1, max_value=730, help_text="Those that end within so many days.")
    unused_days = serializers.IntegerField(required=False, min_value=1, max_value=730, help_text="Those unused for so many days.")


class TokenRotate(serializers.Serializer[Any]):
    overlap_s = serializers.IntegerField(
        required=False,
        default=86_400,
        min_value=0,
        max_value=604_800,
        help_text="Seconds for which the old token goes on; 0 ends it at once.",
    )
    reason = serializers.CharField(max_length=2000, required=False, allow_blank=True, default="")


class TokenCreate(serializers.Serializer[Any]):
    """For an agent, for a person, or, naming neither, for oneself."""

    agent = serializers.CharField(max_length=63, required=False, help_text="An agent's slug.")
    user = serializers.EmailField(required=False, help_text="A member's e-mail address.")
    name = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")
    scopes = serializers.ListField(child=serializers.CharField(max_length=40), required=False, default=list, max_length=40)
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, default=None, help_text="A year from now unless told, two at most."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "agent" in attrs and "user" in attrs:
            raise serializers.ValidationError({"user": "A token is an agent's or a person's, not both."})
        return attrs


class TokenIssued(TokenSerializer):
    token = serializers.CharField(allow_null=True, help_text="Shown once: null when an Idempotency-Key replays this answer.")


class RoleSerializer(serializers.Serializer[Any]):
    role = serializers.CharField()
    team = serializers.CharField(allow_null=True, help_text="The team's slug; null for the whole tenant.")
    delegated_by = serializers.EmailField(allow_null=True, help_text="Whose role it is, while it is delegated; null for one's own.")
    actions = serializers.ListField(child=serializers.CharField())


class WhoSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField(help_text="`user`, `agent` or `system`.")
    id = serializers.UUIDField(allow_null=True)
    label = serializers.CharField()


class MeSerializer(serializers.Serializer[Any]):
    actor = WhoSerializer()
    token_id = serializers.UUIDField(
        allow_null=True, help_text="The token that asks, as `tokens/{id}/rotate/` takes it; null for a session."
    )
    tenant = TenantSerializer(allow_null=True, help_text="null for a person without any role.")
    roles = RoleSerializer(many=True)
    scopes = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="null where the token, or session, is not narrowed."
    )
    actions = serializers.ListField(child=serializers.CharField(), help_text="What one may do in the whole tenant.")
