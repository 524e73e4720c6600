"""Where a process of the embedded installation learns its settings: the environment, then `.env`, then the running `make up`."""

from __future__ import annotations

import json
import os
from collections.abc import MutableMapping
from pathlib import Path

from .urls import NAMES

ROOT = Path(__file__).resolve().parents[2]
# In the data folder, mode 0600: what a running supervisor gives to its processes, for `manage.py` in another terminal.
PUBLISHED = "environment.json"


def data_folder(environ: MutableMapping[str, str]) -> Path:
    """`DATA_DIR`, relative to the clone; `.data` when it is not set."""
    return ROOT / (environ.get("DATA_DIR") or ".data")


def read_file(path: Path) -> dict[str, str]:
    """`NAME=value` lines; empty lines and lines that begin with # say nothing; a value may stand in quotes. {} when there is no file."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    found = {}
    for line in lines:
        name, separator, value = line.strip().partition("=")
        if not separator or name.startswith("#"):
            continue
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name.strip()] = value
    return found


def load_file(environ: MutableMapping[str, str] = os.environ) -> None:
    """Fills in from `.env` what the environment does not set."""
    for name, value in read_file(ROOT / ".env").items():
        environ.setdefault(name, value)


def load(environ: MutableMapping[str, str] = os.environ) -> None:
    """Fills in what is not set: from `.env`, then, unless services of one's own are named, from the running `make up`."""
    load_file(environ)
    if any(environ.get(name) for name in NAMES):
        return
    try:
        published: dict[str, str] = json.loads((data_folder(environ) / PUBLISHED).read_text())
    except (OSError, ValueError):
        return
    for name, value in published.items():
        environ.setdefault(name, value)
