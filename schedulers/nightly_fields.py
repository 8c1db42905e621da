"""Nightly's five arguments as cron fields. Its days of the week count from Monday = 0, ``d#n`` and ``Ld`` from Monday = 1."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Final, TypeVar

from .cron_fields import (
    HOUR,
    LAST,
    MINUTE,
    MONTH,
    CronError,
    CronFields,
    Fault,
    Field,
    WeekDays,
    items,
    month_days,
    nth_number,
    plain,
    possible_days,
)

FieldValue = int | str | Sequence[int | str]

_T = TypeVar("_T")
_FROM_MONDAY: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONDAY_0: Final = Field("dayOfWeek", 0, 6, {name: n for n, name in enumerate(_FROM_MONDAY)}, " (Monday is 0)")
_MONDAY_1: Final = Field("dayOfWeek", 0, 7, {name: n for n, name in enumerate(_FROM_MONDAY, start=1)}, " (Monday is 1)")


@dataclass(frozen=True, slots=True)
class NightlyFields:
    """Nightly's arguments as the user wrote them: each a number, a list of numbers and texts, or cron text."""

    minute: FieldValue = 0
    hour: FieldValue = "*"
    dayOfMonth: FieldValue = "*"
    month: FieldValue = "*"
    dayOfWeek: FieldValue = "*"

    def __str__(self) -> str:
        """The arguments that differ from their defaults, and the minute: ``minute=0 hour=3 dayOfWeek=mon-fri``."""
        given = ((one.name, getattr(self, one.name), one.default) for one in fields(self))
        return " ".join(
            f"{name}={_shown(value)}" for name, value, default in given if name == "minute" or value != default
        )

    def read(self) -> CronFields:
        """CronError with every argument that is wrong."""
        faults: list[Fault] = []

        def reading(name: str, reader: Callable[[str], _T]) -> _T | None:
            try:
                return reader(_text(getattr(self, name)))
            except ValueError as fault:
                faults.append((name, str(fault)))
                return None

        minutes = reading("minute", lambda text: plain(MINUTE, text))
        hours = reading("hour", lambda text: plain(HOUR, text))
        of_month = reading("dayOfMonth", month_days)
        months = reading("month", lambda text: plain(MONTH, text))
        of_week = reading("dayOfWeek", nightly_week_days)
        if minutes is None or hours is None or of_month is None or months is None or of_week is None:
            raise CronError(faults)
        days = possible_days("dayOfMonth", of_month, of_week, _open(self.dayOfMonth) or _open(self.dayOfWeek), months)
        return CronFields(minutes, hours, months, days, wildcard=_open(self.minute) or _open(self.hour))


def _open(value: FieldValue) -> bool:
    return _text(value).startswith("*")


def _shown(value: FieldValue) -> str:
    return _text(value).replace(" ", "")


def _text(value: object) -> str:
    """The cron text of an argument. ValueError if it is of no form that an argument may have."""
    if isinstance(value, str):
        return value.strip(" ")
    if isinstance(value, (list, tuple, set, frozenset)):
        if not value:
            raise ValueError("the list is empty")
        return ",".join(_text(one) if isinstance(one, str) else _number(one) for one in value)
    return _number(value)


def _number(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"expected a whole number, a list of them or cron text, got {value!r:.40}")


def nightly_week_days(text: str) -> WeekDays:
    """Read ``dayOfWeek``: Monday = 0 in numbers, ranges and steps; ``1#1``, ``L1``: Monday = 1; names anywhere. ValueError."""
    days: set[int] = set()
    nth: set[tuple[int, int]] = set()
    for item in items(text):
        day, hash_mark, n = item.partition("#")
        if hash_mark:
            nth.add((_MONDAY_1.number(day) % 7, nth_number(n)))
        elif item[:1] in ("l", "L"):
            nth.add((_MONDAY_1.number(item[1:]) % 7, LAST))
        else:
            days.update((value + 1) % 7 for value in _MONDAY_0.item(item, span=_span))
    return WeekDays(frozenset(days), frozenset(nth))


def _span(first: str, last: str) -> list[int]:
    """A range that runs from Monday to Sunday, or by names also one that begins on Sunday ("sun-thu")."""
    low, high = _MONDAY_0.number(first), _MONDAY_0.number(last)
    if low <= high:
        return list(range(low, high + 1))
    if first.lower() == "sun" and last.lower() in _FROM_MONDAY:
        return [low, *range(high + 1)]
    raise ValueError(f"the range '{first}-{last}' is reversed")
