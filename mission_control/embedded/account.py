"""The operating-system account the embedded servers run as: PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import EmbeddedError


@dataclass(frozen=True, slots=True)
class Account:
    """An account to drop to; None stands for "stay who we are" wherever an account is optional."""

    name: str
    uid: int
    gid: int

    def owns(self, path: Path) -> None:
        """Gives the account one file or folder."""
        os.chown(path, self.uid, self.gid)

    def reaches(self, path: Path) -> bool:
        """Whether the account can open `path`: asked of the kernel, so that modes of all parents, ACLs and mounts count."""
        with _effective(self):
            mode = os.R_OK | os.X_OK if path.is_dir() or os.access(path, os.X_OK, effective_ids=True) else os.R_OK
            return os.access(path, mode, effective_ids=True)


@contextmanager
def _effective(account: Account) -> Iterator[None]:
    """Acts as the account for a moment. Only for a process with a single thread that is root."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(account.gid)
    os.seteuid(account.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def service_account() -> Account | None:
    """None for an ordinary user; for root the unprivileged account the servers run as. Raises EmbeddedError where there is none."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedError("PostgreSQL does not run as root and there is no account `nobody` to run it as; start as another user.") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
