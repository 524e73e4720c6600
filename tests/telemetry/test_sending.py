"""The HTTP side of ingest: encodings, limits, refusals. None of them changes anything."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from threading import Event as Signal
from threading import Thread
from typing import Any

import pytest
import zstandard
from django.test import Client

from apps.core.errors import Problem
from apps.telemetry.api import body, views
from apps.telemetry.api.gate import Gate
from apps.telemetry.models import Run
from tests import factories
from tests.telemetry.sending import event, harness, run

pytestmark = pytest.mark.django_db

LIMIT = body.MAX_BODY_BYTES


def refused(response: Any) -> tuple[int, str]:
    assert response["Content-Type"] == "application/problem+json"
    assert not Run.objects.exists()
    return response.status_code, response.json()["code"]


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "members", "frames", "identity"])
def test_compressed_batches_are_taken(encoding: str) -> None:
    raw = json.dumps({"runs": [run()]}).encode()
    half = len(raw) // 2
    compressed = {
        "gzip": gzip.compress(raw),
        "zstd": zstandard.compress(raw),
        "members": gzip.compress(raw[:half]) + gzip.compress(raw[half:]),
        "frames": zstandard.compress(raw[:half]) + zstandard.compress(raw[half:]),
        "identity": raw,
    }[encoding]
    header = {"members": "gzip", "frames": "zstd"}.get(encoding, encoding)
    assert harness().post("runs", compressed, HTTP_CONTENT_ENCODING=header).json()["accepted"] == 1


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "plain", "empty", "tail"])
def test_a_broken_stream_is_said_to_be_one(encoding: str, damage: str) -> None:
    raw = json.dumps({"runs": [run() for _ in range(50)]}).encode()
    whole = gzip.compress(raw) if encoding == "gzip" else zstandard.ZstdCompressor(write_checksum=True).compress(raw)
    middle = len(whole) // 2
    sent = {
        "cut": whole[:-20],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :],
        "plain": raw,
        "empty": b"",
        "tail": whole + b"junk",
    }[damage]
    assert refused(harness().post("runs", sent, HTTP_CONTENT_ENCODING=encoding)) == (400, "bad_encoding")


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "zstd of unknown size"])
def test_a_bomb_costs_no_memory(encoding: str) -> None:
    zeros = b"0" * (256 * 1024 * 1024)
    stream = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    bomb = {
        "gzip": lambda: gzip.compress(zeros, 9),
        "zstd": lambda: zstandard.compress(zeros),
        "zstd of unknown size": lambda: stream.compress(zeros) + stream.flush(),
    }[encoding]()
    assert len(bomb) < LIMIT
    sender = harness()
    tracemalloc.start()
    answer = refused(sender.post("runs", bomb, HTTP_CONTENT_ENCODING=encoding.split()[0]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer == (413, "too_large")
    assert peak < 6 * LIMIT


def test_many_empty_members_are_not_worked_through() -> None:
    assert refused(harness().post("runs", gzip.compress(b"") * 200_000, HTTP_CONTENT_ENCODING="gzip")) == (400, "bad_encoding")


def test_bodies_over_the_limit_are_refused_by_their_length() -> None:
    sender = harness()
    assert refused(sender.post("runs", b" " * (LIMIT + 1))) == (413, "too_large")
    exact = json.dumps({"runs": [run()]}).encode()
    assert sender.post("runs", exact + b" " * (LIMIT - len(exact))).status_code == 202


def test_a_chunked_body_is_read_to_its_end_and_bounded() -> None:
    """A server that takes chunked bodies gives no length and says that its stream ends by itself."""
    sender = harness()

    def chunked(raw: bytes) -> dict[str, Any]:
        return {"wsgi.input": io.BytesIO(raw), "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}

    assert refused(sender.post("runs", b"", **chunked(b" " * (LIMIT + 1)))) == (413, "too_large")
    assert sender.post("runs", b"", **chunked(json.dumps({"runs": [run()]}).encode())).json()["accepted"] == 1


@pytest.mark.parametrize(
    ("sent", "headers", "expected"),
    [
        (b"{}", {"CONTENT_TYPE": "text/plain"}, (415, "unsupported_media_type")),
        (b"{}", {"HTTP_CONTENT_ENCODING": "br"}, (415, "unsupported_media_type")),
        (b"{}", {"HTTP_CONTENT_ENCODING": "gzip, gzip"}, (415, "unsupported_media_type")),
        (b"{", {}, (400, "bad_encoding")),
        (b"[]", {}, (422, "invalid")),
        (b"{}", {}, (422, "invalid")),
        (b'{"runs": []}', {}, (422, "invalid")),
        (b'{"runs": [{}], "extra": 1}', {}, (422, "unknown_key")),
        (b'{"runs": [{}], "producer": "gw-1"}', {}, (422, "invalid")),
        (json.dumps({"runs": [{}] * 1001}).encode(), {}, (422, "invalid")),
        (b"{}", {"HTTP_AUTHORIZATION": "Bearer mc_nobody"}, (401, "not_authenticated")),
    ],
)
def test_what_is_no_batch_is_refused(sent: bytes, headers: dict[str, str], expected: tuple[int, str]) -> None:
    assert refused(harness().post("runs", sent, **headers)) == expected


def test_only_post_is_answered() -> None:
    sender = harness()
    response = Client().get("/api/v1/telemetry/runs", headers=factories.bearer(sender.token))
    assert refused(response) == (405, "method_not_allowed")


def test_another_tenants_token_sends_for_its_own_tenant_only() -> None:
    sender, other = harness(), harness()
    other.send(run(tenant=sender.tenant.slug), run(agent=sender.agent.slug))
    assert set(Run.objects.values_list("tenant_id", "agent_id")) == {(other.tenant.pk, other.agent.pk)}


def test_a_full_gate_sends_away_and_opens_again(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Gate(working=1, waiting=1, patience_s=0.05)
    monkeypatch.setattr(views, "gate", small)
    sender = harness()
    inside, leave = Signal(), Signal()

    def occupy() -> None:
        with small():
            inside.set()
            leave.wait(10)

    thread = Thread(target=occupy)
    thread.start()
    inside.wait(10)
    response = sender.post("runs", {"runs": [run()]})
    assert (refused(response), response["Retry-After"]) == ((503, "unavailable"), "1")
    leave.set()
    thread.join()
    assert sender.send(run())["accepted"] == 1
    with pytest.raises(Problem, match="unavailable"), small(), small(), small():
        pass


def test_the_answer_carries_the_request_id_and_is_json() -> None:
    response = harness().post("events", {"events": [event()]}, HTTP_X_REQUEST_ID="abc-1")
    assert (response.status_code, response["X-Request-ID"], response["Content-Type"]) == (202, "abc-1", "application/json")
