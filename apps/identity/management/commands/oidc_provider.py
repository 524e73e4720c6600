from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.context import system_context
from apps.core.egress import EgressRefused, destination
from apps.core.errors import Problem
from apps.identity.selectors import tenant_by_slug
from apps.identity.services.oidc import add_provider, map_group


class Command(BaseCommand):
    help = "Adds an OpenID provider by which the people of a tenant sign in (docs/sso.md). The client's secret stays in the environment."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="stands in the address of the sign-in")
        parser.add_argument("--tenant", required=True)
        parser.add_argument("--name", required=True, help="stands on the button")
        parser.add_argument("--issuer", required=True, help="exactly as the provider's configuration has it")
        parser.add_argument("--client-id", required=True)
        parser.add_argument("--secret-env", default="", help="name of the variable that holds the client's secret: OIDC_SECRET_…")
        parser.add_argument("--scopes", default="openid email profile")
        parser.add_argument("--groups-claim", default="groups")
        parser.add_argument("--verified-claim", default="email_verified")
        parser.add_argument(
            "--group",
            nargs=2,
            action="append",
            default=[],
            metavar=("GROUP", "ROLE"),
            help="a group and the role that it gives; repeatable",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names = ("slug", "name", "issuer", "client_id", "secret_env", "scopes", "groups_claim", "verified_claim")
        try:
            ctx = system_context("oidc_provider", tenant_id=tenant_by_slug(options["tenant"]).pk, channel="cli")
            with ctx.transaction():
                provider = add_provider(ctx=ctx, **{name: options[name] for name in names})
                for group, role in options["group"]:
                    map_group(ctx=ctx, provider_id=provider.pk, group=group, role=role)
        except Problem as error:
            raise CommandError(error.detail) from error
        try:
            destination(provider.issuer)
        except EgressRefused as refused:
            self.stderr.write(f"The portal may not call it yet. {refused.detail}")
        self.stdout.write(f"{provider} signs in people of {options['tenant']}; redirect URI at the provider: <address>/oidc/callback/")
