from __future__ import annotations

import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.context import system_context
from apps.core.errors import Problem
from apps.identity.selectors import id_by_email, platform_id
from apps.identity.services import add_member, create_user
from apps.identity.services.people import normal_email


class Command(BaseCommand):
    help = "Creates an admin: tenant admin of 'platform'. Does nothing where the person exists."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--email", required=True)
        parser.add_argument("--print-once", action="store_true", help="give a random password and print it, this once")

    def handle(self, *args: Any, **options: Any) -> None:
        email = normal_email(options["email"])
        if id_by_email(email) is not None:
            self.stdout.write(f"{email} exists; nothing was changed.")
            return
        password = secrets.token_urlsafe(15) if options["print_once"] else None
        ctx = system_context("create_admin", tenant_id=platform_id(), channel="cli")
        try:
            with ctx.transaction():
                create_user(ctx=ctx, email=email, password=password)
                add_member(ctx=ctx, email=email, role="tenant_admin")
        except Problem as error:
            raise CommandError(error.detail) from error
        if password is None:
            self.stdout.write(f"{email} was created without a password; `manage.py changepassword {email}` sets one.")
        else:
            self.stdout.write(f"Sign in as {email} with the password {password} (shown this once).")
