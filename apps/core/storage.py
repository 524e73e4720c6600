"""Objects outside the database: in a folder, or in a bucket of an S3-compatible service. What is written once is never written over."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from django.conf import settings

if TYPE_CHECKING:
    from obstore.store import ObjectStore

TIMEOUT_S = 30


class StorageError(Exception):
    """The storage did not do what it was asked for; the message says which one and why, and holds no secret."""


class NotStoredError(StorageError):
    """There is no such object."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that is there: its path below the storage's address, its size in bytes, and when it was written."""

    path: str
    size: int
    written_at: datetime


class Storage:
    """One folder or prefix. Paths have `/` between their parts and none at their ends."""

    def __init__(self, address: str, store: ObjectStore) -> None:
        self.address = address
        self._store = store

    def put_new(self, path: str, data: bytes) -> bool:
        """Writes the object whole, or not at all; False where there is one already, which stays as it is. Raises StorageError.

        Two writers at one moment are told apart by the storage itself: a link that exists, `If-None-Match` of S3. A service that does not
        know that condition is only asked beforehand.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._asking(path):
            try:
                obstore.head(self._store, path)
            except FileNotFoundError:
                pass
            else:
                return False
            try:
                obstore.put(self._store, path, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def get(self, path: str, *, sha256: bytes | None = None) -> bytes:
        """The object's bytes. Raises NotStoredError; StorageError also where they do not have the digest that is given."""
        import obstore

        with self._asking(path):
            data = bytes(obstore.get(self._store, path).bytes())
        if sha256 is not None and not hmac.compare_digest(hashlib.sha256(data).digest(), sha256):
            raise StorageError(f"{self.address}: {path} is not what was written there")
        return data

    def delete(self, path: str) -> None:
        """Removes the object; one that is gone already is no error. Raises StorageError."""
        import obstore

        with self._asking(path):
            try:
                obstore.delete(self._store, path)
            except FileNotFoundError:
                return

    def list(self, below: str = "") -> Iterator[Stored]:
        """The objects below a path, in no order. Raises StorageError."""
        import obstore

        with self._asking(below or "the list"):
            for part in obstore.list(self._store, prefix=below or None):
                for found in part:
                    yield Stored(found["path"], found["size"], found["last_modified"])

    def _asking(self, what: str) -> _Asking:
        return _Asking(self.address, what)


@dataclass(frozen=True, slots=True)
class _Asking:
    """Turns what the library raises into StorageError."""

    address: str
    what: str

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        from obstore.exceptions import BaseError

        if isinstance(error, FileNotFoundError):
            raise NotStoredError(f"{self.address}: there is no {self.what}") from error
        if isinstance(error, BaseError | OSError | ValueError):
            raise StorageError(f"{self.address}: {self.what}: {_short(error)}") from error


def open_storage(address: str) -> Storage:
    """The storage at `/folder`, `file:///folder` or `s3://bucket/prefix`. A folder is made, for this account only. Endpoint, region and keys
    of S3 come from the settings S3_…; without keys the host's own role is used. Raises StorageError for an address that is none."""
    from obstore.exceptions import BaseError
    from obstore.store import LocalStore

    parts = urlsplit(address)
    try:
        if parts.scheme == "s3" and parts.netloc:
            return Storage(address, _bucket(parts.netloc, parts.path.strip("/")))
        if parts.scheme in ("", "file") and not parts.netloc and parts.path.startswith("/"):
            folder = Path(unquote(parts.path) if parts.scheme else address)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Storage(address, LocalStore(folder))
    except (BaseError, OSError, ValueError) as error:
        raise StorageError(f"{address}: {_short(error)}") from error
    raise StorageError(f"'{address}' is neither a folder (from /) nor s3://bucket/prefix")


def _bucket(name: str, prefix: str) -> ObjectStore:
    from obstore.store import S3Store

    given = {
        "endpoint": settings.S3_ENDPOINT,
        "access_key_id": settings.S3_ACCESS_KEY_ID,
        "secret_access_key": settings.S3_SECRET_ACCESS_KEY,
    }
    config: Any = {key: value for key, value in given.items() if value}
    return S3Store(
        name,
        prefix=prefix or None,
        region=settings.S3_REGION,
        # Buckets with object lock take nothing without a checksum.
        checksum_algorithm="sha256",
        client_options={
            "allow_http": settings.S3_ENDPOINT.startswith("http://"),
            "timeout": timedelta(seconds=TIMEOUT_S),
            "connect_timeout": timedelta(seconds=5),
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=TIMEOUT_S)},
        **config,
    )


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
