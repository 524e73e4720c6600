from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from apps.audit.models import Event
from apps.core.errors import Problem
from apps.identity import services
from apps.identity.models import ApiToken, Membership, Tenant, User
from apps.identity.selectors import roles_of
from tests import factories as make


def refused(code: str, call: object, **arguments: object) -> Problem:
    with pytest.raises(Problem) as caught:
        call(**arguments)  # type: ignore[operator]
    assert caught.value.code == code, caught.value
    return caught.value


@pytest.mark.django_db
def test_an_admin_adds_a_new_person_who_then_holds_the_role() -> None:
    tenant = make.tenant()
    ctx = make.context(tenant.pk, "tenant_admin")
    membership = services.add_member(ctx=ctx, email=" New.Person@Example.TEST ", role="author", name="New Person")
    user = User.objects.get(email="new.person@example.test")
    assert membership.user == user and not user.has_usable_password()
    assert {grant.role for grant in roles_of(user, tenant.pk)} == {"author"}
    assert list(Event.objects.filter(tenant_id=tenant.pk).order_by("seq").values_list("action", flat=True)) == [
        "identity.user_created",
        "identity.member_added",
    ]
    refused("wrong_state", services.add_member, ctx=ctx, email="new.person@example.test", role="author")
    assert Membership.objects.filter(user=user).count() == 1


@pytest.mark.django_db
def test_personal_data_stays_out_of_the_chain() -> None:
    tenant = make.tenant()
    services.add_member(
        ctx=make.context(tenant.pk, "tenant_admin"), email="jane@example.test", role="viewer", name="Jane Roe", user_ref="u-42"
    )
    chained = "".join(str(event.data) for event in Event.objects.all())
    assert not [word for word in ("jane", "Jane", "Roe", "u-42") if word in chained]


@pytest.mark.django_db
def test_nobody_grants_what_they_lack() -> None:
    tenant = make.tenant()
    team = make.team(tenant)
    # A manager may not manage members at all.
    refused("permission_denied", services.add_member, ctx=make.context(tenant.pk, "manager"), email="a@example.test", role="viewer")
    # A team's admin grants inside the team only.
    team_admin = make.context(tenant.pk, "tenant_admin", team=team)
    refused("permission_denied", services.add_member, ctx=team_admin, email="a@example.test", role="viewer")
    assert services.add_member(ctx=team_admin, email="a@example.test", role="manager", team="support").team == team
    # A narrowed token of an admin grants no more than the token may do.
    narrowed = make.context(tenant.pk, "tenant_admin")
    narrowed.scopes = frozenset({"view", "prompt_read", "manage_members"})
    assert services.add_member(ctx=narrowed, email="b@example.test", role="viewer")
    found = refused("permission_denied", services.add_member, ctx=narrowed, email="b@example.test", role="manager")
    assert "approve" in found.detail
    # Nor does it take away, or turn into more, what it could not give.
    admin = services.add_member(ctx=make.context(tenant.pk, "tenant_admin"), email="c@example.test", role="tenant_admin")
    refused("permission_denied", services.remove_member, ctx=narrowed, membership_id=admin.pk)
    viewer = Membership.objects.get(user__email="b@example.test")
    refused("permission_denied", services.change_member, ctx=narrowed, membership_id=viewer.pk, role="tenant_admin")
    assert Membership.objects.get(pk=viewer.pk).role == "viewer"


@pytest.mark.django_db
def test_a_harness_reference_is_given_by_who_manages_the_whole_tenants_members() -> None:
    """It opens that user's content, to which a role in a team gives no right."""
    tenant = make.tenant()
    team = make.team(tenant)
    admin, team_admin = make.context(tenant.pk, "tenant_admin"), make.context(tenant.pk, "tenant_admin", team=team)
    person = {"email": "jane@example.test", "role": "viewer", "team": "support"}
    found = refused("permission_denied", services.add_member, ctx=team_admin, user_ref="u-42", **person)
    assert [error.pointer for error in found.errors] == ["/user_ref"] and not User.objects.filter(email="jane@example.test").exists()
    made = services.add_member(ctx=team_admin, **person)  # type: ignore[arg-type]
    change = {"call": services.change_member, "ctx": team_admin, "membership_id": made.pk}
    assert refused("permission_denied", **change, user_ref="u-42").errors[0].pointer == "/user_ref"  # type: ignore[arg-type]
    services.change_member(ctx=admin, membership_id=made.pk, user_ref="u-42")
    # Nor do they take it away; what stays as it is may be sent along.
    refused("permission_denied", **change, user_ref="")  # type: ignore[arg-type]
    services.change_member(ctx=team_admin, membership_id=made.pk, user_ref="u-42", role="author")
    made.refresh_from_db()
    assert (made.user_ref, made.role) == ("u-42", "author")
    own = services.add_member(ctx=admin, email="joe@example.test", role="viewer", team="support", user_ref="u-43")
    assert own.user_ref == "u-43"


@pytest.mark.django_db
def test_the_last_tenant_admin_stays() -> None:
    tenant = make.tenant()
    ctx = make.context(tenant.pk, "tenant_admin")
    only = services.add_member(ctx=ctx, email="only@example.test", role="tenant_admin")
    services.add_member(ctx=ctx, email="guest@example.test", role="tenant_admin", until=timezone.now() + timedelta(days=1))
    services.add_member(ctx=ctx, email="gone@example.test", role="tenant_admin")
    User.objects.filter(email="gone@example.test").update(is_active=False)
    refused("wrong_state", services.remove_member, ctx=ctx, membership_id=only.pk)
    refused("wrong_state", services.change_member, ctx=ctx, membership_id=only.pk, role="manager")
    refused("wrong_state", services.change_member, ctx=ctx, membership_id=only.pk, until=timezone.now() + timedelta(days=1))
    services.add_member(ctx=ctx, email="second@example.test", role="tenant_admin")
    services.remove_member(ctx=ctx, membership_id=only.pk)
    assert not Membership.objects.filter(pk=only.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_two_admins_cannot_remove_each_other_at_once() -> None:
    tenant = make.tenant()
    pair = [make.user(tenant, "tenant_admin") for _ in range(2)]
    memberships = [Membership.objects.get(user=user) for user in pair]
    start, outcomes = threading.Barrier(2), []

    def remove(actor: User, target: Membership) -> None:
        try:
            start.wait()
            services.remove_member(ctx=make.context(tenant.pk, "tenant_admin", user=actor), membership_id=target.pk)
            outcomes.append("removed")
        except Problem as error:
            outcomes.append(error.code)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=remove, args=(pair[0], memberships[1])),
        threading.Thread(target=remove, args=(pair[1], memberships[0])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["removed", "wrong_state"]
    assert Membership.objects.filter(tenant=tenant).count() == 1


@pytest.mark.django_db
def test_with_the_last_role_a_persons_tokens_end_and_do_not_come_back() -> None:
    tenant = make.tenant()
    ctx = make.context(tenant.pk, "tenant_admin")
    user = make.user(tenant, "viewer", "author")
    make.api_token(user, tenant)
    first, second = Membership.objects.filter(user=user)
    services.remove_member(ctx=ctx, membership_id=first.pk)
    assert ApiToken.objects.get().revoked_at is None
    services.remove_member(ctx=ctx, membership_id=second.pk)
    assert ApiToken.objects.get().revoked_at is not None


@pytest.mark.django_db
def test_another_tenants_membership_does_not_exist() -> None:
    own, other = make.tenant(), make.tenant()
    make.user(other, "viewer")
    target = Membership.objects.get(tenant=other)
    ctx = make.context(own.pk, "tenant_admin")
    refused("not_found", services.remove_member, ctx=ctx, membership_id=target.pk)
    refused("not_found", services.change_member, ctx=ctx, membership_id="no-uuid", role="viewer")
    make.team(other, "theirs")
    refused("invalid", services.add_member, ctx=ctx, email="a@example.test", role="viewer", team="theirs")


@pytest.mark.django_db
def test_what_is_not_valid_is_named_by_its_pointer_and_changes_nothing() -> None:
    tenant = make.tenant()
    ctx = make.context(tenant.pk, "tenant_admin")
    for arguments, pointer in (
        ({"email": "no address", "role": "viewer"}, "/email"),
        ({"email": "a@example.test", "role": "owner"}, "/role"),
        ({"email": "a@example.test", "role": "viewer", "until": timezone.now()}, "/until"),
        ({"email": "a@example.test", "role": "viewer", "user_ref": "a\nb"}, "/user_ref"),
    ):
        assert refused("invalid", services.add_member, ctx=ctx, **arguments).errors[0].pointer == pointer
    refused("slug_taken", lambda: (services.create_team(ctx=ctx, slug="x", name="X"), services.create_team(ctx=ctx, slug="x", name="X")))
    refused("invalid", services.create_team, ctx=ctx, slug="Bad Slug", name="X")
    assert not User.objects.filter(email="a@example.test").exists()
    assert Tenant.objects.get(pk=tenant.pk).slug == tenant.slug
