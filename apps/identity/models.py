"""Organisations, tenants, teams, people, agents and their tokens."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from apps.core.history import History
from apps.core.ids import new_id
from apps.core.models import TenantOwned
from apps.core.querysets import RestrictedManager
from apps.identity.domain.access import permissions
from apps.identity.domain.delegation import DELEGABLE, LONGEST
from apps.identity.domain.roles import MEMBER_ROLES
from apps.identity.groups import GroupMember, ObjectGrant, TenantGroup, grant_indexes

__all__ = ["GroupMember", "TenantGroup"]

SLUG_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
slug_validator = RegexValidator(SLUG_PATTERN, "1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit.")

PLATFORM = "platform"


class Tier(models.TextChoices):
    PERSONAL = "personal"
    TEAM = "team"
    ENTERPRISE = "enterprise"


class TenantStatus(models.TextChoices):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class Autonomy(models.TextChoices):
    A0 = "A0", "A0: acts on nothing"
    A1 = "A1", "A1: low-risk tools unasked"
    A2 = "A2", "A2: medium-risk with one approval"
    A3 = "A3", "A3: high-risk by the explicit path"


class Organisation(models.Model):
    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    slug = models.CharField(max_length=63, unique=True, validators=[slug_validator])
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    history = History(tenant="")

    objects = RestrictedManager()

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name


class Tenant(models.Model):
    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="tenants")
    slug = models.CharField(max_length=63, unique=True, validators=[slug_validator])
    name = models.CharField(max_length=200)
    tier = models.CharField(max_length=10, choices=Tier.choices)
    pooling_opt_in = models.BooleanField(default=False)
    status = models.CharField(max_length=10, choices=TenantStatus.choices, default=TenantStatus.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)

    history = History(tenant="pk")

    objects = RestrictedManager()

    class Meta:
        ordering = ["slug"]
        constraints = [
            models.CheckConstraint(condition=Q(tier__in=Tier.values), name="identity_tenant_tier"),
            models.CheckConstraint(condition=Q(status__in=TenantStatus.values), name="identity_tenant_status"),
            models.CheckConstraint(condition=~Q(tier="personal", pooling_opt_in=True), name="identity_tenant_personal_never_pools"),
        ]

    def __str__(self) -> str:
        return self.slug


class Team(TenantOwned):
    slug = models.CharField(max_length=63, validators=[slug_validator])
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    history = History()

    TEAM_PATH = "id"
    GRANT_PATHS = {"team": ("id",)}

    class Meta:
        ordering = ["slug"]
        permissions = permissions("team")
        constraints = [models.UniqueConstraint(fields=["tenant", "slug"], name="identity_team_slug")]

    def __str__(self) -> str:
        return self.slug


class UserManager(BaseUserManager["User"]):
    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=self.normalize_email(username).lower())

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save()
        return user


class User(AbstractBaseUser):
    """A person who signs in, or a service account: `service_of` is its one tenant, and it has tokens and no other way in. What either may
    do comes from memberships alone; there is no superuser."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=200, blank=True)
    issuer = models.CharField(max_length=300, null=True, blank=True)
    subject = models.CharField(max_length=300, null=True, blank=True)
    service_of = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name="service account of"
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    # Name and address of a person stand in the row alone, where they can be erased.
    history = History(tenant="", without=["email", "name", "password", "last_login"])

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    is_superuser = False

    class Meta:
        ordering = ["email"]
        constraints = [
            models.UniqueConstraint(fields=["issuer", "subject"], name="identity_user_subject"),
            models.CheckConstraint(
                condition=Q(issuer__isnull=True, subject__isnull=True) | Q(issuer__isnull=False, subject__isnull=False),
                name="identity_user_issuer_with_subject",
            ),
            # `!` begins every password that no one can type.
            models.CheckConstraint(
                condition=Q(service_of__isnull=True) | Q(issuer__isnull=True, last_login__isnull=True, password__startswith="!"),  # noqa: S106
                name="identity_user_service_never_signs_in",
            ),
        ]

    def __str__(self) -> str:
        shown = self.name or self.email
        return f"{shown} (service account)" if self.service_of_id else shown

    @property
    def kind(self) -> str:
        """`person` or `service`."""
        return "service" if self.service_of_id else "person"

    @property
    def is_staff(self) -> bool:
        """Everyone with an account may open the admin; what they see there is the role table's answer."""
        return self.is_active

    def has_perm(self, perm: str, obj: object = None) -> bool:
        """Django's own permissions are not used: only admins built on our base, which asks the role table, open."""
        return False

    def has_perms(self, perms: list[str], obj: object = None) -> bool:
        return not perms

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_active


secret_env_validator = RegexValidator(r"^OIDC_SECRET_[A-Z0-9_]{1,60}$", "OIDC_SECRET_ and then A-Z, 0-9 or _.")


class OidcProvider(TenantOwned):
    """An OpenID provider by which the people of a tenant sign in. The client's secret stays in the environment, under `secret_env`."""

    slug = models.CharField(max_length=63, unique=True, validators=[slug_validator])
    name = models.CharField(max_length=100, help_text="Stands on the button of the sign-in page.")
    issuer = models.CharField(max_length=300)
    client_id = models.CharField(max_length=300)
    secret_env = models.CharField(max_length=80, blank=True, validators=[secret_env_validator])
    scopes = models.CharField(max_length=300, default="openid email profile")
    groups_claim = models.CharField(max_length=100, default="groups")
    verified_claim = models.CharField(max_length=100, default="email_verified", help_text="True where the address is the person's.")
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    history = History()

    class Meta:
        ordering = ["name"]
        verbose_name = "OpenID provider"
        constraints = [models.UniqueConstraint(fields=["tenant", "issuer", "client_id"], name="identity_oidcprovider_once")]

    def __str__(self) -> str:
        return self.name


class GroupRole(TenantOwned):
    """Whoever is in this group at the provider holds this role, in the tenant or for one team's objects."""

    provider = models.ForeignKey(OidcProvider, on_delete=models.PROTECT, related_name="group_roles")
    group = models.CharField(max_length=300)
    role = models.CharField(max_length=20, choices=[(role, role.replace("_", " ")) for role in MEMBER_ROLES])
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    history = History()

    TEAM_PATH = "team_id"

    class Meta:
        ordering = ["group"]
        constraints = [
            models.UniqueConstraint(fields=["provider", "group", "role", "team"], nulls_distinct=False, name="identity_grouprole_once"),
            models.CheckConstraint(condition=Q(role__in=MEMBER_ROLES), name="identity_grouprole_role"),
        ]

    def __str__(self) -> str:
        return f"{self.group} as {self.role}"


class Membership(TenantOwned):
    """A person's role in a tenant, or for the objects of one of its teams."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="memberships")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, blank=True, related_name="memberships")
    role = models.CharField(max_length=20, choices=[(role, role.replace("_", " ")) for role in MEMBER_ROLES])
    until = models.DateTimeField(null=True, blank=True, help_text="The role ends at this time.")
    user_ref = models.CharField(max_length=200, blank=True, help_text="The harness's reference to this person, if any.")
    source = models.ForeignKey(
        OidcProvider, on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="The provider whose group map gave it."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    history = History(without=["user_ref"])

    TEAM_PATH = "team_id"

    class Meta:
        ordering = ["user__email"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "user", "team", "role"], nulls_distinct=False, name="identity_membership_once"),
            models.CheckConstraint(condition=Q(role__in=MEMBER_ROLES), name="identity_membership_role"),
        ]

    def __str__(self) -> str:
        return f"{self.user} as {self.role}"


class Acquaintance(TenantOwned):
    """A tenant knows a person: it made their account, or they have held a role or a token there. The rows of people are seen by it, also
    when the role is gone, since what they did stays. Triggers write it."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "user"], name="identity_acquaintance_once")]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.tenant_id}"


class Delegation(TenantOwned):
    """One of a person's roles lent to another until a day; it holds while the lender holds the role themselves."""

    from_user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    to_user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    role = models.CharField(max_length=20, choices=[(role, role.replace("_", " ")) for role in DELEGABLE])
    until = models.DateTimeField(help_text="The delegation ends at this time.")
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    history = History(without=["reason"])

    TEAM_PATH = "team_id"

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(role__in=DELEGABLE), name="identity_delegation_role"),
            models.CheckConstraint(condition=~Q(from_user=models.F("to_user")), name="identity_delegation_two_people"),
            models.CheckConstraint(
                condition=Q(until__gt=models.F("created_at")) & Q(until__lte=models.F("created_at") + LONGEST),
                name="identity_delegation_length",
            ),
        ]
        indexes = [models.Index(fields=["tenant", "to_user"], condition=Q(revoked_at__isnull=True), name="identity_delegation_live")]

    def __str__(self) -> str:
        return f"{self.role.replace('_', ' ')} of {self.from_user} for {self.to_user}"


class AgentStatus(models.TextChoices):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    RETIRED = "retired"


class Agent(TenantOwned):
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, blank=True, related_name="agents")
    slug = models.CharField(max_length=63, validators=[slug_validator])
    name = models.CharField(max_length=200, blank=True)
    domain = models.CharField(max_length=63, blank=True, validators=[slug_validator])
    autonomy = models.CharField(max_length=2, choices=Autonomy.choices, default=Autonomy.A1)
    harness_kind = models.CharField(max_length=40, default="openclaw")
    model_policy = models.JSONField(default=dict, blank=True)
    default_pack = models.CharField(max_length=63, blank=True)
    status = models.CharField(max_length=10, choices=AgentStatus.choices, default=AgentStatus.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)

    history = History()

    TEAM_PATH = "team_id"
    GRANT_PATHS = {"agent": ("id",), "team": ("team_id",)}

    class Meta:
        ordering = ["slug"]
        permissions = permissions("agent")
        constraints = [
            models.UniqueConstraint(fields=["tenant", "slug"], name="identity_agent_slug"),
            models.CheckConstraint(condition=Q(autonomy__in=Autonomy.values), name="identity_agent_autonomy"),
            models.CheckConstraint(condition=Q(status__in=AgentStatus.values), name="identity_agent_status"),
        ]

    def __str__(self) -> str:
        return self.slug


class Token(TenantOwned):
    """The secret's hash under its prefix; the secret itself is shown once and never stored."""

    prefix = models.CharField(max_length=16, unique=True)
    hash = models.BinaryField(max_length=32)
    name = models.CharField(max_length=100, blank=True)
    scopes = models.JSONField(default=list)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"mc_{self.prefix}_…"


class AgentToken(Token):
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="tokens")
    successor = models.OneToOneField("self", on_delete=models.PROTECT, null=True, blank=True, related_name="predecessor")

    history = History(without=["hash", "last_used_at"])

    TEAM_PATH = "agent__team_id"
    GRANT_PATHS = {"agent": ("agent_id",), "team": ("agent__team_id",)}


class ApiToken(Token):
    """A personal or service token: acts as its user in one tenant, within its scopes."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="tokens")
    successor = models.OneToOneField("self", on_delete=models.PROTECT, null=True, blank=True, related_name="predecessor")

    history = History(without=["hash", "last_used_at"])

    OWN_PATH = "user_id"

    class Meta(Token.Meta):
        verbose_name = "API token"


class TeamGroupPermission(ObjectGrant):
    """What is granted on a team: it holds for the team's agents, and all that stands under them or it."""

    content_object = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="grants")

    KIND = "team"

    class Meta(ObjectGrant.Meta):
        verbose_name = "grant on a team"
        verbose_name_plural = "grants on teams"
        indexes = grant_indexes("identity_teamgrant")


class AgentGroupPermission(ObjectGrant):
    """What is granted on an agent: it holds for its tokens, its runs and events, and the layers at its scope."""

    content_object = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="grants")

    KIND = "agent"

    class Meta(ObjectGrant.Meta):
        verbose_name = "grant on an agent"
        verbose_name_plural = "grants on agents"
        indexes = grant_indexes("identity_agentgrant")
