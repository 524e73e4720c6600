"""Redaction: what looks like a secret goes, whatever stands around it; what only resembles one stays."""

from __future__ import annotations

import json
import random
import re
import string
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.domain.redaction import clean_json, redact_json, redact_text

CORPUS = json.loads((Path(__file__).parent / "redaction_corpus.json").read_text())
LETTERS = string.ascii_letters + string.digits
ALPHABETS = {
    "alnum": LETTERS,
    "url": LETTERS + "-_",
    "base64": LETTERS + "+/",
    "base32": string.ascii_uppercase + "234567",
    "hex": "0123456789abcdef",
    "digit": string.digits,
}


def assemble(template: str, seed: int) -> str:
    """`{alnum:36}` becomes 36 characters from a generator seeded by the entry."""
    rng = random.Random(seed)

    def characters(match: re.Match[str]) -> str:
        alphabet, length = match[1], int(match[2])
        text = "".join(rng.choices(ALPHABETS[alphabet], k=length - 2)) if length > 2 else ""
        # Ends in a word character, and holds a letter and a digit, as generated secrets do.
        return text + {"digit": "42", "base32": "Q7", "hex": "a7"}.get(alphabet, "Z7")[: min(length, 2)]

    return re.sub(r"\{(\w+):(\d+)\}", characters, template)


def positive(entry: dict[str, Any], seed: int) -> tuple[str, str, str]:
    return assemble(entry["before"], seed), assemble("".join(entry["secret"]), seed + 1), entry["after"]


POSITIVES = [pytest.param(entry, index, id=f"{index}-{entry['rule']}") for index, entry in enumerate(CORPUS["positives"])]
ALL_POSITIVES = ["".join(positive(entry, index)) for index, entry in enumerate(CORPUS["positives"])]


@pytest.mark.parametrize(("entry", "index"), POSITIVES)
def test_only_the_secret_is_replaced_and_by_its_rule(entry: dict[str, Any], index: int) -> None:
    before, _, after = positive(entry, index)
    if entry.get("whole_word"):
        before = before.rsplit("mc_", 1)[0]
    assert redact_text("".join(positive(entry, index))) == (f"{before}[redacted:{entry['rule']}]{after}", [entry["rule"]])


@pytest.mark.parametrize("template", CORPUS["near_misses"])
def test_near_misses_stay(template: str) -> None:
    text = assemble(template, 7)
    assert redact_text(text) == (text, [])


def test_the_corpus_is_of_the_size_it_claims() -> None:
    assert len(CORPUS["positives"]) >= 60
    assert len(CORPUS["near_misses"]) >= 60


PIECES = st.one_of(
    st.sampled_from(ALL_POSITIVES), st.text(max_size=30), st.sampled_from(["\n", '"', "\\", " ", "é", "\ud800", "[redacted:jwt]"])
)


@given(st.lists(PIECES, max_size=6).map(" ".join))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    once, _ = redact_text(text)
    assert redact_text(once) == (once, [])


@given(st.text(max_size=40), st.sampled_from(range(len(CORPUS["positives"]))), st.text(max_size=40))
def test_a_secret_goes_whatever_stands_around_it(left: str, index: int, right: str) -> None:
    entry = CORPUS["positives"][index]
    before, secret, after = positive(entry, index)
    cleaned, names = redact_text(f"{left} \n{before}{secret}{after} {right}")
    assert names
    assert secret not in cleaned


NO_SURROGATES = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
SECRETS_OR_TEXT = st.one_of(NO_SURROGATES, st.sampled_from(ALL_POSITIVES))
KEYS = st.one_of(
    NO_SURROGATES,
    st.sampled_from(["password", "db_password", "X-Api-Key", "accessToken", "token", "tokens", "id_token", 'a"token', "Set-Cookie"]),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), SECRETS_OR_TEXT, st.just(4111111111111111)),
    lambda children: st.one_of(st.lists(children, max_size=4), st.dictionaries(KEYS, children, max_size=4)),
    max_leaves=12,
)


@given(JSON)
def test_clean_json_is_never_wrong_about_clean(value: Any) -> None:
    """The law that lets one look at a whole item stand for a look at each field."""
    cleaned, names = redact_json(value)
    if clean_json(msgspec.json.encode(value)):
        assert (cleaned, names) == (value, [])
    assert redact_json(cleaned) == (cleaned, [])


@given(st.sampled_from(ALL_POSITIVES), NO_SURROGATES)
def test_text_escaped_in_json_is_seen(text: str, around: str) -> None:
    assert not clean_json(msgspec.json.encode({"a": [f"{around}\n{text}\t{around}"]}))
    assert not clean_json(msgspec.json.encode({"a": f"\x1b{text}"}))


@pytest.mark.parametrize(
    ("value", "cleaned", "names"),
    [
        ({"password": "x"}, {"password": "[redacted:sensitive_key]"}, ["sensitive_key"]),
        ({"a": [{"X-Api-Key": ["k1", "k2"]}]}, {"a": [{"X-Api-Key": "[redacted:sensitive_key]"}]}, ["sensitive_key"]),
        ({"clientSecret": 12345, "n": 1}, {"clientSecret": "[redacted:sensitive_key]", "n": 1}, ["sensitive_key"]),
        ({"Authorization": {"scheme": "Bearer"}}, {"Authorization": "[redacted:sensitive_key]"}, ["sensitive_key"]),
        ({"card": 4111111111111111}, {"card": "[redacted:card_number]"}, ["card_number"]),
        ({"postgres://a:b2c@h/d": 1}, {"postgres://a:[redacted:connection_string]@h/d": 1}, ["connection_string"]),
        (
            {"password": None, "secret": False, "token": "", "cookies": []},
            {"password": None, "secret": False, "token": "", "cookies": []},
            [],
        ),
        (
            {"max_tokens": 512, "next_page_token": "abc", "secretary": "Ann"},
            {"max_tokens": 512, "next_page_token": "abc", "secretary": "Ann"},
            [],
        ),
        ({"n": 4111111111111112, "ms": 1700000000000}, {"n": 4111111111111112, "ms": 1700000000000}, []),
    ],
)
def test_json_is_cleaned_by_key_and_by_value(value: Any, cleaned: Any, names: list[str]) -> None:
    assert redact_json(value) == (cleaned, names)


def test_overlapping_rules_leave_one_mark() -> None:
    token = assemble("ey" + "J{url:20}.ey" + "J{url:30}.{url:40}", 3)
    assert redact_text(f"Authorization: Bearer {token}\n") == ("Authorization: Bearer [redacted:jwt]\n", ["jwt"])


def test_every_password_of_a_connection_string_goes() -> None:
    cleaned, _ = redact_text("host=a password=first1 user=b password=second2 host=c")
    assert cleaned == "host=a password=[redacted:connection_string] user=b password=[redacted:connection_string] host=c"


def test_time_is_linear_in_hostile_text() -> None:
    """A thousand openings that are never closed must not be scanned to the end each."""
    header = "-----BEGIN PRIV" + "ATE KEY-----\n" + "A" * 40 + "\n"
    began = time.perf_counter()
    cleaned, names = redact_text(header * 8000)
    assert (cleaned, names) == ("[redacted:private_key]\n" * 8000, ["private_key"])
    assert time.perf_counter() - began < 1.0  # 0.04 s; a scan to the end for each takes over 3 s
