"""Spans of time as people write them: ``30s``, ``5m``, ``1h30m``, ``250ms``."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import lru_cache

LONGEST_S = 100 * 365 * 86_400  # a hundred years: anything longer is a slip, and would overflow somewhere later

_MICROSECONDS = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
}
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,15})?"
_WHOLE = re.compile(r"\s*".join(rf"(?:({_NUMBER})\s*{unit})?" for unit in _MICROSECONDS))
_BARE = re.compile(_NUMBER)
DURATION_PATTERN = "^" + r"\s*".join(rf"({_NUMBER}\s*{unit})?" for unit in _MICROSECONDS) + "$"

_WANTED = "a duration such as 90s, 5m, 1h30m or 250ms"


def parse_duration(value: object) -> float:
    """Seconds, rounded to whole microseconds: text with units (w d h m s ms, largest first), or a number of seconds.

    Raises ValueError with a sentence for anything else: negative, not finite, longer than a hundred years, a bool.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"expected {_WANTED}")
    microseconds = _of_text(value.strip()) if isinstance(value, str) else _of_number(value)
    if microseconds > LONGEST_S * 1_000_000:
        raise ValueError("the duration is longer than a hundred years")
    return round(microseconds) / 1_000_000


def format_duration(seconds: float) -> str:
    """``seconds`` as ``parse_duration`` reads it back, exact to the microsecond; 0 is ``0s``."""
    left = round(seconds * 1_000_000)
    if left < 0:
        return "-" + format_duration(-seconds)
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, _MICROSECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    if left:
        parts.append(f"{left // 1000}.{left % 1000:03d}".rstrip("0").rstrip(".") + "ms")
    return "".join(parts) or "0s"


def _of_number(value: int | float) -> Fraction:
    if not (isinstance(value, int) or math.isfinite(value)):
        raise ValueError(f"expected {_WANTED}, got a number that is not finite")
    if value < 0:
        raise ValueError("a duration cannot be negative")
    return Fraction(value) * 1_000_000


@lru_cache(maxsize=1024)  # thousands of schedulers say the same few
def _of_text(text: str) -> Fraction:
    if _BARE.fullmatch(text):
        return Fraction(text) * 1_000_000
    found = _WHOLE.fullmatch(text)
    if not found or not text:
        if text.startswith("-"):
            raise ValueError("a duration cannot be negative")
        raise ValueError(f"expected {_WANTED} (units, largest first: w, d, h, m, s, ms)")
    counts = zip(found.groups(), _MICROSECONDS.values(), strict=True)
    return sum((Fraction(count) * unit for count, unit in counts if count), Fraction(0))
