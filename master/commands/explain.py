"""``locum explain``: why something happened, or did not. It tells what is on record, and says so where something is not."""

from __future__ import annotations

import click
from sqlalchemy.engine import Connection

from ...db import explaining, listings, naming, schedules
from ...db.database import Database
from ...db.naming import NotFound, Refused
from ...db.schedules import ScheduleRow
from ...schedulers.base import to_instant
from . import explain_buildset, explain_change, explain_scheduler, explain_tick
from .asking import time_given, zone_given, zone_name_or_default, zone_option
from .explaining import Explained, Reader
from .opening import database_command, json_option
from .output import emit_json, say
from .schedulers import kind_option

FORMS = "give change:NUMBER, buildset:NUMBER, scheduler:NAME, schedule:NAME, or NAME@TIME for a time of a scheduler or schedule"
_KINDS = ("change", "buildset", "scheduler", "schedule", "tick")


@click.command()
@click.argument("what", metavar="CHANGE|SCHEDULER|BUILDSET|TICK")
@click.option("--scheduler", "only", metavar="NAME", help="Of a change: only what this scheduler made of it.")
@click.option("--all", "everything", is_flag=True, help="Of a change: every scheduler, however many they are.")
@kind_option
@zone_option
@json_option
@database_command
def explain(
    database: Database,
    what: str,
    only: str | None,
    everything: bool,
    kind: str | None,
    zone_name: str | None,
    as_json: bool,
) -> None:
    """Why something happened, or did not.

    change:17 or 17: what each scheduler made of a change, and why. buildset:5: where it came from, where its tasks are.
    scheduler:NAME or NAME: what it waits for. NAME@2026-11-01T03:00: why a time was served, skipped or is late.
    """
    zone_name = zone_name_or_default(zone_name)

    def asked(conn: Connection) -> Explained:
        reader = Reader(zone_given(zone_name), listings.now(conn))
        return _explained(conn, what, reader, zone_name, only, kind, everything)

    told = database.read(asked)
    if as_json:
        emit_json(told.value)
        return
    for line in told.lines:
        say(line)


def _explained(
    conn: Connection, what: str, reader: Reader, zone_name: str, only: str | None, kind: str | None, everything: bool
) -> Explained:
    form, name = _form(conn, what)
    if only is not None and form != "change":
        raise click.UsageError("--scheduler goes with a change only.")
    if form == "change":
        return explain_change.explain(conn, _number(form, name), reader, only, everything=everything)
    if form == "buildset":
        return explain_buildset.explain(conn, _number(form, name), reader)
    if form == "scheduler":
        return explain_scheduler.explain(conn, name, kind, reader)
    if form == "schedule":
        return explain_tick.of_stored(conn, schedules.find(conn, name), reader)
    whose, _, time = name.rpartition("@")
    return _tick(conn, whose, time, zone_name, reader)


def _form(conn: Connection, what: str) -> tuple[str, str]:
    """(what is meant, its name or number). Refused: that is not clear; NotFound: there is nothing of that name."""
    prefix, colon, rest = what.partition(":")
    if colon and prefix in _KINDS and rest:
        timed = prefix in ("scheduler", "schedule") and "@" in rest and not _is_there(conn, prefix, rest)
        return ("tick", what if prefix == "schedule" else rest) if timed else (prefix, rest)
    there = [kind for kind in ("scheduler", "schedule") if not what.isdigit() and _is_there(conn, kind, what)]
    if what.isdigit():
        return _numbered(conn, what)
    if len(there) == 1:
        return there[0], what
    if there:
        raise Refused(f"both a scheduler and a schedule are named {what!r}; say scheduler:{what} or schedule:{what}")
    if "@" in what:
        return "tick", what
    try:
        naming.find(conn, what)
    except NotFound as error:
        raise NotFound(f"{error}; {FORMS}") from None
    return "scheduler", what


def _numbered(conn: Connection, what: str) -> tuple[str, str]:
    """A bare number is a change's, unless that could be meant otherwise."""
    number = _number("change", what)
    if _is_there(conn, "scheduler", what):
        raise Refused(f"a scheduler is named {what!r}; say scheduler:{what} or change:{what}")
    if number > _newest_change(conn) and explaining.origin(conn, number) is not None:
        raise Refused(f"there is no change {number}, but a buildset {number}; say buildset:{number}")
    return "change", what


def _newest_change(conn: Connection) -> int:
    return int(listings.cluster(conn).newest_change)


def _number(form: str, text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) > 18:
        raise click.UsageError(
            f"{form}:{text:.40}: no {form} has a number as large as that; 'locum {form} list' shows those that there are."
        )
    if not (text.isascii() and text.isdigit()):
        raise click.UsageError(f"{form}:{text}: expected a number, such as {form}:17.")
    return int(text)


def _is_there(conn: Connection, kind: str, name: str) -> bool:
    try:
        if kind == "scheduler":
            naming.find(conn, name)
        else:
            return schedules.find(conn, name).name == name
    except NotFound:
        return False
    except Refused:  # one of each kind
        return True
    return True


def _tick(conn: Connection, whose: str, time: str, zone_name: str, reader: Reader) -> Explained:
    due = to_instant(time_given(f"{whose}@TIME", time, zone_name))
    prefix, colon, rest = whose.partition(":")
    wanted = prefix if colon and prefix in ("scheduler", "schedule") else None
    name = rest if wanted else whose
    stored: ScheduleRow | None = None
    if wanted != "scheduler":
        try:
            stored = schedules.find(conn, name)
        except NotFound:
            if wanted == "schedule":
                raise
    has_scheduler = wanted != "schedule" and _is_there(conn, "scheduler", name)
    if stored is not None and has_scheduler:
        raise Refused(
            f"both a scheduler and a schedule are called {name!r}; say scheduler:{name}@{time} or schedule:{name}@{time}"
        )
    if stored is not None:
        return explain_tick.of_schedule(conn, stored, due, reader)
    return explain_tick.of_scheduler(conn, name, due, reader)
