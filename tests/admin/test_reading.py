"""What the pages say: content readable, differences with signs, origins of an effective pack, what needs whom now."""

from __future__ import annotations

import re

import pytest

from apps.identity.models import Membership
from apps.packs.models import Layer
from apps.packs.services.layers import suspend_layer
from apps.promotions.services.requests import evaluate_promotion
from tests import factories as make
from tests.admin.office import Office, office, url
from tests.admin.test_acts import words


@pytest.fixture
def acme(db: None) -> Office:
    return office("acme")


def test_a_versions_page_shows_sections_tools_rubric_and_the_difference_to_the_champion(acme: Office) -> None:
    tools = {"allow": ["mail.*", "kb.search"], "ask": ["mail.send"], "deny": ["mail.delete"], "risk": {"mail.send": "high"}}
    draft = acme.draft("You say hello first.", tools=tools, kpis=[{"name": "resolved", "direction": "up", "target": 8000}])
    client = acme.client("viewer")
    body = client.get(url(draft)).content.decode()
    page = words(client.get(url(draft)))
    assert "role AGENTS.md, order 10, append You say hello first." in page
    assert re.search(r"mail\.send \S+ permitted \S+ asks first \S+ high", page) and re.search(r"mail\.delete \S+ denied", page)
    assert "Any other tool is not permitted." in page and "greets contains quality 60" in page and "resolved" in page
    assert '<td class="mc-sign">-</td><td>    text: You answer.</td>' in body
    assert '<td class="mc-sign">+</td><td>    text: You say hello first.</td>' in body
    assert "/sections/role/text replace You answer. You say hello first." in page
    reach = client.get(f"{url(draft).removesuffix('change/')}part/reach/")
    assert "1 agent and 0 layers in 1 tenant" in " ".join(re.sub(r"<[^>]+>", " ", reach.content.decode()).split())


def test_an_agents_page_says_where_each_piece_comes_from_and_what_is_left_out(acme: Office) -> None:
    own = make.champion(acme.tenant, "desk", "agent:acme/helpdesk-1", make.content("You are brief.", tools={"deny": ["shell.*"]}))
    client = acme.client("viewer")
    body = client.get(url(acme.agent)).content.decode()
    for version, text in ((acme.live, "You answer."), (own, "You are brief.")):
        scope = version.layer.scope
        origin = f'from <a class="mc-link" href="{url(version)}">desk {version.number} at {scope}</a></span>'
        assert f'{origin}<pre class="mc-text" x-ignore hx-disable>{text}</pre>' in body
    assert re.search(r"/tools/deny/0 shell\.\* desk 1 at agent:acme/helpdesk-1", words(client.get(url(acme.agent))))
    make.own_pack(acme.tenant, "rules", kind="policy")
    forbids = {"constraints": [{"rule": "forbid_text", "value": "brief"}]}
    make.champion(acme.tenant, "rules", "tenant:acme", forbids)
    page = words(client.get(url(acme.agent)))
    assert "Left out" in page and "desk version 1 at agent:acme/helpdesk-1:" in page and "You are brief." not in page
    assert "is no pack" in words(client.get(url(acme.agent) + "?pack=unknown"))


def test_a_suspended_or_empty_layer_says_so(acme: Office) -> None:
    layer: Layer = acme.live.layer
    ctx = make.system(acme.tenant.pk)
    with ctx.transaction():
        suspend_layer(ctx, layer, decision_id=acme.live.pk)
    assert "counts as having no champion" in words(acme.client("viewer").get(url(layer)))


def test_the_first_page_shows_each_person_what_needs_them(acme: Office) -> None:
    assert "Nothing waits for you." in words(acme.client("manager").get("/admin/"))
    asked = acme.request(acme.draft())
    assert "0 of 120" in words(acme.client("manager").get("/admin/"))
    acme.answer()
    evaluate_promotion(ctx=make.system(acme.tenant.pk), promotion_id=asked.pk)
    waiting = f'href="{url(asked)}"'
    assert waiting in acme.client("manager").get("/admin/").content.decode()
    assert waiting not in acme.client("author").get("/admin/").content.decode()
    Layer.objects.filter(pk=acme.live.layer_id).update(flagged_at=acme.live.created_at)
    assert f'href="{url(acme.live.layer)}"' in acme.client("viewer").get("/admin/").content.decode()
    Membership.objects.filter(user=acme.people["viewer"]).delete()
    assert "You hold no role yet" in words(acme.client("viewer").get("/admin/"))
