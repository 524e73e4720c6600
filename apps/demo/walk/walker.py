"""Who walks: makes requests as different people, shows each with its answer, and stops at the first that is not as it should be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from apps.demo.fleet.portal import Answer, Away, Portal, Refused

MAX_SHOWN = 320
_LONG = 60
_MANY = 3
# What a person looks for in an answer comes first; what says nothing here is left out.
_FIRST = (
    "status",
    "code",
    "detail",
    "state",
    "decision",
    "slug",
    "number",
    "digest",
    "lineage",
    "accepted",
    "duplicates",
    "rejected",
    "holds",
)
_LEFT_OUT = frozenset({"type", "title", "request_id", "etag", "pack", "created_at", "description", "archived_reason"})


class Stumbled(Exception):  # noqa: N818 -- it says what is the matter
    """A step is not as it should be; the sentence says which and how."""


@dataclass(slots=True)
class Walker:
    """`tokens` are by name of who acts; `show` takes one line."""

    portal: Portal
    show: Callable[[str], None]
    tokens: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    steps: int = 0

    def step(self, title: str) -> None:
        """Begins the next step."""
        self.steps += 1
        self.show("")
        self.show(f"{self.steps}. {title}")

    def call(
        self,
        who: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        expect: int = 200,
        code: str = "",
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        quiet: bool = False,
    ) -> Answer:
        """One request. Raises Stumbled unless its status, and for a refusal its code, is the expected one."""
        query = "?" + "&".join(f"{name}={value}" for name, value in params.items()) if params else ""
        if not quiet:
            self.show(f"   {method} /api/v1/{path}{query}   as {self.labels.get(who, who)}")
            if body is not None:
                self.show(f"     sent: {abridged(body)}")
        try:
            answer = self.portal.call(self.tokens[who], method, path, body, params=params, headers=headers)
        except Away:
            raise Stumbled(f"The portal does not answer at {self.portal.http.base_url}; is it running?") from None
        except Refused:
            answer = Answer(401, {"code": "not_authenticated"}, {})
        if not quiet or answer.status != expect:
            self.show(f"     {answer.status} {_answered(answer.body)}")
        if answer.status != expect or answer.code != code:
            wanted = f"{expect} {code}".strip()
            raise Stumbled(f"{method} {path} answered {answer.status} {answer.code}, not {wanted}.")
        return answer

    def check(self, holds: bool, sentence: str) -> None:
        """Shows what was found; raises Stumbled where it does not hold."""
        if not holds:
            raise Stumbled(f"Not so: {sentence}")
        self.show(f"   ok: {sentence}")

    def say(self, sentence: str) -> None:
        self.show(f"   {sentence}")

    def until(self, what: str, attempt: Callable[[], Any], *, within_s: float, every_s: float = 0.05) -> tuple[Any, float]:
        """Repeats until the attempt gives something true: that, and the seconds it took. Raises Stumbled when the time is over."""
        begun = time.monotonic()
        while True:
            found = attempt()
            took = time.monotonic() - begun
            if found:
                return found, took
            if took > within_s:
                raise Stumbled(f"After {within_s:g} s still not: {what}.")
            time.sleep(every_s)


def abridged(value: Any) -> str:
    """JSON for a person: long texts, lists and the whole cut short."""
    text = json.dumps(_short(value), ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} …"


def _answered(body: Any) -> str:
    if not isinstance(body, Mapping):
        return abridged(body) if body is not None else ""
    if "code" in body and "detail" in body:
        return f"{body['code']}: {body['detail']}"
    names = sorted((name for name in body if name not in _LEFT_OUT), key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    return abridged({name: body[name] for name in names})


def _short(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _LONG else f"{value[:_LONG]}…"
    if isinstance(value, list):
        return [_short(member, depth + 1) for member in value[:_MANY]] + ([f"and {len(value) - _MANY} more"] if len(value) > _MANY else [])
    if isinstance(value, Mapping):
        if depth > 2 and len(value) > _MANY:
            return f"{{{len(value)} keys}}"
        return {key: _short(inner, depth + 1) for key, inner in value.items()}
    return value
