"""Recurrences made at run time: the kinds of a stored schedule, as pure rules.

Each is asked for the fire after or before a time, strictly; times are whole microseconds since the epoch, UTC, or aware
datetimes, which are answered in the rule's zone. Local times of day meet changes of the clock as cron's fixed times do:
once, when the gap ends, on the day that the clock jumps over them, and the first time only when it is put back.

A rule that makes no sense is refused by ``RecurrenceError`` when it is made, with every argument at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, Literal, TypeVar, cast, overload

from ..config import suggest
from .cron import CronError, CronRule, Instant
from .cron_fields import MONTH_NAMES, WEEKDAYS
from .grid import PeriodicRule, TimeRule, count_due, due_times
from .recurrence_rules import BoundedRule, LocalTimeRule, OnceRule, monthly_absolute, monthly_relative, weekly
from .zones import zone

__all__ = [
    "Recurrence",
    "RecurrenceError",
    "ScheduleCron",
    "ScheduleImmed",
    "ScheduleInterval",
    "ScheduleMonthlyAbsolute",
    "ScheduleMonthlyRelative",
    "ScheduleNow",
    "ScheduleOnce",
    "ScheduleWeekly",
    "recurrence_from_json",
]

UNITS: Final = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400}
WEEKDAY_NAMES: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LONGEST_S: Final = 100 * 366 * 86_400

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST_YEAR, _LAST_YEAR = 1900, 9000
_ORDINALS: Final = {1: "first", 2: "second", 3: "third", 4: "fourth", -1: "last"}
_R = TypeVar("_R", bound="Recurrence")


class RecurrenceError(ValueError):
    """A recurrence that makes no sense: show it to whoever wrote it. ``faults`` has all as (argument, what is wrong)."""

    def __init__(self, faults: Iterable[tuple[str, str]]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{name}: {what}" for name, what in self.faults))


class _Checks:
    """Gathers every fault of a constructor, and raises them together."""

    def __init__(self) -> None:
        self.faults: list[tuple[str, str]] = []

    def __call__(self, name: str, read: Callable[[Any], Any], value: Any) -> Any:
        try:
            return read(value)
        except ValueError as error:
            self.faults.append((name, str(error)))
            return None

    def done(self) -> None:
        if self.faults:
            raise RecurrenceError(self.faults)


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A set of fire times. Values: two with the same arguments are equal.

    Their rules are compared too: datetimes of one zone are equal where the clock shows one time twice.
    """

    kind: ClassVar[str] = ""

    @property
    def timezone(self) -> str:
        """The zone's IANA name that its times are told in."""
        return "UTC"

    @property
    def rule(self) -> TimeRule | None:
        """The times, as schedulers ask for them; None: it does not know its time yet (``bound``)."""
        raise NotImplementedError

    @overload
    def after(self, t: Instant) -> Instant | None: ...
    @overload
    def after(self, t: datetime) -> datetime | None: ...
    def after(self, t: Instant | datetime) -> Instant | datetime | None:
        """The first fire strictly after ``t``; None: there is none."""
        rule = self.rule
        return None if rule is None else self._like(t, rule.after(_instant(t)))

    @overload
    def before(self, t: Instant) -> Instant | None: ...
    @overload
    def before(self, t: datetime) -> datetime | None: ...
    def before(self, t: Instant | datetime) -> Instant | datetime | None:
        """The last fire strictly before ``t``; None: there is none."""
        rule = self.rule
        return None if rule is None else self._like(t, rule.before(_instant(t)))

    def between(self, after: Instant | datetime, until: Instant | datetime, limit: int = 1000) -> list[Any]:
        """The fires at ``after < t <= until``, oldest first, at most ``limit`` of them; of the same type as ``after``."""
        rule = self.rule
        found = [] if rule is None else due_times(rule, _instant(after), _instant(until), limit)
        return [self._like(after, t) for t in found]

    def count(self, after: Instant, until: Instant) -> int:
        """How many fires there are at ``after < t <= until``."""
        rule = self.rule
        return 0 if rule is None else count_due(rule, after, until)[0]

    def text(self) -> str:
        """The rule in English, such as "Every 3 hours from 1 March 2026 02:00 Europe/Berlin"."""
        raise NotImplementedError

    def clock_changes(self, now: Instant) -> str:
        """What the next changes of the clock after ``now`` do to it, in English; '' if nothing."""
        return ""

    def bound(self: _R, now: Instant) -> _R:
        """The rule as it is when it is stored at ``now``. RecurrenceError: it would never fire."""
        if self.after(now - 1) is None:
            raise RecurrenceError([("end", "it has no fire time left: all lie in the past")])
        return self

    def to_json(self) -> dict[str, Any]:
        """JSON that ``recurrence_from_json`` reads; times are in UTC."""
        found: dict[str, Any] = {"kind": self.kind}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.init and value is not None:
                found[one.name] = _utc(value) if isinstance(value, datetime) else value
        if self.timezone != "UTC":
            found["timezone"] = self.timezone
        return found

    def _like(self, asked: Instant | datetime, t: Instant | None) -> Any:
        return t if t is None or not isinstance(asked, datetime) else _moment(t, self.timezone)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


# -- once -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScheduleOnce(Recurrence):
    """Once, at ``when``; without a time: when it is stored. A time in the past is refused when it is stored."""

    when: datetime | None = None
    _rule: OnceRule | None = field(default=None, init=False, repr=False)

    kind: ClassVar[str] = "once"

    def __post_init__(self) -> None:
        if self.when is not None:
            check = _Checks()
            when = check("when", _read_moment, self.when)
            check.done()
            self._set(when=when, _rule=OnceRule(_instant(when)))

    @property
    def timezone(self) -> str:
        return "UTC" if self.when is None else _zone_name(self.when)

    @property
    def rule(self) -> TimeRule | None:
        return self._rule

    def bound(self: _R, now: Instant) -> _R:
        once: Any = self
        if once.when is None:
            return cast("_R", replace(once, when=_moment(now, "UTC")))
        if _instant(once.when) < now:
            raise RecurrenceError([("when", f"{_spoken(once.when)} lies in the past")])
        return self

    def text(self) -> str:
        return "Once, when it is stored" if self.when is None else f"Once, on {_spoken(self.when)}"


@dataclass(frozen=True, slots=True)
class ScheduleNow(ScheduleOnce):
    """Once, at once; whoever makes it does not wait for it. ``when`` is filled in when it is stored."""

    kind: ClassVar[str] = "now"

    def text(self) -> str:
        return "Once, at once" + ("" if self.when is None else f", on {_spoken(self.when)}")


@dataclass(frozen=True, slots=True)
class ScheduleImmed(ScheduleNow):
    """Once, at once; whoever makes it waits for the outcome, for a few seconds at most. ``when`` is filled in."""

    kind: ClassVar[str] = "immed"


# -- again and again --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _FromStart(Recurrence):
    start: datetime
    end: datetime | None = None

    @property
    def timezone(self) -> str:
        return _zone_name(self.start)

    def _read_span(self, check: _Checks, *, local: bool) -> None:
        start = check("start", _read_local_moment if local else _read_moment, self.start)
        end = None if self.end is None else check("end", _read_moment, self.end)
        if start is not None and end is not None:
            if _instant(end) < _instant(start):  # two datetimes of one zone are compared by their wall clocks
                check.faults.append(("end", f"{_spoken(end)} lies before the start, {_spoken(start)}"))
            end = end.astimezone(start.tzinfo)
        self._set(start=start, end=end)

    def _bounded(self, rule: TimeRule) -> BoundedRule:
        return BoundedRule(rule, _instant(self.start), None if self.end is None else _instant(self.end))

    def _until(self) -> str:
        return "" if self.end is None else f" until {_spoken(self.end, zone_too=False)}"


@dataclass(frozen=True, slots=True)
class ScheduleInterval(_FromStart):
    """At ``start`` + n x ``interval``: a grid of instants that never moves, whatever the clock and the runs do.

    ``unit``: seconds, minutes, hours or days (of 24 hours: what is to happen at a local time of day is weekly or cron).
    """

    interval: int = 0
    unit: Literal["seconds", "minutes", "hours", "days"] = "seconds"
    _rule: BoundedRule = field(init=False, repr=False)

    kind: ClassVar[str] = "interval"

    def __post_init__(self) -> None:
        check = _Checks()
        self._read_span(check, local=False)
        unit = check("unit", _read_unit, self.unit)
        interval = check("interval", _read_interval, self.interval)
        if unit and interval and interval * UNITS[unit] > LONGEST_S:
            check.faults.append(("interval", f"{interval} {unit} are longer than 100 years"))
        check.done()
        grid = PeriodicRule(interval * UNITS[unit] * 1_000_000, _instant(self.start))
        self._set(_rule=self._bounded(grid))

    @property
    def rule(self) -> TimeRule:
        return self._rule

    def text(self) -> str:
        every = self.unit.removesuffix("s") if self.interval == 1 else f"{self.interval} {self.unit}"
        return f"Every {every} from {_spoken(self.start)}{self._until()}"


@dataclass(frozen=True, slots=True)
class _AtLocalTime(_FromStart):
    """At the local time of day of ``start``, on some days."""

    def _local_rule(self, which: Any) -> BoundedRule:
        local = self.start
        local_us = ((local.hour * 60 + local.minute) * 60 + local.second) * 1_000_000 + local.microsecond
        return self._bounded(LocalTimeRule.of(local_us, which, self.timezone))

    def clock_changes(self, now: Instant) -> str:
        bounded: Any = self.rule
        return str(bounded.rule.cron.clock_changes(max(now, bounded.start), bounded.end))

    def _at(self) -> str:
        since = f"{self.start.day} {MONTH_NAMES[self.start.month - 1]} {self.start.year}"
        return f"at {_clock(self.start)} from {since} {self.timezone}{self._until()}"


@dataclass(frozen=True, slots=True)
class ScheduleWeekly(_AtLocalTime):
    """At ``start``'s local time of day on ``days``: names or numbers (Monday = 0), or bits (Monday = bit 0)."""

    days: Any = ()
    _rule: BoundedRule = field(init=False, repr=False)

    kind: ClassVar[str] = "weekly"

    def __post_init__(self) -> None:
        check = _Checks()
        self._read_span(check, local=True)
        days = check("days", _read_weekdays, self.days)
        check.done()
        self._set(days=days)
        self._set(_rule=self._local_rule(weekly(days)))

    @property
    def rule(self) -> TimeRule:
        return self._rule

    def to_json(self) -> dict[str, Any]:
        return {**_AtLocalTime.to_json(self), "days": [_short(day) for day in self.days]}

    def text(self) -> str:
        names = [WEEKDAY_NAMES[day] for day in self.days]
        last = f" and {names[-1]}" if len(names) > 1 else names[-1]
        every = "day" if len(names) == 7 else ", ".join(names[:-1]) + last
        return f"Every {every} {self._at()}"


@dataclass(frozen=True, slots=True)
class ScheduleMonthlyAbsolute(_AtLocalTime):
    """At ``start``'s local time of day on ``day`` 1-31 of each month, or -1, its last; a shorter month: its last day."""

    day: int = 0
    _rule: BoundedRule = field(init=False, repr=False)

    kind: ClassVar[str] = "monthly_absolute"

    def __post_init__(self) -> None:
        check = _Checks()
        self._read_span(check, local=True)
        check("day", _read_month_day, self.day)
        check.done()
        self._set(_rule=self._local_rule(monthly_absolute(self.day)))

    @property
    def rule(self) -> TimeRule:
        return self._rule

    def text(self) -> str:
        short = " (or the last day)" if self.day > 28 else ""
        which = "the last day" if self.day == -1 else f"day {self.day}{short}"
        return f"On {which} of every month {self._at()}"


@dataclass(frozen=True, slots=True)
class ScheduleMonthlyRelative(_AtLocalTime):
    """At ``start``'s local time of day on the nth weekday of each month: ``week`` 1-4 or "last", ``day`` (Monday = 0)."""

    week: Any = 0
    day: Any = None
    _rule: BoundedRule = field(init=False, repr=False)

    kind: ClassVar[str] = "monthly_relative"

    def __post_init__(self) -> None:
        check = _Checks()
        self._read_span(check, local=True)
        week = check("week", _read_week, self.week)
        day = check("day", _read_weekday, self.day)
        check.done()
        self._set(week=week, day=day)
        self._set(_rule=self._local_rule(monthly_relative(0 if week == -1 else week, day)))

    @property
    def rule(self) -> TimeRule:
        return self._rule

    def to_json(self) -> dict[str, Any]:
        week = "last" if self.week == -1 else self.week
        return {**_AtLocalTime.to_json(self), "week": week, "day": _short(self.day)}

    def text(self) -> str:
        return f"On the {_ORDINALS[self.week]} {WEEKDAY_NAMES[self.day]} of every month {self._at()}"


@dataclass(frozen=True, slots=True)
class ScheduleCron(Recurrence):
    """By cron text, five fields or a macro, in a zone."""

    cron: str
    zone: str = "UTC"
    _rule: CronRule = field(init=False, repr=False, compare=False)

    kind: ClassVar[str] = "cron"

    def __init__(self, cron: str, timezone: str = "UTC") -> None:
        if not isinstance(cron, str):
            raise RecurrenceError([("cron", f"expected text such as '0 3 * * mon-fri', got {cron!r}")])
        try:
            rule = CronRule.parse(cron, timezone)
        except CronError as error:
            raise RecurrenceError(
                (name, what) if name == "timezone" else ("cron", f"{name}: {what}") for name, what in error.faults
            ) from None
        self._set(cron=rule.text, zone=rule.timezone, _rule=rule)

    @property
    def timezone(self) -> str:
        return self.zone

    @property
    def rule(self) -> TimeRule:
        return self._rule

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "cron": self.cron, "timezone": self.zone}

    def text(self) -> str:
        return self._rule.sentence()

    def clock_changes(self, now: Instant) -> str:
        return self._rule.clock_changes(now)


# -- JSON -------------------------------------------------------------------------------------------------------------

KINDS: Final[Mapping[str, Any]] = {
    cls.kind: cls
    for cls in (
        *(ScheduleImmed, ScheduleNow, ScheduleOnce, ScheduleInterval),
        *(ScheduleWeekly, ScheduleMonthlyAbsolute, ScheduleMonthlyRelative, ScheduleCron),
    )
}
_MOMENTS: Final = ("when", "start", "end")


def recurrence_from_json(value: Any) -> Recurrence:
    """The recurrence that ``to_json`` told, or that a person wrote: times in ISO 8601 with an offset. RecurrenceError."""
    if not isinstance(value, Mapping):
        raise RecurrenceError([("rule", f"expected a mapping with the key 'kind', got {value!r}")])
    kind = value.get("kind")
    cls = KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise RecurrenceError([("kind", _unknown(kind, KINDS))])
    if cls is ScheduleCron:
        known = {"cron", "timezone"}
    else:
        known = {one.name for one in fields(cls) if one.init} | {"timezone"}
    check = _Checks()
    check.faults += [(str(key), _unknown(key, known)) for key in value if key != "kind" and key not in known]
    arguments = {key: item for key, item in value.items() if key in known}
    if cls is ScheduleCron:
        arguments.setdefault("cron", None)
    else:
        name = check("timezone", lambda name: zone(name).key, arguments.pop("timezone", "UTC"))
        for key in _MOMENTS:
            if arguments.get(key) is not None:
                arguments[key] = check(key, lambda text: _parsed(text, name or "UTC"), arguments[key])
        if "start" in known and arguments.get("start") is None and not check.faults:
            check.faults.append(("start", "it is required"))
    check.done()
    made: Recurrence = cls(**arguments)
    return made


def _parsed(text: Any, zone_name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ValueError(f"expected a time such as 2026-03-01T02:00:00+01:00, got {text!r}") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC; write 'Z' or, say, '+01:00' behind it")
    return _checked_year(moment).astimezone(zone(zone_name))


def _unknown(given: Any, known: Collection[str]) -> str:
    meant = suggest(str(given), known)
    return f"{given!r} is unknown; " + (
        f"did you mean {meant!r}?"
        if meant
        else f"known are {', '.join(known if isinstance(known, Mapping) else sorted(known))}"
    )


# -- reading arguments ------------------------------------------------------------------------------------------------


def _read_moment(value: Any) -> datetime:
    """An aware datetime in a zone of ours; one with a bare offset is told in UTC."""
    if not isinstance(value, datetime):
        raise ValueError(f"expected a datetime with a zone, got {value!r}")
    if value.tzinfo is None:
        raise ValueError(f"{value} has no zone; give tzinfo=ZoneInfo('Europe/Berlin'), say, or UTC")
    _checked_year(value)
    if _key(value) is None:
        return value.astimezone(zone("UTC"))
    local = value.replace(tzinfo=zone(_zone_name(value)))
    found = local.astimezone(UTC).astimezone(local.tzinfo)
    if found.replace(tzinfo=None) != local.replace(tzinfo=None):
        raise ValueError(f"{_spoken(local)} does not exist: the clock jumps over it on that day")
    return found


def _read_local_moment(value: Any) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None and _key(value) is None and value.utcoffset():
        raise ValueError(
            "a bare offset does not say when the clock changes; give tzinfo=ZoneInfo('Europe/Berlin'), say, or UTC"
        )
    return _read_moment(value)


def _checked_year(moment: datetime) -> datetime:
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"expected a time of the years {_FIRST_YEAR} to {_LAST_YEAR}, got {moment}")
    return moment


def _read_unit(value: Any) -> str:
    if value not in UNITS:
        raise ValueError(_unknown(value, UNITS))
    return str(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _read_interval(value: Any) -> int:
    if not _is_whole(value) or value < 1:
        raise ValueError(f"expected a whole number of 1 or more, got {value!r}")
    return int(value)


def _read_month_day(value: Any) -> int:
    if not _is_whole(value) or not (1 <= value <= 31 or value == -1):
        raise ValueError(f"expected a day 1-31, or -1 for the last one, got {value!r}")
    return int(value)


def _read_week(value: Any) -> int:
    if value == "last":
        return -1
    if not _is_whole(value) or value not in _ORDINALS:
        raise ValueError(f"expected 1 to 4 or 'last', got {value!r}")
    return int(value)


def _read_weekday(value: Any) -> int:
    """Monday = 0."""
    if _is_whole(value) and 0 <= value <= 6:
        return int(value)
    short = value[:3].lower() if isinstance(value, str) else ""
    if short in WEEKDAYS and WEEKDAY_NAMES[(WEEKDAYS[short] - 1) % 7].lower().startswith(value.lower()):
        return (WEEKDAYS[short] - 1) % 7
    raise ValueError(f"expected a weekday's name or its number (Monday = 0), got {value!r}")


def _read_weekdays(value: Any) -> tuple[int, ...]:
    if _is_whole(value):
        if not 1 <= value <= 127:
            raise ValueError(f"expected bits 1 to 127 (Monday = bit 0), got {value}")
        return tuple(day for day in range(7) if value >> day & 1)
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise ValueError(f"expected a set of weekdays, or bits (Monday = bit 0), got {value!r}")
    days = tuple(sorted({_read_weekday(day) for day in value}))
    if not days:
        raise ValueError("expected at least one weekday")
    return days


# -- times ------------------------------------------------------------------------------------------------------------


def _instant(t: Instant | datetime) -> Instant:
    if not isinstance(t, datetime):
        return t
    if t.tzinfo is None:
        raise ValueError(f"{t} has no zone; give an aware datetime")
    # To UTC first: a difference of two datetimes of one zone is one of wall clocks.
    return (t.astimezone(UTC) - _EPOCH) // _MICROSECOND


def _moment(t: Instant, zone_name: str) -> datetime:
    return (_EPOCH + t * _MICROSECOND).astimezone(zone(zone_name))


def _key(moment: datetime) -> str | None:
    """The IANA name of a datetime's zone; None: it has an offset only."""
    if moment.tzinfo is UTC:
        return "UTC"
    key = getattr(moment.tzinfo, "key", None)
    return key if isinstance(key, str) else None


def _zone_name(moment: datetime) -> str:
    return zone(_key(moment) or "UTC").key


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _clock(moment: datetime) -> str:
    return moment.strftime("%H:%M:%S" if moment.second or moment.microsecond else "%H:%M")


def _spoken(moment: datetime, *, zone_too: bool = True) -> str:
    day = f"{moment.day} {MONTH_NAMES[moment.month - 1]} {moment.year} {_clock(moment)}"
    return f"{day} {_key(moment) or moment.strftime('UTC%z')}" if zone_too else day


def _short(weekday: int) -> str:
    return WEEKDAY_NAMES[weekday][:3].lower()
