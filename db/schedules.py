"""Stored schedules: recurrences made at run time, and the executions that their firings are.

People and programs add, remove, pause and resume them; what they do raises ``version``, and is effective at commit. The
calendar serves them by its turns (``keep``), each by compare-and-set on the version and on what has been examined, so
that it cannot serve what was removed, or anything twice. Lock order: after the schedulers' rows, schedules by id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from .naming import NotFound, Refused
from .schedule_effects import CalendarEffects
from .sql import Statement


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """A schedule to be; JSON as text, times in microseconds. ``next_due`` None with ``paused``."""

    id: int
    name: str | None
    rule_json: str
    start_json: str
    metadata_json: str | None
    catch_up: str
    catch_up_limit: int
    grace_us: int | None
    jitter_us: int
    overlap: str
    paused: bool
    since: int
    examined: int
    next_due: int | None
    made_by: str


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A stored schedule as it is. ``unfinished``: how many of its executions wait or run."""

    id: int
    name: str | None
    rule_json: str
    start_json: str
    metadata_json: str | None
    catch_up: str
    catch_up_limit: int
    grace_us: int | None
    jitter_us: int
    overlap: str
    paused: bool
    paused_why: str | None
    since: int
    examined: int
    next_due: int | None
    ended_at: int | None
    version: int
    made_at: int
    made_by: str
    unfinished: int

    def __str__(self) -> str:
        return f"schedule {self.id}" + (f" ('{self.name}')" if self.name else "")


@dataclass(frozen=True, slots=True)
class ExecutionRow:
    """A firing. ``state``: waiting, started, finished or dropped."""

    id: int
    schedule_id: int
    due_at: int | None
    cause: str
    state: str
    result: str | None
    why: str
    made_at: int
    started_at: int | None
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class ScheduleSkipRow:
    """Nominal times that were not served, and why."""

    first: int
    last: int
    count: int
    reason: str
    at: int


_NAME_TAKEN = Statement("SELECT name FROM schedules WHERE name IN (SELECT name FROM {rows(name text)} AS r)")
_INSERT = Statement(
    "INSERT INTO schedules (id, name, rule_json, start_json, metadata_json, catch_up, catch_up_limit, grace_us, jitter_us,"
    " overlap, paused, since, examined, next_due, made_at, made_by)"
    " SELECT id, name, rule, start, metadata, catch_up, catch_up_limit, grace_us, jitter_us, overlap, paused = 1, since,"
    " examined, next_due, {now}, made_by FROM {rows(id bigint, name text, rule text, start text, metadata text,"
    " catch_up text, catch_up_limit int, grace_us bigint, jitter_us bigint, overlap text, paused bigint, since bigint,"
    " examined bigint, next_due bigint, made_by text)} AS r WHERE true"
)
_COLUMNS = (
    "SELECT s.id, s.name, s.rule_json, s.start_json, s.metadata_json, s.catch_up, s.catch_up_limit, s.grace_us,"
    " s.jitter_us, s.overlap, s.paused, s.paused_why, s.since, s.examined, s.next_due, s.ended_at, s.version, s.made_at,"
    " s.made_by, (SELECT count(*) FROM executions e WHERE e.schedule_id = s.id AND e.state IN ('waiting', 'started'))"
    " AS unfinished FROM schedules s"
)
_DUE = Statement(_COLUMNS + " WHERE s.next_due <= :until ORDER BY s.next_due, s.id LIMIT :most")
_THESE = Statement(_COLUMNS + " JOIN {rows(id bigint)} AS r ON r.id = s.id ORDER BY s.id")
_NAMED = Statement(_COLUMNS + " WHERE s.name = :name")
_LIST = Statement(_COLUMNS + " WHERE s.id > :after AND (:ended = 1 OR s.ended_at IS NULL) ORDER BY s.id LIMIT :most")
_NEXT = Statement(_COLUMNS + " WHERE s.next_due IS NOT NULL ORDER BY s.next_due, s.id LIMIT :most")
_LOCK = Statement("SELECT s.id FROM schedules s JOIN {rows(id bigint)} AS r ON r.id = s.id ORDER BY s.id {lock_s}")
_DELETE = Statement("DELETE FROM schedules WHERE id IN (SELECT id FROM {rows(id bigint)} AS r)")
_PAUSE = Statement(
    "UPDATE schedules SET paused = true, paused_why = :why, next_due = NULL, version = version + 1"
    " WHERE id = :id AND NOT paused"
)
_RESUME = Statement(
    "UPDATE schedules SET paused = false, paused_why = NULL, next_due = :next_due, since = :since, version = version + 1"
    " WHERE id = :id AND paused"
)
_EXECUTION = "SELECT id, schedule_id, due_at, cause, state, result, why, made_at, started_at, ended_at FROM executions"
_UNFINISHED = Statement(
    _EXECUTION + " WHERE state IN ('waiting', 'started') AND (:id IS NULL OR schedule_id = :id) ORDER BY id"
)
_NEWEST = Statement(_EXECUTION + " WHERE schedule_id = :id ORDER BY id DESC LIMIT :most")
_ONE_EXECUTION = Statement(_EXECUTION + " WHERE id = :id")
_SERVED = Statement(
    "SELECT due_at FROM executions WHERE schedule_id = :id AND due_at >= :first AND due_at <= :last ORDER BY due_at"
)
_TICKS_SERVED = Statement(
    "SELECT due_at FROM buildsets WHERE scheduler_id = :id AND due_at >= :first AND due_at <= :last ORDER BY due_at"
)
_SKIPS = Statement(
    "SELECT first, last, count, reason, at FROM schedule_skips WHERE schedule_id = :id ORDER BY id DESC LIMIT :most"
)
_CURRENT = Statement(
    "SELECT s.id FROM schedules s JOIN {rows(id bigint, version bigint, before bigint)} AS r ON r.id = s.id"
    " WHERE s.version = r.version AND s.examined = r.before AND NOT s.paused ORDER BY s.id {lock_s}"
)
_MOVE = Statement(
    "UPDATE schedules SET examined = r.examined, next_due = r.next_due, ended_at = CASE WHEN r.ended = 1 THEN {now} END,"
    " paused = r.why IS NOT NULL, paused_why = r.why"
    " FROM {rows(id bigint, examined bigint, next_due bigint, ended bigint, why text)} AS r WHERE schedules.id = r.id"
)
_ADD_EXECUTIONS = Statement(
    "INSERT INTO executions (id, schedule_id, due_at, cause, state, made_at, started_at)"
    " SELECT id, schedule, due_at, cause, CASE WHEN started = 1 THEN 'started' ELSE 'waiting' END, {now},"
    " CASE WHEN started = 1 THEN {now} END"
    " FROM {rows(id bigint, schedule bigint, due_at bigint, cause text, started bigint)} AS r WHERE true"
)
_MOVE_EXECUTIONS = Statement(
    "UPDATE executions SET state = r.new_state, result = r.new_result, why = r.new_why,"
    " started_at = CASE WHEN r.new_state = 'started' THEN {now} ELSE started_at END,"
    " ended_at = CASE WHEN r.new_state = 'started' THEN NULL ELSE {now} END"
    " FROM {rows(id bigint, new_state text, new_result text, new_why text)} AS r"
    " WHERE executions.id = r.id AND state IN ('waiting', 'started')"
)
_ADD_SKIPS = Statement(
    "INSERT INTO schedule_skips (schedule_id, first, last, count, reason, at) SELECT id, first, last, n, reason, {now}"
    " FROM {rows(id bigint, first bigint, last bigint, n bigint, reason text)} AS r WHERE true"
)


# -- what people and programs do --------------------------------------------------------------------------------------


def add(conn: Connection, new: Sequence[NewSchedule]) -> None:
    """Store schedules, whose ids were reserved (``turns.reserve``). Refused: a name is taken."""
    names = [(n.name,) for n in new if n.name is not None]
    taken = sorted(_NAME_TAKEN.with_rows(conn, names).scalars()) if names else []
    twice = sorted({name for (name,) in names if names.count((name,)) > 1})
    if taken or twice:
        raise Refused(f"there is a schedule named '{(taken or twice)[0]}' already; remove it, or choose another name")
    rows = [
        (
            *(n.id, n.name, n.rule_json, n.start_json, n.metadata_json, n.catch_up, n.catch_up_limit, n.grace_us),
            *(n.jitter_us, n.overlap, int(n.paused), n.since, n.examined, n.next_due, n.made_by),
        )
        for n in new
    ]
    if rows:
        _INSERT.with_rows(conn, rows)


def lock(conn: Connection, ids: Iterable[int]) -> list[ScheduleRow]:
    """These schedules, locked until COMMIT: nothing of them fires meanwhile. NotFound: one is not there."""
    rows = [(i,) for i in sorted(set(ids))]
    if rows:
        _LOCK.with_rows(conn, rows).all()
    found = these(conn, [i for (i,) in rows])
    missing = {i for (i,) in rows} - {row.id for row in found}
    if missing:
        raise NotFound(f"there is no schedule {min(missing)}; 'locum schedule list' shows those that there are")
    return found


def remove(conn: Connection, ids: Iterable[int]) -> int:
    """Delete schedules that are locked; their executions stay. How many."""
    rows = [(i,) for i in sorted(set(ids))]
    return int(_DELETE.with_rows(conn, rows).rowcount) if rows else 0


def pause(conn: Connection, schedule_id: int, why: str) -> bool:
    """Let nothing of it fire from this commit on. False: it is paused already."""
    return bool(_PAUSE(conn, id=schedule_id, why=why).rowcount == 1)


def resume(conn: Connection, schedule_id: int, since: int, next_due: int | None) -> bool:
    """Let it fire again; what came due meanwhile is caught up with. False: it is not paused."""
    return bool(_RESUME(conn, id=schedule_id, since=since, next_due=next_due).rowcount == 1)


def record_skips(conn: Connection, rows: Iterable[tuple[int, int, int, int, str]]) -> None:
    """Keep (schedule id, first, last, count, reason) of nominal times that nobody serves."""
    rows = list(rows)
    if rows:
        _ADD_SKIPS.with_rows(conn, rows)


# -- questions --------------------------------------------------------------------------------------------------------


def due(conn: Connection, until: int, most: int) -> list[ScheduleRow]:
    """Those to be looked at by ``until``, soonest first: a few rows of an index, however many there are."""
    return [_row(row) for row in _DUE(conn, until=until, most=most)]


def coming(conn: Connection, most: int) -> list[ScheduleRow]:
    """Those that fire next, soonest first."""
    return [_row(row) for row in _NEXT(conn, most=most)]


def these(conn: Connection, ids: Iterable[int]) -> list[ScheduleRow]:
    """The schedules of these ids that there are."""
    rows = [(i,) for i in ids]
    return [_row(row) for row in _THESE.with_rows(conn, rows)] if rows else []


def find(conn: Connection, which: str) -> ScheduleRow:
    """The schedule of that name, or number. NotFound."""
    found = _NAMED(conn, name=which).one_or_none() if which and "\0" not in which else None
    if found is not None:
        return _row(found)
    if which.isascii() and which.isdigit() and len(which) < 19:
        numbered = these(conn, [int(which)])
        if numbered:
            return numbered[0]
    raise NotFound(f"there is no schedule {which!r}; 'locum schedule list' shows those that there are")


def listed(conn: Connection, most: int, after: int = 0, *, ended: bool = False) -> list[ScheduleRow]:
    """Schedules by id, from the one behind ``after`` on; ``ended``: those that will never fire again, too."""
    return [_row(row) for row in _LIST(conn, after=after, most=most, ended=int(ended))]


def unfinished(conn: Connection, schedule_id: int | None = None) -> list[ExecutionRow]:
    """Executions that wait or run, of one schedule or of all, oldest first."""
    return [ExecutionRow(*row) for row in _UNFINISHED(conn, id=schedule_id)]


def newest(conn: Connection, schedule_id: int, most: int) -> list[ExecutionRow]:
    """A schedule's executions, newest first."""
    return [ExecutionRow(*row) for row in _NEWEST(conn, id=schedule_id, most=most)]


def execution(conn: Connection, execution_id: int) -> ExecutionRow:
    """One execution. NotFound."""
    row = _ONE_EXECUTION(conn, id=execution_id).one_or_none()
    if row is None:
        raise NotFound(f"there is no execution {execution_id}")
    return ExecutionRow(*row)


def served(conn: Connection, schedule_id: int, first: int, last: int) -> list[int]:
    """The nominal times at ``first <= t <= last`` for which there is an execution, of whatever outcome."""
    return list(_SERVED(conn, id=schedule_id, first=first, last=last).scalars())


def ticks_served(conn: Connection, scheduler_id: int, first: int, last: int) -> list[int]:
    """The due times of a scheduler at ``first <= t <= last`` for which there is a buildset."""
    return list(_TICKS_SERVED(conn, id=scheduler_id, first=first, last=last).scalars())


def skips(conn: Connection, schedule_id: int, most: int) -> list[ScheduleSkipRow]:
    """What was not served, newest first."""
    return [ScheduleSkipRow(*row) for row in _SKIPS(conn, id=schedule_id, most=most)]


def _row(row: Any) -> ScheduleRow:
    values = list(row)
    values[10] = bool(values[10])
    return ScheduleRow(*values)


# -- what turns of the calendar do ------------------------------------------------------------------------------------


def keep(conn: Connection, effects: CalendarEffects) -> bool:
    """Write what turns did. False: a schedule was changed or removed meanwhile, and the transaction must be rolled back."""
    moves = effects.schedules
    if moves:
        wanted = [(i, m.version, m.before) for i, m in sorted(moves.items())]
        if len(_CURRENT.with_rows(conn, wanted).all()) != len(wanted):
            return False
        rows = [(i, m.examined, m.next_due, int(m.ended), m.paused_why) for i, m in sorted(moves.items())]
        _MOVE.with_rows(conn, rows)
    if effects.new:
        new = [(e.id, e.schedule_id, e.due_at, e.cause, int(e.started)) for e in effects.new]
        _ADD_EXECUTIONS.with_rows(conn, new)
    if effects.executions:
        moved = [(i, e.state, e.result, e.why) for i, e in sorted(effects.executions.items())]
        _MOVE_EXECUTIONS.with_rows(conn, moved)
    record_skips(conn, ((s.schedule_id, s.first, s.last, s.count, s.reason) for s in effects.skips))
    return True
