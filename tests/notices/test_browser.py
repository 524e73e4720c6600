"""The pages of notices in a real browser: nothing overflows a phone, nothing complains in the console. MC_SHOTS=<folder> takes pictures."""

from __future__ import annotations

from typing import Any

from apps.notices.models import Delivery, Notice, Webhook
from apps.notices.services import create_webhook, switch_webhook
from apps.notices.tasks import deliver
from tests import factories as make
from tests.admin.office import list_url, office, url
from tests.admin.test_browser import Tab, browser, pytestmark
from tests.notices.receivers import Receiver
from tests.notices.telling import KIND, told

__all__ = ["browser", "pytestmark"]


def test_pages_fit_wide_and_narrow_light_and_dark(browser: Any, live_server: Any, transactional_db: None, receiver: Receiver) -> None:
    acme = office("acme", cases=1)
    system = make.system(acme.tenant.pk)
    hook = create_webhook(ctx=system, name="Approvals into the chat room", url=receiver.url, events=[KIND, "promotions.decided"]).webhook
    old = create_webhook(ctx=system, name="Old system", url=receiver.url, events=["promotions.decided"]).webhook
    switch_webhook(ctx=system, webhook_id=old.pk, enabled=False)
    receiver.answers = [200, 503]
    told(acme.tenant)
    deliver()
    for title in ("hr-ops-pack v12 at team:acme/customer-support-emea", "legal-intake-pack v3 at tenant:acme"):
        told(acme.tenant, acme.people["manager"], title=title)
    deliver()
    dead = Delivery.objects.order_by("-id")[0]
    Delivery.objects.filter(pk=dead.pk).update(state="dead", attempts=9)
    notice = Notice.objects.order_by("-id")[0]
    pages = {
        "webhooks": list_url(Webhook),
        "webhook": url(hook),
        "webhook-add": f"{list_url(Webhook)}act/add/",
        "webhook-change": url(hook, "change"),
        "webhook-rotate": url(hook, "rotate"),
        "webhook-test": url(hook, "test"),
        "webhook-off": url(hook, "switch-off"),
        "webhook-switched-off": url(old),
        "notices": list_url(Notice),
        "notice": url(notice),
        "my-emails": f"{list_url(Notice)}act/my-emails/",
        "deliveries": list_url(Delivery),
        "delivery": url(dead),
        "send-again": url(dead, "send-again"),
    }
    found = []
    for width, dark in ((1280, False), (390, True), (390, False), (1280, True)):
        tab = Tab(browser, live_server.url, width=width, dark=dark)
        tab.take_over(acme.client("admin"))
        look = f"{width}-{'dark' if dark else 'light'}"
        for name, path in pages.items():
            tab.go(path)
            tab.shoot(f"{name}-{look}")
            if tab.overflow() > 0:
                found.append(f"{name} at {width} is {tab.overflow()} px too wide")
        found += tab.complaints
        tab.context.close()
    assert found == []

    tab = Tab(browser, live_server.url, width=390)
    tab.take_over(acme.client("admin"))
    tab.go(url(hook, "rotate"))
    tab.page.click("main button[type=submit]")
    tab.page.wait_for_selector(".mc-secret")
    tab.shoot("secret-390-light")
    assert tab.page.inner_text(".mc-secret").startswith("whsec_") and tab.overflow() <= 0 and tab.complaints == []
