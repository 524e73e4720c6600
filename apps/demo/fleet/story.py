"""The demo's story: four changes, asked for, judged on evidence, approved or not, by people with personal tokens.

Each step looks at what the portal says is true and does what comes next, so that the story happens once in a database, goes on after a
restart, and leaves alone what a newcomer decides otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from apps.demo import catalogue
from apps.demo.cast import AUTHOR, CAST, MANAGER, OPERATOR
from apps.demo.fleet.portal import Answer, Portal

# Each change begins so many seconds after the one before it.
STAGGER_S = 4.0
# Normally the portal judges by itself when an evaluation is complete; so often the author asks it to.
NUDGE_S = 15.0
# So long a promotion lives before the operator takes it back.
ROLL_BACK_AFTER_S = 15.0
_LATEST = {"limit": "200"}


@dataclass(slots=True)
class Plot:
    """One change and how far it is; `done` when there is nothing more to do for the cast."""

    story: catalogue.Challenger
    not_before: float
    version: str | None = None
    promotion: str | None = None
    state: str = ""
    nudged: float = 0.0
    done: bool = False


@dataclass(slots=True)
class Story:
    """`tokens` are those of the cast, by e-mail address; `say` takes a sentence for the log."""

    portal: Portal
    tokens: Mapping[str, str]
    say: Callable[[str], None]
    plots: list[Plot] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.plots = [Plot(story, self.begun + place * STAGGER_S) for place, story in enumerate(catalogue.challengers())]

    @property
    def done(self) -> bool:
        return all(plot.done for plot in self.plots)

    def step(self) -> None:
        """Lets each plot do what comes next. Raises Away, Refused."""
        for plot in self.plots:
            if not plot.done and time.monotonic() >= plot.not_before:
                self._step(plot)

    def _call(self, who: str, method: str, path: str, body: Any = None, **params: str) -> Answer:
        return self.portal.call(self.tokens[CAST[who]], method, path, body, params=params or None)

    def _step(self, plot: Plot) -> None:
        if plot.version is None and not self._find_or_write(plot):
            return
        promotion = self._promotion(plot)
        if promotion is None:
            return
        if promotion["state"] != plot.state:
            plot.state = promotion["state"]
            self.say(f"{plot.story.name}: {plot.state.replace('_', ' ')}{_why(promotion)}")
        self._next(plot, promotion)

    def _find_or_write(self, plot: Plot) -> bool:
        """Whether the plot's version is there now; it is known by its notes."""
        story = plot.story
        listed = self._call(AUTHOR, "GET", f"packs/{story.pack}/versions/", scope=story.scope, **_LATEST)
        if listed.status != 200:
            return self._over(plot, listed)
        for version in listed.body["results"]:
            if version["notes"] == story.notes:
                plot.version = version["id"]
                return True
        layers = self._call(AUTHOR, "GET", f"packs/{story.pack}/layers/", scope=story.scope, **_LATEST)
        champion = next((layer["champion"] for layer in layers.body["results"] if layer["scope"] == story.scope), None)
        if champion is None:
            return self._over(plot, layers)
        content = self._call(AUTHOR, "GET", f"versions/{champion['id']}/").body["content"]
        sent = {"scope": story.scope, "content": story.content(content), "notes": story.notes, "parent": champion["id"]}
        made = self._call(AUTHOR, "POST", f"packs/{story.pack}/versions/", sent)
        if made.status != 201:
            return self._over(plot, made)
        plot.version = made.body["id"]
        self.say(f"{story.name}: {CAST[AUTHOR]} writes version {made.body['number']} of {story.pack} at {story.scope}")
        return True

    def _promotion(self, plot: Plot) -> dict[str, Any] | None:
        """The promotion as it stands, asked for where it was not yet."""
        if plot.promotion is not None:
            found = self._call(AUTHOR, "GET", f"promotions/{plot.promotion}/")
            if found.status != 200:
                self._over(plot, found)
                return None
            return dict(found.body)
        story = plot.story
        listed = self._call(AUTHOR, "GET", "promotions/", pack=story.pack, scope=story.scope, **_LATEST)
        known = next((row for row in listed.body["results"] if row["version"] == plot.version), None)
        if known is None:
            asked = self._call(AUTHOR, "POST", "promotions/", {"version": plot.version, "aim": story.aim, "reason": story.notes})
            if asked.status != 201:
                self._over(plot, asked)
                return None
            known = asked.body
        plot.promotion = known["id"]
        return dict(known)

    def _next(self, plot: Plot, promotion: Mapping[str, Any]) -> None:
        story, path = plot.story, f"promotions/{plot.promotion}"
        match promotion["state"]:
            case "collecting":
                if time.monotonic() - plot.nudged > NUDGE_S:
                    if plot.nudged:
                        self._call(AUTHOR, "POST", f"{path}/evaluate/", {})
                    plot.nudged = time.monotonic()
            case "awaiting_approval" if story.ends_as in ("promoted", "rolled_back"):
                if not any(given["voided_at"] is None for given in promotion["approvals"]["given"]):
                    comment = f"Approved on the evidence. {_sentence(promotion, 'quality')}"
                    self._call(MANAGER, "POST", f"{path}/approve/", {"comment": comment, "binding": promotion["binding"]})
            case "ready" if story.ends_as in ("promoted", "rolled_back"):
                self._call(MANAGER, "POST", f"{path}/start/", {"reason": story.notes})
            case "promoted" if story.ends_as == "rolled_back":
                if _seconds_since(promotion["closed_at"]) >= ROLL_BACK_AFTER_S:
                    self._roll_back(plot, promotion)
            case _:
                plot.done = True

    def _roll_back(self, plot: Plot, promotion: Mapping[str, Any]) -> None:
        back = self._call(OPERATOR, "POST", f"layers/{promotion['layer']}/rollback/", {"reason": plot.story.rollback_reason})
        if back.status != 201:
            self._over(plot, back)

    def _over(self, plot: Plot, answer: Answer) -> bool:
        """The plot cannot go on: somebody has changed what it stands on. What is only our side's trouble is tried again."""
        if answer.status < 500:
            plot.done = True
            self.say(f"{plot.story.name}: left as it is ({answer.status} {answer.code})")
        return False


def _sentence(promotion: Mapping[str, Any], rule: str) -> str:
    return next((found["sentence"] for found in promotion["verdict"].get("rules", ()) if found["rule"] == rule), "")


def _why(promotion: Mapping[str, Any]) -> str:
    """What blocks it, for the log."""
    failed = [rule["sentence"] for rule in promotion["verdict"].get("rules", ()) if rule["outcome"] == "fail" and rule["rule"] != "approvals"]
    return f": {' '.join(failed)}" if promotion["state"] == "blocked" else ""


def _seconds_since(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
