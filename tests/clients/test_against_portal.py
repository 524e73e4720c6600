"""The Python client against the real portal, whose web is killed and restarted under load, and whose stream says what changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mission_control_client import Client, StreamEvent

from apps.core.context import EVERY_USER, in_tenant
from apps.fleet.models import Delivery
from apps.fleet.services.control import order
from apps.telemetry.domain.gaps import Seen, missing
from apps.telemetry.models import Event, Producer, Run
from tests import factories
from tests.demo.running import Portal, eventually
from tests.fleet.listening import StreamProcess

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]
KILLS = 2


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Portal]:
    running = Portal(tmp_path)
    stream = StreamProcess(tmp_path)
    running.environ["STREAM_URL"] = stream.url
    stream.start()
    running.start_web()
    yield running
    running.close()
    stream.stop()


def test_a_web_killed_under_load_costs_nothing_and_a_rollback_is_heard_at_once(
    portal: Portal, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    tenant = factories.tenant()
    agent = factories.agent(tenant)
    pack = factories.own_pack(tenant)
    factories.champion(tenant, pack.slug, f"tenant:{tenant.slug}")
    heard: list[StreamEvent] = []
    ordered: list[str] = []
    client = Client(
        portal.url,
        factories.agent_token(agent),
        spool_dir=tmp_path / "spool",
        heartbeat_s=0.5,
        on_command=lambda command: ordered.append(str(command["action"])),
        batch_items=40,
        batch_s=0.02,
        longest_wait_s=0.5,
        on_event=heard.append,
    )
    request.addfinalizer(lambda: client.close(0))
    first = client.resolve(pack.slug)
    assert not first.stale and eventually(lambda: client.listening, timeout_s=10)

    runs: list[str | None] = []
    events: list[str | None] = []
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            runs.append(client.record_run(pack=pack.slug, task_type="t", success=True, output="Yes. " * 40))
            events.append(client.record_event(action="tool_call", message="looked it up"))
            time.sleep(0.01)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(KILLS):
            accepted = client.stats.accepted
            assert eventually(lambda before=accepted: client.stats.accepted > before + 100, timeout_s=30), (
                client.stats,
                portal.output("web")[-3000:],
            )
            portal.kill("web")
            client.invalidate()
            assert client.resolve(pack.slug).stale
            portal.start_web()
    finally:
        ended.set()
        for worker in workers:
            worker.join()
    assert client.flush(60), client.stats
    assert None not in runs + events and client.stats.rejected == client.stats.dropped == 0

    with in_tenant(tenant.pk, EVERY_USER):
        assert sorted(Run.objects.values_list("run_id", flat=True)) == sorted(map(str, runs))
        assert sorted(Event.objects.values_list("event_id", flat=True)) == sorted(map(str, events))
        producer = Producer.objects.get(name=client.producer)
        assert missing(Seen(tuple(map(tuple, producer.ranges)), producer.given_up)) == 0
        assert producer.accepted == len(runs) + len(events)

    assert eventually(lambda: client.listening, timeout_s=10)
    factories.champion(tenant, pack.slug, f"tenant:{tenant.slug}", factories.content("Something else."))
    assert eventually(lambda: client.resolve(pack.slug).digest != first.digest, timeout_s=3), "not before its time is over"
    assert {event.event for event in heard} == {"pack.changed"}

    command = order(ctx=factories.role_context(tenant, "tenant_admin"), target=f"agent:{tenant.slug}/{agent.slug}", action="pause")
    assert eventually(lambda: bool(ordered), timeout_s=3) and ordered == ["pause"]

    def acknowledged() -> bool:
        with in_tenant(tenant.pk):
            return {delivery.state for delivery in Delivery.objects.filter(command=command)} == {"acknowledged"}

    assert eventually(acknowledged, timeout_s=10)
    client.close()
