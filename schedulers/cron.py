"""Cron rules in a time zone: the instants that they name, forwards, backwards and counted.

Around a change of the clock Debian's cron is the model. A rule of *fixed* times fires once, when the gap ends, on the day
that the clock jumps over one of its times, and in the first pass only when the clock is put back. A *wildcard* rule, whose
minute or hour begins with ``*``, follows the clock. The date line is not daylight saving: nothing is made up for a jump of
three hours or more, and both passes count after one of more than three hours back.

An ``Instant`` is whole microseconds since the epoch, UTC. Searches go from one stretch of constant offset to the next, so
no wall clocks are ever compared across a change.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from .cron_fields import CronError, CronFields, read_cron
from .cron_sentence import clock_sentence, sentence
from .nightly_fields import FieldValue, NightlyFields
from .wall_times import WallTimes, times_of_day
from .zones import MAX_SHIFT_S, Stretch, ZoneClock, zone_clock

__all__ = ["CronError", "CronRule", "Instant"]

Instant = int

_SECOND: Final = 1_000_000
_SOON_S: Final = 400 * 86_400


@dataclass(frozen=True, slots=True)
class CronRule:
    """The fire times of one cron expression in one zone. Two that fire alike by their fields are equal.

    ``after`` and ``before`` answer None past the years 10 to 9990; no other rule that was accepted ends.
    """

    text: str = field(compare=False)
    timezone: str
    wall: WallTimes = field(repr=False)
    fixed: bool = field(repr=False)
    _clock: ZoneClock = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, timezone: str = "UTC") -> "CronRule":
        """Read five cron fields or a macro such as ``@daily``. CronError names every field at fault."""
        fields, clock = read_cron(text), _clock(timezone)
        return cls._of(" ".join(text.split()), fields, clock)

    @classmethod
    def from_nightly(
        cls,
        minute: FieldValue = 0,
        hour: FieldValue = "*",
        dayOfMonth: FieldValue = "*",
        month: FieldValue = "*",
        dayOfWeek: FieldValue = "*",
        timezone: str = "UTC",
    ) -> "CronRule":
        """The rule of Nightly's arguments (days of the week: Monday = 0). CronError names every argument at fault."""
        arguments = NightlyFields(minute, hour, dayOfMonth, month, dayOfWeek)
        fields, clock = arguments.read(), _clock(timezone)
        return cls._of(str(arguments), fields, clock)

    @classmethod
    @lru_cache(maxsize=4096)  # many schedulers have the same rule
    def _of(cls, text: str, fields: CronFields, clock: ZoneClock) -> "CronRule":
        wall = WallTimes(times_of_day(fields.hours, fields.minutes), fields.months, fields.days)
        return cls(text, clock.name, wall, not fields.wildcard, clock)

    def after(self, t: Instant) -> Instant | None:
        """The first fire strictly after ``t``."""
        low = t // _SECOND + 1
        searched, minute = 0, -1  # no match at searched <= wall minute < minute
        while True:
            stretch = self._clock.stretch_at(low)
            wall = -(-self._wall_start(stretch, low) // 60)
            if not searched <= wall <= minute:
                found = self.wall.first_from(wall)
                if found is None:
                    return None
                searched, minute = wall, found
            fire = max(minute * 60 - stretch.offset, low)
            if fire < stretch.end:
                return fire * _SECOND
            low = stretch.end

    def before(self, t: Instant) -> Instant | None:
        """The last fire strictly before ``t``."""
        high = (t - 1) // _SECOND
        while True:
            stretch = self._clock.stretch_at(high)
            minute = self.wall.last_to((high + stretch.offset) // 60)
            if minute is None:
                return None
            if minute * 60 >= self._wall_start(stretch, stretch.start):
                return max(minute * 60 - stretch.offset, stretch.start) * _SECOND
            high = stretch.start - 1

    def count(self, after: Instant, until: Instant) -> int:
        """How many fires there are at ``after < t <= until``, by arithmetic: years of minutes take a millisecond."""
        low, end = after // _SECOND + 1, until // _SECOND + 1
        total = 0
        while low < end:
            stretch = self._clock.stretch_at(low)
            high = min(stretch.end, end)
            shown, wall = low + stretch.offset, self._wall_start(stretch, low)
            if wall < shown:  # times in a gap: one fire, which may be that of the time shown
                total += bool(self._count_wall(wall, shown)) and not self._count_wall(shown, shown + 1)
                wall = shown
            total += self._count_wall(wall, high + stretch.offset)
            low = high
        return total

    def matches(self, t: Instant) -> bool:
        """Whether ``t`` is a fire."""
        return self.after(t - 1) == t

    def sentence(self) -> str:
        """The rule in English, such as "At 03:00, Monday to Friday, Europe/Berlin"."""
        return sentence(self.wall, self.timezone)

    def clock_changes(self, after: Instant, until: Instant | None = None) -> str:
        """What the changes of the clock in the 400 days after ``after`` do to it, in English; '' if nothing.

        ``until``: the rule ends there.
        """
        low = after // _SECOND + 1
        end = low + _SOON_S if until is None else min(low + _SOON_S, until // _SECOND)
        gap = repeat = None
        stretch = self._clock.stretch_at(low)
        while stretch.end < end:
            stretch = self._clock.stretch_at(stretch.end)
            shown, before = stretch.start + stretch.offset, stretch.start + stretch.before
            if abs(shown - before) > MAX_SHIFT_S or shown - before == MAX_SHIFT_S:
                continue  # the date line: no times are made up, and none is left out
            if gap is None and self._count_wall(before, shown):
                gap = stretch.start
            if repeat is None and self._count_wall(shown, before):
                repeat = stretch.start
        return clock_sentence(self.fixed, gap, repeat, self.timezone)

    def _count_wall(self, start: int, end: int) -> int:
        return self.wall.count(-(-start // 60), -(-end // 60))

    def _wall_start(self, stretch: Stretch, low: int) -> int:
        """The wall second from which matches fire at ``low`` (an instant of the stretch) or later in the stretch.

        Earlier than the wall shows at ``low`` where a gap ends there; a match before that time then fires at ``low``.
        """
        if self.fixed:
            if low < stretch.fresh:
                return stretch.fresh + stretch.offset
            if low == stretch.start and 0 < stretch.offset - stretch.before < MAX_SHIFT_S:
                return low + stretch.before
        return low + stretch.offset


def _clock(timezone: str) -> ZoneClock:
    try:
        return zone_clock(timezone)
    except (ValueError, TypeError) as fault:
        raise CronError([("timezone", str(fault))]) from None
