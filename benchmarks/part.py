"""`python -m benchmarks.part <name>`: one part on services of its own, its rows as a Markdown table's."""

from __future__ import annotations

import importlib
import sys
from contextlib import nullcontext

from benchmarks.stage import services


def main(name: str) -> None:
    with nullcontext() if name in ("startup", "mixed") else services():
        for what, figure in importlib.import_module(f"benchmarks.{name}").run():
            print(f"| {what} | {figure} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
