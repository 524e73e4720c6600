"""One simulated agent: resolves its pack, runs live inputs on it, reports them, and answers evaluations under a lease."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from apps.demo import catalogue
from apps.demo.fleet.outbox import Outbox
from apps.demo.fleet.portal import Away, Portal
from apps.demo.fleet.reports import event_items, run_item, usd
from apps.demo.fleet.steering import Steering
from apps.demo.simulate import answer, chance

# A harness may keep a pack for the ttl that resolve names; the demo asks earlier (304 costs next to nothing), so that a promotion shows.
RECHECK_S = 4.0
LEASED = 60


@dataclass(slots=True)
class Served:
    """What resolve answered last for one user, and when (monotonic)."""

    etag: str
    body: dict[str, Any]
    at: float


@dataclass(slots=True)
class SimulatedAgent:
    """State of one agent. `fellows` are the packs that other agents of its tenant serve: their evaluations are left to them."""

    plan: catalogue.Agent
    token: str
    portal: Portal
    fellows: frozenset[str] = frozenset()
    outbox: Outbox = field(default_factory=Outbox)
    served: dict[str, Served] = field(default_factory=dict)
    runs: int = 0
    steering: Steering = field(default_factory=Steering)
    # Answers to leased cases that are not acknowledged yet: path and body.
    unsent: tuple[str, dict[str, Any]] | None = None

    # Live work.

    def resolve(self, user: str) -> Served | None:
        """The pack for a user, asked for again when it is old; while the portal is away the last one serves on. None where the portal has
        nothing for this agent. Raises Away (nothing known yet), Refused."""
        known = self.served.get(user)
        if known is not None and time.monotonic() - known.at < min(RECHECK_S, float(known.body["ttl_s"])):
            return known
        params = {"pack": self.plan.pack, "origins": "0", **({"user": user} if user else {})}
        try:
            found = self.portal.call(
                self.token, "GET", "resolve", params=params, headers={"If-None-Match": known.etag} if known is not None else None
            )
        except Away:
            if known is None:
                raise
            return known
        if found.status == 304 and known is not None:
            known.at = time.monotonic()
            return known
        if found.status >= 500:
            return known
        if found.status != 200:
            self.served.pop(user, None)
            return None
        self.served[user] = Served(found.headers.get("ETag", ""), found.body, time.monotonic())
        return self.served[user]

    def work(self) -> str | None:
        """One live run, put into the outbox. A sentence when the agent began to serve another digest than before. Raises as `resolve`."""
        if not self.plan.users or self.outbox.full or not self.steering.works:
            return None
        run_id = f"{self.plan.slug}-{uuid4().hex}"
        user = self.plan.users[chance(run_id, "user") % len(self.plan.users)]
        before = self.served.get(user)
        served = self.resolve(user)
        if served is None:
            return None
        asked = catalogue.live_inputs(self.plan.pack)
        message = asked[chance(run_id, "input") % len(asked)]
        given = answer(served.body["content"], served.body.get("rendered"), message, seed=run_id)
        task_type = catalogue.eval_set(self.plan.pack).cases[0].task_type
        self.outbox.put("runs", run_item(run_id, served.body, given, task_type=task_type, user=user, asked=message))
        self.outbox.put("events", *event_items(run_id, given))
        self.runs += 1
        if before is not None and before.body["digest"] != served.body["digest"]:
            return f"{self.plan.path} now serves {self.plan.pack} {served.body['digest'][:19]}… to {user}."
        return None

    def report(self) -> int:
        """Sends what is in the outbox; how many items were acknowledged. Raises Away, Refused."""
        return self.outbox.send(self.portal, self.token)

    # The fleet.

    def beat(self) -> bool:
        """Says that it is there and what it serves, and obeys; whether there is something to acknowledge at once. Raises Away, Refused."""
        served = self.resolve("") if self.plan.pack else None
        body = self.steering.heartbeat(self.plan.pack, served.body if served is not None else None)
        answered = self.portal.call(self.token, "POST", "heartbeat", body)
        if answered.status != 200:
            return False
        if self.steering.obey(answered.body["commands"]) or self.plan.pack in answered.body["stale"]:
            self.served.clear()
        return bool(self.steering.acks)

    # Evaluations.

    def evaluate(self) -> int:
        """Leases cases of one open evaluation, answers them on the version under the lease and posts them; how many the portal took.

        Raises Away, Refused; answers that could not be posted are posted first the next time.
        """
        if self.unsent is not None:
            return self._post(*self.unsent)
        listed = self.portal.call(self.token, "GET", "eval-runs/", params={"open": "1", "runner": "harness", "limit": "100"})
        if listed.status != 200:
            return 0
        for run in sorted(listed.body["results"], key=lambda run: str(run["id"])):
            if run["pack"] != self.plan.pack and run["pack"] in self.fellows:
                continue
            leased = self.portal.call(self.token, "GET", f"eval-runs/{run['id']}/cases/", params={"lease": str(LEASED)})
            if leased.status == 200 and leased.body["cases"]:
                return self._answer(leased.body)
        return 0

    def _answer(self, leased: Mapping[str, Any]) -> int:
        params = {"pack": leased["pack"], "version": leased["version"], "origins": "0"}
        pack = self.portal.call(self.token, "GET", "resolve", params=params)
        if pack.status != 200:
            return 0
        body = {"lease_id": leased["lease_id"], "outputs": outputs(pack.body, leased["cases"])}
        return self._post(f"eval-runs/{leased['eval_run']}/outputs/", body)

    def _post(self, path: str, body: dict[str, Any]) -> int:
        self.unsent = path, body
        done = self.portal.call(self.token, "POST", path, body)
        if done.status < 500:
            self.unsent = None
        return int(done.body["accepted"]) if done.status == 200 else 0


def outputs(pack: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Answers to leased cases on a resolved pack. Case and repeat are the seed, so that both arms of a comparison have the same luck."""
    found = []
    for case in cases:
        text = case["input"] if isinstance(case["input"], str) else str(case["input"].get("text", case["input"]))
        given = answer(pack["content"], pack.get("rendered"), text, seed=f"{case['number']}:{case['repeat']}")
        found.append(
            {
                "case": case["case"],
                "repeat": case["repeat"],
                "output": given.output,
                "latency_ms": given.latency_ms,
                "cost_usd": usd(given.cost_micros),
                "tokens_in": given.tokens_in,
                "tokens_out": given.tokens_out,
                "tools": list(given.tools),
                "success": given.success,
            }
        )
    return found
