"""The grammar of the five cron fields: text to sets of numbers and day rules. Knows nothing of times or zones."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, TypeVar

MONTH_NAMES: Final = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
WEEKDAY_NAMES: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS: Final = {name[:3].lower(): n for n, name in enumerate(MONTH_NAMES, start=1)}
WEEKDAYS: Final = {name[:3].lower(): n for n, name in enumerate(WEEKDAY_NAMES)}
LAST: Final = 0  # in place of a number: the last one of the month

Fault = tuple[str, str]  # (the field's name, what is wrong with it)

_NUMBER: Final = re.compile(r"[0-9]+")
_MAX_DIGITS: Final = 9
_T = TypeVar("_T")


class CronError(ValueError):
    """A rule that cannot be read: show it to whoever wrote it. ``faults`` has them all as (field, what is wrong)."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{name}: {what}" for name, what in self.faults))


@dataclass(frozen=True, slots=True)
class Field:
    """One field's name (as errors call it), range and, where it has them, the numbers' names."""

    name: str
    low: int
    high: int
    names: dict[str, int] = field(default_factory=dict)
    note: str = ""  # how the numbers count, for errors

    def number(self, text: str) -> int:
        """The value of a number or name. ValueError if it is neither, or outside the range."""
        named = self.names.get(text.lower())
        if named is not None:
            return named
        if not _NUMBER.fullmatch(text):
            raise ValueError(self._unreadable(text))
        value = int(text[-_MAX_DIGITS:]) if len(text.lstrip("0")) <= _MAX_DIGITS else self.high + 1
        if not self.low <= value <= self.high:
            raise ValueError(f"{text[:20]} is out of range {self.low}-{self.high}{self.note}")
        return value

    def _unreadable(self, text: str) -> str:
        if not text:
            return "a number is missing"
        names = f" or a name {next(iter(self.names))}-{list(self.names)[-1]}" if self.names else ""
        return f"{text[:40]!r} is not a number {self.low}-{self.high}{names}"

    def item(self, text: str, span: Callable[[str, str], list[int]] | None = None) -> list[int]:
        """The values of one item of a list: ``*``, ``n`` or ``a-b``, each with ``/step`` or without. ValueError.

        ``span(a, b)`` gives the values of a range that is read in another way than by its numbers.
        """
        whole, slash, step_text = text.partition("/")
        step = _step(step_text) if slash else 1
        first, dash, last = whole.partition("-")
        if whole == "*":
            values = list(range(self.low, self.high + 1))
        elif dash:
            values = span(first, last) if span else self._range(first, last)
        else:
            start = self.number(whole)
            values = list(range(start, self.high + 1)) if slash else [start]
        return values[::step]

    def _range(self, first: str, last: str) -> list[int]:
        low, high = self.number(first), self.number(last)
        if low > high:
            raise ValueError(
                f"the range '{first}-{last}' is reversed; write it as two, such as a-{self.high},{self.low}-b"
            )
        return list(range(low, high + 1))


def _step(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"'/{text[:20]}' is not a step: expected a number after '/'")
    step = int(text[-_MAX_DIGITS:]) if len(text.lstrip("0")) <= _MAX_DIGITS else 10**_MAX_DIGITS
    if step == 0:
        raise ValueError("a step of 0 never ends")
    return step


MINUTE: Final = Field("minute", 0, 59)
HOUR: Final = Field("hour", 0, 23)
DAY_OF_MONTH: Final = Field("day of month", 1, 31)
MONTH: Final = Field("month", 1, 12, MONTHS)
DAY_OF_WEEK: Final = Field("day of week", 0, 7, WEEKDAYS)


def items(text: str) -> list[str]:
    """The items of a list."""
    return text.split(",")


def plain(kind: Field, text: str) -> tuple[int, ...]:
    """The sorted values of a field that has numbers only."""
    return tuple(sorted({value for item in items(text) for value in kind.item(item)}))


@dataclass(frozen=True, slots=True)
class MonthDays:
    """A day-of-month field: ``days``, the weekdays nearest to ``near``, and the last day or weekday of the month."""

    days: frozenset[int] = frozenset()
    near: frozenset[int] = frozenset()  # LAST = the last weekday
    last: bool = False
    or_last: int = 0  # this day, or the last one of a month that is too short for it; cron has no such thing

    def within(self, length: int, first_weekday: int) -> set[int]:
        """The days of a month of ``length`` days that begins on ``first_weekday`` (Sunday = 0)."""
        found = {day for day in self.days if day <= length}
        if self.last:
            found.add(length)
        if self.or_last:
            found.add(min(self.or_last, length))
        for day in self.near:
            if day == LAST or day <= length:
                found.add(_nearest_weekday(day or length, length, first_weekday, only_back=day == LAST))
        return found


def _nearest_weekday(day: int, length: int, first_weekday: int, *, only_back: bool) -> int:
    weekday = (first_weekday + day - 1) % 7
    if weekday == 6:  # Saturday
        return day - 1 if day > 1 or only_back else day + 2
    if weekday == 0:
        return day + 1 if day < length and not only_back else day - 2
    return day


def month_days(text: str) -> MonthDays:
    """Read a day-of-month field: numbers, ``L``, ``LW`` and ``nW``. ValueError."""
    days: set[int] = set()
    near: set[int] = set()
    last = False
    for item in items(text):
        upper = item.upper()
        if upper == "L":
            last = True
        elif upper == "LW":
            near.add(LAST)
        elif upper.endswith("W"):
            near.add(DAY_OF_MONTH.number(item[:-1]))
        else:
            days.update(DAY_OF_MONTH.item(item))
    return MonthDays(frozenset(days), frozenset(near), last)


@dataclass(frozen=True, slots=True)
class WeekDays:
    """A day-of-week field, Sunday = 0: every one of ``days``, and the nth (or LAST) of the month for each of ``nth``."""

    days: frozenset[int] = frozenset()
    nth: frozenset[tuple[int, int]] = frozenset()  # (weekday, n)

    def within(self, length: int, first_weekday: int) -> set[int]:
        """The days of a month of ``length`` days that begins on ``first_weekday`` (Sunday = 0)."""
        found = {day for day in range(1, length + 1) if (first_weekday + day - 1) % 7 in self.days}
        for weekday, n in self.nth:
            first = 1 + (weekday - first_weekday) % 7
            day = first + 7 * ((length - first) // 7 if n == LAST else n - 1)
            if day <= length:
                found.add(day)
        return found


def nth_number(text: str) -> int:
    """The n of ``#n``. ValueError."""
    if text not in ("1", "2", "3", "4", "5"):
        raise ValueError(f"'#{text[:20]}' is not one of #1 to #5")
    return int(text)


def week_days(text: str) -> WeekDays:
    """Read a day-of-week field of cron, 0 = 7 = Sunday: numbers, names, ``d#n`` and ``dL``. ValueError."""
    days: set[int] = set()
    nth: set[tuple[int, int]] = set()
    for item in items(text):
        day, hash_mark, n = item.partition("#")
        if hash_mark:
            nth.add((DAY_OF_WEEK.number(day) % 7, nth_number(n)))
        elif len(item) > 1 and item[-1] in "lL":
            nth.add((DAY_OF_WEEK.number(item[:-1]) % 7, LAST))
        else:
            days.update(value % 7 for value in DAY_OF_WEEK.item(item))
    return WeekDays(frozenset(days), frozenset(nth))


@dataclass(frozen=True, slots=True)
class Days:
    """Which days of a month match: both day fields joined. It keeps its answers; ``days`` makes one for all that are equal."""

    of_month: MonthDays
    of_week: WeekDays
    both: bool  # else either field suffices
    _known: dict[int, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)

    def within(self, length: int, first_weekday: int) -> tuple[int, ...]:
        """The matching days, ascending, of a month of ``length`` days that begins on ``first_weekday`` (Sunday = 0)."""
        key = length * 7 + first_weekday
        found = self._known.get(key)
        if found is None:
            one, other = (rule.within(length, first_weekday) for rule in (self.of_month, self.of_week))
            found = self._known[key] = tuple(sorted(one & other if self.both else one | other))
        return found

    def ever(self, months: tuple[int, ...]) -> bool:
        """Whether any day of those months matches in any year. (Each begins on every weekday in some year.)"""
        lengths = {length for month in months for length in month_lengths(month)}
        return any(self.within(length, weekday) for length in sorted(lengths, reverse=True) for weekday in range(7))

    def always(self) -> bool:
        """Whether every day of every month matches."""
        return all(len(self.within(length, weekday)) == length for length in (28, 29, 30, 31) for weekday in range(7))


def month_lengths(month: int) -> tuple[int, ...]:
    """The lengths that the month can have."""
    return (28, 29) if month == 2 else (30 if month in (4, 6, 9, 11) else 31,)


@lru_cache(maxsize=4096)
def days(of_month: MonthDays, of_week: WeekDays, both: bool) -> Days:
    """The ``Days`` of these two fields, shared."""
    return Days(of_month, of_week, both)


@dataclass(frozen=True, slots=True)
class CronFields:
    """What the five fields say. ``wildcard``: minute or hour began with ``*``."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: tuple[int, ...]
    days: Days
    wildcard: bool


MACROS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def read_cron(text: str) -> CronFields:
    """Read a cron expression. CronError with every field that is wrong."""
    return _Reading(_split(text)).result()


def _split(text: str) -> list[str]:
    if not isinstance(text, str):
        raise CronError([("cron", f"expected text such as '0 3 * * mon-fri', got {text!r:.40}")])
    stripped = text.strip(" \t\r\n")
    if stripped.startswith("@"):
        return _macro(stripped).split(" ")
    parts = re.split(r"[ \t]+", stripped)
    if len(parts) != 5:
        hint = "; seconds are not supported" if len(parts) == 6 else ""
        found = len(parts) if stripped else 0
        raise CronError(
            [("cron", f"expected 5 fields (minute hour day-of-month month day-of-week), got {found}{hint}")]
        )
    return parts


def _macro(text: str) -> str:
    known = MACROS.get(text.lower())
    if known is None:
        why = "has no meaning here: schedulers outlive a boot" if text.lower() == "@reboot" else "is not known"
        raise CronError([("cron", f"{text[:40]!r} {why}; there are {' '.join(MACROS)}")])
    return known


class _Reading:
    """One reading of five texts, which goes on after a fault to find the others."""

    def __init__(self, parts: list[str]) -> None:
        self._parts = parts
        self._faults: list[Fault] = []

    def result(self) -> CronFields:
        minute, hour, day_of_month, month, day_of_week = self._parts
        minutes = self._read(MINUTE.name, lambda: plain(MINUTE, minute))
        hours = self._read(HOUR.name, lambda: plain(HOUR, hour))
        of_month = self._read(DAY_OF_MONTH.name, lambda: month_days(day_of_month))
        months = self._read(MONTH.name, lambda: plain(MONTH, month))
        of_week = self._read(DAY_OF_WEEK.name, lambda: week_days(day_of_week))
        if minutes is None or hours is None or of_month is None or months is None or of_week is None:
            raise CronError(self._faults)
        both = day_of_month.startswith("*") or day_of_week.startswith("*")
        joined = possible_days(DAY_OF_MONTH.name, of_month, of_week, both, months)
        return CronFields(minutes, hours, months, joined, wildcard=minute.startswith("*") or hour.startswith("*"))

    def _read(self, name: str, reader: Callable[[], _T]) -> _T | None:
        try:
            return reader()
        except ValueError as fault:
            self._faults.append((name, str(fault)))
            return None


def possible_days(name: str, of_month: MonthDays, of_week: WeekDays, both: bool, months: tuple[int, ...]) -> Days:
    """Both day fields joined. CronError, for the field ``name``, if no year has such a day in those months."""
    joined = days(of_month, of_week, both)
    if not joined.ever(months):
        in_months = ", ".join(MONTH_NAMES[month - 1] for month in months)
        raise CronError([(name, f"such a day never comes in {in_months}")])
    return joined
