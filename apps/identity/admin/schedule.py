"""What the scheduler runs, for the people of `platform` to look at."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django_celery_beat.models import PeriodicTask

from apps.core.admin import Facts, GovernedAdmin, columns
from apps.core.admin.columns import Column
from apps.identity.permissions import manages_platform

WHEN = Column("When", lambda task: str(task.interval or task.crontab or task.solar or task.clocked or ""))


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(GovernedAdmin):
    audited = False
    list_display = (
        "name",
        columns.code("task"),
        WHEN,
        columns.yes_no("enabled"),
        columns.moment("last_run_at", "Last run"),
        columns.number("total_run_count", "Runs"),
    )
    list_select_related = ("interval", "crontab", "solar", "clocked")
    list_filter = ("enabled",)
    search_fields = ("name", "task")
    ordering = ("name",)
    when_empty = "The scheduler writes its tasks here when it starts."
    facts = (
        Facts(
            "Task",
            (
                columns.text("name"),
                columns.code("task"),
                WHEN,
                columns.yes_no("enabled"),
                columns.moment("last_run_at", "Last run"),
                columns.number("total_run_count", "Runs"),
                columns.text("queue"),
            ),
            long=(columns.block("description"), columns.block("args"), columns.block("kwargs")),
        ),
    )

    def has_module_permission(self, request: HttpRequest) -> bool:
        return hasattr(request, "ctx") and manages_platform(request.ctx)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return PeriodicTask.objects.order_by("name") if self.has_module_permission(request) else PeriodicTask.objects.none()
