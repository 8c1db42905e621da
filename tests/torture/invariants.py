"""What an invariant is, and what several of them need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .checker_rows import Histories


@dataclass(frozen=True, slots=True)
class Found:
    """Something that should not be. ``at_us``: when, in microseconds; None: at no particular moment."""

    what: str
    at_us: int | None = None


Invariant = Callable[[Histories], Iterator[Found]]
"""A promise; it gives what breaks it. Its name is the promise's name in reports."""


def us(seconds: float) -> int:
    """Seconds of an event as the microseconds of a row."""
    return round(seconds * 1e6)
