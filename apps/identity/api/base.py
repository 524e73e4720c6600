"""What the resources of identity share: rows that the context sees, entity tags, and one way to answer a change."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Model
from rest_framework import mixins
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from apps.core.api.views import ContextViewSet, check_if_match
from apps.core.domain.canonical import canonical_bytes, digest
from apps.core.querysets import RestrictedQuerySet


class Resource(mixins.ListModelMixin, ContextViewSet):
    """`lookup_field` names a row inside the context's view; a PATCH runs under the row's lock, so that If-Match cannot be overtaken."""

    related: ClassVar[tuple[str, ...]] = ()

    def get_queryset(self) -> RestrictedQuerySet:
        rows: RestrictedQuerySet = super().get_queryset()
        return rows if getattr(self, "swagger_fake_view", False) else rows.restrict(self.ctx).select_related(*self.related)

    def get_object(self) -> Any:
        return self.get_queryset().visible(self.ctx, **{self.lookup_field: self.kwargs[self.lookup_field]})

    def key(self) -> str:
        return str(self.kwargs[self.lookup_field])

    def body(self, serializer: type[BaseSerializer[Any]]) -> dict[str, Any]:
        """The request's body. Raises a ValidationError, which becomes 422 with pointers."""
        sent = serializer(data=self.request.data)
        sent.is_valid(raise_exception=True)
        return dict(sent.validated_data)

    def answer(self, obj: Model, status: int = 200) -> Response:
        data = self.get_serializer(obj).data
        return Response(data, status=status, headers={"ETag": f'"{etag(data)}"'})

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.answer(self.get_object())

    def check_unchanged(self, request: Request) -> None:
        """Raises Problem `not_found`, or `stale_etag` when If-Match names another state than the present one."""
        if "If-Match" in request.headers:
            rows = self.get_queryset().select_for_update(of=("self",))
            present = rows.visible(self.ctx, **{self.lookup_field: self.kwargs[self.lookup_field]})
            check_if_match(request, etag(self.get_serializer(present).data))


def etag(data: Any) -> str:
    """The tag of a representation, unquoted."""
    return digest(canonical_bytes(dict(data))).removeprefix("sha256:")[:32]
