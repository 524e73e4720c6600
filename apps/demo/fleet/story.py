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
STAGGER_S = 8.0
# Normally the portal judges by itself when an evaluation is complete; so often the author asks it to.
NUDGE_S = 15.0
# So long a promotion lives before the operator takes it back.
ROLL_BACK_AFTER_S = 20.0
_LATEST = {"limit": "200"}


class Otherwise(Exception):  # noqa: N818 -- it says what is the matter
    """The portal answered something else than the plot needs."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status} {answer.code}")
        self.answer = answer


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
    """`tokens` are those of the cast, by e-mail address; `say` takes a sentence for the log; `pace` stretches the pauses that a newcomer needs
    to follow."""

    portal: Portal
    tokens: Mapping[str, str]
    say: Callable[[str], None]
    pace: float = 1.0
    plots: list[Plot] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.plots = [Plot(story, self.begun + place * STAGGER_S * self.pace) for place, story in enumerate(catalogue.challengers())]

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

    def _get(self, path: str, **params: str) -> Any:
        """What the author sees. Raises Otherwise."""
        return _wanted(self._call(AUTHOR, "GET", path, **params), 200)

    def _step(self, plot: Plot) -> None:
        try:
            plot.version = plot.version or self._find_or_write(plot)
            promotion = self._promotion(plot)
            if promotion["state"] != plot.state:
                plot.state = promotion["state"]
                self.say(f"{plot.story.name}: {plot.state.replace('_', ' ')}{_why(promotion)}")
            self._next(plot, promotion)
        except Otherwise as otherwise:
            # Trouble on the portal's side passes; else somebody has changed what the plot stands on.
            if otherwise.answer.status < 500:
                plot.done = True
                self.say(f"{plot.story.name}: left as it is ({otherwise})")

    def _find_or_write(self, plot: Plot) -> str:
        """The plot's version, known by its notes; written on the present champion where it is not there yet."""
        story = plot.story
        for version in self._get(f"packs/{story.pack}/versions/", scope=story.scope, **_LATEST)["results"]:
            if version["notes"] == story.notes:
                return str(version["id"])
        layers = self._get(f"packs/{story.pack}/layers/", scope=story.scope, **_LATEST)["results"]
        champion = next((layer["champion"] for layer in layers if layer["scope"] == story.scope), None)
        if champion is None:
            raise Otherwise(Answer(404, {"code": "no_champion"}, {}))
        content = story.content(self._get(f"versions/{champion['id']}/")["content"])
        sent = {"scope": story.scope, "content": content, "notes": story.notes, "parent": champion["id"]}
        made = _wanted(self._call(AUTHOR, "POST", f"packs/{story.pack}/versions/", sent), 201)
        self.say(f"{story.name}: {CAST[AUTHOR]} writes version {made['number']} of {story.pack} at {story.scope}")
        return str(made["id"])

    def _promotion(self, plot: Plot) -> Mapping[str, Any]:
        """The promotion as it stands, asked for where it was not yet."""
        story, found = plot.story, None
        if plot.promotion is None:
            rows = self._get("promotions/", pack=story.pack, scope=story.scope, **_LATEST)["results"]
            found = next((row for row in rows if row["version"] == plot.version), None)
            if found is None:
                asked = {"version": plot.version, "aim": story.aim, "reason": story.notes}
                found = _wanted(self._call(AUTHOR, "POST", "promotions/", asked), 201)
            plot.promotion = found["id"]
        promotion: Mapping[str, Any] = found or self._get(f"promotions/{plot.promotion}/")
        return promotion

    def _next(self, plot: Plot, promotion: Mapping[str, Any]) -> None:
        """What the cast does about the state. An approval or a start that comes too early or too late is tried again."""
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
                if _seconds_since(promotion["closed_at"]) >= ROLL_BACK_AFTER_S * self.pace:
                    reason = {"reason": story.rollback_reason}
                    _wanted(self._call(OPERATOR, "POST", f"layers/{promotion['layer']}/rollback/", reason), 201)
            case _:
                plot.done = True


def _wanted(answer: Answer, status: int) -> Any:
    if answer.status != status:
        raise Otherwise(answer)
    return answer.body


def _sentence(promotion: Mapping[str, Any], rule: str) -> str:
    return next((found["sentence"] for found in promotion["verdict"].get("rules", ()) if found["rule"] == rule), "")


def _why(promotion: Mapping[str, Any]) -> str:
    """What blocks it, for the log."""
    failed = [
        rule["sentence"] for rule in promotion["verdict"].get("rules", ()) if rule["outcome"] == "fail" and rule["rule"] != "approvals"
    ]
    return f": {' '.join(failed)}" if promotion["state"] == "blocked" else ""


def _seconds_since(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
