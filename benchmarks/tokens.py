"""`python -m benchmarks.tokens <count>`: tokens of agents of as many new tenants, on the database of the environment, as a JSON list."""

from __future__ import annotations

import json
import sys


def main() -> None:
    import django

    django.setup()
    from benchmarks.seeding import shared_pack, tenants

    print(json.dumps(tenants(shared_pack(body_bytes=4000), int(sys.argv[1]))))


if __name__ == "__main__":
    main()
