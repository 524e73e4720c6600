from __future__ import annotations

import getpass
import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.context import system_context
from apps.core.errors import Problem
from apps.identity.selectors import platform_id
from apps.identity.services.passwords import set_password


class Command(BaseCommand):
    """In the place of Django's own, which leaves no record."""

    help = "Sets the password of a person; recorded in the audit log. It is asked for twice, or made and printed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--print-once", action="store_true", help="give a random password and print it, this once")

    def handle(self, *args: Any, **options: Any) -> None:
        password = secrets.token_urlsafe(15) if options["print_once"] else self._asked()
        ctx = system_context("changepassword", tenant_id=platform_id(), channel="cli")
        try:
            user = set_password(ctx=ctx, email=options["email"], password=password)
        except Problem as error:
            raise CommandError(error.detail) from error
        shown = f" It is {password} (shown this once)." if options["print_once"] else ""
        self.stdout.write(f"{user.email} has a new password; their sessions have ended.{shown}")

    def _asked(self) -> str:
        first = getpass.getpass("New password: ")
        if first != getpass.getpass("Again: "):
            raise CommandError("The two are not the same; nothing was changed.")
        return first
