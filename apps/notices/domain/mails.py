"""A notice as an e-mail: plain text, and the same as simple HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from apps.notices.domain.telling import LABELS, Kind

_UTC = re.compile(r"([0-9-]{10})T([0-9:]{5})[0-9:.]*(?:Z|\+00:00)")
_SUBJECTS: dict[str, str] = {
    Kind.APPROVAL_REQUESTED: "Approval wanted",
    Kind.APPROVAL_REMINDER: "Approval still wanted",
    Kind.DECIDED: "Promotion",
}
_SENTENCES: dict[str, str] = {
    Kind.APPROVAL_REQUESTED: "Your approval is wanted for this promotion.",
    Kind.APPROVAL_REMINDER: "This promotion still waits for an approval that you can give.",
    Kind.DECIDED: "There is news of a promotion that concerns you.",
}


@dataclass(frozen=True, slots=True)
class Mail:
    subject: str
    text: str
    html: str


def mail(*, kind: str, title: str, facts: Mapping[str, str], link: str, preferences: str) -> Mail:
    """`link` and `preferences` are addresses, or paths where the portal does not know its own address."""
    sentence = _SENTENCES.get(kind, LABELS.get(kind, kind))
    rows = [(key.replace("_", " ").capitalize(), _read(value)) for key, value in facts.items()]
    why = "You get this because the portal counts you among those concerned. What it sends you is your choice:"
    text = "\n".join(
        [sentence, "", title, *(f"  {name}: {value}" for name, value in rows), "", f"Open it: {link}", "", "--", f"{why} {preferences}", ""]
    )
    table = "".join(f"<tr><td>{escape(name)}</td><td><strong>{escape(value)}</strong></td></tr>" for name, value in rows)
    html = (
        '<!doctype html><html lang="en"><body style="font-family:sans-serif;line-height:1.5">'
        f'<p>{escape(sentence)}</p><h2>{escape(title)}</h2><table cellpadding="4">{table}</table>'
        f"<p>{_anchor(link, 'Open it')}</p><hr><p><small>{escape(why)} {_anchor(preferences, 'notices to me')}</small></p></body></html>"
    )
    return Mail(f"{_SUBJECTS.get(kind, 'Notice')}: {title}", text, html)


def _read(value: str) -> str:
    """A time in UTC to the minute, anything else as it is."""
    found = _UTC.fullmatch(value)
    return f"{found[1]} {found[2]} UTC" if found else value


def _anchor(link: str, words: str) -> str:
    if not link.startswith(("https://", "http://")):
        return f"{escape(words)}: {escape(link)}"
    return f'<a href="{escape(link)}">{escape(words)}</a>'
