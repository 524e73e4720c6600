from __future__ import annotations

import re
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from apps.audit.models import Event
from apps.identity.models import ApiToken, Membership, User
from apps.identity.selectors import platform_id
from apps.identity.tokens import authenticate
from tests import factories as make


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_the_first_admin_is_made_once_with_a_password_shown_once(client: Client) -> None:
    said = run("create_admin", "--email", "Admin@example.test", "--print-once")
    found = re.search(r"with the password (\S+) ", said)
    assert found and client.login(username="admin@example.test", password=found[1])
    membership = Membership.objects.get(tenant_id=platform_id())
    assert (membership.user.email, membership.role) == ("admin@example.test", "tenant_admin")
    before = (User.objects.values("password").get(), Event.objects.count())
    assert run("create_admin", "--email", "admin@example.test", "--print-once") == "admin@example.test exists; nothing was changed.\n"
    assert (User.objects.values("password").get(), Event.objects.count()) == before
    assert found[1] not in str(list(Event.objects.values()))


@pytest.mark.django_db
def test_an_admin_without_a_printed_password_cannot_sign_in_yet() -> None:
    run("create_admin", "--email", "admin@example.test")
    assert not User.objects.get().has_usable_password()
    with pytest.raises(CommandError):
        run("create_admin", "--email", "no address")


@pytest.mark.django_db
def test_a_token_and_nothing_else_is_printed() -> None:
    tenant = make.tenant("acme")
    make.agent(tenant, "helpdesk-1")
    person = make.user(tenant, "manager")
    by_agent = run("issue_token", "--agent", "acme/helpdesk-1", "--days", "30")
    assert authenticate(f"Bearer {by_agent.strip()}").agent == "helpdesk-1" and by_agent.count("\n") == 1
    by_person = authenticate(f"Bearer {run('issue_token', '--user', person.email, '--scopes', 'view,approve').strip()}")
    assert by_person.scopes == frozenset({"view", "approve"})
    assert Event.objects.filter(tenant_id=tenant.pk, action="identity.token_issued").count() == 2


@pytest.mark.django_db
def test_what_cannot_be_issued_is_said() -> None:
    first, second = make.tenant("one"), make.tenant("two")
    person = make.user(first, "viewer")
    Membership.objects.create(tenant=second, user=person, role="viewer")
    for arguments, said in (
        (["--user", person.email], "one, two"),
        (["--user", "nobody@example.test"], "nobody@example.test"),
        (["--user", person.email, "--tenant", "three"], "three"),
        (["--agent", "helpdesk-1"], "<tenant>/<agent>"),
        (["--agent", "one/none"], "none"),
        (["--user", person.email, "--tenant", "one", "--scopes", "force"], "force"),
        (["--user", person.email, "--tenant", "one", "--days", "731"], "730"),
    ):
        with pytest.raises(CommandError, match=re.escape(said)):
            run("issue_token", *arguments)
    assert not ApiToken.objects.exists()
    run("issue_token", "--user", person.email, "--tenant", "two")
    assert ApiToken.objects.get().tenant == second
