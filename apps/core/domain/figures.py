"""Large figures in few characters."""

from __future__ import annotations

from typing import Final

NONE: Final = "–"
_UNITS: Final = ((1_000, "K"), (1_000_000, "M"), (1_000_000_000, "B"), (1_000_000_000_000, "T"))


def format_token_count(n: int | None) -> str:
    """A number of tokens for a list: 999, 1.5K, 2.0M, 3.1B, 4.0T; `–` for None.

    Below a thousand (of either sign) it is exact. Above, one decimal, rounded half away from zero on the integer itself; what rounds to a
    thousand of a unit is one of the next (999,949 is 999.9K, 999,950 is 1.0M). There is no unit above T: 1000.0T follows 999.9T.
    """
    if n is None:
        return NONE
    size, sign = abs(n), "-" if n < 0 else ""
    if size < 1_000:
        return f"{n}"
    for unit, name in _UNITS:
        tenths = (size * 10 + unit // 2) // unit
        if tenths < 10_000 or name == "T":
            return f"{sign}{tenths // 10}.{tenths % 10}{name}"
    raise AssertionError("the last unit takes every number")
