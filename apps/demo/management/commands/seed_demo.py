from __future__ import annotations

import secrets
import time
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.errors import Problem
from apps.demo.places import read_tokens, tokens_file, write_tokens
from apps.demo.services.seed import seed
from apps.demo.services.tokens import renew_tokens


class Command(BaseCommand):
    help = (
        "Puts the demo organisation into the portal: tenants, people, agents, packs with what is live, eval sets; and the tokens of its "
        "simulated agents into demo-tokens.json of the data folder. What is there already is left as it is."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--password",
            nargs="?",
            const="",
            help="lets the demo's people sign in with this password, or with a random one that is printed; without it they cannot sign in",
        )
        parser.add_argument("--tokens-only", action="store_true", help="makes nothing but tokens, for those of the demo who exist")

    def handle(self, *args: Any, **options: Any) -> None:
        begun = time.monotonic()
        password = options["password"]
        shown = password == ""
        if shown:
            password = secrets.token_urlsafe(12)
        path = tokens_file()
        try:
            made: Counter[str] = Counter() if options["tokens_only"] else seed(password=password)
            tokens, new = renew_tokens(before := read_tokens(path))
            if tokens != before:
                write_tokens(path, tokens)
        except Problem as error:
            raise CommandError(error.detail) from error
        except OSError as error:
            raise CommandError(f"The tokens of the demo cannot be written to {path} ({error.strerror}); set DATA_DIR.") from error
        if new:
            made["tokens"] = new
        if not made:
            self.stdout.write("There is nothing to renew." if options["tokens_only"] else "The demo is there already.")
            return
        counts = ", ".join(f"{count} {kind}" for kind, count in made.items())
        self.stdout.write(f"The demo: {counts} ({time.monotonic() - begun:.1f} s).")
        if shown:
            self.stdout.write(f"Its people, such as max.manager@acme.example, sign in with the password {password} (shown this once).")
