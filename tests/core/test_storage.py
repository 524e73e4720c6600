"""The storage outside the database, in a folder and at a real S3-compatible server."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.core.storage import NotStoredError, Storage, StorageError, open_storage
from tests import s3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.running(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return open_storage(f"file://{tmp_path}/kept here")
    server: s3.Server = request.getfixturevalue("server")
    server.use(settings)
    return open_storage(f"s3://{s3.BUCKET}/{tmp_path.name}")


def test_what_is_written_is_there_and_never_written_over(storage: Storage) -> None:
    assert list(storage.list()) == []
    assert storage.put_new("a/one.json", b"first")
    assert not storage.put_new("a/one.json", b"second")
    assert storage.put_new("b/two.json", b"other")
    assert storage.get("a/one.json") == b"first"
    assert sorted((found.path, found.size) for found in storage.list()) == [("a/one.json", 5), ("b/two.json", 5)]
    assert [found.path for found in storage.list("b")] == ["b/two.json"]


def test_a_digest_that_does_not_hold_and_an_object_that_is_not_there(storage: Storage) -> None:
    storage.put_new("a", b"first")
    assert storage.get("a", sha256=hashlib.sha256(b"first").digest()) == b"first"
    with pytest.raises(StorageError, match="not what was written"):
        storage.get("a", sha256=hashlib.sha256(b"other").digest())
    with pytest.raises(NotStoredError, match="there is no nothing"):
        storage.get("nothing")


def test_of_writers_at_one_moment_one_wins(tmp_path: Path) -> None:
    start, won = threading.Barrier(8), []
    storage = open_storage(str(tmp_path / "kept"))

    def write(number: int) -> None:
        start.wait()
        if storage.put_new("a", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and storage.get("a") == str(won[0]).encode()
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("wrong", [{"S3_SECRET_ACCESS_KEY": "another"}, {"S3_ACCESS_KEY_ID": "SOMEBODYELSE"}])
def test_a_wrong_key_is_refused_by_the_server(server: s3.Server, settings: Any, wrong: dict[str, str]) -> None:
    server.use(settings, **wrong)
    storage = open_storage(f"s3://{s3.BUCKET}/refused")
    for call in (lambda: storage.put_new("a", b"1"), lambda: storage.get("a"), lambda: list(storage.list())):
        with pytest.raises(StorageError) as refused:
            call()
        assert not isinstance(refused.value, NotStoredError) and s3.SECRET not in str(refused.value)
    assert not (server.data / s3.BUCKET / "refused").exists()


@pytest.mark.parametrize("address", ["", "heads", "ftp://host/x", "s3://", "http://bucket/x", "file://host/x"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(StorageError, match="neither a folder"):
        open_storage(address)
