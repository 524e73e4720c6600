from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.core.context import ActionContext, system_context
from apps.core.errors import Problem, problem
from apps.identity.models import Tenant
from apps.identity.selectors import person_to_sign_in, tenant_by_slug, tenants_of
from apps.identity.services import Issued, issue_agent_token, issue_api_token
from apps.identity.services.people import normal_email


class Command(BaseCommand):
    help = "Issues a token and prints it, and nothing else, on stdout."

    def add_arguments(self, parser: CommandParser) -> None:
        holder = parser.add_mutually_exclusive_group(required=True)
        holder.add_argument("--agent", metavar="TENANT/AGENT")
        holder.add_argument("--user", metavar="E-MAIL")
        parser.add_argument("--tenant", metavar="SLUG", help="with --user: the tenant; not needed where the person has only one")
        parser.add_argument("--name", default="", help="what the token is for")
        parser.add_argument("--scopes", default="", help="actions separated by commas; none means all that the holder may")
        parser.add_argument("--days", type=int, help="how long it lasts: 365 unless told, 730 at most")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            issued = self._issue(options)
        except Problem as error:
            raise CommandError(error.detail) from error
        self.stdout.write(issued.secret)

    def _issue(self, options: dict[str, Any]) -> Issued:
        scopes = [scope.strip() for scope in options["scopes"].split(",") if scope.strip()]
        if options["days"] is not None and not 1 <= options["days"] <= 730:
            raise problem("invalid", "--days is 1 to 730.")
        expires_at = timezone.now() + timedelta(days=options["days"]) if options["days"] else None
        if options["agent"]:
            tenant_slug, slash, agent = options["agent"].partition("/")
            if not slash:
                raise problem("invalid", "Name the agent as <tenant>/<agent>, for example acme/helpdesk-1.")
            ctx = self._context(tenant_by_slug(tenant_slug))
            return issue_agent_token(ctx=ctx, agent=agent, name=options["name"], scopes=scopes, expires_at=expires_at)
        ctx = self._context(self._tenant(options))
        return issue_api_token(ctx=ctx, email=options["user"], name=options["name"], scopes=scopes, expires_at=expires_at)

    def _context(self, tenant: Tenant) -> ActionContext:
        return system_context("issue_token", tenant_id=tenant.pk, channel="cli")

    def _tenant(self, options: dict[str, Any]) -> Tenant:
        if options["tenant"]:
            return tenant_by_slug(options["tenant"])
        user = person_to_sign_in(normal_email(options["user"]))
        if user is None:
            raise problem("not_found", f"There is nobody with the e-mail address {options['user']}.")
        tenants = tenants_of(user)
        if len(tenants) != 1:
            slugs = ", ".join(tenant.slug for tenant in tenants) or "none"
            raise problem("invalid", f"Say --tenant: the tenants of {user.email} are: {slugs}.")
        return tenants[0]
