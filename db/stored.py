"""Reading JSON that a row holds: what is not what Locum wrote is said with its place, and costs nobody else anything."""

from __future__ import annotations

import json
from typing import Any

from .errors import DatabaseError

EARLIEST_US = -62_135_596_800_000_000
LATEST_US = 253_402_300_799_999_999
"""The years 1 to 9999."""


class Unreadable(DatabaseError):
    """A stored value is not what Locum writes there: asking again will not help, a person must mend that row."""


def read_value(text: str | None, place: str) -> Any:
    """The JSON value of ``text``; ``place`` names column and row. Unreadable."""
    try:
        return json.loads(text if isinstance(text, str) else "")
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Unreadable(f"{place} is not JSON ({why}); {_CURE}") from None


def read_object(text: str | None, place: str) -> dict[str, Any]:
    """A JSON object. Unreadable."""
    value = read_value(text, place)
    if not isinstance(value, dict):
        raise _not(place, "a JSON object")
    return value


def read_texts(text: str | None, place: str) -> tuple[str, ...]:
    """A JSON list of strings. Unreadable."""
    value = read_value(text, place)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _not(place, "a JSON list of texts")
    return tuple(value)


def read_properties(text: str | None, place: str) -> dict[str, tuple[Any, str]]:
    """A buildset's properties: {name: (value, source)}. Unreadable."""
    found = read_object(text, place)
    for pair in found.values():
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], str):
            raise _not(place, "a JSON object of [value, source]")
    return {name: (pair[0], pair[1]) for name, pair in found.items()}


def read_property_values(text: str | None, place: str) -> dict[str, Any]:
    """A buildset's properties without their sources. Unreadable."""
    return {name: value for name, (value, _) in read_properties(text, place).items()}


def read_moment(value: Any, place: str) -> int:
    """Microseconds since the epoch, of a year that there is. Unreadable."""
    if not isinstance(value, int) or not EARLIEST_US <= value <= LATEST_US:
        raise _not(place, "a time in microseconds since 1970")
    return value


_CURE = "mend that row, or restore it from a backup"


def _not(place: str, wanted: str) -> Unreadable:
    return Unreadable(f"{place} is not {wanted}; {_CURE}")
