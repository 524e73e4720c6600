"""How a simulated agent finds what it was told: facts ranked by the rare words they share with a question."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[a-z0-9][a-z0-9'&.-]*[a-z0-9]|[a-z0-9]")
_STOP = frozenset(
    _WORD.findall(
        """
    a about above after all also am an and any are as at be because been before being but by can could did do does doing for from get
    gets got had has have having he her here him his how i i'm i've if in into is it it's its just let may me might mine more most
    must my no nor of off on once only or other our ours out over own please really same shall she should so some such than that the
    their them then there these they this those through to too under until up us very was we were what when where which while who whom
    why will with would you your yours hello hi hey thanks thank need needs want wants tell know mention mentions message
    """
    )
)
_MINIMUM = 2.2  # rarity two common words together just fail to reach; below it the agent says that it doesn't know
_B = 0.45  # how much a long fact is discounted (BM25's b)


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of a pack: its text without references, the references, and its stemmed words."""

    text: str
    references: tuple[str, ...]
    words: frozenset[str]


def stem(word: str) -> str:
    """A light English stem: plural and the commonest verb endings, so that "meetings" meets "meeting" and "approved" "approve"."""
    for ending, put in (("ies", "y"), ("ing", ""), ("ed", ""), ("'s", ""), ("es", ""), ("s", ""), ("e", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)] + put
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    return word


def stems(text: str) -> frozenset[str]:
    """The content words of a text, stemmed."""
    return frozenset(stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP)


def all_stems(text: str) -> frozenset[str]:
    """Every word of a text, stemmed: what a phrase such as "sign it for me" is compared with."""
    return frozenset(stem(word) for word in _WORD.findall(text.lower()))


def rank(facts: Sequence[Fact], words: frozenset[str]) -> list[Fact]:
    """The facts that share enough with `words`, best first; of two equal ones the later wins, since a weaker scope comes first in a text."""
    if not facts:
        return []
    seen: Counter[str] = Counter(word for fact in facts for word in fact.words)
    average = sum(len(fact.words) for fact in facts) / len(facts) or 1.0
    found = []
    for place, fact in enumerate(facts):
        shared = sum(math.log(1 + len(facts) / seen[word]) for word in fact.words & words)
        if shared >= _MINIMUM:
            found.append((shared / (1 - _B + _B * len(fact.words) / average), place, fact))
    return [fact for _, _, fact in sorted(found, key=lambda item: (-item[0], -item[1]))]
