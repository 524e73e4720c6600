"""Where the demo keeps the tokens of its simulated agents and people: `demo-tokens.json` in the data folder, mode 0600."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME = "demo-tokens.json"


@dataclass(slots=True)
class Tokens:
    """Secrets by their holder: agents as `acme/helpdesk-1`, people by e-mail address."""

    agents: dict[str, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)


def tokens_file() -> Path:
    """In `DATA_DIR` (relative to the clone; `.data` when it is not set), as `make up` sets it."""
    return ROOT / (os.environ.get("DATA_DIR") or ".data") / NAME


def read_tokens(path: Path) -> Tokens:
    """What the file holds; nothing where it is missing or unreadable: new tokens are issued then."""
    try:
        return Tokens(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return Tokens()


def write_tokens(path: Path, tokens: Tokens) -> None:
    """Writes the file whole or not at all, readable by its owner only. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(tokens), file, indent=1)
    part.replace(path)
