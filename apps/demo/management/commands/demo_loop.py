from __future__ import annotations

import os
import secrets
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.core.context import ActionContext, in_tenant, system_context
from apps.core.errors import Problem
from apps.demo.fleet.portal import Portal
from apps.demo.services.removal import WALKS
from apps.demo.walk.loop import PACK, Loop
from apps.demo.walk.walker import Stumbled, Walker
from apps.identity.models import Membership
from apps.identity.selectors import platform_id, tenant_by_slug
from apps.identity.services import issue_api_token, revoke_token
from apps.packs.models import Pack
from apps.promotions.services.going_live import bootstrap

NAME = "demo_loop"


class Command(BaseCommand):
    help = (
        "Walks the whole loop, step by step, against the running portal, in a tenant of its own that is removed afterwards. Prints each "
        "request, answer and decision, and ends with an exit code other than 0 at the first step that is not as it should be."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", default="", help="the portal; http://127.0.0.1:$PORT when left out")
        parser.add_argument("--keep", action="store_true", help="leaves the tenant in place, for a look at it")

    def handle(self, *args: Any, **options: Any) -> None:
        with in_tenant(platform_id()):
            seeded = Pack.objects.filter(slug=PACK, tenant_id=platform_id()).exists()
        if not seeded:
            raise CommandError(f"The shared library has no '{PACK}'; `manage.py seed_demo` makes the demo first.")
        tenant = f"{WALKS}{secrets.token_hex(4)}"
        portal = Portal(options["url"] or f"http://127.0.0.1:{os.environ.get('PORT') or 8000}")
        walker = Walker(portal, self.stdout.write)
        issued = self._admin(walker)
        try:
            Loop(walker, tenant, lambda email: _token(tenant, email), lambda version: _go_live(tenant, version)).walk()
        except (Stumbled, Problem) as error:
            raise CommandError(f"Step {walker.steps}: {error}") from error
        finally:
            portal.close()
            revoke_token(ctx=_context(platform_id()), token_id=issued, reason="The walk is over.")
            self._clean_up(tenant, keep=options["keep"])
        self.stdout.write("")
        self.stdout.write(f"All {walker.steps} steps are as they should be.")

    def _admin(self, walker: Walker) -> UUID:
        """A token of a tenant admin of `platform`, for as long as the walk takes."""
        admins = Membership.objects.filter(tenant_id=platform_id(), role="tenant_admin", team=None, until=None, user__is_active=True)
        email = admins.order_by("created_at").values_list("user__email", flat=True).first()
        if email is None:
            raise CommandError("Nobody administers 'platform'; `manage.py create_admin` makes an admin first.")
        ctx = _context(platform_id())
        issued = issue_api_token(ctx=ctx, email=email, name=NAME, expires_at=timezone.now() + timedelta(hours=1))
        walker.tokens["platform"] = issued.secret
        walker.labels["platform"] = email
        found: UUID = issued.token.pk
        return found

    def _clean_up(self, tenant: str, *, keep: bool) -> None:
        try:
            tenant_by_slug(tenant)
        except Problem:
            return
        self.stdout.write("")
        if keep:
            self.stdout.write(f"The tenant '{tenant}' stays; `manage.py purge_tenant {tenant} --force --yes` removes it.")
        else:
            call_command("purge_tenant", tenant, force=True, yes=True, stdout=self.stdout)


def _context(tenant_id: UUID) -> ActionContext:
    return system_context(NAME, tenant_id=tenant_id, channel="cli")


def _token(tenant: str, email: str) -> str:
    found = tenant_by_slug(tenant)
    return issue_api_token(ctx=_context(found.pk), email=email, name=NAME, expires_at=timezone.now() + timedelta(hours=1)).secret


def _go_live(tenant: str, version: str) -> None:
    bootstrap(ctx=_context(tenant_by_slug(tenant).pk), version_id=UUID(version))
