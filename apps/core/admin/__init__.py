"""The admin's base: what every room's pages are made of. Django finds the rooms' own pages by the name `admin`."""

from __future__ import annotations

from django.contrib import admin
from django_celery_beat import models as beat

from apps.core.access import holds
from apps.core.admin import cells, columns, filters
from apps.core.admin.acts import Act, ActForm, Call, Done, NeededReasonForm, ReasonForm
from apps.core.admin.base import Facts, GovernedAdmin, Panel, Relatives, extend, page_link

__all__ = [
    "Act",
    "ActForm",
    "Call",
    "Done",
    "Facts",
    "GovernedAdmin",
    "NeededReasonForm",
    "Panel",
    "ReasonForm",
    "Relatives",
    "cells",
    "columns",
    "extend",
    "filters",
    "holds",
    "page_link",
]

# Their pages are Django's own, which know neither tenants nor roles.
for _model in (beat.PeriodicTask, beat.IntervalSchedule, beat.CrontabSchedule, beat.SolarSchedule, beat.ClockedSchedule):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)
