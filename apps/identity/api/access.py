"""Groups, what is granted to them, and who may do what to an object, with where each right comes from."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.access import Action
from apps.core.api.views import ContextView, ContextViewSet
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.identity import services
from apps.identity.api.base import Resource
from apps.identity.api.filters import GroupFilter
from apps.identity.api.tokens import BothKinds
from apps.identity.domain.access import ANY_GRANTABLE
from apps.identity.groups import GroupMember, TenantGroup, containers
from apps.identity.holdings import ACTS, Answer, access_of, object_called, people_here, people_with_access, require_to_ask
from apps.identity.models import User

OBJECT = OpenApiParameter(
    "object", OpenApiTypes.STR, required=True, description="`kind:id`, or `pack:desk`, `team:…`, `agent:…`, `evalset:…` by slug."
)


class GroupSerializer(serializers.ModelSerializer[TenantGroup]):
    class Meta:
        model = TenantGroup
        fields = ["id", "name", "description", "created_at"]


class GroupCreate(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)
    description = serializers.CharField(max_length=500, required=False, allow_blank=True)


class GroupChange(GroupCreate):
    name = serializers.CharField(max_length=100, required=False)


class GroupMemberSerializer(serializers.ModelSerializer[GroupMember]):
    user = serializers.UUIDField(source="user_id")
    email = serializers.EmailField(source="user.email")
    name = serializers.CharField(source="user.name")

    class Meta:
        model = GroupMember
        fields = ["id", "group", "user", "email", "name", "until", "created_at"]


class GroupMemberCreate(serializers.Serializer[Any]):
    email = serializers.EmailField()
    name = serializers.CharField(max_length=200, required=False, allow_blank=True, help_text="Taken when the person is new.")
    until = serializers.DateTimeField(required=False, allow_null=True)


class GovernedObjectSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField(help_text="`pack`, `team`, `agent`, `evalset`; any other model's name where access is asked about it.")
    id = serializers.UUIDField()
    name = serializers.CharField()


class GrantSerializer(serializers.Serializer[Any]):
    """One act on one object, granted to one group."""

    id = serializers.UUIDField()
    group = serializers.UUIDField(source="group.of_tenant.pk")
    group_name = serializers.CharField(source="group.of_tenant.name")
    object = serializers.SerializerMethodField()
    action = serializers.CharField(source="permission.codename")
    until = serializers.DateTimeField(allow_null=True)
    granted_by = serializers.EmailField(source="granted_by.email", allow_null=True, default=None)
    created_at = serializers.DateTimeField()

    @extend_schema_field(GovernedObjectSerializer)
    def get_object(self, row: Any) -> dict[str, Any]:
        return _named(row.content_object)


class GrantCreate(serializers.Serializer[Any]):
    object = serializers.CharField(max_length=200, help_text="`pack:<slug>`, `team:<slug>`, `agent:<slug>`, `evalset:<slug>`, or an id.")
    actions = serializers.ListField(
        child=serializers.ChoiceField(sorted(ANY_GRANTABLE)), min_length=1, max_length=20, help_text="`view` comes with every other."
    )
    until = serializers.DateTimeField(required=False, allow_null=True, default=None)


class GrantsSerializer(serializers.Serializer[Any]):
    grants = GrantSerializer(many=True)


class GrantQuery(serializers.Serializer[Any]):
    group = serializers.UUIDField(required=False, help_text="A group's id.")
    object = serializers.CharField(required=False, max_length=200, help_text="`pack:<slug>` and so on, or `kind:id`.")
    action = serializers.ChoiceField(sorted(ANY_GRANTABLE), required=False)


class SourceSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField(help_text="`role`, `team_role`, `provider_group`, `delegation`, `grant`, `library` or `installation`.")
    sentence = serializers.CharField(help_text="Where the right comes from, for a person.")
    since = serializers.DateTimeField(allow_null=True)
    until = serializers.DateTimeField(allow_null=True, help_text="When it ends by itself.")


class ActSerializer(serializers.Serializer[Any]):
    action = serializers.CharField()
    allowed = serializers.BooleanField()
    sources = SourceSerializer(many=True)


class PersonSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    name = serializers.CharField()


class AccessSerializer(serializers.Serializer[Any]):
    user = PersonSerializer()
    object = GovernedObjectSerializer()
    acts = ActSerializer(many=True)


def _named(obj: Any) -> dict[str, Any]:
    return {"kind": obj._meta.model_name, "id": obj.pk, "name": str(obj)}


def _shown(answer: Answer, obj: Any, *, all_acts: bool) -> dict[str, Any]:
    acts = [
        {
            "action": act.value,
            "allowed": bool(sources),
            "sources": [{"kind": each.kind, "sentence": each.sentence(), "since": each.since, "until": each.until} for each in sources],
        }
        for act, sources in answer.sources.items()
        if sources or all_acts
    ]
    return AccessSerializer({"user": answer.user, "object": _named(obj), "acts": acts}).data


@extend_schema_view(list=extend_schema(summary="The tenant's groups"), retrieve=extend_schema(summary="A group"))
class GroupViewSet(Resource):
    """People to whom acts on single objects are granted; they need hold no role."""

    queryset = TenantGroup.objects.all()
    serializer_class = GroupSerializer
    filterset_class = GroupFilter
    lookup_field = "pk"
    lookup_url_kwarg = "pk"

    @extend_schema(summary="Makes a group", request=GroupCreate, responses={201: GroupSerializer})
    def create(self, request: Request) -> Response:
        return self.answer(services.create_group(ctx=self.ctx, **self.body(GroupCreate)), 201)

    @extend_schema(summary="Changes a group's name or description", request=GroupChange, responses=GroupSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        self.check_unchanged(request)
        return self.answer(services.update_group(ctx=self.ctx, group_id=pk, **self.body(GroupChange)))

    @extend_schema(summary="Ends a group and all that was granted to it", request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        self.check_unchanged(request)
        services.delete_group(ctx=self.ctx, group_id=pk)
        return Response(status=204)

    @extend_schema(
        methods=["get"], operation_id="groups_members_list", summary="Who is in the group", responses=GroupMemberSerializer(many=True),
        filters=False,
    )  # fmt: skip
    @extend_schema(
        methods=["post"], summary="Puts a person into the group", request=GroupMemberCreate, responses={201: GroupMemberSerializer}
    )
    @action(detail=True, methods=["get", "post"], filterset_class=None)
    def members(self, request: Request, pk: str) -> Response:
        if request.method == "POST":
            made = services.add_group_member(ctx=self.ctx, group_id=pk, **self.body(GroupMemberCreate))
            return Response(GroupMemberSerializer(made).data, status=201)
        group = self.get_object()
        page: Any = self.paginate_queryset(GroupMember.objects.restrict(self.ctx).filter(group=group).select_related("user"))
        return self.get_paginated_response(GroupMemberSerializer(page, many=True).data)

    @extend_schema(
        methods=["get"], operation_id="groups_grants_list", summary="What is granted to the group", responses=GrantSerializer(many=True),
        filters=False,
    )  # fmt: skip
    @extend_schema(
        methods=["post"], summary="Grants the group acts on an object and on all that stands under it", request=GrantCreate,
        responses={201: GrantsSerializer},
    )  # fmt: skip
    @action(detail=True, methods=["get", "post"], filterset_class=None)
    def grants(self, request: Request, pk: str) -> Response:
        group = self.get_object()
        if request.method == "POST":
            data = self.body(GrantCreate)
            obj = object_called(self.ctx, data.pop("object"))
            made = services.grant(ctx=self.ctx, group_id=group.pk, obj=obj, **data)
            return Response(GrantsSerializer({"grants": made}).data, status=201)
        page: Any = self.paginator.paginate_queryset(grant_rows(self.ctx).filter(group__of_tenant=group), request, view=self)  # type: ignore[union-attr, arg-type]
        return self.get_paginated_response(GrantSerializer(page, many=True).data)


class GroupMemberViewSet(ContextViewSet):
    """One person in one group."""

    queryset = GroupMember.objects.none()
    serializer_class = GroupMemberSerializer
    filter_backends = ()

    @extend_schema(summary="Takes a person out of a group", request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        services.remove_group_member(ctx=self.ctx, member_id=pk)
        return Response(status=204)


def grant_rows(ctx: ActionContext) -> BothKinds:
    """What is granted in the tenant, on containers of every kind."""
    related = ("group__of_tenant", "permission", "content_object", "granted_by")
    return BothKinds(tuple(model.objects.restrict(ctx).select_related(*related) for model in containers().values()))


class GrantViewSet(ContextViewSet):
    """What is granted to groups, act by act."""

    queryset = TenantGroup.objects.none()
    serializer_class = GrantSerializer
    filter_backends = ()

    @extend_schema(
        operation_id="grants_list", summary="What is granted in the tenant", parameters=[GrantQuery], responses=GrantSerializer(many=True)
    )
    def list(self, request: Request) -> Response:
        asked = GrantQuery(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        wanted, rows = asked.validated_data, grant_rows(self.ctx)
        if "group" in wanted:
            rows = rows.filter(group__of_tenant=wanted["group"])
        if "action" in wanted:
            rows = rows.filter(permission__codename=wanted["action"])
        if "object" in wanted:
            obj = object_called(self.ctx, wanted["object"])
            table = containers().get(obj._meta.model_name or "")
            if table is None:
                raise problem("invalid", "Access is granted on packs, teams, agents and evaluation sets.", pointer="/object")
            rows = BothKinds(tuple(kind for kind in rows.kinds if kind.model is table)).filter(content_object_id=obj.pk)
        page: Any = self.paginator.paginate_queryset(rows, request, view=self)  # type: ignore[union-attr, arg-type]
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(
        summary="Takes an act on an object back from a group; `view` takes all its acts there with it",
        request=None,
        responses={204: None},
    )
    def destroy(self, request: Request, pk: str) -> Response:
        services.revoke(ctx=self.ctx, grant_id=pk)
        return Response(status=204)


class AccessView(ContextView):
    """Effective access: every act on an object, whether a person may do it, and where the right comes from."""

    queryset = User.objects.none()
    serializer_class = AccessSerializer
    filter_backends = ()

    @extend_schema(
        operation_id="access_retrieve",
        summary="What a person may do to an object, and where each right comes from",
        parameters=[OBJECT, OpenApiParameter("user", OpenApiTypes.STR, description="A person's e-mail address; yours when left out.")],
        responses=AccessSerializer,
    )
    def get(self, request: Request) -> Response:
        obj = object_called(self.ctx, request.query_params.get("object", ""))
        email = request.query_params.get("user", "").strip().lower()
        people = people_here(self.ctx.tenant_id).filter(email=email) if email else User.objects.filter(pk__in=[self.ctx.user_id])
        user = people.first()
        require_to_ask(self.ctx, obj, user.pk if user else None)
        if user is None:
            raise problem("invalid", "The tenant has no person with this e-mail address.", pointer="/user")
        return Response(_shown(access_of(self.ctx.tenant_id, [user], obj)[0], obj, all_acts=True))


class AccessPeopleView(ContextView):
    """Effective access the other way round: who may do what to one object."""

    queryset = User.objects.none()
    serializer_class = AccessSerializer
    filter_backends = ()

    @extend_schema(
        operation_id="access_people_list",
        summary="Who may do what to an object, and where each right comes from",
        parameters=[
            OBJECT,
            OpenApiParameter("action", OpenApiTypes.STR, enum=[act.value for act in ACTS], description="Those who may do this."),
            OpenApiParameter("search", OpenApiTypes.STR, description="In e-mail address and name."),
        ],
        responses=AccessSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        obj = object_called(self.ctx, request.query_params.get("object", ""))
        require_to_ask(self.ctx, obj)
        wanted = request.query_params.get("action") or Action.VIEW.value
        if wanted not in ACTS:
            raise problem("invalid", f"The acts are {', '.join(ACTS)}.", pointer="/action")
        people = people_with_access(self.ctx.tenant_id, obj, Action(wanted), request.query_params.get("search", ""))
        page: Any = self.paginate_queryset(people)
        shown = [_shown(answer, obj, all_acts=False) for answer in access_of(self.ctx.tenant_id, page, obj)]
        return self.get_paginated_response(shown)
