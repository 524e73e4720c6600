"""The tenant that owns the shared library and the scopes above tenant."""

from __future__ import annotations

from typing import Final
from uuid import UUID

# Made by a migration with this key, so that no process needs to look it up.
PLATFORM_ID: Final = UUID("00000000-0000-7000-8000-000000000001")


def platform_id() -> UUID:
    """The tenant that owns the shared library and the scopes above tenant."""
    return PLATFORM_ID
