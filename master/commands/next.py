"""``locum next``: what fires when, of schedulers and stored schedules, in the reader's own zone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

import click
from sqlalchemy.engine import Connection

from ...db import coming as rows
from ...db import listings, naming, schedules
from ...db.coming import TimedRow
from ...db.database import Database
from ...db.listings import TimerLine
from ...db.naming import NotFound, Refused
from ...db.schedules import ScheduleRow
from ...db.stored import Unreadable, read_value
from ...schedulers.base import to_datetime, to_instant
from ...schedulers.calendar import CALENDAR
from ...schedulers.describing import Description, read_description, stable_timer
from ...schedulers.grid import PeriodicRule
from ...schedulers.overlapping import RUNS
from ...schedulers.timed import STATE, TICK
from ..coming import Day, Fire, Source, coming, days, first_of_each, total
from ..reading import policy_of, rule_and_start_of
from .asking import time_given, zone_given, zone_name_or_default, zone_option
from .opening import database_command, json_option
from .output import either, iso, local_time, say, table

KINDS = ("scheduler", "change_source", "schedule")
DEFAULT_LIMIT = 50
SPAN_LIMIT = 1000
CALENDAR_DAYS = 7
_DAY_US = 86_400_000_000
_STORED_AT_MOST = 1000
_IDLE_AT_MOST = 20


@dataclass(frozen=True, slots=True)
class Alarm:
    """A timer that is none of a rule's, such as a tree-stable one."""

    timer: TimerLine
    what: str


@dataclass(frozen=True, slots=True)
class Idle:
    """What has times of its own, but does not fire now, and why."""

    kind: str
    name: str
    text: str
    why: str


@dataclass(slots=True)
class Agenda:
    """Everything that may fire, as it is in the database."""

    now: int
    sources: list[Source] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    idle: list[Idle] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """what is not in it, in sentences"""


# -- reading ----------------------------------------------------------------------------------------------------------


def agenda(
    conn: Connection, name: str | None, kind: str | None, until: int | None, most: int, zone: tzinfo | None = None
) -> Agenda:
    """What may fire up to ``until``, of one name or of all, told in that zone. NotFound, Refused."""
    found = Agenda(listings.now(conn))
    one, schedule = _named(conn, name, kind)
    timed = [] if name is not None and one is None else rows.timed(conn, STATE, one.id if one else None)
    timed = [row for row in timed if kind is None or row.kind == kind]
    timers = {} if name is not None and one is None else _timers(conn, one.id if one else None)
    for row in timed:
        _add_scheduler(found, row, timers.get((row.kind, row.name), []), zone)
    if name is None and kind in (None, "schedule"):
        note = _calendars_note(conn, timed)
        stored, beyond = rows.stored(conn, until, min(most, _STORED_AT_MOST))
        if beyond:
            found.left_out.append(f"{beyond} stored schedules that fire later than these")
        _add_schedules(found, stored, note)
        paused, beyond = rows.paused(conn, _IDLE_AT_MOST)
        _add_schedules(found, paused, note)
        if beyond:
            found.left_out.append(f"{beyond} more stored schedules that are paused")
    elif schedule is not None:
        _add_schedules(found, [schedule], _calendars_note(conn, []))
    return found


def _named(conn: Connection, name: str | None, kind: str | None) -> tuple[naming.Named | None, ScheduleRow | None]:
    if name is None:
        return None, None
    one = schedule = None
    fault: NotFound | None = None
    if kind != "schedule":
        try:
            one = naming.find(conn, name, kind)
        except NotFound as error:
            fault = error
    if kind in (None, "schedule"):
        try:
            schedule = schedules.find(conn, name)
        except NotFound as error:
            fault = fault or error
    if one is None and schedule is None and fault is not None:
        raise fault if kind is not None else NotFound(f"{fault}; nor is there a stored schedule of that name or number")
    return one, schedule


def _timers(conn: Connection, scheduler_id: int | None) -> Mapping[tuple[str, str], list[TimerLine]]:
    found: dict[tuple[str, str], list[TimerLine]] = {}
    for timer in listings.timers(conn, scheduler_id):
        found.setdefault((timer.kind, timer.scheduler), []).append(timer)
    return found


def description_in(about_json: str | None, name: str) -> Description | None:
    """What a scheduler was when it was last active; None: it never was. Refused: it cannot be read."""
    if about_json is None:
        return None
    try:
        return read_description(read_value(about_json, f"the description of scheduler {name!r}"))
    except (ValueError, Unreadable) as error:
        raise Refused(f"scheduler {name!r}: {error}") from None


def grid_in(state_json: str | None, name: str) -> tuple[int, int] | None:
    """(where its grid begins, up to when its times have been dealt with); None: it never was active."""
    if state_json is None:
        return None
    value = read_value(state_json, f"state {STATE!r} of {name!r}")
    if not isinstance(value, Mapping) or not all(isinstance(value.get(key), int) for key in ("anchor", "examined")):
        raise Unreadable(f"state {STATE!r} of {name!r} is not what Locum writes there; mend that row")
    return value["anchor"], value["examined"]


def rule_text(rule: Any, zone: tzinfo | None = None) -> str:
    """A scheduler's rule in English. What has no zone of its own is told in that one, or in UTC."""
    return str(rule.sentence(zone) if isinstance(rule, PeriodicRule) else rule.sentence())


def _add_scheduler(found: Agenda, row: TimedRow, timers: Sequence[TimerLine], zone: tzinfo | None) -> None:
    about = description_in(row.about_json, row.name)
    grid = grid_in(row.state_json, row.name)
    times = None if about is None else about.times
    rule = times.rule(grid[0]) if times is not None and grid is not None else None
    others = list(timers)
    if times is not None and rule is not None and grid is not None:
        others = [timer for timer in timers if timer.key != TICK]
        text = rule_text(rule, zone)
        if row.enabled:
            note = "" if row.master else "nobody holds it now"
            found.sources.append(
                Source("scheduler", row.id, row.name, text, rule, times.policy, row.name, grid[1], note)
            )
        else:
            found.idle.append(Idle(row.kind, row.name, text, _disabled(row)))
    elif not row.enabled and others:
        found.idle.append(Idle(row.kind, row.name, "-", _disabled(row)))
    elif about is None and row.kind == "scheduler" and not others:
        found.idle.append(Idle(row.kind, row.name, "-", "it has never been active, so nobody knows its times yet"))
    found.alarms += [Alarm(timer, _what(timer, row, about)) for timer in others]


def _disabled(row: TimedRow) -> str:
    return "disabled" + (f": {row.disabled_why}" if row.disabled_why else "")


def _what(timer: TimerLine, row: TimedRow, about: Description | None) -> str:
    if about is not None and about.judgement is not None and about.judgement.reaction == "stable":
        timed = stable_timer(timer.key)
        return f"{timed}; changes on its list{', of all branches' if ' of ' in timed else ''}: {row.pending}"
    if about is not None and about.times is not None:
        if timer.key == RUNS:
            return "looks whether what ran has ended"
        if timer.key == TICK:
            return f"the next time of a rule that only the code of {about.cls} knows"
    return f"timer {timer.key!r} of its own"


def _calendars_note(conn: Connection, timed: Iterable[TimedRow]) -> str:
    """What keeps stored schedules from firing, of the scheduler that serves them."""
    found = [row for row in timed if row.kind == "scheduler" and row.name == CALENDAR]
    if not found:
        found = [row for row in rows.timed(conn, STATE) if row.kind == "scheduler" and row.name == CALENDAR]
    if not found:
        return "no master serves stored schedules yet"
    if not found[0].enabled:
        return f"the scheduler {CALENDAR!r}, which serves it, is {_disabled(found[0])}"
    return "" if found[0].master else f"nobody holds the scheduler {CALENDAR!r}, which serves it"


def _add_schedules(found: Agenda, stored: Iterable[ScheduleRow], note: str) -> None:
    for row in stored:
        name = row.name or f"schedule {row.id}"
        try:
            recurrence, _ = rule_and_start_of(row)
            policy, rule = policy_of(row), recurrence.rule
        except ValueError as error:
            found.idle.append(Idle("schedule", name, "-", f"it cannot be read by this release: {error}"))
            continue
        if row.paused or row.ended_at is not None or rule is None:
            why = "paused" + (f": {row.paused_why}" if row.paused_why else "") if row.paused else "over"
            found.idle.append(Idle("schedule", name, recurrence.text(), why))
            continue
        found.sources.append(
            Source("schedule", row.id, row.name, recurrence.text(), rule, policy, str(row.id), row.examined, note)
        )


# -- the command ------------------------------------------------------------------------------------------------------


@click.command("next")
@click.argument("name", required=False)
@click.option("--until", "until_text", metavar="TIME", help="Every time up to then.")
@click.option("--limit", type=click.IntRange(1, 10_000), help="At most so many lines.")
@click.option("--calendar", "as_calendar", is_flag=True, help="Day by day; without --until, a week.")
@click.option("--kind", type=click.Choice(KINDS), help="Only those of that kind.")
@zone_option
@json_option
@database_command
def next_(
    database: Database,
    name: str | None,
    until_text: str | None,
    limit: int | None,
    as_calendar: bool,
    kind: str | None,
    zone_name: str | None,
    as_json: bool,
) -> None:
    """What fires when: schedulers, stored schedules, other alarms.

    The next time of each; of one that is named, its next times; with --until or --calendar, all times up to then.
    Times are shown in --timezone.
    """
    zone_name = zone_name_or_default(zone_name)
    zone = zone_given(zone_name)
    until = None if until_text is None else to_instant(time_given("--until", until_text, zone_name))
    if as_calendar and until is None:
        until = database.read(listings.now) + CALENDAR_DAYS * _DAY_US
    spans = until is not None or name is not None
    most = limit or ((SPAN_LIMIT if until is not None else 10) if spans else DEFAULT_LIMIT)
    found = database.read(agenda, name, kind, until, most, zone)
    if until is not None and until < found.now:
        raise click.UsageError(
            f"--until: {until_text} is over, it is {local_time(found.now, zone)} now; give a later time."
        )
    if as_calendar:
        assert until is not None
        planned, stopped = days(found.sources, found.now, until, zone, most)
        if stopped is not None:
            found.left_out.append(f"whatever comes after {local_time(stopped, zone)}; --limit allows for more")
        either(
            as_json,
            lambda: {**_head(found, zone_name, until), "days": [_day_json(day) for day in planned]},
            lambda: _show_calendar(found, planned, zone),
        )
        return
    fires = _fires(found, until, most, spans)
    either(
        as_json,
        lambda: {**_head(found, zone_name, until), "fires": [_line_json(line) for line in fires]},
        lambda: _show(found, fires, zone),
    )


def _fires(found: Agenda, until: int | None, most: int, spans: bool) -> list[Fire | Alarm]:
    """The lines to show, soonest first; what is left out is added to the agenda."""
    alarms = [alarm for alarm in found.alarms if until is None or alarm.timer.due <= until]
    if spans:
        fires, more = coming(found.sources, found.now, until, most)
        if more and until is not None:
            count = total(found.sources, found.now, until) - sum(not fire.late for fire in fires)
            found.left_out.append(f"{count} later times; --limit allows for more")
    else:
        fires, beyond = first_of_each(found.sources, found.now, most)
        if beyond:
            found.left_out.append(f"{beyond} that fire later than these; --limit allows for more")
    lines: list[Fire | Alarm] = [*fires, *alarms]
    lines.sort(key=_when)
    if len(lines) > most:
        alarms_beyond = sum(isinstance(line, Alarm) for line in lines[most:])
        if alarms_beyond:
            found.left_out.append(f"{alarms_beyond} later alarms")
        if len(lines) - most > alarms_beyond:
            found.left_out.append(f"{len(lines) - most - alarms_beyond} later times")
    return lines[:most]


def _when(line: Fire | Alarm) -> int:
    return line.starts if isinstance(line, Fire) else line.timer.due


def _show(found: Agenda, lines: Sequence[Fire | Alarm], zone: Any) -> None:
    cells = [_fire_cells(x, zone) if isinstance(x, Fire) else _alarm_cells(x, zone) for x in lines]
    table(("time", "what", "name", "when", "note"), cells, "nothing is due")
    _show_rest(found)


def _fire_cells(fire: Fire, zone: Any) -> tuple[object, ...]:
    source = fire.source
    notes = [source.note] if source.note else []
    if fire.late:
        notes.insert(0, f"overdue: {fire.late} times wait for a master" if fire.late > 1 else "overdue")
    elif fire.starts != fire.due:
        notes.append(f"its time is {local_time(fire.due, zone)}, delayed by its jitter")
    return (local_time(fire.starts, zone), source.kind, source.label, source.text, "; ".join(notes) or None)


def _alarm_cells(alarm: Alarm, zone: Any) -> tuple[object, ...]:
    timer = alarm.timer
    note = None if timer.master else ("nobody holds it now" if timer.enabled else "disabled")
    return (local_time(timer.due, zone), timer.kind.replace("_", " "), timer.scheduler, alarm.what, note)


def _show_calendar(found: Agenda, planned: Sequence[Day], zone: Any) -> None:
    cells: list[tuple[object, ...]] = []
    for day in planned:
        title = f"{day.day:%a} {day.day.day} {day.day:%b %Y}"
        for entry in day.entries:
            clocks = [_clock(t, zone) for t in entry.times]
            times = ", ".join(clocks) if entry.is_whole else f"{entry.count} times, {clocks[0]} to {clocks[-1]}"
            cells.append((title, times, entry.source.label, entry.source.text, entry.source.note or None))
            title = ""
    table(("day", "time", "name", "when", "note"), cells, "nothing is due")
    _show_rest(found)


def _show_rest(found: Agenda) -> None:
    for idle in found.idle[:_IDLE_AT_MOST]:
        say(f"{idle.kind.replace('_', ' ')} {idle.name} ({idle.text}) does not fire: {idle.why}")
    if len(found.idle) > _IDLE_AT_MOST:
        say(f"{len(found.idle) - _IDLE_AT_MOST} more do not fire: disabled, paused, or never active")
    for sentence in found.left_out:
        say(f"left out: {sentence}")


def _clock(us: int, zone: Any) -> str:
    local = to_datetime(us).astimezone(zone)
    text = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
    shifts = local.utcoffset() != to_datetime(us - _DAY_US).astimezone(zone).utcoffset()
    shifts = shifts or local.utcoffset() != to_datetime(us + _DAY_US).astimezone(zone).utcoffset()
    return text + f"{local:%z}" if shifts else text  # on such a day a time may be shown twice


def _head(found: Agenda, zone_name: str, until: int | None) -> dict[str, Any]:
    return {
        "now": iso(found.now),
        "until": iso(until),
        "timezone": zone_name,
        "idle": [{"kind": i.kind, "name": i.name, "text": i.text, "why": i.why} for i in found.idle],
        "left_out": found.left_out,
    }


def _line_json(line: Fire | Alarm) -> dict[str, Any]:
    if isinstance(line, Alarm):
        timer = line.timer
        return {
            "kind": timer.kind,
            "name": timer.scheduler,
            "key": timer.key,
            "due": iso(timer.due),
            "text": line.what,
            "enabled": timer.enabled,
            "master": timer.master,
        }
    source = line.source
    return {
        **_source_json(source),
        "due": iso(line.due),
        "starts": iso(line.starts),
        "overdue": line.late,
    }


def _source_json(source: Source) -> dict[str, Any]:
    return {
        "kind": source.kind,
        "id": source.id,
        "name": source.name,
        "key": TICK if source.kind == "scheduler" else None,
        "text": source.text,
        "note": source.note or None,
    }


def _day_json(day: Day) -> dict[str, Any]:
    return {
        "day": day.day.isoformat(),
        "entries": [
            {
                **_source_json(entry.source),
                "count": entry.count,
                "first": iso(entry.times[0]),
                "last": iso(entry.times[-1]),
                "times": [iso(t) for t in entry.times] if entry.is_whole else None,
            }
            for entry in day.entries
        ],
    }
