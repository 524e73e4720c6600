"""The three URLs that say where the database, its owner's login and the broker are."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

NAMES = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL")


def given(environ: Mapping[str, str]) -> dict[str, str] | None:
    """The URLs of services of one's own, or None when the embedded ones are wanted. Raises ValueError when only some are set."""
    found = {name: environ[name] for name in NAMES if environ.get(name)}
    if not found:
        return None
    if missing := [name for name in NAMES if name not in found]:
        raise ValueError(f"{' and '.join(found)} set without {' and '.join(missing)}: set all three to use services of your own, or none.")
    return found


def with_path(url: str, name: str) -> str:
    """The same URL for another database of the server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def without_password(url: str) -> str:
    """The URL as it may be shown or compared."""
    parts = urlsplit(url)
    user, separator, address = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.split(':')[0]}{separator}{address}"))
