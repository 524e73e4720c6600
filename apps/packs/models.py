"""Packs, their layers and immutable versions, and who subscribes to what."""

from __future__ import annotations

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import StrIndex, Substr

from apps.core.history import History
from apps.core.models import TenantOwned
from apps.identity.domain.access import permissions
from apps.identity.groups import ObjectGrant, grant_indexes
from apps.identity.models import slug_validator
from apps.identity.selectors import platform_id


class PackKind(models.TextChoices):
    DOMAIN = "domain"
    POLICY = "policy"


class ScopeKind(models.TextChoices):
    GLOBAL = "global"
    SEGMENT = "segment"
    DOMAIN = "domain"
    TENANT = "tenant"
    TEAM = "team"
    AGENT = "agent"
    USER = "user"


class VersionStatus(models.TextChoices):
    DRAFT = "draft"
    CHALLENGER = "challenger"
    CHAMPION = "champion"
    ARCHIVED = "archived"


# Why a version that was live is so no more; other reasons (superseded, rejected, expired, aborted) are those of versions that never were.
LIVE_REASONS = ("replaced", "rolled_back", "retired")


class AuthorKind(models.TextChoices):
    HUMAN = "human"
    OPTIMIZER = "optimizer"
    HARNESS = "harness"
    IMPORT = "import"


class Pack(TenantOwned):
    """`tenant` is the owner; the tenant `platform` owns the shared library."""

    slug = models.CharField(max_length=63, validators=[slug_validator])
    kind = models.CharField(max_length=10, choices=PackKind.choices, default=PackKind.DOMAIN)
    domain = models.CharField(max_length=63, blank=True, validators=[slug_validator])
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    # A listed shared pack stands in the marketplace; an unlisted one is found by its slug.
    visibility = models.CharField(max_length=10, choices=[("listed", "listed"), ("unlisted", "unlisted")], default="listed")
    created_at = models.DateTimeField(auto_now_add=True)

    history = History()

    SHARED = True
    GRANT_PATHS = {"pack": ("id",)}

    class Meta:
        ordering = ["slug"]
        permissions = permissions("pack")
        # Lists by slug hold one's own and the shared ones, so no index that begins with the tenant gives their order.
        indexes = [models.Index(fields=["slug"], name="packs_pack_by_slug")]
        constraints = [
            # Against the shared library a trigger holds it (0002).
            models.UniqueConstraint(fields=["tenant", "slug"], name="packs_pack_slug"),
            models.CheckConstraint(condition=Q(kind__in=PackKind.values), name="packs_pack_kind"),
            models.CheckConstraint(condition=Q(kind="policy") | ~Q(domain=""), name="packs_pack_domain_named"),
        ]

    def __str__(self) -> str:
        return self.slug

    @property
    def shared(self) -> bool:
        """Whether it belongs to the shared library."""
        return bool(self.tenant_id == platform_id())


class PackGroupPermission(ObjectGrant):
    """What is granted on a pack: it holds for its layers, versions, promotions, decisions, evaluation sets and runs, those of the granting
    tenant; on a pack of the shared library, for looking at that pack besides."""

    content_object = models.ForeignKey(Pack, on_delete=models.PROTECT, related_name="grants")

    KIND = "pack"

    class Meta(ObjectGrant.Meta):
        verbose_name = "grant on a pack"
        verbose_name_plural = "grants on packs"
        indexes = grant_indexes("packs_packgrant")


def grant_paths(layer: str = "") -> dict[str, tuple[str, ...]]:
    """GRANT_PATHS of a layer, or of what has one at `layer` (`layer__`)."""
    return {
        "pack": (f"{layer}pack_id",),
        "team": (f"{layer}team_id", f"{layer}agent__team_id"),
        "agent": (f"{layer}agent_id",),
    }


class Layer(TenantOwned):
    """One pack at one scope. `tenant` owns the layer: platform above tenant scope, else the scope's tenant."""

    pack = models.ForeignKey(Pack, on_delete=models.PROTECT, related_name="layers")
    scope_type = models.CharField(max_length=10, choices=ScopeKind.choices)
    # The scope as `domain.md` writes it, e.g. `agent:acme/helpdesk-1`.
    scope = models.CharField(max_length=300)
    # Of a user's scope the user's reference: the layer is that user's content, and kept so by row security. The database's own saying.
    user_ref = models.GeneratedField(
        expression=Case(When(scope_type="user", then=Substr("scope", StrIndex(F("scope"), Value("/")) + 1))),
        output_field=models.CharField(max_length=300, null=True),
        db_persist=True,
    )
    team = models.ForeignKey("identity.Team", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    agent = models.ForeignKey("identity.Agent", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    # Composite foreign key (id, champion) -> version (layer, id) in 0002.
    champion = models.ForeignKey(
        "PackVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="champion_of", db_constraint=False
    )
    rollout_id = models.UUIDField(null=True, blank=True)
    challenger = models.ForeignKey(
        "PackVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="challenger_of", db_constraint=False
    )
    share = models.PositiveSmallIntegerField(null=True, blank=True)
    salt = models.CharField(max_length=32, blank=True)
    # The decision that suspended the layer; promotions stands above packs, so no foreign key of Django's.
    suspended_by = models.UUIDField(null=True, blank=True)
    # Set by resolve when it had to skip the layer.
    flagged_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    history = History(without=["salt", "flagged_at", "user_ref"])

    SHARED = True
    TEAM_PATH = "team_id"
    GRANT_PATHS = grant_paths()

    class Meta:
        ordering = ["pack__slug", "scope"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "pack", "scope"], name="packs_layer_once"),
            models.CheckConstraint(condition=Q(scope_type__in=ScopeKind.values), name="packs_layer_scope_type"),
            models.CheckConstraint(condition=Q(share__isnull=True) | Q(share__range=(0, 100)), name="packs_layer_share"),
            # It stands for all users where row security is told whose content is read.
            models.CheckConstraint(condition=~Q(user_ref="*"), name="packs_layer_one_user"),
        ]

    def __str__(self) -> str:
        return f"{self.pack.slug} at {self.scope}"


class PackVersion(TenantOwned):
    """Immutable: content, digest and number never change and rows are never deleted (grants and triggers, 0002)."""

    layer = models.ForeignKey(Layer, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    content = models.JSONField()
    canonical = models.BinaryField()
    digest = models.CharField(max_length=71)
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    author_kind = models.CharField(max_length=10, choices=AuthorKind.choices, default=AuthorKind.HUMAN)
    notes = models.TextField(blank=True)
    created_by = models.ForeignKey("identity.User", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    status = models.CharField(max_length=10, choices=VersionStatus.choices, default=VersionStatus.DRAFT)
    archived_reason = models.CharField(max_length=40, blank=True)
    quarantined_at = models.DateTimeField(null=True, blank=True)

    history = History(without=["content", "canonical", "notes"])

    SHARED = True
    TEAM_PATH = "layer__team_id"
    GRANT_PATHS = grant_paths("layer__")

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "version"
        constraints = [
            models.UniqueConstraint(fields=["layer", "number"], name="packs_version_number"),
            models.UniqueConstraint(fields=["layer"], condition=Q(status="champion"), name="packs_version_one_champion"),
            models.CheckConstraint(condition=Q(status__in=VersionStatus.values), name="packs_version_status"),
            models.CheckConstraint(condition=Q(author_kind__in=AuthorKind.values), name="packs_version_author_kind"),
        ]

    def __str__(self) -> str:
        return f"version {self.number}"

    @property
    def was_live(self) -> bool:
        """Whether it is, or was by a decision, the champion of its layer."""
        return self.status == VersionStatus.CHAMPION or self.archived_reason in LIVE_REASONS


class PointerChange(TenantOwned):
    """What a layer served from a time on (version null: nothing). Append-only; answers `as_of`."""

    layer = models.ForeignKey(Layer, on_delete=models.PROTECT, related_name="pointer_changes")
    version = models.ForeignKey(PackVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    at = models.DateTimeField(auto_now_add=True)

    SHARED = True
    GRANT_PATHS = grant_paths("layer__")

    class Meta:
        indexes = [models.Index(fields=["tenant", "layer", "-at"], name="packs_pointer_at")]

    def __str__(self) -> str:
        return f"{self.version} from {self.at}"


class ServedPack(TenantOwned):
    """An effective digest that resolve has answered to an agent of the tenant, with the versions it stands for. It holds no content."""

    digest = models.CharField(max_length=71)
    pack = models.CharField(max_length=63)
    lineage = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "digest"], name="packs_servedpack_once")]

    def __str__(self) -> str:
        return self.digest


class Subscription(TenantOwned):
    """A tenant resolves a shared pack only when subscribed; it follows the shared champion or pins a shared version."""

    pack = models.ForeignKey(Pack, on_delete=models.PROTECT, related_name="subscriptions")
    pinned = models.ForeignKey(PackVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    history = History()

    GRANT_PATHS = {"pack": ("pack_id",)}

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "pack"], name="packs_subscription_once")]

    def __str__(self) -> str:
        return f"{self.tenant} to {self.pack}"
