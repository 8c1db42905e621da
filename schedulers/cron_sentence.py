"""A recurring rule in readable English."""

from collections.abc import Sequence
from datetime import datetime, tzinfo

from .cron_fields import LAST, MONTH_NAMES, WEEKDAY_NAMES, Days, MonthDays, WeekDays
from .wall_times import WallTimes
from .zones import zone

_ORDINAL = {LAST: "last", 1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth"}
_FROM_MONDAY = (*WEEKDAY_NAMES, "Sunday")  # read from 1 on
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_MAX_TIMES = 6  # more than that many times of day are told as minutes and hours


def sentence(wall: WallTimes, timezone: str) -> str:
    """Such as "At 03:00, Monday to Friday, Europe/Berlin"."""
    when = _times(wall.times)
    day = _days(wall.days)
    months = "" if len(wall.months) == 12 else "in " + _runs(wall.months, ("", *MONTH_NAMES))
    if not day and when.startswith("At ") and "every" not in when:
        when += " every day"
    return ", ".join(part for part in (when, day, months, timezone) if part)


def grid_sentence(period_us: int, anchor: int, zone: tzinfo) -> str:
    """Such as "Every 15 minutes from 5 January 2026 00:00:00 UTC"; ``anchor`` in microseconds since the epoch."""
    seconds = period_us / 1e6
    size, unit = next((one for one in _UNITS if seconds % one[0] == 0), (1, "second"))
    number = f"{seconds / size:.6f}".rstrip("0").rstrip(".")
    every = unit if number == "1" else f"{number} {unit}s"
    at = datetime.fromtimestamp(anchor // 1_000_000, zone)
    return f"Every {every} from {at.day} {MONTH_NAMES[at.month - 1]} {at.year} {at:%H:%M:%S} {zone}"


def clock_sentence(fixed: bool, gap: int | None, repeat: int | None, timezone: str) -> str:
    """What becomes of times in the next ``gap``, at which the clock goes forward, and ``repeat``, at which it is put back.

    Both are seconds since the epoch; None: none of its times lies in one.
    """
    parts = []
    if gap is not None:
        at = datetime.fromtimestamp(gap, zone(timezone))
        day = f"{at.day} {MONTH_NAMES[at.month - 1]} {at.year}"
        then = f"it fires once, at {at:%H:%M}, for what they jump over" if fixed else "it has no times in the gap"
        parts.append(f"when the clocks go forward (next on {day}), {then}")
    if repeat is not None:
        at = datetime.fromtimestamp(repeat, zone(timezone))
        day = f"{at.day} {MONTH_NAMES[at.month - 1]} {at.year}"
        then = "of a time that is shown twice only the first counts" if fixed else "it fires in both passes"
        parts.append(f"when they go back (next on {day}), {then}")
    return "; ".join(parts)


def _times(times: Sequence[int]) -> str:
    minutes, hours = sorted({time % 60 for time in times}), sorted({time // 60 for time in times})
    every_minutes, every_hours = _step(minutes, 60), _step(hours, 24)
    if every_minutes and every_hours == 1:
        return _every(every_minutes, "minute")
    if every_hours and len(minutes) == 1 and len(hours) > 1:
        past = f" at minute {minutes[0]}" if minutes[0] else ""
        return _every(every_hours, "hour") + past
    if len(times) <= _MAX_TIMES:
        return "At " + _join([f"{time // 60:02}:{time % 60:02}" for time in times])
    of_hours = "every hour" if every_hours == 1 else f"the hours {_runs(hours)}"
    if every_minutes:
        return f"{_every(every_minutes, 'minute')} of {of_hours}"
    return f"At the minutes {_runs(minutes)} of {of_hours}"


def _step(values: list[int], size: int) -> int:
    """The step that, from 0 on and without a remainder, gives those values. 0: there is none."""
    step = size // len(values)
    return step if len(values) > 1 and size % len(values) == 0 and values == list(range(0, size, step)) else 0


def _every(step: int, unit: str) -> str:
    return f"Every {unit}" if step == 1 else f"Every {step} {unit}s"


def _days(days: Days) -> str:
    all_month, all_week = len(days.of_month.days) == 31, len(days.of_week.days) == 7
    of_month, of_week = _month_days(days.of_month), _week_days(days.of_week)
    if days.both:
        if all_month:
            return "" if all_week else of_week
        return of_month if all_week else f"{of_month} if that is {of_week}"
    return "" if all_month or all_week else f"{of_month} or {of_week}"


def _month_days(days: MonthDays) -> str:
    parts = []
    if days.days:
        parts.append(("days " if len(days.days) > 1 else "day ") + _runs(sorted(days.days)))
    parts += [f"the weekday nearest to day {day}" for day in sorted(days.near) if day != LAST]
    if LAST in days.near:
        parts.append("the last weekday")
    if days.last:
        parts.append("the last day")
    return "on " + _join(parts) + " of the month"


def _week_days(days: WeekDays) -> str:
    parts = []
    if days.days:
        parts.append(_runs(sorted(day or 7 for day in days.days), _FROM_MONDAY))
    nth = sorted(((n, day or 7) for day, n in days.nth), key=lambda one: (one[0] == LAST, one))
    if nth:
        parts.append(_join([f"the {_ORDINAL[n]} {_FROM_MONDAY[day]}" for n, day in nth]) + " of the month")
    return _join(parts)


def _runs(values: Sequence[int], names: Sequence[str] | None = None) -> str:
    """Ascending numbers with runs of three and more as "a to b", by name if ``names`` are given."""
    named = [str(value) if names is None else names[value] for value in values]
    parts = []
    start = 0
    for at in range(1, len(values) + 1):
        if at == len(values) or values[at] != values[at - 1] + 1:
            whole_run = named[start:at]
            parts += whole_run if len(whole_run) < 3 else [f"{whole_run[0]} to {whole_run[-1]}"]
            start = at
    return _join(parts)


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
