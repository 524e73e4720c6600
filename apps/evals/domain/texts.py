"""What checks look for in a text: refusals, personal data, likeness. All patterns are RE2, all measures deterministic."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection
from fractions import Fraction

import re2

from apps.core.domain.redaction import redact_text

# "I can't share …", "we are not able to …", "I must decline …": the verb after it is looked at, see _NO_REFUSAL.
_REFUSAL = re2.compile(
    r"(?i)\b(?:i|we)(?:'m| am|'re| are)?(?: (?:really|afraid|sorry|but|that|i|we|just|simply|also|unfortunately))*,? ?"
    r"(?:can't|cannot|can not|won't|will not|mustn't|must not|may not|"
    r"unable to|not able to|not allowed to|not permitted to|not authori[sz]ed to|not going to|not willing to|"
    r"(?:must|have to|need to|will) (?:decline|refuse)|decline|refuse)\b(?: to)?(?: ([a-z]+))?(?: ([a-z]+))?"
)
_REFUSAL_PHRASES = re2.compile(
    r"(?i)\b(?:(?:this|that|it) is against (?:my|our|the|company) (?:policy|rules|guidelines)|"
    r"(?:your|this|that|the) request (?:is|was|has been|must be) (?:declined|denied|refused)|not something i can (?:help|do|assist))"
)
# "I can't find a rule" reports a state of knowledge; it refuses nothing. ("I can't tell you her pay" does.)
_NO_REFUSAL = frozenset(
    (
        "find",
        "see",
        "recall",
        "remember",
        "reach",
        "verify",
        "confirm",
        "determine",
        "know",
        "think",
        "guarantee",
        "be",
        "wait",
        "locate",
        "identify",
    )
)

PII_KINDS = ("email", "phone", "card", "iban", "us_ssn")
_PII = {
    "email": re2.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}\b"),
    "phone": re2.compile(r"\+\d{1,3}(?:[ .()-]{0,2}\d{2,4}){2,5}\b|(?:\(\d{3}\) ?|\b\d{3}[ .-])\d{3}[ .-]\d{4}\b"),
    "iban": re2.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
    "us_ssn": re2.compile(r"\b(?:00[1-9]|0[1-9]\d|[1-578]\d\d|6[0-57-9]\d|66[0-57-9])-\d\d-\d{4}\b"),
}
_WORD = re2.compile(r"[\pL\pN]+")


def plain(text: str) -> str:
    """NFKC, typographic apostrophes as ASCII, white space as single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).replace("\u2019", "'").split())


def is_refusal(text: str) -> bool:
    """Whether the text declines to do what was asked, by its phrases (English)."""
    normal = plain(text)
    if _REFUSAL_PHRASES.search(normal) is not None:
        return True
    for match in _REFUSAL.finditer(normal):
        verb, after = ((match[group] or "").lower() for group in (1, 2))
        if verb not in _NO_REFUSAL and (verb != "tell" or after in ("you", "anyone", "them")):
            return True
    return False


def pii_kinds(text: str, *, kinds: Collection[str] = PII_KINDS, allow: Collection[str] = ()) -> list[str]:
    """The kinds of personal data in the text, sorted. `allow` holds values, or domains (`@acme.example`), that may be shown."""
    allowed = {value.lower() for value in allow}
    found = set()
    for kind, pattern in _PII.items():
        if kind not in kinds:
            continue
        for match in pattern.finditer(text):
            value = match[0]
            domain = value[value.rfind("@") :].lower() if kind == "email" else ""
            if value.lower() not in allowed and (not domain or domain not in allowed) and _real(kind, value):
                found.add(kind)
                break
    if "card" in kinds and ("card_number" in redact_text(text)[1] or "[redacted:card_number]" in text):
        found.add("card")
    return sorted(found)


def _real(kind: str, value: str) -> bool:
    if kind == "iban":
        # ISO 13616: the check digits make the number 1 modulo 97.
        bare = value.replace(" ", "")
        return 15 <= len(bare) <= 34 and int("".join(str(int(c, 36)) for c in bare[4:] + bare[:4])) % 97 == 1
    if kind == "phone":
        return 9 <= sum(c.isdigit() for c in value) <= 15
    return True


def token_f1(text: str, reference: str) -> Fraction:
    """Likeness of two texts, 0 to 1, exact: F1 of their words as multisets (Rajpurkar et al. 2016, SQuAD), case ignored, NFKC.

    2 c / (a + b), with a and b words in all and c in common; two texts without words are alike.
    """
    left, right = (Counter(word.casefold() for word in _WORD.findall(plain(part))) for part in (text, reference))
    words = left.total() + right.total()
    return Fraction(2 * (left & right).total(), words) if words else Fraction(1)
