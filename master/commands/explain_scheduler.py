"""Why a scheduler does nothing right now: who holds it, what it waits for, what keeps it."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.engine import Connection

from ...db import changes, coming, explaining, listings
from ...db.coming import TimedRow
from ...db.listings import SchedulerPage
from ...db.stored import read_value
from ...schedulers.describing import Description, Judgement, Times
from ...schedulers.overlapping import RUNS
from ...schedulers.timed import STATE, TICK
from ...schedulers.triggerable import HANDED
from .explaining import Explained, Reader, made_by, request_text
from .next import description_in, grid_in, rule_text
from .output import counted, iso

_AUDIT = 5


def explain(conn: Connection, name: str, kind: str | None, reader: Reader) -> Explained:
    """One scheduler or change source. NotFound, Refused."""
    page = listings.scheduler(conn, name, kind)
    line = page.line
    (row,) = coming.timed(conn, STATE, line.id)
    about = description_in(row.about_json, name)
    told = Explained({"what": line.kind, "name": name, "type": line.type})
    told.lines.append(f"{line.kind.replace('_', ' ')} {name!r} ({line.type})")
    _hold(conn, told, page, reader)
    _trouble(conn, told, page, reader)
    if line.enabled:
        _waits(conn, told, page, row, about, reader)
    newest = explaining.newest_buildset(conn, line.id)
    if newest is not None:
        text = f"its newest buildset is {newest.id} ({newest.result or 'unfinished'}), {made_by(newest, reader)}"
        told.say("newest_buildset", newest.id, text)
    elif line.kind == "scheduler":
        told.say("newest_buildset", None, "it has never asked for a buildset")
    audit = page.audit[:_AUDIT]
    told.say("audit", [{"at": iso(e.at), "who": e.who, "action": e.action, "reason": e.reason} for e in audit])
    told.lines += [f"{reader.at(e.at)}: {e.who}: {e.action}{': ' + e.reason if e.reason else ''}" for e in audit]
    return told


def _hold(conn: Connection, told: Explained, page: SchedulerPage, reader: Reader) -> None:
    """Who holds it, and if nobody does, why."""
    line = page.line
    told.value |= {"enabled": line.enabled, "master": line.master, "term": line.term}
    if not line.enabled:
        deed = next((entry for entry in page.audit if entry.action == "disable"), None)
        who = "" if deed is None else f" by {deed.who}, {reader.when(deed.at)}"
        told.reason("disabled", f"it is disabled{who}" + (f": {line.disabled_why}" if line.disabled_why else ""))
        return
    if line.held and line.master is not None:
        held = page.owners[0] if page.owners else None
        why = f" (why: {held.why})" if held is not None else ""
        since = "" if line.active_since is None else f", since {reader.when(line.active_since)}"
        told.lines.append(f"master {line.master} holds it under term {line.term}{since}{why}")
        _master(conn, told, line.master, line.name, reader)
        return
    since = "" if line.unheld_since is None else f" since {reader.when(line.unheld_since)}"
    told.reason("nobody holds it", f"nobody holds it{since}" + (f": {line.unheld_why}" if line.unheld_why else ""))
    able = ", ".join(line.standby)
    told.reason("standing by", f"standing by: {able}" if able else "no master that is up has it in its configuration")
    for master, retry_at in explaining.pauses(conn, line.id).items():
        text = f"master {master} could not activate it, and tries again {reader.when(retry_at)}"
        told.reason("activation fails", text)


def _master(conn: Connection, told: Explained, master: str, name: str, reader: Reader) -> None:
    found = next((m for m in listings.masters(conn) if m.name == master and m.state in ("up", "stopping")), None)
    if found is None:
        return
    if not found.acts:
        told.reason(
            "lease ended", f"the lease of {master} has ended; its last beat was {reader.when(found.last_beat_at)}"
        )
    if found.running == name:
        text = f"its code was running at the last beat of {master}, {reader.when(found.last_beat_at)}"
        told.reason("its code runs", f"{text}: if that goes on, it blocks its master")


def _trouble(conn: Connection, told: Explained, page: SchedulerPage, reader: Reader) -> None:
    if page.line.trouble:
        told.reason("in trouble", page.line.trouble)
    for failure in page.failures:
        error = failure.error.splitlines()[-1] if failure.error else ""
        if failure.retry_at is None:
            text = f"{failure.cause} was set aside after {failure.attempts} tries: {error}"
            told.reason("set aside", text)
        else:
            behind = " (later ones of its kind wait behind it)" if ":" in failure.cause else ""
            text = (
                f"{failure.cause} failed {failure.attempts} times, and is tried again {reader.when(failure.retry_at)}"
            )
            told.reason("waiting for a retry", f"{text}{behind}: {error}")
    for asked in explaining.messages_waiting(conn, page.line.id):
        told.reason("request waits", f"{request_text(asked)}, waits for an answer since {reader.at(asked.made_at)}")


def _waits(
    conn: Connection, told: Explained, page: SchedulerPage, row: TimedRow, about: Description | None, reader: Reader
) -> None:
    """What it waits for, as far as that is known."""
    if about is None:
        told.reason("never active", "it has never been active, so what it waits for is not known")
        return
    waits: list[str] = []
    if about.judgement is not None:
        waits += _changes(conn, page, about.judgement, reader)
    if about.times is not None:
        waits += _times(conn, row, about, about.times, reader)
    if about.upstream is not None:
        waits.append(_upstream(conn, about.upstream))
    timers = [t for t in page.timers if t.key not in (TICK, RUNS) and about.judgement is None]
    waits += [f"timer {t.key!r} is due {reader.when(t.due)}" for t in timers]
    if not waits and page.line.kind == "scheduler":
        waits.append(f"a {about.cls} acts when it is asked (force, trigger, try), or by code of its own")
    for text in waits:
        told.reason("waits", text)


def _changes(conn: Connection, page: SchedulerPage, judgement: Judgement, reader: Reader) -> Iterator[str]:
    newest, cursor = changes.last_number(conn), page.line.change_cursor
    unread = 0 if cursor is None else newest - cursor
    late = f": {unread} are not on record as read (the position is written at most 5 s late)" if unread else ""
    yield f"it has read the changes up to {cursor} of {newest}{late}"
    total, important = explaining.pending_of(conn, page.line.id)
    if not total:
        conditions = [f"{name}={wanted!r}" for name, wanted, _ in judgement.conditions]
        code = [*judgement.code, *(["fileIsImportant"] if judgement.judges_importance else [])]
        fitting = ", ".join(dict.fromkeys([*conditions, *code])) or "any"
        yield f"it waits for a change of codebase {', '.join(map(repr, judgement.codebases))} that fits ({fitting})"
    elif judgement.reaction == "stable":
        due = [t.due for t in page.timers if t.key not in (TICK, RUNS)]
        if due:
            wait = "waits" if total == 1 else "wait"
            yield f"{counted(total, 'change')} ({important} important) {wait} for the tree-stable timer, {reader.when(min(due))}"
        else:
            yield f"{counted(total, 'unimportant change')} {'waits' if total == 1 else 'wait'} for an important one"
    else:
        yield f"{counted(total, 'change')} ({important} important) {'is' if total == 1 else 'are'} on its list"


def _times(conn: Connection, row: TimedRow, about: Description, times: Times, reader: Reader) -> Iterator[str]:
    grid = grid_in(row.state_json, row.name)
    rule = None if grid is None else times.rule(grid[0])
    if grid is not None and rule is not None:
        due = rule.after(max(grid[1], reader.now))
        yield f"{rule_text(rule, reader.zone)}: its next time is {'none' if due is None else reader.when(due)}"
    else:
        yield f"its times are told by code of {about.cls} only"
    if times.only_if_changed and not explaining.pending_of(conn, row.id)[1]:
        yield "onlyIfChanged: unless an important change comes, its next time will be skipped"
    if times.handed_over:
        handed = explaining.state(conn, row.id, HANDED)
        if handed is None or read_value(handed, f"state {HANDED!r} of {row.name!r}") is None:
            yield "nothing has been triggered since its last time: unless something is, its next time will be skipped"
    runs = explaining.state(conn, row.id, RUNS)
    value = {} if runs is None else read_value(runs, f"state {RUNS!r} of {row.name!r}")
    if isinstance(value, dict) and value.get("running"):
        running = ", ".join(map(str, value["running"]))
        yield f"overlap {times.overlap}: buildset {running} has not ended; {len(value.get('waiting', ()))} times wait for it"


def _upstream(conn: Connection, name: str) -> str:
    found = next((s for s in explaining.consumers(conn) if s.name == name), None)
    if found is None:
        return f"it waits for buildsets of scheduler {name!r}, which is not registered"
    newest = explaining.newest_buildset(conn, found.id)
    made = "there is none yet" if newest is None else f"the newest is {newest.id} ({newest.result or 'unfinished'})"
    off = "" if found.enabled else "; that scheduler is disabled"
    return f"it waits for buildsets of scheduler {name!r} that succeed; {made}{off}"
