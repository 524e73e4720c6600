"""The statistics of the gate: small, exact to what is stated, and free of dependencies."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

CONFIDENCE: Final = 0.95
_TINY: Final = 1e-300
_ROUNDING: Final = 1e-15
_MAX_TERMS: Final = 500


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean, summed exactly (`math.fsum`). Raises ValueError without values."""
    if not values:
        raise ValueError("no values")
    # Equal values have themselves as mean; sum and division could be one rounding away.
    return float(values[0]) if min(values) == max(values) else math.fsum(values) / len(values)


def paired_lower_bound(differences: Sequence[float], confidence: float = CONFIDENCE) -> float | None:
    """The one-sided lower confidence bound of the mean of paired differences: d - t(confidence, n - 1) * s / sqrt(n), s the sample
    standard deviation (Student's paired t interval, e.g. NIST/SEMATECH e-Handbook 7.2.2 and 7.3.1).

    None with fewer than two differences. Without any variance the interval has no width and the bound is the mean itself: with scores
    from checks, equal differences in all cases are an ordinary result. The bound isn't monotone in a single difference: one lucky case
    raises the spread more than the mean, and is meant to.
    """
    n = len(differences)
    if n < 2:
        return None
    average = mean(differences)
    if min(differences) == max(differences):
        return average
    variance = math.fsum((difference - average) ** 2 for difference in differences) / (n - 1)
    return average - t_quantile(confidence, n - 1) * math.sqrt(variance / n)


def p95(values: Sequence[float]) -> float:
    """The 95th percentile by nearest rank (Hyndman & Fan 1996, definition 1): the smallest value with at least 95 % of all values at or
    below it. It is always one of the values, so a latency that is reported was measured. Raises ValueError without values."""
    if not values:
        raise ValueError("no values")
    # ceil(0.95 n) in integers: 0.95 has no exact float.
    return sorted(values)[-(-95 * len(values) // 100) - 1]


def ratio(numerator: float, denominator: float) -> float:
    """numerator / denominator of two quantities >= 0; nothing against nothing is 1, something against nothing is infinite."""
    if denominator:
        return numerator / denominator
    return math.inf if numerator else 1.0


def ratio_of_medians(values: Sequence[float], base: Sequence[float]) -> float:
    """The median of `values` over the median of `base` (`ratio` for a median of 0). Raises statistics.StatisticsError without values."""
    return ratio(statistics.median(values), statistics.median(base))


@lru_cache(maxsize=1024)
def t_quantile(probability: float, degrees: int) -> float:
    """The quantile of Student's t distribution, to better than 1e-9 relative for 0 < probability < 1 and degrees >= 1.

    By bisection on the distribution function F(t) = 1 - I_x(v/2, 1/2) / 2 with x = v / (v + t^2), t >= 0 (Abramowitz & Stegun 26.7.1
    and 26.5.27). Raises ValueError outside those ranges.
    """
    if not 0 < probability < 1 or degrees < 1:
        raise ValueError("0 < probability < 1 and degrees >= 1")
    if probability == 0.5:
        return 0.0
    if probability < 0.5:
        return -t_quantile(1 - probability, degrees)
    tail = 1 - probability
    low, high = 0.0, 1.0
    while _upper_tail(high, degrees) > tail:
        low, high = high, high * 2
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _upper_tail(middle, degrees) > tail else (low, middle)
    return (low + high) / 2


def _upper_tail(t: float, degrees: int) -> float:
    """P(T > t) for t >= 0. Of the two arguments of the incomplete beta function the smaller one is taken, where the fraction converges."""
    a, b = degrees / 2, 0.5
    square = t * t
    x, y = degrees / (degrees + square), square / (degrees + square)
    if x < (a + 1) / (a + b + 2):
        return _incomplete_beta(a, b, x, y) / 2
    return (1 - _incomplete_beta(b, a, y, x)) / 2


def _incomplete_beta(a: float, b: float, x: float, y: float) -> float:
    """The regularised incomplete beta function I_x(a, b), y = 1 - x, by its continued fraction (NIST Digital Library of Mathematical
    Functions 8.17.22, coefficients 8.17.23) in the form of Lentz, Thompson and Barnett (DLMF 3.10 (iii))."""
    if x <= 0:
        return 0.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(y)) / a
    d = 1 / _not_zero(1 - (a + b) * x / (a + 1))
    c, fraction = 1.0, d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _not_zero(1 + even * d)
        c = _not_zero(1 + even / c)
        fraction *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _not_zero(1 + odd * d)
        c = _not_zero(1 + odd / c)
        fraction *= d * c
        if abs(d * c - 1) < _ROUNDING:
            break
    return front * fraction


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
