"""``locum schedule``: recurrences made at run time, kept in the database and served by the calendar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, time
from typing import Any

import click

from ...config.durations import parse_duration
from ...db import listings, naming, schedules
from ...db.database import Database
from ...db.naming import NotFound, Refused
from ...db.schedules import ExecutionRow, ScheduleRow
from ...schedulers.base import to_datetime
from ...schedulers.calendar import CALENDAR
from ...schedulers.overlap import OVERLAPS
from ...schedulers.recurrence import (
    Recurrence,
    RecurrenceError,
    ScheduleCron,
    ScheduleImmed,
    ScheduleInterval,
    ScheduleMonthlyAbsolute,
    ScheduleMonthlyRelative,
    ScheduleNow,
    ScheduleOnce,
    ScheduleWeekly,
)
from ..reading import rule_and_start_of
from ..schedules import IMMED_WAIT_S, Plan, Schedules, StartBuildset
from .asking import (
    asked,
    kept,
    request_option,
    span_given,
    time_given,
    zone_given,
    zone_name_or_default,
    zone_option,
)
from .opening import LIMIT, NUMBER, database_command, json_option, reason_option, who
from .output import clean, either, emit_json, fields, iso, moment, say, table, up_to
from .properties import PROPERTY_HELP, parsed
from .twins import Twin

_RULES = ("cron", "every", "once", "now", "immed", "weekly", "monthly", "monthly_nth")
_PAGE = 20


@click.group(cls=Twin, twin="scheduler")
def schedule() -> None:
    """Stored schedules: recurrences made at run time.

    (Not schedulers, which are written in the file: 'locum scheduler'.)
    """


@schedule.command("add")
@click.option(
    "--builder", "builders", multiple=True, required=True, metavar="NAME", help="May be repeated: a task each."
)
@click.option("--cron", metavar="TEXT", help="Five cron fields, such as '0 3 * * mon-fri'.")
@click.option("--every", metavar="DURATION", help="A grid: 90s, 15m, 3h, 2d; from --start, or from now on.")
@click.option("--once", metavar="TIME", help="At that time.")
@click.option("--now", is_flag=True, help="At once, without waiting.")
@click.option("--immed", is_flag=True, help="At once; waits a few seconds for the outcome.")
@click.option("--weekly", metavar="DAYS", help="Such as mon,wed; at the time of day of --at or --start.")
@click.option("--monthly", metavar="DAY", help="1 to 31, or last; at the time of day of --at or --start.")
@click.option("--monthly-nth", metavar="'WEEK DAY'", help="Such as '2 tue' or 'last fri'.")
@click.option("--at", metavar="HH:MM", help="The local time of day for --weekly and --monthly, from today on.")
@click.option("--start", metavar="TIME", help="The first time that counts, and its time of day.")
@click.option("--end", metavar="TIME", help="The last time that counts.")
@zone_option
@click.option("--name", metavar="NAME", help="By which people can call it; unique.")
@click.option("--branch", metavar="TEXT")
@click.option("--revision", metavar="TEXT")
@click.option("--repository", default="", metavar="URL")
@click.option("--project", default="", metavar="TEXT")
@click.option("--codebase", default="", metavar="TEXT")
@click.option("--buildset-reason", default="", metavar="TEXT", help="The reason that its buildsets have.")
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help=PROPERTY_HELP)
@click.option("--priority", type=click.IntRange(-(2**31) + 1, 2**31 - 1), default=0, help="Higher goes first.")
@click.option("--catch-up", type=click.Choice(("none", "one", "all")), default="one", show_default=True)
@click.option("--catch-up-limit", type=LIMIT, default=100, show_default=True)
@click.option("--grace", metavar="DURATION", help="A time that is older when it could be served is missed.")
@click.option("--overlap", type=click.Choice(OVERLAPS), default="skip", show_default=True)
@click.option(
    "--jitter", metavar="DURATION", default="0", help="Delays each start by a part of it, fixed for each time."
)
@click.option("--paused", is_flag=True, help="It fires nothing until it is resumed.")
@click.option("--metadata", metavar="JSON", help="Kept with it, and shown.")
@click.option("--replace", "replaced", multiple=True, metavar="SCHEDULE", help="Remove that one with the same stroke.")
@json_option
@database_command
def schedule_add(
    database: Database,
    builders: tuple[str, ...],
    properties: tuple[str, ...],
    zone_name: str | None,
    metadata: str | None,
    replaced: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> int:
    """Store a schedule that starts a buildset at each of its times.

    Give one of --cron, --every, --once, --now, --immed, --weekly, --monthly, --monthly-nth.
    """
    rule = _rule_of(given, zone_name_or_default(zone_name), database)
    texts = {key: given[key] for key in ("branch", "revision", "repository", "project", "codebase", "priority")}
    policy = {key: given[key] for key in ("name", "catch_up", "catch_up_limit", "grace", "overlap", "paused")}
    try:
        start = StartBuildset(builders, parsed(properties), **texts, reason=given["buildset_reason"])
        plan = Plan(rule, start, **policy, jitter=_number(given["jitter"]), metadata=_json("--metadata", metadata))
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    api = Schedules(database, who())
    gone = [database.read(_find, which).id for which in replaced]
    try:
        (made,) = api.replace(gone, [plan])
    except RecurrenceError as error:
        raise click.UsageError(f"{error}.") from None
    ended = api.wait(made, IMMED_WAIT_S) if isinstance(rule, ScheduleImmed) else None
    return _told_made(database, made, isinstance(rule, ScheduleImmed), ended, as_json)


def _told_made(database: Database, made: int, waited: bool, ended: ExecutionRow | None, as_json: bool) -> int:
    row = database.read(schedules.find, str(made))
    if as_json:
        emit_json(_row_json(row) | ({"execution": _execution_json(ended) if ended else None} if waited else {}))
    elif not waited:
        say(f"schedule {made}: {_text(row)}")
    elif ended is None:
        say(f"schedule {made} is unfinished, and goes on")
    else:
        say(f"schedule {made}: {ended.result or ended.state}")
    return 0 if ended is None or ended.result in ("success", "warnings", "skipped") else 1


def _number(text: str) -> float | str:
    return 0 if text == "0" else text


def _json(option: str, text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: not JSON ({error}).") from None


def _rule_of(given: Mapping[str, Any], zone_name: str, database: Database) -> Recurrence:
    chosen = [name for name in _RULES if given[name] not in (None, False)]
    if len(chosen) != 1:
        options = ", ".join("--" + name.replace("_", "-") for name in _RULES)
        raise click.UsageError(f"Give one of {options}" + (f", not {len(chosen)}." if chosen else "."))
    kind = chosen[0]
    if kind in ("cron", "once", "now", "immed"):
        extra = [f"--{name}" for name in ("start", "end", "at") if given[name] is not None]
        if extra:
            raise click.UsageError(f"--{kind} goes without {extra[0]}.")
    elif kind == "every" and given["at"] is not None:
        raise click.UsageError("--every goes without --at; give --start.")
    try:
        return _rule(kind, given, zone_name, database)
    except RecurrenceError as error:
        raise click.UsageError(f"{error}.") from None


def _rule(kind: str, given: Mapping[str, Any], zone_name: str, database: Database) -> Recurrence:
    match kind:
        case "cron":
            return ScheduleCron(given["cron"], zone_name)
        case "once":
            return ScheduleOnce(time_given("--once", given["once"], zone_name))
        case "now":
            return ScheduleNow()
        case "immed":
            return ScheduleImmed()
    end = None if given["end"] is None else time_given("--end", given["end"], zone_name)
    start = _start(kind, given, zone_name, database)
    match kind:
        case "every":
            return ScheduleInterval(start, end, *_interval(given["every"]))
        case "weekly":
            return ScheduleWeekly(start, end, [_whole(day) for day in given["weekly"].replace(",", " ").split()])
        case "monthly":
            return ScheduleMonthlyAbsolute(start, end, -1 if given["monthly"] == "last" else _whole(given["monthly"]))
    week, _, day = given["monthly_nth"].strip().partition(" ")
    return ScheduleMonthlyRelative(start, end, _whole(week), _whole(day.strip()))


def _start(kind: str, given: Mapping[str, Any], zone_name: str, database: Database) -> datetime:
    if given["start"] is not None:
        if given["at"] is not None:
            raise click.UsageError("Give --start or --at, not both.")
        return time_given("--start", given["start"], zone_name)
    now = to_datetime(database.read(listings.now)).astimezone(zone_given(zone_name))
    if kind == "every":
        return now
    if given["at"] is None:
        raise click.UsageError(f"--{kind.replace('_', '-')} needs a time of day: give --at HH:MM, or --start.")
    try:
        at = time.fromisoformat(given["at"])
    except ValueError:
        raise click.UsageError(f"--at: expected a time of day such as 02:30, got {given['at']!r}.") from None
    return datetime.combine(now.date(), at.replace(tzinfo=None), tzinfo=zone_given(zone_name))


def _interval(text: str) -> tuple[int, Any]:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise click.UsageError(f"--every: {error}.") from None
    if seconds < 1 or seconds != int(seconds):
        raise click.UsageError(f"--every: expected whole seconds, at least one, got {text!r}.")
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds % size == 0:
            return int(seconds) // size, unit
    return int(seconds), "seconds"


def _whole(text: str) -> Any:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


# -- looking at them --------------------------------------------------------------------------------------------------


def _find(conn: Any, which: str) -> ScheduleRow:
    try:
        return schedules.find(conn, which)
    except NotFound as error:
        try:
            named = naming.find(conn, which)
        except Refused:
            raise error from None
        raise NotFound(f"there is no schedule {which!r}, but a {named}; did you mean 'locum scheduler'?") from None


@schedule.command("list")
@click.option("--all", "ended", is_flag=True, help="Those that will never fire again, too.")
@click.option("--limit", type=LIMIT, default=1000, show_default=True, help="At most so many.")
@click.option("--after", type=NUMBER, default=0, metavar="ID", help="From the one behind that number on.")
@json_option
@database_command
def schedule_list(database: Database, ended: bool, limit: int, after: int, as_json: bool) -> None:
    """Stored schedules, by number."""
    listed = database.read(schedules.listed, limit + 1, after, ended=ended)
    found = up_to(
        limit,
        listed,
        f"--limit shows more, --after {listed[limit - 1].id} those behind them" if len(listed) > limit else "",
    )
    columns = ("id", "name", "when", "starts", "next", "state")
    either(
        as_json,
        lambda: [_row_json(row) for row in found],
        lambda: table(columns, [_line(row) for row in found], "no schedule is stored"),
    )


def _line(row: ScheduleRow) -> tuple[object, ...]:
    return (row.id, row.name, _text(row), ", ".join(_builders(row)), moment(_next(row)), _state(row))


def _state(row: ScheduleRow) -> str:
    if row.paused:
        return "paused" + (f": {row.paused_why}" if row.paused_why else "")
    running = f", {row.unfinished} unfinished" if row.unfinished else ""
    return ("over" if row.ended_at is not None else "active") + running


def _text(row: ScheduleRow) -> str:
    try:
        return rule_and_start_of(row)[0].text()
    except ValueError as error:
        return f"cannot be read by this release: {error}"


def _clock_changes(row: ScheduleRow, now: int) -> str:
    try:
        return rule_and_start_of(row)[0].clock_changes(now)
    except ValueError:
        return ""


def _builders(row: ScheduleRow) -> tuple[str, ...]:
    try:
        return rule_and_start_of(row)[1].builders
    except ValueError:
        return ()


def _next(row: ScheduleRow) -> int | None:
    """The nominal time that it fires next, as far as that is known."""
    if row.paused or row.ended_at is not None:
        return None
    try:
        return rule_and_start_of(row)[0].after(row.examined)
    except ValueError:
        return None


def _row_json(row: ScheduleRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "text": _text(row),
        "rule": json.loads(row.rule_json),
        "start": json.loads(row.start_json),
        "metadata": None if row.metadata_json is None else json.loads(row.metadata_json),
        "catch_up": row.catch_up,
        "catch_up_limit": row.catch_up_limit,
        "grace_s": None if row.grace_us is None else row.grace_us / 1e6,
        "jitter_s": row.jitter_us / 1e6,
        "overlap": row.overlap,
        "paused": row.paused,
        "paused_why": row.paused_why,
        "next": iso(_next(row)),
        "examined": iso(row.examined),
        "ended_at": iso(row.ended_at),
        "unfinished": row.unfinished,
        "made_at": iso(row.made_at),
        "made_by": row.made_by,
    }


def _execution_json(e: ExecutionRow) -> dict[str, Any]:
    return {
        "id": e.id,
        "due_at": iso(e.due_at),
        "cause": e.cause,
        "state": e.state,
        "result": e.result,
        "why": e.why,
        "made_at": iso(e.made_at),
        "started_at": iso(e.started_at),
        "ended_at": iso(e.ended_at),
    }


@schedule.command("show")
@click.argument("which", metavar="SCHEDULE")
@json_option
@database_command
def schedule_show(database: Database, which: str, as_json: bool) -> None:
    """One schedule, by number or name: its rule, its newest executions, what was skipped and why."""
    row = database.read(_find, which)
    executions = database.read(schedules.newest, row.id, _PAGE)
    skips = database.read(schedules.skips, row.id, _PAGE)
    clock_changes = _clock_changes(row, database.read(listings.now))
    if as_json:
        skipped = [
            {"first": iso(s.first), "last": iso(s.last), "count": s.count, "reason": s.reason, "at": iso(s.at)}
            for s in skips
        ]
        emit_json(
            {
                **_row_json(row),
                "clock_changes": clock_changes or None,
                "executions": [_execution_json(e) for e in executions],
                "skips": skipped,
            }
        )
        return
    fields(
        {
            "id": row.id,
            "name": row.name,
            "when": _text(row),
            **({"clock changes": clock_changes} if clock_changes else {}),
            "starts": ", ".join(_builders(row)),
            "state": _state(row),
            "next": moment(_next(row)),
            "catch up": row.catch_up,
            "overlap": row.overlap,
            "made": f"{moment(row.made_at)} by {row.made_by}",
        }
    )
    for e in executions:
        due = e.cause if e.due_at is None else f"due {moment(e.due_at)}"
        say(f"execution {e.id}, {due}: {e.result or e.state}" + (f": {e.why}" if e.why else ""))
    for s in skips:
        say(f"skipped {s.count}, {moment(s.first)} to {moment(s.last)}: {s.reason}")


@schedule.command("next")
@click.argument("which", metavar="[SCHEDULE]", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=10, show_default=True, help="How many times.")
@zone_option
@json_option
@database_command
def schedule_next(database: Database, which: str | None, limit: int, zone_name: str | None, as_json: bool) -> None:
    """The coming times of one schedule; or of all, when each fires next."""
    shown = zone_given(zone_name_or_default(zone_name))
    nothing = "nothing is due"
    if which is None:
        rows = database.read(schedules.coming, limit)
        found = [(t, row) for row in rows if (t := _next(row)) is not None]
    else:
        row = database.read(_find, which)
        after = max(row.examined, database.read(listings.now))
        try:
            rule, _ = rule_and_start_of(row)
        except ValueError as error:
            raise Refused(f"schedule {row.id} cannot be read by this release: {error}") from None
        found = [] if row.paused else [(t, row) for t in rule.between(after, 2**62, limit)]
        nothing = f"{row} does not fire: {_state(row)}"
    lines = [(to_datetime(t).astimezone(shown).isoformat(), row.id, row.name, _text(row)) for t, row in found]
    either(
        as_json,
        lambda: [{"due": due, "schedule": i, "name": name, "text": text} for due, i, name, text in lines],
        lambda: table(("due", "schedule", "name", "when"), lines, clean(nothing)),
    )


# -- doing something to them ------------------------------------------------------------------------------------------


@schedule.command("pause")
@click.argument("which", metavar="SCHEDULE")
@reason_option
@database_command
def schedule_pause(database: Database, which: str, reason: str) -> None:
    """Let nothing of it fire until it is resumed."""
    row = database.read(_find, which)
    say(f"{row} is {'' if Schedules(database, who()).pause(row.id, reason) else 'already '}paused")


@schedule.command("resume")
@click.argument("which", metavar="SCHEDULE")
@reason_option
@database_command
def schedule_resume(database: Database, which: str, reason: str) -> None:
    """Let it fire again; its catch-up decides on what came due meanwhile."""
    row = database.read(_find, which)
    say(f"{row} {'goes on' if Schedules(database, who()).resume(row.id, reason) else 'was not paused'}")


@schedule.command("remove")
@click.argument("which", metavar="SCHEDULE...", nargs=-1, required=True)
@database_command
def schedule_remove(database: Database, which: tuple[str, ...]) -> None:
    """Remove schedules, all or none; what runs of them runs on."""
    rows = [database.read(_find, one) for one in which]
    Schedules(database, who()).replace([row.id for row in rows], ())
    for row in rows:
        say(f"{row} is removed")


@schedule.command("run-now")
@click.argument("which", metavar="SCHEDULE")
@request_option
@json_option
@database_command
def schedule_run_now(database: Database, which: str, request_id: str | None, as_json: bool) -> None:
    """One execution now, whatever else runs; its times stay as they are."""
    row = database.read(_find, which)
    found = _ask(database, "run_now", {"schedule": row.id}, row, request_id)
    answer = found["answer"]
    text = kept(found, CALENDAR) if answer is None else f"execution {answer['execution']} of {row} has been asked for"
    either(as_json, lambda: {"schedule": row.id, **found}, lambda: say(text))


@schedule.command("backfill")
@click.argument("which", metavar="SCHEDULE")
@click.argument("begin", metavar="FROM")
@click.argument("end", metavar="TO")
@zone_option
@request_option
@json_option
@database_command
def schedule_backfill(
    database: Database,
    which: str,
    begin: str,
    end: str,
    zone_name: str | None,
    request_id: str | None,
    as_json: bool,
) -> None:
    """An execution for each time from FROM to TO that has had none.

    They run one after another, unless its overlap is 'allow'.
    """
    first, last = span_given(begin, end, zone_name_or_default(zone_name))
    row = database.read(_find, which)
    found = _ask(database, "backfill", {"schedule": row.id, "first": first, "last": last}, row, request_id)
    answer = found["answer"]
    text = kept(found, CALENDAR) if answer is None else _backfilled(answer)
    either(as_json, lambda: {"schedule": row.id, **found}, lambda: say(text))


def _backfilled(answer: Mapping[str, Any]) -> str:
    return f"{len(answer['executions'])} executions; {answer['served_before']} times had one before"


def _ask(
    database: Database, kind: str, body: Mapping[str, Any], row: ScheduleRow, request_id: str | None
) -> dict[str, Any]:
    try:
        return asked(database, CALENDAR, kind, body, str(row), request_id)
    except NotFound:
        raise Refused(
            f"no master serves stored schedules: start one, without 'calendar: false' under 'cluster' ({row} is kept)"
        ) from None
