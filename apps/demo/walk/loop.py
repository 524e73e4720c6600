"""The governed loop in a throw-away tenant: resolve, run, telemetry, evaluation, gate, approval, promotion, rollback, audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from apps.demo import catalogue
from apps.demo.fleet.agent import LEASED, outputs
from apps.demo.fleet.reports import event_items, run_item
from apps.demo.simulate import answer
from apps.demo.walk.walker import Walker

PACK = "hr-ops-pack"
LIKE = "tenant:acme"  # whose layer and cases the throw-away tenant begins with
AGENT = "walker-1"
PEOPLE = {"author": "manager", "manager": "manager", "operator": "operator", "auditor": "auditor"}
SEEN_WITHIN_S = 1.0
SCORED_WITHIN_S = 30.0


@dataclass(slots=True)
class Loop:
    """One walk. `token_for(e-mail)` issues a personal token in the tenant and `go_live(version)` puts the first version live without the
    gate, both on this machine; everything else goes over HTTP."""

    walker: Walker
    tenant: str
    token_for: Callable[[str], str]
    go_live: Callable[[str], None]
    task_type: str = ""
    eval_set: str = ""
    layer: str = ""
    first: str = ""
    second: str = ""
    served: Any = None

    def walk(self) -> None:
        """All steps. Raises Stumbled at the first that is not as it should be."""
        self.set_up()
        self.resolve()
        self.run_and_report()
        self.promote()
        self.roll_back()
        self.format_regression()
        self.audit()

    @property
    def scope(self) -> str:
        return f"tenant:{self.tenant}"

    # Steps.

    def set_up(self) -> None:
        w = self.walker
        w.step(f"A tenant of its own, '{self.tenant}', with people, an agent and a subscription")
        people = {name: f"{name}@{self.tenant}.example" for name in ("admin", *PEOPLE)}
        sent = {
            "organisation": self._organisation(),
            "slug": self.tenant,
            "name": "Walk",
            "tier": "enterprise",
            "admin_email": people["admin"],
        }
        w.call("platform", "POST", "tenants/", sent, expect=201)
        w.labels |= people
        w.tokens["admin"] = self.token_for(people["admin"])
        for name, role in PEOPLE.items():
            w.call("admin", "POST", "members/", {"email": people[name], "role": role}, expect=201, quiet=True)
            w.tokens[name] = self.token_for(people[name])
        w.say(f"Members: {', '.join(f'{name} ({role})' for name, role in PEOPLE.items())}")
        w.call("admin", "POST", "agents/", {"slug": AGENT, "domain": "hr-ops", "autonomy": "A2", "default_pack": PACK}, expect=201)
        w.tokens["agent"] = w.call("admin", "POST", "tokens/", {"agent": AGENT, "name": "walk"}, expect=201, quiet=True).body["token"]
        w.labels["agent"] = f"{self.tenant}/{AGENT}"
        w.call("agent", "GET", "resolve", params={"pack": PACK}, expect=404, code="not_found")
        w.call("admin", "POST", "subscriptions/", {"pack": PACK}, expect=201)
        layer = catalogue.pack(PACK).layer(LIKE)
        made = w.call(
            "author", "POST", f"packs/{PACK}/versions/", {"scope": self.scope, "content": layer.content, "notes": layer.notes}, expect=201
        )
        self.first, self.layer = made.body["id"], made.body["layer"]
        self.go_live(self.first)
        w.say("Version 1 went live without the gate, as the first of its layer.")
        cases = catalogue.eval_set(PACK)
        made = w.call("author", "POST", "eval-sets/", {"pack": PACK, "slug": "walk-cases", "title": cases.title}, expect=201)
        self.eval_set, self.task_type = made.body["id"], cases.cases[0].task_type
        rows = [
            {"input": case.input, "expected": case.expected, "tags": list(case.tags), "task_type": case.task_type, "split": case.split}
            for case in cases.cases
        ]
        w.call("author", "POST", f"eval-sets/{self.eval_set}/cases/", {"cases": rows}, expect=201)

    def _organisation(self) -> str:
        """The demo's where it is there, else the platform's own."""
        rows = self.walker.call("platform", "GET", "organisations/", quiet=True).body["results"]
        slugs = [row["slug"] for row in rows]
        wanted = catalogue.organisation().slug
        return wanted if wanted in slugs else str(slugs[0])

    def resolve(self) -> None:
        w = self.walker
        w.step("Resolve: what the agent is told, with the origin of each part; unchanged, it costs 304")
        found = w.call("agent", "GET", "resolve", params={"pack": PACK})
        lineage = " < ".join(f"{entry['scope']} {entry['pack']} v{entry['version']}" for entry in found.body["lineage"])
        w.say(f"Lineage: {lineage}")
        w.check(any(origin["scope"] == self.scope for origin in found.body["origins"].values()), f"parts of it come from {self.scope}")
        w.check(any(origin["scope"] == "global" for origin in found.body["origins"].values()), "others from the shared library")
        w.call("agent", "GET", "resolve", params={"pack": PACK}, headers={"If-None-Match": found.headers["ETag"]}, expect=304)
        self.served = found.body

    def run_and_report(self) -> None:
        w = self.walker
        w.step("Run and report: exactly once, and a bad item never costs a good one")
        prefix = f"walk-{uuid4().hex[:8]}"
        items, events = [], []
        for place, message in enumerate(catalogue.live_inputs(PACK)[:12]):
            run_id = f"{prefix}-{place}"
            given = answer(self.served["content"], self.served["rendered"], message, seed=run_id)
            items.append(run_item(run_id, self.served, given, task_type=self.task_type, user="", asked=message))
            events += event_items(run_id, given)
        first = {"producer": prefix, "seq": 1, "runs": items[:10]}
        got = w.call("agent", "POST", "telemetry/runs", first, expect=202).body
        w.check((got["accepted"], got["duplicates"]) == (10, 0), "10 runs are stored")
        got = w.call("agent", "POST", "telemetry/runs", first, expect=202).body
        w.check((got["accepted"], got["duplicates"]) == (0, 10), "the same batch again is 10 duplicates and stores nothing")
        bad = {**items[10], "latency_ms": -1}
        got = w.call("agent", "POST", "telemetry/runs", {"producer": prefix, "seq": 2, "runs": [bad, items[11]]}, expect=202).body
        refused = [(entry["index"], entry["pointer"]) for entry in got["rejected"]]
        w.check(got["accepted"] == 1 and refused == [(0, "/runs/0/latency_ms")], "of a bad and a good run the good one is stored")
        got = w.call("agent", "POST", "telemetry/events", {"producer": prefix, "seq": 3, "events": events}, expect=202).body
        w.check(got["accepted"] == len(events), f"{len(events)} events are stored")

        def scored() -> Any:
            listed = w.call("author", "GET", "runs/", params={"pack": PACK, "limit": "100"}, quiet=True).body["results"]
            return listed if len(listed) == 11 and all(row["score"] is not None for row in listed) else None

        rows, took = w.until("all runs have a score (is the worker running?)", scored, within_s=SCORED_WITHIN_S, every_s=0.25)
        w.say(f"Scores, {took:.1f} s later: {', '.join(str(row['score']) for row in rows[:6])} …")
        digests = {row["effective_digest"] for row in rows}
        w.check(digests == {self.served["digest"]}, "each run names the digest that it was made on")
        w.check(not any("untraced" in row["flags"] for row in rows), "and the portal knows what stands behind it")

    def promote(self) -> None:
        w = self.walker
        story = catalogue.challenger("hr-ops-worked-answers")
        w.step(f"A challenger: {story.notes}")
        asked = self._ask(story)
        self.second = asked["version"]
        w.check(asked["state"] == "collecting", "without evidence the promotion waits")
        w.say(f"Risk: {asked['risk']['level']}. {' '.join(reason['sentence'] for reason in asked['risk']['reasons'])}")
        path = f"promotions/{asked['id']}"
        w.call("manager", "POST", f"{path}/start/", {}, expect=409, code="wrong_state")
        w.step("Evaluation: the agent leases the cases of both arms and answers each on exactly the version under test")
        w.call("agent", "GET", "resolve", params={"pack": PACK, "version": self.second}, expect=409, code="lease_expired")
        self._answer_evaluations()
        w.step("The gate, rule by rule")
        judged = w.call("author", "POST", f"{path}/evaluate/", {}).body
        self._show_verdict(judged)
        w.check(judged["state"] == "awaiting_approval", "on this evidence only a person's word is missing")
        w.step("Approval by another person, then the start")
        w.call("author", "POST", f"{path}/approve/", {"comment": "Mine."}, expect=409, code="own_promotion")
        w.call("operator", "POST", f"{path}/approve/", {}, expect=403, code="permission_denied")
        ready = w.call("manager", "POST", f"{path}/approve/", {"comment": "The evidence holds.", "binding": judged["binding"]}).body
        w.check(ready["state"] == "ready", "it is ready")
        started = w.call("manager", "POST", f"{path}/start/", {"reason": "Better answers, nothing worse."}).body
        w.check(started["state"] == "promoted", "it is promoted")
        self._sees(self.second, "worked-answers", there=True)

    def roll_back(self) -> None:
        w = self.walker
        w.step("Rollback in one call")
        back = w.call("operator", "POST", f"layers/{self.layer}/rollback/", {"reason": "The walk goes back."}, expect=201).body
        w.check((back["decision"], back["challenger_version"]) == ("rollback", self.first), "version 1 is champion again, by a decision")
        self._sees(self.first, "worked-answers", there=False)
        again = w.call("agent", "GET", "resolve", params={"pack": PACK}, quiet=True).body
        w.check(again["digest"] == self.served["digest"], "and the agent is told, to the byte, what it was told at first")

    def format_regression(self) -> None:
        w = self.walker
        story = catalogue.challenger("hr-ops-friendly-letter")
        w.step(f"A change that breaks the format: {story.notes}")
        asked = self._ask(story)
        self._answer_evaluations()
        judged = w.call("author", "POST", f"promotions/{asked['id']}/evaluate/", {}).body
        self._show_verdict(judged)
        rule = next(rule for rule in judged["verdict"]["rules"] if rule["rule"] == "format_no_regression")
        w.check(judged["state"] == "blocked" and rule["outcome"] == "fail" and rule["hard"], "a hard rule blocks it and names the cases")
        w.call("admin", "POST", f"promotions/{asked['id']}/start/", {"force": True, "reason": "I like it."}, expect=409, code="hard_rule")
        champion = w.call("author", "GET", f"packs/{PACK}/layers/", params={"scope": self.scope}, quiet=True).body["results"]
        live = next(row["champion"]["id"] for row in champion if row["scope"] == self.scope)
        w.check(live == self.first, "nobody can force it, and nothing has changed")

    def audit(self) -> None:
        w = self.walker
        w.step("Everything is written down")
        decisions = w.call("auditor", "GET", "decisions/", params={"pack": PACK, "scope": self.scope}, quiet=True).body["results"]
        for row in reversed(decisions):
            w.say(f"{row['created_at'][11:19]} {row['decision']} by {row['decided_by']}: {row['reason'] or 'no reason given'}")
        w.check(
            [row["decision"] for row in reversed(decisions)] == ["promote", "promote", "rollback"], "each decision stands in the record"
        )
        verified = w.call("auditor", "GET", "audit/verify/").body
        w.check(verified["holds"] and verified["broken"] is None, f"the chain of {verified['events']} audit events holds")

    # Parts of steps.

    def _ask(self, story: catalogue.Challenger) -> dict[str, Any]:
        """The author writes the challenger on the present champion and asks for its promotion."""
        w = self.walker
        champion = w.call("author", "GET", f"versions/{self.first}/", quiet=True).body
        body = {"scope": self.scope, "content": story.content(champion["content"]), "notes": story.notes, "parent": self.first}
        version = w.call("author", "POST", f"packs/{PACK}/versions/", body, expect=201).body
        asked = {"version": version["id"], "aim": story.aim, "reason": story.notes}
        promotion: dict[str, Any] = w.call("author", "POST", "promotions/", asked, expect=201).body
        return promotion

    def _answer_evaluations(self) -> None:
        w = self.walker
        answered: dict[str, int] = {}
        while runs := w.call("agent", "GET", "eval-runs/", params={"open": "1"}, quiet=True).body["results"]:
            before = sum(answered.values())
            for run in runs:
                leased = w.call("agent", "GET", f"eval-runs/{run['id']}/cases/", params={"lease": str(LEASED)}, quiet=True).body
                if leased["cases"]:
                    pack = w.call("agent", "GET", "resolve", params={"pack": PACK, "version": leased["version"]}, quiet=True).body
                    body = {"lease_id": leased["lease_id"], "outputs": outputs(pack, leased["cases"])}
                    done = w.call("agent", "POST", f"eval-runs/{run['id']}/outputs/", body, quiet=True).body
                    arm = f"version {run['version_number']}"
                    answered[arm] = answered.get(arm, 0) + done["accepted"]
            w.check(sum(answered.values()) > before, f"answers so far: {', '.join(f'{count} on {arm}' for arm, count in answered.items())}")

    def _show_verdict(self, promotion: Mapping[str, Any]) -> None:
        for rule in promotion["verdict"]["rules"]:
            self.walker.say(f"{rule['outcome']:<12} {rule['rule']}{' (hard)' if rule['hard'] else ''}: {rule['sentence']}")
        self.walker.say(f"State: {promotion['state'].replace('_', ' ')}")

    def _sees(self, version: str, section: str, *, there: bool) -> None:
        """The agent's next resolves show the version within SEEN_WITHIN_S."""
        w = self.walker

        def seen() -> Any:
            body = w.call("agent", "GET", "resolve", params={"pack": PACK}, quiet=True).body
            return body if (section in body["content"]["sections"]) == there else None

        body, took = w.until("resolve shows the decision", seen, within_s=SEEN_WITHIN_S, every_s=0.02)
        number = next(entry["version"] for entry in body["lineage"] if entry["scope"] == self.scope and entry["kind"] == "domain")
        w.check(took < SEEN_WITHIN_S, f"resolve answers with version {number} after {took * 1000:.0f} ms")
