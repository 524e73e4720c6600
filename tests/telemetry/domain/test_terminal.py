"""Terminal output as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.telemetry.domain.terminal import as_text


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["one\n", "two"], "one\ntwo"),
        # A sequence may be cut by the end of a piece.
        (["\x1b[3", "1mred\x1b[0m"], "red"),
        (["\x1b]0;title\x07shell", "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\"], "shelllink"),
        ([" 10 %\r 50 %\r100 %\r\ndone"], "100 %\ndone"),
        (["abc\b\bX"], "aX"),
        (["\b\x07bell\x00"], "bell"),
        (["tab\tstays <b>&amp;"], "tab\tstays <b>&amp;"),
    ],
)
def test_what_is_left_on_the_screen(pieces: list[str], shown: str) -> None:
    assert as_text(pieces) == shown


@given(st.lists(st.text(alphabet=st.characters(max_codepoint=0x24F)), max_size=8))
def test_no_control_is_left_and_plain_text_is_as_it_was(pieces: list[str]) -> None:
    shown = as_text(pieces)
    assert all(character in "\n\t" or character.isprintable() or character == "\xa0" or character == "\xad" for character in shown)
    assert as_text([shown]) == shown
