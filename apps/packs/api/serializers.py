"""What the registry shows and takes."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.packs.models import Layer, Pack, PackKind, PackVersion, Subscription


@extend_schema_field(OpenApiTypes.ANY)
class AnyField(serializers.JSONField):
    """Any JSON, null as well."""


class PackSerializer(serializers.ModelSerializer[Pack]):
    tenant = serializers.CharField(source="tenant.slug", read_only=True)
    shared = serializers.BooleanField(read_only=True)

    class Meta:
        model = Pack
        fields = ["id", "slug", "kind", "domain", "title", "description", "visibility", "tenant", "shared", "created_at"]
        read_only_fields = ["id", "created_at"]


class NewPackSerializer(serializers.Serializer[Any]):
    slug = serializers.CharField(max_length=63)
    kind = serializers.ChoiceField(choices=PackKind.choices, default="domain")
    domain = serializers.CharField(max_length=63, allow_blank=True, default="")
    title = serializers.CharField(max_length=200)
    description = serializers.CharField(allow_blank=True, default="", max_length=20_000)
    visibility = serializers.ChoiceField(choices=["listed", "unlisted"], default="listed")


class ChangedPackSerializer(serializers.Serializer[Any]):
    title = serializers.CharField(max_length=200, required=False)
    description = serializers.CharField(allow_blank=True, required=False, max_length=20_000)
    visibility = serializers.ChoiceField(choices=["listed", "unlisted"], required=False)


class LayerSerializer(serializers.ModelSerializer[Layer]):
    pack = serializers.CharField(source="pack.slug", read_only=True)
    champion = serializers.SerializerMethodField()
    suspended = serializers.SerializerMethodField()

    class Meta:
        model = Layer
        fields = ["id", "pack", "scope_type", "scope", "champion", "suspended", "flagged_at", "created_at"]

    def get_champion(self, layer: Layer) -> dict[str, Any] | None:
        version = layer.champion
        return {"id": str(version.pk), "number": version.number, "digest": version.digest} if version else None

    def get_suspended(self, layer: Layer) -> bool:
        return layer.suspended_by is not None


class VersionSummarySerializer(serializers.ModelSerializer[PackVersion]):
    """A version without its content."""

    pack = serializers.CharField(source="layer.pack.slug", read_only=True)
    scope = serializers.CharField(source="layer.scope", read_only=True)
    created_by = serializers.CharField(source="created_by.email", read_only=True, allow_null=True, default=None)

    class Meta:
        model = PackVersion
        fields = [
            "id",
            "pack",
            "scope",
            "layer",
            "number",
            "digest",
            "status",
            "archived_reason",
            "parent",
            "author_kind",
            "notes",
            "created_by",
            "created_at",
        ]


class VersionSerializer(VersionSummarySerializer):
    content = serializers.JSONField(read_only=True)

    class Meta(VersionSummarySerializer.Meta):
        fields = [*VersionSummarySerializer.Meta.fields, "content"]


class NewVersionSerializer(serializers.Serializer[Any]):
    scope = serializers.CharField(max_length=300)
    content = serializers.JSONField()
    notes = serializers.CharField(allow_blank=True, default="")
    parent = serializers.UUIDField(required=False, allow_null=True, help_text="The champion that the content was made from.")
    replaces = serializers.UUIDField(required=False, allow_null=True, help_text="A draft that this one supersedes.")


class ChangeSerializer(serializers.Serializer[Any]):
    pointer = serializers.CharField()
    op = serializers.ChoiceField(choices=["add", "remove", "replace"])
    before = AnyField()
    after = AnyField()


class DiffSerializer(serializers.Serializer[Any]):
    version = serializers.UUIDField()
    against = serializers.UUIDField(allow_null=True)
    changes = ChangeSerializer(many=True)
    unified = serializers.CharField()


class EffectiveSerializer(serializers.Serializer[Any]):
    pack = serializers.CharField()
    digest = serializers.CharField()
    lineage = serializers.ListField(child=serializers.DictField())
    content = serializers.DictField()
    origins = serializers.DictField()
    rendered = serializers.DictField()
    violations = serializers.ListField(child=serializers.DictField())


class BlastSerializer(serializers.Serializer[Any]):
    layers = serializers.IntegerField()
    tenants = serializers.IntegerField()
    agents = serializers.IntegerField()
    changed = serializers.ListField(child=serializers.DictField())
    invalid = serializers.ListField(child=serializers.DictField())


class SubscriptionSerializer(serializers.ModelSerializer[Subscription]):
    pack = serializers.CharField(source="pack.slug", read_only=True)

    class Meta:
        model = Subscription
        fields = ["id", "pack", "pinned", "created_at"]


class NewSubscriptionSerializer(serializers.Serializer[Any]):
    pack = serializers.CharField(max_length=63)
    pinned = serializers.UUIDField(required=False, allow_null=True)
