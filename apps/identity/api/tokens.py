"""Tokens of agents and people in one list, and `me/`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from heapq import merge
from itertools import islice
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.access import Action
from apps.core.api.views import ContextView, ContextViewSet
from apps.core.context import ActionContext
from apps.identity import services
from apps.identity.api import serializers as shapes
from apps.identity.api.filters import TokenFilter
from apps.identity.domain.roles import allows
from apps.identity.models import AgentToken, ApiToken, Team, Tenant
from apps.identity.permissions import can
from apps.identity.selectors import visible_token


@dataclass(frozen=True, slots=True)
class BothKinds:
    """As much of a queryset over two tables as filters and cursor paging ask for; ordered by id, which is unique over both."""

    agents: QuerySet[AgentToken]
    people: QuerySet[ApiToken]
    newest_first: bool = True

    def filter(self, **conditions: Any) -> BothKinds:
        # A condition on one kind's holder is only put after `of_kind` has emptied the other.
        return replace(self, agents=_narrowed(self.agents, conditions), people=_narrowed(self.people, conditions))

    def of_kind(self, kind: str) -> BothKinds:
        return replace(self, people=self.people.none()) if kind == "agent" else replace(self, agents=self.agents.none())

    def order_by(self, order: str) -> BothKinds:
        return replace(self, agents=self.agents.order_by(order), people=self.people.order_by(order), newest_first=order.startswith("-"))

    def all(self) -> BothKinds:
        return self

    def __getitem__(self, part: slice) -> Iterator[AgentToken | ApiToken]:
        kinds: list[QuerySet[Any]] = [self.agents[: part.stop], self.people[: part.stop]]
        both = merge(*kinds, key=lambda token: token.pk, reverse=self.newest_first)
        return islice(both, part.start, part.stop)


def _narrowed(rows: QuerySet[Any], conditions: dict[str, Any]) -> QuerySet[Any]:
    return rows if rows.query.is_empty() else rows.filter(**conditions)


class TokenViewSet(mixins.ListModelMixin, ContextViewSet):
    queryset = ApiToken.objects.none()
    serializer_class = shapes.TokenSerializer
    filterset_class = TokenFilter
    shown_once = frozenset({"token"})

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        return BothKinds(
            AgentToken.objects.restrict(self.ctx).select_related("agent"), ApiToken.objects.restrict(self.ctx).select_related("user")
        )

    @extend_schema(summary="The tenant's tokens, agents' and people's, without their secrets")
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)

    @extend_schema(summary="A token, without its secret")
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(self.get_serializer(visible_token(self.ctx, pk)).data)

    @extend_schema(
        summary="Issues a token; its secret is in this answer only", request=shapes.TokenCreate, responses={201: shapes.TokenIssued}
    )
    def create(self, request: Request) -> Response:
        sent = shapes.TokenCreate(data=request.data)
        sent.is_valid(raise_exception=True)
        wanted = dict(sent.validated_data)
        if "agent" in wanted:
            issued = services.issue_agent_token(ctx=self.ctx, **wanted)
        else:
            issued = services.issue_api_token(ctx=self.ctx, email=wanted.pop("user", ""), **wanted)
        data = {**shapes.TokenSerializer(issued.token).data, "token": issued.secret}
        return Response(data, status=201, headers={"Cache-Control": "no-store"})

    @extend_schema(summary="Revokes a token everywhere within a second", request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        services.revoke_token(ctx=self.ctx, token_id=pk)
        return Response(status=204)


class MeView(ContextView):
    """Who the caller is, in which tenant, and what they may do there."""

    filter_backends = ()
    pagination_class = None
    serializer_class = shapes.MeSerializer

    @extend_schema(operation_id="me_retrieve", summary="Who am I, where, and what may I do", parameters=list[OpenApiParameter]())
    def get(self, request: Request) -> Response:
        ctx = self.ctx
        tenant = Tenant.objects.select_related("organisation").filter(pk=ctx.tenant_id).first() if ctx.roles else None
        teams = dict(Team.objects.filter(pk__in=[grant.team_id for grant in ctx.roles if grant.team_id]).values_list("pk", "slug"))
        body = {
            "actor": {"kind": ctx.actor.kind, "id": ctx.actor.id, "label": ctx.actor.label},
            "tenant": tenant,
            "roles": [
                {"role": grant.role, "team": teams.get(grant.team_id) if grant.team_id else None, "actions": _within(ctx, grant.role)}
                for grant in sorted(ctx.roles, key=lambda grant: (grant.role, str(grant.team_id)))
            ],
            "scopes": None if ctx.scopes is None else sorted(ctx.scopes),
            "actions": [action.value for action in Action if can(ctx, action, tenant_id=ctx.tenant_id)],
        }
        return Response(self.get_serializer(body).data)


def _within(ctx: ActionContext, role: str) -> list[str]:
    return [action.value for action in Action if allows(role, action) and (ctx.scopes is None or {action.value, "*"} & ctx.scopes)]
