from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.context import system_context
from apps.core.errors import Problem, problem
from apps.identity.models import AgentToken, ApiToken
from apps.identity.selectors import tenant_by_slug
from apps.identity.services import rotate_token


class Command(BaseCommand):
    help = "Replaces a token by a new one of the same holder and scopes, and prints that, and nothing else, on stdout."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "token", metavar="TENANT/PREFIX", help="the part of the token between the underscores, for example acme/k3v9x0a1b2c4"
        )
        parser.add_argument(
            "--overlap-hours", type=int, default=24, help="how long the old one goes on: 24 unless told, 168 at most, 0 ends it"
        )
        parser.add_argument("--reason", default="", help="for the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        slug, slash, prefix = options["token"].partition("/")
        try:
            if not slash:
                raise problem("invalid", "Name the token as <tenant>/<prefix>, for example acme/k3v9x0a1b2c4.")
            ctx = system_context("rotate_token", tenant_id=tenant_by_slug(slug).pk, channel="cli")
            with ctx.transaction():
                rows = (model.objects.filter(tenant_id=ctx.tenant_id, prefix=prefix).first() for model in (AgentToken, ApiToken))
                token = next((row for row in rows if row is not None), None)
                if token is None:
                    raise problem("not_found", f"The tenant '{slug}' has no token mc_{prefix}_….")
                overlap = timedelta(hours=options["overlap_hours"])
                issued = rotate_token(ctx=ctx, token_id=token.pk, overlap=overlap, reason=options["reason"])
        except Problem as error:
            raise CommandError(error.detail) from error
        self.stdout.write(issued.secret)
