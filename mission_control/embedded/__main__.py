"""`python -m mission_control.embedded up`."""

from __future__ import annotations

import sys

from . import EmbeddedError


def main() -> int:
    if sys.argv[1:] != ["up"]:
        print("Usage: python -m mission_control.embedded up", file=sys.stderr)
        return 2
    try:
        from .supervisor import up
    except EmbeddedError as error:  # not this operating system
        print(error, file=sys.stderr)
        return 2
    return up()


if __name__ == "__main__":
    sys.exit(main())
