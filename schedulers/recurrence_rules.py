"""What recurrences made at run time are built of: once, a stretch of a grid or calendar, local times of day to the second."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from .cron import CronRule, Instant
from .cron_fields import Days, MonthDays, WeekDays, days
from .grid import TimeRule, count_due
from .wall_times import WallTimes
from .zones import Stretch, ZoneClock, zone_clock

_SECOND: Final = 1_000_000
_EVERY_MONTH: Final = tuple(range(1, 13))
_EVERY_DAY: Final = MonthDays(frozenset(range(1, 32)))
_ANY_WEEKDAY: Final = WeekDays(frozenset(range(7)))


@dataclass(frozen=True, slots=True)
class OnceRule:
    """One instant."""

    at: Instant

    def after(self, t: Instant) -> Instant | None:
        return self.at if self.at > t else None

    def before(self, t: Instant) -> Instant | None:
        return self.at if self.at < t else None


@dataclass(frozen=True, slots=True)
class BoundedRule:
    """The fires of ``rule`` from ``start`` to ``end``, both included; None: without that bound."""

    rule: TimeRule
    start: Instant | None = None
    end: Instant | None = None

    def after(self, t: Instant) -> Instant | None:
        """The first fire strictly after ``t``."""
        found = self.rule.after(t if self.start is None else max(t, self.start - 1))
        return None if found is None or (self.end is not None and found > self.end) else found

    def before(self, t: Instant) -> Instant | None:
        """The last fire strictly before ``t``."""
        found = self.rule.before(t if self.end is None else min(t, self.end + 1))
        return None if found is None or (self.start is not None and found < self.start) else found

    def count(self, after: Instant, until: Instant) -> int:
        """How many fires there are at ``after < t <= until``."""
        low = after if self.start is None else max(after, self.start - 1)
        high = until if self.end is None else min(until, self.end)
        return count_due(self.rule, low, high)[0] if low < high else 0


@dataclass(frozen=True, slots=True)
class LocalTimeRule:
    """One local time of day on each day that ``days`` names, with the clock's changes as fixed cron times have them."""

    cron: CronRule
    micros: int

    @classmethod
    def of(cls, local_time_us: int, which: Days, timezone: str) -> LocalTimeRule:
        """``local_time_us``: microseconds after midnight by that zone's clock."""
        seconds, micros = divmod(local_time_us, _SECOND)
        minute, second = divmod(seconds, 60)
        wall = WallTimes((minute,), _EVERY_MONTH, which)
        return cls(CronRule("", timezone, wall, True, _LateClock(timezone, second)), micros)

    def after(self, t: Instant) -> Instant | None:
        """The first fire strictly after ``t``."""
        found = self.cron.after(t - self.micros)
        return None if found is None else found + self.micros

    def before(self, t: Instant) -> Instant | None:
        """The last fire strictly before ``t``."""
        found = self.cron.before(t - self.micros)
        return None if found is None else found + self.micros

    def count(self, after: Instant, until: Instant) -> int:
        """How many fires there are at ``after < t <= until``."""
        return self.cron.count(after - self.micros, until - self.micros)


class _LateClock(ZoneClock):
    """A zone's clock that is some seconds late: it shows 02:00:00 when the zone's shows 02:00:30, changes included."""

    def __init__(self, name: str, late_s: int) -> None:
        self.name = name
        self._true = zone_clock(name)
        self._late_s = late_s

    def stretch_at(self, second: int) -> Stretch:
        true = self._true.stretch_at(second)
        if not self._late_s:
            return true
        return replace(true, offset=true.offset - self._late_s, before=true.before - self._late_s)


def weekly(weekdays: tuple[int, ...]) -> Days:
    """Every one of these weekdays, Monday = 0."""
    return days(_EVERY_DAY, WeekDays(frozenset((day + 1) % 7 for day in weekdays)), True)


def monthly_absolute(day: int) -> Days:
    """That day of the month, or the last one of a month that has it not; -1: the last."""
    return days(MonthDays(last=True) if day == -1 else MonthDays(or_last=day), _ANY_WEEKDAY, True)


def monthly_relative(week: int, weekday: int) -> Days:
    """The nth (0: the last) of that weekday (Monday = 0) of the month."""
    return days(_EVERY_DAY, WeekDays(nth=frozenset({((weekday + 1) % 7, week)})), True)
