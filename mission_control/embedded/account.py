"""The operating-system account the embedded servers run as: PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import pwd
import subprocess
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
        """Whether the account can enter the folder or execute the file: asked of the kernel, so that modes of all parents, ACLs and
        mounts count; by a process of its own, since a change of user here would switch our own death signal off."""
        asked = subprocess.run(["test", "-x", str(path)], user=self.uid, group=self.gid, extra_groups=[], cwd="/", check=False)
        return asked.returncode == 0


def service_account(data: Path | None = None) -> Account | None:
    """None for an ordinary user; for root the unprivileged account the servers run as: the owner of the folder `data` where that
    exists already, so that what a user began root can go on with. Raises EmbeddedError where there is none."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwuid(data.stat().st_uid) if data and data.exists() and data.stat().st_uid != 0 else pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedError(
            "PostgreSQL does not run as root and there is no account `nobody` to run it as; start as another user."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
