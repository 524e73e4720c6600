"""Tokens of agents and people in one list, and `me/`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from heapq import merge
from itertools import islice
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.access import Action
from apps.core.api.views import ContextView, ContextViewSet
from apps.core.context import ActionContext, RoleGrant
from apps.identity import services
from apps.identity.api import serializers as shapes
from apps.identity.domain.roles import actions_of
from apps.identity.models import AgentToken, ApiToken, Team, Tenant, User
from apps.identity.permissions import can
from apps.identity.selectors import expiring_tokens, unused_tokens, visible_token
from apps.identity.tokens import Principal


@dataclass(frozen=True, slots=True)
class BothKinds:
    """As much of a queryset over two tables as cursor paging asks for; ordered by id, which is unique over both."""

    kinds: tuple[QuerySet[Any], ...]
    newest_first: bool = True

    def filter(self, *conditions: Q, **values: Any) -> BothKinds:
        return replace(self, kinds=tuple(rows.filter(*conditions, **values) for rows in self.kinds))

    def order_by(self, order: str) -> BothKinds:
        return BothKinds(tuple(rows.order_by(order) for rows in self.kinds), order.startswith("-"))

    def __getitem__(self, part: slice) -> Iterator[AgentToken | ApiToken]:
        both = merge(*(rows[: part.stop] for rows in self.kinds), key=lambda token: token.pk, reverse=self.newest_first)
        return islice(both, part.start, part.stop)


class TokenViewSet(ContextViewSet):
    """Tokens of the tenant's agents, and of people who work in it."""

    queryset = ApiToken.objects.none()
    serializer_class = shapes.TokenSerializer
    filter_backends = ()
    shown_once = frozenset({"token"})

    @extend_schema(
        operation_id="tokens_list",
        summary="The tenant's tokens, agents' and people's, without their secrets",
        parameters=[shapes.TokenQuery],
        responses=shapes.TokenSerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        sent = shapes.TokenQuery(data=request.query_params.dict())
        sent.is_valid(raise_exception=True)
        page: Any = self.paginator.paginate_queryset(self._asked_for(sent.validated_data), request, view=self)  # type: ignore[union-attr, arg-type]
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def _asked_for(self, wanted: dict[str, Any]) -> BothKinds:
        agents = AgentToken.objects.restrict(self.ctx).select_related("agent")
        people = ApiToken.objects.restrict(self.ctx).select_related("user")
        if "agent" in wanted:
            agents = agents.filter(agent__slug=wanted["agent"])
        if "user" in wanted:
            people = people.filter(user__email=wanted["user"].strip().lower())
        kind = wanted.get("kind")
        if kind in ("user", "service"):
            people = people.filter(user__service_of__isnull=kind == "user")
        kinds = {"agent": agents, "user": people}
        chosen = {name for name in ("agent", "user") if name in wanted} | ({"agent" if kind == "agent" else "user"} if kind else set())
        both = BothKinds(tuple(kinds[each] for each in kinds if chosen <= {each}))
        if "revoked" in wanted:
            both = both.filter(revoked_at__isnull=not wanted["revoked"])
        now = timezone.now()
        if "expiring_days" in wanted:
            both = both.filter(expiring_tokens(timedelta(days=wanted["expiring_days"]), now))
        if "unused_days" in wanted:
            both = both.filter(unused_tokens(timedelta(days=wanted["unused_days"]), now))
        return both

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
        return self._shown_once(issued)

    @extend_schema(
        summary="Replaces a token by a new one like it, whose secret is in this answer only; the old one ends after an overlap",
        description="By whoever may issue it; and by its holder, an agent's token by itself. 409 `wrong_state` where it was replaced already.",
        request=shapes.TokenRotate,
        responses={201: shapes.TokenIssued},
    )
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, pk: str) -> Response:
        sent = shapes.TokenRotate(data=request.data)
        sent.is_valid(raise_exception=True)
        overlap = timedelta(seconds=sent.validated_data["overlap_s"])
        return self._shown_once(services.rotate_token(ctx=self.ctx, token_id=pk, overlap=overlap, reason=sent.validated_data["reason"]))

    @staticmethod
    def _shown_once(issued: services.Issued) -> Response:
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
        tenant = Tenant.objects.select_related("organisation").filter(pk=ctx.tenant_id).first() if ctx.roles or ctx.groups else None
        teams = dict(Team.objects.filter(pk__in=[grant.team_id for grant in ctx.roles if grant.team_id]).values_list("pk", "slug"))
        lenders = dict(User.objects.filter(pk__in=[grant.via for grant in ctx.roles if grant.via]).values_list("pk", "email"))
        body = {
            "actor": {"kind": ctx.actor.kind, "id": ctx.actor.id, "label": ctx.actor.label},
            "token_id": request.auth.token_id if isinstance(request.auth, Principal) else None,
            "tenant": tenant,
            "roles": [
                {
                    "role": grant.role,
                    "team": teams.get(grant.team_id) if grant.team_id else None,
                    "delegated_by": lenders.get(grant.via) if grant.via else None,
                    "actions": _within(ctx, grant),
                }
                for grant in sorted(ctx.roles, key=lambda grant: (grant.role, str(grant.team_id), str(grant.via or "")))
            ],
            "scopes": None if ctx.scopes is None else sorted(ctx.scopes),
            "actions": [action.value for action in Action if can(ctx, action, tenant_id=ctx.tenant_id)],
        }
        return Response(self.get_serializer(body).data)


def _within(ctx: ActionContext, grant: RoleGrant) -> list[str]:
    allowed = actions_of(grant.role, delegated=grant.via is not None)
    return [action.value for action in Action if action in allowed and (ctx.scopes is None or {action.value, "*"} & ctx.scopes)]
