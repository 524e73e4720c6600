"""An exported range proves by itself that nothing in it is missing or changed, and who said so."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.core.management import call_command

from apps.audit.exports import ExportError, verify_file
from apps.audit.models import Event, EventText
from apps.audit.services import verify_tenant
from apps.identity.models import Tenant
from tests import factories as make
from tests.audit.test_api import happened, reader

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant() -> Tenant:
    found = make.tenant()
    happened(found, "a.one", "a.two", reason="=SUM(1)")
    happened(found, "b.three", "b.four")
    return found


def key_files(folder: Path, name: str = "key") -> tuple[Path, Path]:
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def fetch(tenant: Tenant, query: str = "") -> tuple[Any, list[bytes]]:
    response = reader(tenant).get(f"/api/v1/audit/export/?{query}", headers={"Accept": "application/jsonl"})
    assert response.status_code == 200
    return response, b"".join(response.streaming_content).splitlines(keepends=True)  # type: ignore[attr-defined]


def test_the_whole_chain_with_its_proof(tenant: Tenant) -> None:
    response, lines = fetch(tenant)
    proof = verify_file(lines)
    assert (proof["first"], proof["last"], proof["count"], proof["signature"], len(lines)) == (1, 4, 4, None, 5)
    assert proof["head"]["seq"] == 4 and proof["head"]["hash"] == proof["hash"]
    assert json.loads(response["X-Audit-Proof"]) == proof and "attachment" in response["Content-Disposition"]
    last = Event.objects.filter(tenant_id=tenant.pk).latest("seq")
    assert (last.action, last.data) == ("audit.exported", {"first": 1, "last": 4, "count": 4, "format": "jsonl"})
    assert verify_tenant(tenant.pk) is None


def test_a_range_begins_in_the_middle_and_erased_texts_do_not_break_it(tenant: Tenant) -> None:
    EventText.objects.filter(event__seq=3, tenant_id=tenant.pk).delete()
    since = Event.objects.get(seq=3, tenant_id=tenant.pk).at.isoformat().replace("+00:00", "Z")
    _, lines = fetch(tenant, f"since={since}")
    proof = verify_file(lines)
    assert (proof["first"], proof["count"]) == (3, 2)
    _, lines = fetch(tenant, f"until={since}")
    assert verify_file(lines)["last"] == 2
    _, lines = fetch(tenant, "since=2999-01-01T00:00:00Z")
    assert (verify_file(lines)["count"], len(lines)) == (0, 1)


def change(field: str, value: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[1]["event"].update({field: value})


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (change("action", "a.other"), "event 2"),
        (lambda rows: rows[0]["text"]["text"].update(actor="Somebody else"), "event 1"),
        (lambda rows: rows.pop(1), "4 events, 3 are there"),
        (lambda rows: (rows.pop(1), rows[-1]["proof"].update(count=3)), "event 2 is missing"),
        (lambda rows: (rows.pop(3), rows[-1]["proof"].update(count=3)), "the head says 4"),
        (lambda rows: rows.pop(), "cut off"),
        (change("tenant_id", "other"), "another tenant"),
        (lambda rows: rows[0].pop("hash"), "fields of an export"),
        (lambda rows: rows[0].update(event=None), "fields of an export"),
        (lambda rows: rows[-1]["proof"].pop("count"), "fields of an export"),
        (lambda rows: rows[-1].update(proof=7), "cut off"),
        (change("data", {"n": 1.5}), "fields of an export|event 2"),
    ],
)
def test_what_was_changed_is_found(tenant: Tenant, tamper: Callable[[list[dict[str, Any]]], Any], said: str) -> None:
    rows = [json.loads(line) for line in fetch(tenant)[1]]
    tamper(rows)
    with pytest.raises(ExportError, match=said):
        verify_file([json.dumps(row).encode() for row in rows])


def test_a_signed_export_holds_for_its_key_only(tenant: Tenant, settings: Any, tmp_path: Path, capsys: Any) -> None:
    private, public = key_files(tmp_path)
    _, foreign = key_files(tmp_path, "other")
    settings.AUDIT_SIGNING_KEY = str(private)
    file = tmp_path / "export.jsonl"
    file.write_bytes(b"".join(fetch(tenant)[1]))
    call_command("verify_audit", export=file, key=public)
    assert "holds, 4 events" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        call_command("verify_audit", export=file, key=foreign)
    assert "another key" in capsys.readouterr().err
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[-1]["proof"]["head"]["seq"] = 9
    with pytest.raises(ExportError, match="signature does not match"):
        verify_file([json.dumps(row).encode() for row in rows])
    rows[-1]["proof"]["signature"] = None
    file.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(SystemExit):
        call_command("verify_audit", export=file, key=public)
    assert "not signed" in capsys.readouterr().err


def test_csv_is_no_formula(tenant: Tenant) -> None:
    response, lines = fetch(tenant, "format=csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(lines).decode())))
    assert [row["action"] for row in rows] == ["a.one", "a.two", "b.three", "b.four"]
    assert rows[0]["reason"] == "'=SUM(1)" and rows[1]["previous"] == rows[0]["hash"]
    assert response["Content-Type"].startswith("text/csv") and json.loads(response["X-Audit-Proof"])["hash"] == rows[-1]["hash"]


def test_who_may_not_audit_exports_nothing(tenant: Tenant) -> None:
    for role in ("viewer", "author", "operator", "manager"):
        assert reader(tenant, role).get("/api/v1/audit/export/").status_code == 403
    client = reader(tenant)
    for query in ("format=xml", "since=yesterday", "since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z"):
        assert client.get(f"/api/v1/audit/export/?{query}").status_code == 422
    assert not Event.objects.filter(action="audit.exported").exists()
