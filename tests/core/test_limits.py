"""Never more than the burst and what the rate has filled since; 429 with Retry-After; one address's guesses cost its neighbours nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from apps.core import limits
from apps.core.domain.buckets import Buckets
from tests import factories as make

TIMES = st.lists(st.floats(0, 0.5), min_size=1, max_size=200)


@pytest.fixture(autouse=True)
def _new_process() -> Iterator[None]:
    limits.forget()
    yield
    limits.forget()


@given(gaps=TIMES, rate=st.floats(0.5, 500), burst_s=st.floats(0, 5))
def test_never_more_than_the_burst_and_what_was_filled_since(gaps: list[float], rate: float, burst_s: float) -> None:
    """In every window of time, not only since the beginning."""
    buckets: Buckets[str] = Buckets(burst_s=burst_s, limit=10)
    now, taken = 1000.0, []
    for gap in gaps:
        now += gap
        if buckets.take("key", rate, now) == 0:
            taken.append(now)
    burst = max(burst_s * rate, 1)
    for first in range(0, len(taken), 7):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + rate * (taken[last] - taken[first]) + 1e-3


@given(gaps=TIMES, rate=st.floats(0.5, 500), burst_s=st.floats(0, 5))
def test_who_waits_as_told_is_let_through(gaps: list[float], rate: float, burst_s: float) -> None:
    buckets: Buckets[str] = Buckets(burst_s=burst_s, limit=10)
    now = 0.0
    for gap in gaps:
        now += gap
        wait = buckets.take("key", rate, now)
        assert wait <= 1 / rate + 1e-6
        if wait:
            assert buckets.wait("key", rate, now) == pytest.approx(wait)
            now += wait + 1e-6
            assert buckets.take("key", rate, now) == 0


def test_memory_is_bounded_and_a_used_up_bucket_outlives_full_ones() -> None:
    buckets: Buckets[int] = Buckets(burst_s=2, limit=100)
    assert buckets.take(-1, 0.01, 1000.0) == 0 and buckets.take(-1, 0.01, 1000.0) > 0
    for key in range(10_000):
        # Each of these is full again by the time that the next one comes.
        buckets.take(key, 1000, 1000.0 + key / 500)
        assert len(buckets) <= 100
    assert buckets.take(-1, 0.01, 1020.0) > 0
    for key in range(10_000):
        buckets.take(key, 0.01, 1020.0)
        assert len(buckets) <= 100
    assert Buckets(burst_s=2, limit=1).take("x", 0, 0.0) == 0


def ask(client: Client, token: str, path: str = "packs/", **more: Any) -> Any:
    return client.get(f"/api/v1/{path}", headers=make.bearer(token), **more)


@pytest.mark.django_db
def test_a_token_beyond_its_rate_is_told_when_to_come_again(client: Client, settings: Any) -> None:
    settings.RATE_PEOPLE_PER_S = settings.RATE_TOKEN_PER_S = 2
    tenant = make.tenant()
    person, second = (make.api_token(make.user(tenant, "viewer"), tenant) for _ in range(2))
    agent = make.agent_token(make.agent(tenant))
    for token, path in ((person, "packs/"), (agent, "resolve?pack=x")):
        answers = [ask(client, token, path) for _ in range(6)]
        assert [answer.status_code for answer in answers[:4]] == [200 if token is person else 404] * 4
        refused = answers[-1]
        assert (refused.status_code, refused["Content-Type"], refused.json()["code"]) == (429, "application/problem+json", "rate_limited")
        assert refused["Retry-After"] == "1" and "2 times a second" in refused.json()["detail"]
    assert ask(client, second).status_code == 200


@pytest.mark.django_db
def test_a_session_is_limited_as_its_person(client: Client, settings: Any) -> None:
    settings.RATE_PEOPLE_PER_S = 1
    client.force_login(make.user(make.tenant(), "viewer"))
    assert [client.get("/api/v1/packs/").status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.django_db
def test_all_tokens_of_a_tenant_together(client: Client, settings: Any) -> None:
    settings.RATE_TENANT_PER_S = 1
    tenant, other = make.tenant(), make.tenant()
    tokens = [make.api_token(make.user(tenant, "viewer"), tenant) for _ in range(3)]
    assert [ask(client, token).status_code for token in tokens] == [200, 200, 429]
    assert ask(client, make.api_token(make.user(other, "viewer"), other)).status_code == 200


@pytest.mark.django_db
def test_an_address_that_guesses_is_not_looked_up_and_harms_nobody_known(client: Client, settings: Any) -> None:
    settings.RATE_FAILURES_PER_S = 0.5
    tenant = make.tenant()
    known = make.api_token(make.user(tenant, "viewer"), tenant)
    assert ask(client, known).status_code == 200
    guesses = [f"mc_{letter * 12}_{'a' * 43}" for letter in "abc"]
    assert ask(client, guesses[0]).status_code == 401
    with CaptureQueriesContext(
        connection,
    ) as made:
        refused = ask(client, guesses[1])
    assert (refused.status_code, refused["Retry-After"]) == (429, "2")
    assert not [query for query in made.captured_queries if "token" in query["sql"]]
    assert ask(client, "nonsense", "resolve").status_code == 429
    assert ask(client, known).status_code == 200
    assert ask(client, guesses[2], REMOTE_ADDR="192.0.2.7").status_code == 401


@pytest.mark.parametrize(("trusted", "found"), [(False, "10.0.0.1"), (True, "198.51.100.4")])
def test_the_address_is_the_peers_unless_a_proxy_is_trusted(rf: Any, settings: Any, trusted: bool, found: str) -> None:
    settings.TRUST_PROXY = trusted
    request = rf.get("/", REMOTE_ADDR="10.0.0.1", headers={"X-Forwarded-For": "6.6.6.6, 198.51.100.4"})
    assert limits.address_of(request) == found
    assert limits.address_of(rf.get("/", REMOTE_ADDR="10.0.0.1")) == "10.0.0.1"
