"""Every page that the admin has: it opens, costs the same however many rows there are, and shows no other tenant's."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from apps.core.admin import GovernedAdmin
from tests import factories as make
from tests.admin.office import PASSWORD, Office, fill, list_url, office, url

GOVERNED = [model for model, site in admin.site._registry.items() if isinstance(site, GovernedAdmin)]
# The scheduler's rows belong to no tenant; the inbox is another look at promotions, with tests of its own.
MODELS = [model for model in GOVERNED if model._meta.app_label != "django_celery_beat" and not model._meta.proxy]


def rows_of(model: type[Model], tenant_id: Any) -> Any:
    """A row of the tenant; organisations and people belong to it in their own ways."""
    name = model._meta.label
    if name == "identity.Organisation":
        return model._default_manager.filter(tenants=tenant_id)
    if name == "identity.Tenant":
        return model._default_manager.filter(pk=tenant_id)
    if name == "identity.User":
        return model._default_manager.filter(memberships__tenant_id=tenant_id)
    return model._default_manager.filter(tenant_id=tenant_id)


def opened(client: Client, address: str) -> tuple[int, Any]:
    """How many queries the page takes once versions are in memory."""
    client.get(address)
    with CaptureQueriesContext(connection) as queries:
        response = client.get(address)
    return len(queries), response


@pytest.fixture
def acme(db: None) -> Office:
    made = office(cases=1)
    fill(made, 2)
    return made


def test_nothing_is_registered_that_is_not_governed() -> None:
    assert [model for model in admin.site._registry if model not in GOVERNED] == []


def test_lists_and_pages_open_and_cost_the_same_for_2_and_12_rows(acme: Office) -> None:
    client = acme.client("admin")
    before = {model._meta.label: measured(client, model, acme) for model in MODELS}
    fill(acme, 10)
    grown = {label: (was, now) for model in MODELS if (was := before[label := model._meta.label]) != (now := measured(client, model, acme))}
    assert grown == {}


def measured(client: Client, model: type[Model], acme: Office) -> tuple[int, int]:
    listed, response = opened(client, list_url(model))
    assert response.status_code == 200, model
    obj = rows_of(model, acme.tenant.pk).order_by("pk").first()
    assert obj is not None, f"no {model._meta.label}"
    shown, response = opened(client, url(obj))
    assert response.status_code == 200, model
    return listed, shown


def test_another_tenants_object_does_not_exist(acme: Office) -> None:
    other = office("globex", cases=1)
    fill(other, 1)
    client = acme.client("admin")
    for model in MODELS:
        obj = rows_of(model, other.tenant.pk).exclude(pk__in=rows_of(model, acme.tenant.pk).values("pk")).first()
        assert obj is not None, model
        response = client.get(url(obj))
        assert response.status_code == 302 and response["Location"] == "/admin/", model
        listed = client.get(list_url(model)).content.decode()
        assert str(obj.pk) not in listed, model


def test_the_schedule_is_for_the_people_of_platform_to_look_at(acme: Office) -> None:
    every = IntervalSchedule.objects.create(every=5, period="minutes")
    task = PeriodicTask.objects.create(name="score", task="evals.score", interval=every)
    assert acme.client("admin").get(list_url(PeriodicTask)).status_code == 403
    keeper = make.user(make.platform(), "tenant_admin", email="keeper@platform.test", password=PASSWORD)
    acme.people["keeper"] = keeper
    client = acme.client("keeper")
    assert "every 5 minutes" in client.get(list_url(PeriodicTask)).content.decode()
    assert client.get(url(task)).status_code == 200


def test_pages_answer_get_only(acme: Office) -> None:
    client = acme.client("admin")
    assert client.post(url(acme.live), {"notes": "changed"}).status_code == 405
    assert client.post(list_url(type(acme.live)), {"action": "delete_selected"}).status_code == 405
    assert client.get(list_url(type(acme.live)) + "add/").status_code == 403
    assert client.post(f"{url(acme.live).removesuffix('change/')}delete/", {"post": "yes"}).status_code == 403


def test_a_look_up_across_a_relation_is_refused(acme: Office) -> None:
    client = acme.client("viewer")
    assert client.get(list_url(type(acme.live)) + "?created_by__password__startswith=a").status_code == 400
