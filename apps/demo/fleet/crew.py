"""All simulated agents and the cast of the story in one thread: each job says when it is due again."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count

from apps.demo import catalogue
from apps.demo.cast import CAST
from apps.demo.fleet.agent import SimulatedAgent
from apps.demo.fleet.portal import Away, Portal, Refused
from apps.demo.fleet.steering import BEAT_S
from apps.demo.fleet.story import Story
from apps.demo.places import Tokens

# The first runs come quickly, so that a newcomer has something to look at; later the fleet only keeps the portal company.
WARM_UP_RUNS = 12
WARM_UP_PACE_S = 1.5
PACE_S = 8.0
REPORT_S = 4.0
EVALUATE_S = 3.0
STORY_S = 2.0
# How long who is refused waits before it tries again.
REFUSED_S = 30.0

Job = Callable[[], float | None]
Renew = Callable[[bool], Tokens]


@dataclass(slots=True)
class Crew:
    """`renew(force)` gives the present tokens, with new ones issued when `force` is set; `say` takes a sentence for the log; `pace` is the
    story's, None for no story."""

    portal: Portal
    renew: Renew
    say: Callable[[str], None]
    pace: float | None = 1.0
    agents: list[SimulatedAgent] = field(default_factory=list)
    story: Story | None = None
    _jobs: list[tuple[float, int, Job]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)
    _away: bool = False
    _refused: set[str] = field(default_factory=set)

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set; then sends what is left, if the portal is still there."""
        tokens = self._wait_for_tokens(stop)
        self.agents = _agents(tokens, self.portal)
        for place, agent in enumerate(self.agents):
            # Apart from each other, so that the load is even.
            self._schedule(self._guarded(agent, self._work(agent)), 0.1 * place)
            self._schedule(self._guarded(agent, self._report(agent)), 1 + 0.1 * place)
            self._schedule(self._guarded(agent, self._evaluate(agent)), 0.5 + 0.1 * place)
            self._schedule(self._guarded(agent, self._beat(agent)), 0.2 + 0.1 * place)
        if self.pace is not None and set(CAST.values()) <= set(tokens.people):
            self.story = Story(self.portal, dict(tokens.people), self.say, self.pace)
            self._schedule(self._tell, 0.5)
        if self.agents:
            self.say(f"{len(self.agents)} simulated agents work against {self.portal.http.base_url}.")
        while self._jobs and not stop.is_set():
            due, _, job = self._jobs[0]
            if stop.wait(max(0.0, due - time.monotonic())):
                break
            heapq.heappop(self._jobs)
            if (delay := job()) is not None:
                self._schedule(job, delay)
        self._last_words()

    def _schedule(self, job: Job, delay: float) -> None:
        heapq.heappush(self._jobs, (time.monotonic() + delay, next(self._order), job))

    def _wait_for_tokens(self, stop: threading.Event) -> Tokens:
        tokens = self.renew(False)
        if not tokens.agents:
            tokens = self.renew(True)
        if not tokens.agents:
            self.say("There is no demo in this portal; `manage.py seed_demo` makes it. Looking again from time to time.")
        while not tokens.agents and not stop.wait(REFUSED_S):
            tokens = self.renew(False)
        return tokens

    # Jobs.

    def _work(self, agent: SimulatedAgent) -> Job:
        def work() -> float:
            if news := agent.work():
                self.say(news)
            return WARM_UP_PACE_S if agent.runs < WARM_UP_RUNS else PACE_S

        return work

    def _report(self, agent: SimulatedAgent) -> Job:
        def report() -> float:
            agent.report()
            for refusal in agent.outbox.refused:
                self.say(f"{agent.plan.path}: the portal refused an item: {refusal}")
            agent.outbox.refused.clear()
            return REPORT_S

        return report

    def _beat(self, agent: SimulatedAgent) -> Job:
        def beat() -> float:
            before = agent.steering.mode
            again = agent.beat()
            if agent.steering.mode != before:
                self.say(f"{agent.plan.path} is {agent.steering.mode}, as it was told.")
            return 0.1 if again else BEAT_S

        return beat

    def _evaluate(self, agent: SimulatedAgent) -> Job:
        return lambda: 0.05 if agent.evaluate() else EVALUATE_S

    def _tell(self) -> float | None:
        assert self.story is not None
        try:
            self.story.step()
        except Away as away:
            return self._is_away(away)
        except Refused:
            self.story.tokens = self._renewed(dict(self.story.tokens), lambda tokens: tokens.people)
            return REFUSED_S
        self._is_back()
        if self.story.done:
            self.say("The story is told: one change promoted, one blocked, one waiting for a manager, one rolled back.")
            return None
        return STORY_S

    def _guarded(self, agent: SimulatedAgent, job: Job) -> Job:
        """The job, which waits while the portal is away, and asks for another token where its own is refused."""

        def guarded() -> float | None:
            try:
                delay = job()
            except Away as away:
                return self._is_away(away)
            except Refused:
                return self._was_refused(agent)
            self._refused.discard(agent.plan.path)
            self._is_back()
            return delay

        return guarded

    def _was_refused(self, agent: SimulatedAgent) -> float:
        path, before = agent.plan.path, agent.token
        agent.token = self._renewed({path: before}, lambda tokens: tokens.agents).get(path, before)
        if agent.token != before:
            return 0.1
        if path not in self._refused:
            self._refused.add(path)
            self.say(f"{path} is refused: suspended, or removed. Asking again every {REFUSED_S:.0f} s.")
        return REFUSED_S

    def _renewed(self, known: dict[str, str], of: Callable[[Tokens], Mapping[str, str]]) -> dict[str, str]:
        """Other tokens than those that were refused: from the file, else newly issued."""
        for force in (False, True):
            found = {holder: token for holder, token in of(self.renew(force)).items() if holder in known}
            if found and found != known:
                return {**known, **found}
        return known

    def _is_away(self, away: Away) -> float:
        if not self._away:
            self.say("The portal is away; what was done is kept and sent when it is back.")
        self._away = True
        return away.wait_s + 0.05

    def _is_back(self) -> None:
        if self._away and not self.portal.away:
            self._away = False
            self.say("The portal is back.")

    def _last_words(self) -> None:
        for agent in self.agents:
            try:
                agent.report()
            except (Away, Refused):
                return


def _agents(tokens: Tokens, portal: Portal) -> list[SimulatedAgent]:
    plans = [plan for plan in catalogue.organisation().agents if plan.path in tokens.agents]
    found = []
    for plan in plans:
        fellows = frozenset(other.pack for other in plans if other.tenant == plan.tenant)
        found.append(SimulatedAgent(plan, tokens.agents[plan.path], portal, fellows if plan.tenant != "platform" else frozenset()))
    return found
