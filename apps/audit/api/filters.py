"""What the audit log can be asked for."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from apps.audit.models import Event
from apps.audit.selectors import search


class EventFilter(filters.FilterSet):
    action = filters.CharFilter(method="by_action", help_text="An act such as `identity.token_issued`, or a room's acts: `identity.`")
    actor = filters.CharFilter(method="by_actor", help_text="The actor's id, or its kind: `user`, `agent`, `system`.")
    object = filters.CharFilter(method="by_object", help_text="A type such as `identity.agent`, an id, or `type:id`.")
    since = filters.IsoDateTimeFilter(field_name="at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="at", lookup_expr="lt")
    search = filters.CharFilter(method="by_words", help_text="In act, object, actor and reason.")

    class Meta:
        model = Event
        fields: list[str] = []

    def by_action(self, rows: QuerySet[Event], name: str, value: str) -> QuerySet[Event]:
        return rows.filter(action__startswith=value) if value.endswith(".") else rows.filter(action=value)

    def by_actor(self, rows: QuerySet[Event], name: str, value: str) -> QuerySet[Event]:
        try:
            return rows.filter(actor_id=UUID(value))
        except ValueError:
            return rows.filter(actor_kind=value)

    def by_object(self, rows: QuerySet[Event], name: str, value: str) -> QuerySet[Event]:
        kind, colon, key = value.partition(":")
        if colon:
            return rows.filter(object_type=kind.lower(), object_id=key)
        return rows.filter(object_type=kind.lower()) if "." in kind else rows.filter(object_id=kind)

    def by_words(self, rows: QuerySet[Event], name: str, value: str) -> QuerySet[Event]:
        return search(rows, value)
