"""Heads kept outside the database: written once each, and what finds a chain that was rewritten as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from apps.audit.domain.chain import GENESIS, event_hash
from apps.audit.models import Event, ExportedHead, Head
from apps.audit.services import content_of, verify_tenant
from apps.audit.signing import check
from apps.audit.tasks import export_heads
from apps.core.storage import StorageError
from apps.identity.models import Tenant
from tests import factories as make
from tests import s3
from tests.audit.test_api import happened
from tests.audit.test_exports import key_files

COMMITS = pytest.mark.django_db(transaction=True)
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.running(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> Path:
    settings.AUDIT_HEADS_STORE = str(tmp_path / "heads")
    return tmp_path / "heads"


def heads_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted(folder.rglob("*.json"))]


def verified(*arguments: str) -> tuple[int, str]:
    """The exit code of `verify_audit --heads` and what it says."""
    said = StringIO()
    try:
        call_command("verify_audit", "--heads", *arguments, stdout=said, stderr=said)
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        return ended.code, said.getvalue()
    return 0, said.getvalue()


@pytest.mark.django_db
@pytest.mark.parametrize("where", ["folder", "s3"])
def test_each_head_that_moved_is_an_object_of_its_own(request: pytest.FixtureRequest, settings: Any, tmp_path: Path, where: str) -> None:
    assert export_heads() == 0
    kept = tmp_path / "heads"
    settings.AUDIT_HEADS_STORE = str(kept)
    if where == "s3":
        server: s3.Server = request.getfixturevalue("server")
        server.use(settings)
        settings.AUDIT_HEADS_STORE, kept = f"s3://{s3.BUCKET}/{tmp_path.name}", server.data / s3.BUCKET / tmp_path.name
    private, public = key_files(tmp_path)
    settings.AUDIT_SIGNING_KEY = str(private)
    tenant = make.tenant()
    happened(tenant, "a.one", "a.two")
    assert (export_heads(), export_heads()) == (1, 0)
    happened(tenant, "a.three")
    assert export_heads() == 1
    found = heads_in(kept)
    assert [(head["tenant_id"], head["seq"]) for head in found] == [(str(tenant.pk), 2), (str(tenant.pk), 3)]
    assert found[1]["hash"] == bytes(Event.objects.get(tenant_id=tenant.pk, seq=3).hash).hex()
    assert [check(head, trusted=found[0]["key"]) for head in found] == [None, None]
    assert check({**found[0], "seq": 3}) is not None
    assert ExportedHead.objects.get().seq == 3
    # What the portal remembers of it is lost: the objects stay as they are.
    before = [path.read_bytes() for path in sorted(kept.rglob("*.json"))]
    ExportedHead.objects.update(store="another")
    assert export_heads() == 1 and [path.read_bytes() for path in sorted(kept.rglob("*.json"))] == before
    assert verified(settings.AUDIT_HEADS_STORE, "--key", str(public)) == (0, f"{tenant.pk}: agrees with 2 exported heads\n")


@pytest.mark.django_db
def test_a_storage_that_is_away_is_said_and_asked_again(client: Client, server: s3.Server, settings: Any, tmp_path: Path) -> None:
    tenant = make.tenant()
    happened(tenant, "a.one")
    auditor = make.user(tenant, "auditor", password=PASSWORD)
    assert client.login(username=auditor.email, password=PASSWORD)

    def page() -> str:
        return client.get("/admin/audit/event/").content.decode()

    assert "kept in the database only" in page()
    server.use(settings, S3_SECRET_ACCESS_KEY="another")
    settings.AUDIT_HEADS_STORE = f"s3://{s3.BUCKET}/{tmp_path.name}"
    assert "No head of this chain is kept outside" in page()
    with pytest.raises(StorageError):
        export_heads()
    assert not ExportedHead.objects.exists()
    assert "The last attempt failed, and is repeated every hour" in page()
    ready = client.get("/readyz").json()
    assert ready["audit_heads"] == "failing; see the audit page" and client.get("/readyz").status_code == 200
    server.use(settings)
    # Of this tenant; and of `platform`, if anything happened there.
    assert export_heads() == Head.objects.count()
    written = ExportedHead.objects.get(tenant_id=tenant.pk).seq
    assert (
        f"outside the database up to event {written}, written" in page()
        and "0 events since" in page()
        and "The last attempt failed" not in page()
    )
    assert client.get("/readyz").json()["audit_heads"] == "ok"
    happened(tenant, "a.two")
    assert "1 event since" in page()


def rewrite(owner_sql: Any, tenant: Tenant, seq: int) -> None:
    """What the owner of the database can do: another past from event `seq` on, with every hash as it should be."""
    for table in ("audit_event", "audit_eventtext", "audit_head"):
        owner_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    previous = GENESIS
    for event in Event.objects.filter(tenant_id=tenant.pk).order_by("seq"):
        event.action = "a.invented" if event.seq == seq else event.action
        event.previous = previous
        event.hash = previous = event_hash(content_of(event), previous)
        owner_sql(
            "UPDATE audit_event SET action = %s, previous = %s, hash = %s WHERE id = %s",
            [event.action, event.previous, event.hash, event.pk],
        )
    owner_sql("UPDATE audit_head SET hash = %s WHERE tenant_id = %s", [previous, tenant.pk])
    for table in ("audit_event", "audit_eventtext", "audit_head"):
        owner_sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")


@COMMITS
def test_a_chain_that_was_rewritten_as_a_whole_is_found_by_its_exported_heads(owner_sql: Any, folder: Path) -> None:
    tenant, untouched = make.tenant(), make.tenant()
    for index in range(4):
        happened(tenant, f"a.{index}")
        happened(untouched, f"b.{index}")
        assert export_heads() == 2
    rewrite(owner_sql, tenant, 3)
    # By itself it holds.
    assert verify_tenant(tenant.pk) is None
    code, said = verified(str(folder))
    assert code == 1 and f"{tenant.pk}: disagrees at event 3: its hash was {heads_in(folder / str(tenant.pk))[2]['hash']} at " in said
    assert f"{untouched.pk}: agrees with 4 exported heads" in said
    assert verified(str(folder), "--tenant", str(untouched.pk))[0] == 0
    # The rewritten chain goes on, and its heads stand beside the true ones.
    happened(tenant, "a.more")
    assert export_heads() == 1 and verified(str(folder))[0] == 1 and len(heads_in(folder / str(tenant.pk))) == 5


@COMMITS
def test_a_chain_that_was_cut_off_or_taken_away_is_found(owner_sql: Any, folder: Path) -> None:
    tenant, other = make.tenant(), make.tenant()
    happened(tenant, "a.one", "a.two")
    happened(other, "b.one")
    export_heads()
    for table in ("audit_event", "audit_eventtext", "audit_head"):
        owner_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    owner_sql("DELETE FROM audit_eventtext WHERE tenant_id = %s", [tenant.pk])
    owner_sql("DELETE FROM audit_event WHERE tenant_id = %s AND seq = 2", [tenant.pk])
    for table in ("audit_event", "audit_eventtext", "audit_head"):
        owner_sql(f"DELETE FROM {table} WHERE tenant_id = %s", [other.pk])
    code, said = verified(str(folder))
    assert code == 1 and f"{tenant.pk}: disagrees at event 2: the chain has no such event" in said
    assert f"{other.pk}: disagrees at event 1: its whole chain is gone" in said


@pytest.mark.django_db
@pytest.mark.parametrize("tamper", ["content", "place", "garbage"])
def test_heads_that_were_tampered_with_are_found(settings: Any, folder: Path, tmp_path: Path, tamper: str) -> None:
    private, public = key_files(tmp_path)
    settings.AUDIT_SIGNING_KEY = str(private)
    tenant = make.tenant()
    happened(tenant, "a.one")
    export_heads()
    (file,) = folder.rglob("*.json")
    file.chmod(0o600)
    if tamper == "content":
        file.write_text(json.dumps({**json.loads(file.read_text()), "at": "2020-01-01T00:00:00+00:00"}))
    elif tamper == "place":
        file.rename(file.with_name(file.name.replace("000001-", "000007-")))
    else:
        file.write_bytes(b"\x00")
    expected = {"content": "signature does not match", "place": "holds the head of another place", "garbage": "is no exported head"}
    code, said = verified(str(folder), "--key", str(public))
    assert code == 1 and expected[tamper] in said


@pytest.mark.django_db
def test_a_storage_that_cannot_be_read_is_an_error_and_not_an_agreement(settings: Any) -> None:
    with pytest.raises(CommandError, match="neither a folder"):
        verified("nowhere")
    settings.AUDIT_HEADS_STORE = ""
    with pytest.raises(CommandError, match="neither a folder"):
        call_command("verify_audit", "--heads")


@pytest.mark.django_db
def test_a_head_that_has_not_moved_costs_no_call_to_the_storage(folder: Path) -> None:
    happened(make.tenant(), "a.one")
    assert export_heads() == 1
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert export_heads() == 0
    assert ExportedHead.objects.get().at + timedelta(hours=1) > Event.objects.latest("at").at
