from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.context import system_context
from apps.core.errors import Problem
from apps.identity.selectors import id_by_email, platform_id
from apps.identity.services import activate_person, deactivate_person
from apps.identity.services.people import normal_email


class Command(BaseCommand):
    help = "Switches an account off in every tenant: its sessions, tokens and password end at once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--undo", action="store_true", help="switch it on again; tokens and password do not come back")
        parser.add_argument("--reason", default="", help="for the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        user_id = id_by_email(normal_email(options["email"]))
        if user_id is None:
            raise CommandError(f"There is nobody with the e-mail address {options['email']}.")
        act = activate_person if options["undo"] else deactivate_person
        try:
            ctx = system_context("deactivate_person", tenant_id=platform_id(), channel="cli")
            user = act(ctx=ctx, user_id=user_id, reason=options["reason"])
        except Problem as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"{user.email} is switched {'on' if options['undo'] else 'off'}.")
