"""Groups of people inside a tenant, and what is granted to them on single objects: guardian's direct foreign-key tables, with a tenant
and an end. Each container's room has its own table; `containers` finds them all."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, Self

from django.apps import apps
from django.contrib.auth.models import Permission
from django.db import models
from django.db.models import Q, QuerySet, Subquery
from django.db.models.functions import Now
from guardian.managers import GroupObjectPermissionManager
from guardian.models import GroupObjectPermissionBase

from apps.core.domain.actions import Action
from apps.core.history import History
from apps.core.models import TenantOwned
from apps.core.querysets import RestrictedQuerySet


class TenantGroup(TenantOwned):
    """People of one tenant to whom acts on objects are granted. A person in a group need not hold a role: then they see what is granted and
    nothing else."""

    name = models.CharField(max_length=100)
    description = models.CharField(max_length=500, blank=True)
    # Django's group knows no tenant: its name is this row's id, and nothing else is said there.
    group = models.OneToOneField("auth.Group", on_delete=models.PROTECT, related_name="of_tenant", editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    history = History(without=["group"])

    class Meta:
        ordering = ["name"]
        verbose_name = "group"
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="identity_tenantgroup_name")]

    def __str__(self) -> str:
        return self.name


class GroupMember(TenantOwned):
    """A person in a group."""

    group = models.ForeignKey(TenantGroup, on_delete=models.PROTECT, related_name="members")
    user = models.ForeignKey("identity.User", on_delete=models.PROTECT, related_name="group_memberships")
    until = models.DateTimeField(null=True, blank=True, help_text="The membership ends at this time.")
    created_at = models.DateTimeField(auto_now_add=True)

    history = History()

    class Meta:
        ordering = ["user__email"]
        verbose_name = "group member"
        constraints = [models.UniqueConstraint(fields=["group", "user"], name="identity_groupmember_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.group}"


class GrantQuerySet(RestrictedQuerySet):
    def live(self) -> Self:
        """Those that have not ended, by the database's clock."""
        return self.filter(Q(until__isnull=True) | Q(until__gt=Now()))

    def of(self, action: Action) -> Self:
        return self.filter(permission=permission(self.model, action))


class ObjectGrant(TenantOwned, GroupObjectPermissionBase):
    """One act granted to one group on one object. `tenant` is the group's: the database refuses a group of another tenant, and an object
    that is neither the tenant's nor, for packs, the shared library's."""

    until = models.DateTimeField(null=True, blank=True, help_text="The grant ends at this time.")
    granted_by = models.ForeignKey("identity.User", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = GroupObjectPermissionManager.from_queryset(GrantQuerySet)()  # type: ignore[assignment, misc]

    KIND: ClassVar[str]
    # What people call the container by; unique in a tenant (and, for packs, with the shared library).
    NAME: ClassVar[str] = "slug"

    class Meta(GroupObjectPermissionBase.Meta):
        abstract = True
        ordering: ClassVar[list[str]] = ["-id"]


# A concrete class of ObjectGrant: one that has its `content_object`.
GrantTable = Any


def grant_indexes(name: str) -> list[models.Index]:
    """A page of what is granted is read in the order of its ids, newest first, whoever else has how much."""
    return [
        models.Index(fields=["tenant", "permission", "-content_object"], include=["group", "until"], name=f"{name}_page"),
    ]


@cache
def containers() -> dict[str, GrantTable]:
    """Kind of container -> the table of its grants."""
    return {model.KIND: model for model in apps.get_models() if issubclass(model, ObjectGrant)}


def permission(model: GrantTable, action: Action) -> Subquery:
    """The key of guardian's permission row: read once a query, not once a row."""
    target = model._meta.get_field("content_object").related_model
    rows: QuerySet[Permission] = Permission.objects.filter(
        content_type__app_label=target._meta.app_label, content_type__model=target._meta.model_name, codename=action.value
    )
    return Subquery(rows.values("pk"))
