"""What the database holds even when every check in Python is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import Error, connection, transaction

from apps.identity.models import Tenant
from apps.packs.models import Layer, PackVersion
from tests import factories as make

Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def live(transactional_db: None) -> PackVersion:
    acme: Tenant = make.tenant("acme")
    make.own_pack(acme, "desk")
    return make.champion(acme, "desk", "tenant:acme")


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(Error) as error, transaction.atomic():
        call()
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    return str(error.value)


def test_the_application_cannot_change_or_delete_a_version(live: PackVersion) -> None:
    rows = PackVersion.objects.filter(pk=live.pk)
    assert "permission denied" in refused(lambda: rows.update(content={"sections": {}}))
    assert "permission denied" in refused(lambda: rows.update(digest="sha256:" + "0" * 64))
    assert "permission denied" in refused(lambda: rows._raw_delete("default"))
    # Even an unchanged immutable column: services name what they save.
    assert "permission denied" in refused(live.save)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE packs_packversion SET content = '{}'",
        "UPDATE packs_packversion SET number = 7",
        "DELETE FROM packs_packversion",
        "TRUNCATE packs_packversion CASCADE",
        "UPDATE audit_event SET action = 'x'",
        "DELETE FROM audit_event",
    ],
)
def test_not_even_the_owner_can(live: PackVersion, owner_sql: Sql, statement: str) -> None:
    with pytest.raises(psycopg.Error):
        owner_sql(statement)


def test_status_and_pointer_are_one_fact(live: PackVersion) -> None:
    layer = Layer.objects.filter(pk=live.layer_id)
    assert "disagree" in refused(lambda: layer.update(champion=None))
    assert "disagree" in refused(lambda: PackVersion.objects.filter(pk=live.pk).update(status="archived"))
    draft = make.version(live.tenant, "desk", "tenant:acme", make.content("Two."))
    assert "one_champion" in refused(lambda: PackVersion.objects.filter(pk=draft.pk).update(status="champion"))


def test_a_champion_is_a_version_of_its_own_layer(live: PackVersion) -> None:
    make.own_pack(live.tenant, "other")
    foreign = make.champion(live.tenant, "other", "tenant:acme")
    assert "champion_own" in refused(lambda: Layer.objects.filter(pk=live.layer_id).update(champion=foreign))


def test_rows_refer_to_their_own_tenant(live: PackVersion) -> None:
    other = make.tenant("other")
    assert "another tenant" in refused(
        lambda: Layer.objects.create(tenant=other, pack=live.layer.pack, scope_type="tenant", scope="tenant:other")
    )
    alien = make.agent(other)
    make_layer = lambda: Layer.objects.create(  # noqa: E731
        tenant=live.tenant, pack=live.layer.pack, scope_type="agent", scope="agent:acme/x", agent=alien
    )
    assert "another tenant" in refused(make_layer)


def test_the_digest_is_that_of_the_bytes(live: PackVersion) -> None:
    copy = PackVersion(tenant=live.tenant, layer=live.layer, number=9, content={}, canonical=b"{}", digest=live.digest)
    assert "packs_version_digest" in refused(lambda: copy.save(force_insert=True))
