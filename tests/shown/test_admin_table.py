"""Every page and every act of the admin, for everybody who may sign in, on one's own, a team's, another tenant's and the library's objects."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from apps.core.history import history_model
from apps.promotions.models import Promotion
from tests.routing import Findings
from tests.shown.admin_table import ACT_ROWS, PAGE_OF, PAGE_ROWS, ROW_OF, VISITORS, ActRow, Page
from tests.shown.api_table import ROW_OF as API
from tests.shown.furniture import Place, soon
from tests.shown.people import PEOPLE, PLACES
from tests.shown.world import HOOK, MARK, World, fingerprint, undone

ADMINS = {model._meta.label: site for model, site in admin.site._registry.items()}
# What nobody may do is tried by those who may most, and by one who may little.
FORBIDDEN = ("admin", "platform-admin", "viewer")
CASES = json.dumps([{"input": "question"}])


def test_every_page_and_act_has_a_row() -> None:
    assert sorted(ADMINS) == sorted(row.model for row in PAGE_ROWS), "say in admin_table.PAGES who sees the model"
    there = {(label, "*" + act.name) for label, site in ADMINS.items() for act in site.list_acts}  # type: ignore[attr-defined]
    there |= {(label, act.name) for label, site in ADMINS.items() for act in site.acts_of()}  # type: ignore[attr-defined]
    told = {(row.model, "*" * row.of_list + row.act) for row in ACT_ROWS}
    assert there - told == set(), "acts without a row: say in admin_table.ACTS which right each needs"
    assert told - there == set(), "rows without an act"


def test_nothing_is_changed_but_by_acts() -> None:
    """No inline, no action over several rows, no list that can be edited: each would be a way round the acts."""
    for label, site in ADMINS.items():
        assert not site.inlines and not site.actions and not site.list_editable, label
        assert not any(getattr(site, name, ()) for name in ("actions_list", "actions_row", "actions_detail", "actions_submit_line")), label


@cache
def client_of(email: str) -> Client:
    """A client keeps what costs most: the middleware, and with it a scan of all static files."""
    return Client()


def enter(world: World, who: str) -> Client:
    client = client_of(who)
    client.logout()
    client.force_login(world.users[who], backend="apps.identity.backends.RoleBackend")
    return client


def visit(client: Client, path: str, data: dict[str, Any] | None = None) -> Any:
    """A GET, or a POST of this data. What earlier answers had to say is forgotten first."""
    client.cookies.pop("messages", None)
    return client.get(path) if data is None else client.post(path, data)


def outcome(response: Any) -> str:
    """`hidden` or `refused` where a sentence says so on the page one is led back to; else the status."""
    if getattr(response.wsgi_request, "refused", False):
        assert response.status_code == 302 and response["Location"] == "/admin/", response
        said = [message.message for message in get_messages(response.wsgi_request)]
        return "hidden" if said and said[0].startswith("There is no such") else "refused"
    return str(response.status_code)


def path_of(label: str, name: str, *args: Any) -> str:
    return reverse(f"admin:{label.lower().replace('.', '_')}_{name}", args=args)


def act_path(row: ActRow, place: Place) -> str:
    return path_of(row.model, "list_act", row.act) if row.of_list else path_of(row.model, "act", place.objects[row.kind].pk, row.act)


def fields(row: ActRow, world: World, who: str, place: Place) -> dict[str, Any]:
    """What a person would fill in: the object's things, and for a list's act those of one's own tenant."""
    home: dict[str, Any] = next(each.objects for each in world.places.values() if PLACES[each.name][0] == PEOPLE[who].tenant)
    things: dict[str, Any] = home if row.of_list else place.objects
    content = json.dumps({"tools": {"deny": ["a.*"]}} if row.kind == "policy layer" else place.values["content"])
    named = {"Organisation": "Renamed", "Tenant": "Renamed", "RedactionPattern": "staff_number"}.get(row.model.partition(".")[2], "A name")
    return {
        "once": "once",
        "provider": "maker",
        "model_id": "m-1*",
        "effective_from": soon().date().isoformat(),
        **dict.fromkeys(("input", "cache_read", "cache_write", "output"), "1.5"),
        "store_content": "redacted",
        "pattern": "EMP-[0-9]{6}",
        "text": "hello",
        "reason": "why",
        "comment": "why",
        "name": named,
        "title": "A title",
        "slug": "new-one",
        "notes": "",
        "content": content,
        "scope": place.scope,
        "parent": "",
        "aim": "policy",
        "invalid": "wait",
        "cases": CASES,
        "binding": things["promotion"].binding,
        "eval_set": str(things["eval set"].pk),
        "runner": "replay",
        "format": "jsonl",
        "pack": things["pack"].slug,
        "kind": "domain",
        "domain": "hr-ops",
        "visibility": "listed",
        "description": "",
        "email": "" if row.model == "identity.ApiToken" else "new@example.test",
        "role": PEOPLE[who].role if row.act == "hand-over" else "viewer",
        "to_user": things["stand-in"].email,
        "until": soon().strftime("%Y-%m-%dT%H:%M") if row.act == "hand-over" else "",
        "user_ref": "u-9" if row.model == "telemetry.Erasure" else "",
        "confirm": {
            "telemetry.Erasure": "u-9",
            "telemetry.Archive": place.values["archived_day"],
            "telemetry.RetentionPolicy": "",
        }.get(row.model, "stop"),
        "day": place.values["unarchived_day"],
        "days": "3",
        "hot_days": "9",
        "archive_days": "",
        "team": "support" if row.act == "hand-over" and PEOPLE[who].team else place.team.slug if place.team else "",
        "autonomy": "A1",
        "harness_kind": "openclaw",
        "default_pack": "",
        "agent": things["agent"].slug,
        "provider_id": str(things["provider"].pk),
        "group": "another" if row.model == "identity.GroupRole" else str(home["group"].pk),
        "actions": ["view"],
        "object": f"agent:{things['agent'].pk}",
        "hours": "1",
        "url": HOOK,
        "events": ["promotions.decided"],
        "kinds": ["promotions.decided"],
        "tier": "enterprise",
        "organisation": things["organisation"].slug,
        "admin_email": "new@example.test",
        "what": "stop",
        "target_kind": "agent",
        "target_name": f"{home['tenant'].slug}/{home['agent'].slug}",
    }


def press(world: World, who: str, client: Client, *, one_by_one: bool = False) -> Findings:
    """All acts for one person. What is done is undone; what is refused stands, so that one look at the end tells whether it changed anything,
    and `one_by_one` which it was."""
    found, before = Findings(), fingerprint()
    for row in ACT_ROWS:
        for place in (world.places[name] for name in row.places):
            if not row.of_list and row.kind not in place.objects:
                continue
            what, path = f"{who}: {row.model} {row.act} ({place.name})", act_path(row, place)
            offered, expected = row.offered(who, place.name), row.answer(who, place.name)
            if expected != "hidden":
                shown = visit(client, path)
                found.expect((outcome(shown) == "200") == offered, f"{what}: its page should {'' if offered else 'not '}open", shown)
            done = expected in ("200", "302")
            with undone(unless=lambda: not done and not one_by_one):  # noqa: B023 -- asked at the end of the block
                response = visit(client, path, fields(row, world, who, place))
                answered = outcome(response)
                changed = fingerprint() != before if done or one_by_one else False
            found.expect(answered == ("302" if expected == "idle" else expected), f"{what}: should answer {expected}: {answered}", response)
            # A verification looks only, and so does a trial.
            found.expect(
                changed == (done and row.act != "try" and (row.model, row.act) != ("audit.Event", "verify")),
                f"{what}: {'changed' if changed else 'did not change'} something",
                response,
            )
    return found


@pytest.mark.parametrize("who", VISITORS)
def test_each_act_is_offered_and_done_as_the_table_says(world: World, who: str) -> None:
    """The page of an act opens for whom it is for; its button, pressed by anybody, is refused to all others and then changes nothing."""
    with undone():
        client = enter(world, who)
        with undone():
            before = fingerprint()
            found = press(world, who, client)
            changed = fingerprint() != before
        if changed:
            found = press(world, who, client, one_by_one=True)
    assert not found, "\n".join(found)
    assert not changed


@pytest.mark.parametrize("who", VISITORS)
def test_each_page_is_seen_as_the_table_says(world: World, who: str) -> None:
    """Lists, pages, their buttons and parts, history; and neither add, change nor delete as Django has them."""
    found = Findings()
    with undone():
        client, before = enter(world, who), fingerprint()
        for page in PAGE_ROWS:
            listed = _list_of(client, who, page, found)
            for place in (place for place in world.places.values() if page.kind in place.objects):
                shows = page.shows(who, place.name)
                _page_of(client, who, page, place, shows, found)
                # The log has more events than a page; a change of a pointer is listed by its layer, an organisation for several places.
                if page.kind not in ("audit event", "pointer", "organisation"):
                    # The inbox leads to the promotion itself.
                    model = "promotions.Promotion" if page.model == "promotions.Awaited" else page.model
                    there = path_of(model, "change", place.objects[page.kind].pk) in listed
                    found.expect(there == shows, f"{who}: {page.model} of {place.name} listed: {there}", None)
        assert fingerprint() == before
    assert not found, "\n".join(found)


def _list_of(client: Client, who: str, page: Page, found: Findings) -> str:
    """The list as it is shown; neither it nor the page for adding takes a POST."""
    changelist, add = path_of(page.model, "changelist"), path_of(page.model, "add")
    listed = visit(client, changelist)
    found.expect(listed.status_code == (200 if page.opens(who) else 403), f"{who}: list of {page.model}", listed)
    posts: list[tuple[str, Any, int]] = [(changelist, {"action": "delete_selected"}, 405), (add, None, 403), (add, {"name": "new"}, 403)]
    for path, data, expected in posts if who in FORBIDDEN else ():
        response = visit(client, path, data)
        found.expect(response.status_code == expected, f"{who}: {path} should be {expected}", response)
    return str(listed.content.decode())


def _page_of(client: Client, who: str, page: Page, place: Place, shows: bool, found: Findings) -> None:
    obj = place.objects[page.kind]
    what = f"{who}: {page.model} of {place.name}"
    expected = "200" if shows else "hidden" if page.opens(who) else "refused"
    response = visit(client, path_of(page.model, "change", obj.pk))
    if page.seen == "waits":
        # What waits has its page among the promotions.
        found.expect(outcome(response) == ("302" if shows else expected), f"{what} should be {expected}", response)
        return
    found.expect(outcome(response) == expected, f"{what} should be {expected}", response)
    body = response.content.decode()
    found.expect(shows or MARK[place.name] not in body, f"{what} shows what is hidden", response)
    for row in ACT_ROWS if shows else ():
        if row.model == page.model and not row.of_list and row.kind == page.kind:
            button = f'href="{act_path(row, place)}"' in body
            found.expect(button == row.offered(who, place.name), f"{what}: button {row.act}: {button}", response)
    for part in ADMINS[page.model].parts:  # type: ignore[attr-defined]
        answered = visit(client, path_of(page.model, "part", obj.pk, part))
        found.expect(outcome(answered) == expected, f"{what}: part {part}", answered)
    if place.name == "own":
        history = visit(client, path_of(page.model, "history", obj.pk))
        kept = "200" if history_model(type(obj)) is not None else "302"
        found.expect(outcome(history) == (kept if shows else expected), f"{what}: history", history)
        found.expect(shows or MARK[place.name] not in history.content.decode(), f"{what}: history shows what is hidden", history)
        if who not in FORBIDDEN:
            return
        for data in (None, {"post": "yes"}):
            removed = visit(client, path_of(page.model, "delete", obj.pk), data)
            found.expect(removed.status_code == 403, f"{what}: delete", removed)
        written = visit(client, path_of(page.model, "change", obj.pk), {"name": "changed"})
        found.expect(written.status_code == 405, f"{what}: a page takes no POST", written)


@pytest.mark.parametrize("who", VISITORS)
def test_the_inbox_takes_answers_as_the_acts_do(world: World, who: str) -> None:
    """Several at once, each as on its own page; what does not wait for this person stays as it is."""
    found, inbox = Findings(), PAGE_OF["promotions.Awaited"]
    waiting = {place: here.objects["promotion"] for place, here in world.places.items()}
    ids = [str(each.pk) for each in waiting.values()]
    with undone():
        client = enter(world, who)
        for act in ("approve", "reject"):
            data = {"act": act, "ids": ids, "shown": ids, "read": ids, "comment": "why"}
            data |= {f"binding-{each.pk}": each.binding for each in waiting.values()}  # type: ignore[attr-defined]
            with undone():
                asked = visit(client, f"{path_of(inbox.model, 'changelist')}answer/?act={act}")
                response = visit(client, f"{path_of(inbox.model, 'changelist')}answer/", data)
                answered = {str(row.pk) for row in Promotion.objects.filter(pk__in=ids, approvals__user=world.users[who])}
            found.expect(outcome(asked) == ("302" if inbox.opens(who) else "refused"), f"{who}: the inbox", asked)
            found.expect(outcome(response) == ("200" if inbox.opens(who) else "refused"), f"{who}: {act} several", response)
            for place, each in waiting.items():
                done = ROW_OF["promotions.Promotion", act].answer(who, place) == "302"
                found.expect(
                    (str(each.pk) in answered) == done, f"{who}: {act} of {place} {'should' if done else 'should not'} count", response
                )
    assert not found, "\n".join(found)


@pytest.mark.parametrize("who", VISITORS)
def test_effective_access_is_shown_as_the_api_does(world: World, who: str) -> None:
    found = Findings()
    with undone():
        client, before = enter(world, who), fingerprint()
        for place, here in world.places.items():
            for row, query in (
                (API["get access/people/"], f"object=pack:{here.objects['pack'].pk}"),
                (API["get access/#of-oneself"], f"object=pack:{here.objects['pack'].pk}&user={world.users[who].pk}"),
                (API["get access/"], f"object=agent:{here.objects['agent'].pk}&user={here.objects['person'].pk}"),
            ):
                shown = row.status(who, place) == 200
                response = visit(client, f"/admin/access/?{query}")
                found.expect(response.status_code == (200 if shown else 422), f"{who}: {row.key} of {place}: shown: {shown}", response)
                found.expect(shown or MARK[place] not in response.content.decode(), f"{who}: {row.key} shows {place}", response)
        assert fingerprint() == before
    assert not found, "\n".join(found)


def test_who_is_not_signed_in_is_led_to_the_sign_in(world: World) -> None:
    found, before, client = Findings(), fingerprint(), client_of("nobody")
    place = world.places["own"]
    paths = [path_of(page.model, name) for page in PAGE_ROWS for name in ("changelist", "add")]
    there = [page for page in PAGE_ROWS if page.kind in place.objects]
    paths += [path_of(page.model, name, place.objects[page.kind].pk) for page in there for name in ("change", "history", "delete")]
    paths += [act_path(row, place) for row in ACT_ROWS if row.of_list or row.kind in place.objects]
    paths += [f"/admin/{label}/" for label in {page.model.split(".")[0] for page in PAGE_ROWS}]
    paths += ["/admin/", "/admin/autocomplete/", "/admin/search/?s=a", "/admin/password_change/", "/admin/tenant/", "/admin/nothing/"]
    for path in paths:
        for method in ("get", "post"):
            response = getattr(client, method)(path, {"once": "x", "reason": "r"})
            away = response.status_code == 302 and response["Location"].startswith("/admin/login/")
            found.expect(away or (method == "post" and response.status_code == 405), f"{method} {path}", response)
    assert not found, "\n".join(found)
    assert fingerprint() == before
