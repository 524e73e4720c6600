"""What a person wants to hear of by e-mail."""

from __future__ import annotations

from collections.abc import Mapping

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.identity.models import User
from apps.identity.permissions import require
from apps.notices.domain.telling import SUBSCRIBED
from apps.notices.models import NoticePreference
from apps.notices.selectors import email_choices


def choose_emails(*, ctx: ActionContext, wanted: Mapping[str, bool]) -> dict[str, bool]:
    """Sets which kinds the person of the context gets by e-mail in the context's tenant; kinds that are not named stay. Gives all choices.

    Raises Problem `permission_denied` (no person, or without a role here), `invalid` (unknown kind).
    """
    with ctx.transaction():
        require(ctx, Action.VIEW, tenant_id=ctx.tenant_id)
        if ctx.user_id is None:
            raise problem("permission_denied", "Only a person chooses their e-mails.")
        known = {kind.value for kind in SUBSCRIBED}
        if unknown := sorted(set(wanted) - known):
            raise problem("invalid", f"There is no kind of notice '{unknown[0]}'; there are: {', '.join(sorted(known))}.")
        before = email_choices(ctx)
        changed = {kind: email for kind, email in sorted(wanted.items()) if before[kind] != email}
        for kind, email in changed.items():
            NoticePreference.objects.update_or_create(tenant_id=ctx.tenant_id, user_id=ctx.user_id, kind=kind, defaults={"email": email})
        if changed:
            record(ctx, "notices.emails_chosen", User.objects.get(pk=ctx.user_id), data=changed)
        return {**before, **changed}
