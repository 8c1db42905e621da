"""The local times that a rule names, whatever the zone: arithmetic of a calendar without offsets.

A wall minute is an int: whole minutes between 1970-01-01 00:00 and a reading of the wall clock.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Final

from .cron_fields import Days

_DAY: Final = 1440
_EPOCH: Final = date(1970, 1, 1).toordinal()
_FIRST_MONTH: Final = 10 * 12  # year 10 to year 9990: beyond, there are no times
_LAST_MONTH: Final = 9990 * 12
_FIRST_DAY: Final = date(10, 1, 1).toordinal() - _EPOCH
_LAST_DAY: Final = date(9990, 1, 31).toordinal() - _EPOCH


@lru_cache(maxsize=4096)
def _month(number: int) -> tuple[int, int, int]:
    """Of month ``year * 12 + month - 1``: the day before its first, its length, the weekday of its first (Sunday = 0)."""
    first = date(number // 12, number % 12 + 1, 1)
    following = date((number + 1) // 12, (number + 1) % 12 + 1, 1)
    return first.toordinal() - _EPOCH - 1, (following - first).days, first.isoweekday() % 7


def _month_of(day: int) -> int:
    then = date.fromordinal(day + _EPOCH)
    return then.year * 12 + then.month - 1


@lru_cache(maxsize=4096)
def times_of_day(hours: tuple[int, ...], minutes: tuple[int, ...]) -> tuple[int, ...]:
    """Every pairing as minutes after midnight, ascending."""
    return tuple(hour * 60 + minute for hour in hours for minute in minutes)


@dataclass(frozen=True, slots=True)
class WallTimes:
    """Each of ``times`` (minutes after midnight, ascending) on each day of ``months`` that ``days`` names."""

    times: tuple[int, ...]
    months: tuple[int, ...]
    days: Days
    daily: bool = field(init=False, repr=False, compare=False)
    """Every day matches: then no calendar is needed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "daily", len(self.months) == 12 and self.days.always())

    def first_from(self, minute: int) -> int | None:
        """The first wall minute at or after ``minute``. None: not before the year 9990."""
        day, time = divmod(minute, _DAY)
        if time > self.times[-1]:
            day, time = day + 1, 0
        found = self._day_from(day)
        if found is None:
            return None
        return found * _DAY + self.times[bisect_left(self.times, time) if found == day else 0]

    def last_to(self, minute: int) -> int | None:
        """The last wall minute at or before ``minute``. None: not after the year 10."""
        day, time = divmod(minute, _DAY)
        if time < self.times[0]:
            day, time = day - 1, _DAY
        found = self._day_to(day)
        if found is None:
            return None
        return found * _DAY + self.times[bisect_right(self.times, time) - 1 if found == day else -1]

    def count(self, start: int, end: int) -> int:
        """How many there are at ``start <= minute < end``."""
        if end <= start:
            return 0
        (day, time), (last_day, last_time) = divmod(start, _DAY), divmod(end, _DAY)
        whole = self._count_days(day, last_day) * len(self.times)
        return whole + self._count_below(last_day, last_time) - self._count_below(day, time)

    def _matching(self, month: int) -> tuple[int, tuple[int, ...]]:
        before, length, weekday = _month(month)
        return before, self.days.within(length, weekday) if month % 12 + 1 in self.months else ()

    def _day_from(self, day: int) -> int | None:
        if day > _LAST_DAY:
            return None
        if self.daily and day >= _FIRST_DAY:
            return day
        month = _month_of(max(day, _FIRST_DAY))
        while month <= _LAST_MONTH:
            if month % 12 + 1 in self.months:
                before, days = self._matching(month)
                at = bisect_left(days, day - before)
                if at < len(days):
                    return before + days[at]
            month += 1
        return None

    def _day_to(self, day: int) -> int | None:
        if day < _FIRST_DAY:
            return None
        if self.daily and day <= _LAST_DAY:
            return day
        month = _month_of(min(day, _LAST_DAY))
        while month >= _FIRST_MONTH:
            if month % 12 + 1 in self.months:
                before, days = self._matching(month)
                at = bisect_right(days, day - before)
                if at:
                    return before + days[at - 1]
            month -= 1
        return None

    def _count_days(self, start: int, end: int) -> int:
        """How many days match at ``start <= day < end``."""
        start, end = max(start, _FIRST_DAY), min(end, _LAST_DAY + 1)
        if start >= end:
            return 0
        first, last = _month_of(start), _month_of(end)
        total = 0
        for month in range(first, last + 1):
            before, days = self._matching(month)
            low = bisect_left(days, start - before) if month == first else 0
            high = bisect_left(days, end - before) if month == last else len(days)
            total += high - low
        return total

    def _count_below(self, day: int, time: int) -> int:
        """How many times of that day come before ``time``."""
        return bisect_left(self.times, time) if time and self._count_days(day, day + 1) else 0
