"""PostgreSQL and Valkey from wheels, and the supervisor behind `make up`. Nothing here imports Django.

Linux only: a child dies with its parent through `PR_SET_PDEATHSIG`.
"""

from __future__ import annotations


class EmbeddedError(Exception):
    """Something the person at the terminal can act on; its text is one sentence and becomes the whole output."""
