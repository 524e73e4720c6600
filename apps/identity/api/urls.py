from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from apps.identity.api.access import AccessPeopleView, AccessView, GrantViewSet, GroupMemberViewSet, GroupViewSet
from apps.identity.api.accounts import ServiceAccountViewSet
from apps.identity.api.delegations import DelegationViewSet
from apps.identity.api.members import AgentViewSet, MemberViewSet, TeamViewSet
from apps.identity.api.tenants import OrganisationViewSet, TenantViewSet
from apps.identity.api.tokens import MeView, TokenViewSet

router = SimpleRouter()
router.register("groups", GroupViewSet, basename="group")
router.register("group-members", GroupMemberViewSet, basename="group-member")
router.register("grants", GrantViewSet, basename="grant")
router.register("organisations", OrganisationViewSet, basename="organisation")
router.register("tenants", TenantViewSet, basename="tenant")
router.register("teams", TeamViewSet, basename="team")
router.register("agents", AgentViewSet, basename="agent")
router.register("members", MemberViewSet, basename="member")
router.register("service-accounts", ServiceAccountViewSet, basename="service-account")
router.register("delegations", DelegationViewSet, basename="delegation")
router.register("tokens", TokenViewSet, basename="token")
urlpatterns = [
    path("me/", MeView.as_view(), name="me"),
    path("access/", AccessView.as_view(), name="access"),
    path("access/people/", AccessPeopleView.as_view(), name="access-people"),
    *router.urls,
]
