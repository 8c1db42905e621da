"""Why something happened, or did not: what is on record of one change, one due time, one scheduler, one buildset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from .audit import Entry
from .sql import Statement


@dataclass(frozen=True, slots=True)
class Consumer:
    """A scheduler, and where it stands in the stream of changes. ``master``: who that is up holds it; times in microseconds."""

    id: int
    name: str
    type: str
    enabled: bool
    disabled_why: str | None
    master: str | None
    term: int
    change_start: int | None
    change_cursor: int | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a buildset came from. ``cause``: of the turn that made it, as in the table of failures; None: no master's cause."""

    id: int
    scheduler_id: int | None
    scheduler: str | None
    term: int | None
    turn: int | None
    master: str | None
    incarnation: str | None
    submitted_at: int
    due_at: int | None
    cause: str | None
    waited_for: bool
    parent_json: str | None
    result: str | None


@dataclass(frozen=True, slots=True)
class Failing:
    """A cause of a scheduler that its code failed to answer; ``retry_at`` None: set aside."""

    scheduler_id: int
    cause: str
    attempts: int
    first_at: int
    last_at: int
    retry_at: int | None
    error: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """Causes that were passed over, ``first`` to ``last``; ``master`` and ``term``: who recorded it (None: a person's deed)."""

    scheduler_id: int
    first: int
    last: int
    count: int
    reason: str
    at: int
    term: int | None
    master: str | None


@dataclass(frozen=True, slots=True)
class Holding:
    """Who held a scheduler from ``since`` on under a term; ``until`` None: still. ``master`` None: nobody did."""

    term: int
    master: str | None
    incarnation: str | None
    since: int
    until: int | None
    why: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A message: what somebody asked of a scheduler."""

    id: int
    kind: str
    made_by: str
    made_at: int
    body_json: str
    answer_json: str | None


_CONSUMERS = Statement(
    "SELECT s.id, s.name, s.type, s.enabled, s.disabled_why, m.name AS master, s.term, s.change_start, s.change_cursor"
    " FROM schedulers s LEFT JOIN masters m ON m.incarnation = s.incarnation AND m.state IN ('up', 'stopping')"
    " WHERE s.kind = 'scheduler' AND (:id IS NULL OR s.id = :id) ORDER BY s.name"
)
_ORIGIN = (
    "SELECT b.id, b.scheduler_id, b.scheduler, b.term, b.turn, m.name AS master, b.incarnation, b.submitted_at, b.due_at,"
    " b.cause, b.waited_for, b.parent_json, b.result FROM buildsets b LEFT JOIN masters m ON m.incarnation = b.incarnation"
)
_OF_CHANGE = Statement(
    _ORIGIN + " JOIN buildset_changes c ON c.buildset_id = b.id WHERE c.change_number = :number ORDER BY b.id"
)
_OF_CAUSE = Statement(
    _ORIGIN + " WHERE b.scheduler_id = :id AND b.cause = :cause AND b.submitted_at >= :since ORDER BY b.id"
)
_ONE = Statement(_ORIGIN + " WHERE b.id = :id")
_AT_TICK = Statement(_ORIGIN + " WHERE b.scheduler_id = :id AND b.due_at = :due")
_BY_FINISH = Statement(_ORIGIN + " WHERE b.finished_number = :number")
_NEWEST_OF = Statement(_ORIGIN + " WHERE b.scheduler_id = :id ORDER BY b.submitted_at DESC, b.id DESC LIMIT 1")
_PENDING = Statement("SELECT scheduler_id, important FROM classifications WHERE change_number = :number")
_PENDING_OF = Statement(
    "SELECT count(*) AS n, coalesce(sum(CASE WHEN important THEN 1 ELSE 0 END), 0) AS important FROM classifications"
    " WHERE scheduler_id = :id"
)
_SKIPS = (
    "SELECT s.scheduler_id, s.first, s.last, s.count, s.reason, s.at, s.term, m.name AS master FROM skips s"
    " LEFT JOIN ownership o ON o.scheduler_id = s.scheduler_id AND o.term = s.term"
    " LEFT JOIN masters m ON m.incarnation = o.incarnation"
)
_SKIPPED_CHANGE = Statement(_SKIPS + " WHERE s.what = 'changes' AND s.first <= :number AND s.last >= :number")
_SKIPPED_TICK = Statement(
    _SKIPS + " WHERE s.scheduler_id = :id AND s.what = 'ticks' AND s.first <= :due AND s.last >= :due ORDER BY s.id"
)
_FAILING = Statement(
    "SELECT scheduler_id, cause, attempts, first_at, last_at, retry_at, error FROM failures"
    " WHERE :id IS NULL OR scheduler_id = :id"
)
_TIMERS = Statement("SELECT scheduler_id, key, due FROM timers WHERE :id IS NULL OR scheduler_id = :id ORDER BY due")
_STATE = Statement("SELECT value_json FROM scheduler_state WHERE scheduler_id = :id AND key = :key")
_HELD_AT = Statement(
    "SELECT o.term, m.name AS master, o.incarnation, o.since, (SELECT min(n.since) FROM ownership n"
    " WHERE n.scheduler_id = o.scheduler_id AND n.term > o.term) AS until, o.why FROM ownership o"
    " LEFT JOIN masters m ON m.incarnation = o.incarnation WHERE o.scheduler_id = :id AND o.term = (SELECT max(p.term)"
    " FROM ownership p WHERE p.scheduler_id = :id AND p.since <= :at)"
)
_DEEDS = Statement(
    "SELECT id, at, who, action, what, reason FROM audit WHERE what = :what AND at >= :since AND at <= :until"
    " ORDER BY id DESC LIMIT :most"
)
_DISCARDED = Statement(
    "SELECT id, at, who, action, what, reason FROM audit WHERE action = 'discard' AND reason LIKE :pattern ORDER BY id"
)
_MESSAGE = Statement("SELECT id, kind, made_by, made_at, body_json, answer_json FROM messages WHERE id = :id")
_WAITING = Statement(
    "SELECT id, kind, made_by, made_at, body_json, answer_json FROM messages WHERE scheduler_id = :id"
    " AND answered_at IS NULL ORDER BY id LIMIT :most"
)
_PAUSES = Statement(
    "SELECT m.name, b.retry_at FROM standby b JOIN masters m ON m.incarnation = b.incarnation"
    " WHERE b.scheduler_id = :id AND m.state = 'up' AND b.retry_at > {now} ORDER BY m.name"
)
_SERVED_BESIDE = Statement(
    "SELECT max(CASE WHEN due_at < :due THEN due_at END) AS earlier, min(CASE WHEN due_at > :due THEN due_at END) AS later"
    " FROM buildsets WHERE scheduler_id = :id AND due_at IS NOT NULL"
)
_EXECUTION_AT = Statement("SELECT id FROM executions WHERE schedule_id = :id AND due_at = :due")
_SCHEDULE_SKIPS_AT = Statement(
    "SELECT :id AS scheduler_id, first, last, count, reason, at, NULL AS term, NULL AS master FROM schedule_skips"
    " WHERE schedule_id = :id AND first <= :due AND last >= :due ORDER BY id"
)
_AHEAD = Statement(
    "SELECT count(*) AS ahead FROM tasks t JOIN tasks mine ON mine.id = :id AND t.builder_id = mine.builder_id"
    " WHERE t.state = 'queued' AND (t.priority > mine.priority OR (t.priority = mine.priority"
    " AND (t.submitted_at, t.id) < (mine.submitted_at, mine.id)))"
)
_ROOM = Statement(
    "SELECT b.max_parallel, (SELECT count(*) FROM tasks r WHERE r.builder_id = b.id"
    " AND r.state IN ('executing', 'failing', 'stopping', 'aborting')) AS running"
    " FROM tasks t JOIN builders b ON b.id = t.builder_id WHERE t.id = :id"
)
_RUNNERS = Statement("SELECT name, roles FROM masters WHERE state = 'up'")


def consumers(conn: Connection, scheduler_id: int | None = None) -> list[Consumer]:
    """Every scheduler, or one, by name."""
    rows = _CONSUMERS(conn, id=scheduler_id)
    return [Consumer(r.id, r.name, r.type, bool(r.enabled), *r[4:]) for r in rows]


def buildsets_of_change(conn: Connection, number: int) -> list[Origin]:
    """The buildsets that name a change."""
    return [_origin(row) for row in _OF_CHANGE(conn, number=number)]


def buildsets_of_cause(conn: Connection, scheduler_id: int, cause: str, since: int) -> list[Origin]:
    """The buildsets that a scheduler asked for in the turn of that cause; none is older than ``since``."""
    return [_origin(row) for row in _OF_CAUSE(conn, id=scheduler_id, cause=cause, since=since)]


def origin(conn: Connection, buildset_id: int) -> Origin | None:
    """Where a buildset came from; None: there is none of that id."""
    return _maybe(_ONE(conn, id=buildset_id).one_or_none())


def buildset_at(conn: Connection, scheduler_id: int, due: int) -> Origin | None:
    """The buildset of a due time of a scheduler."""
    return _maybe(_AT_TICK(conn, id=scheduler_id, due=due).one_or_none())


def buildset_by_finish(conn: Connection, number: int) -> Origin | None:
    """The buildset that was the how manieth to complete."""
    return _maybe(_BY_FINISH(conn, number=number).one_or_none())


def newest_buildset(conn: Connection, scheduler_id: int) -> Origin | None:
    """The last one that a scheduler asked for."""
    return _maybe(_NEWEST_OF(conn, id=scheduler_id).one_or_none())


def pending(conn: Connection, number: int) -> dict[int, bool]:
    """{scheduler id: whether it is important} of those that have a change on their list."""
    return {row.scheduler_id: bool(row.important) for row in _PENDING(conn, number=number)}


def pending_of(conn: Connection, scheduler_id: int) -> tuple[int, int]:
    """(how many changes are on a scheduler's list, how many of them are important)."""
    row = _PENDING_OF(conn, id=scheduler_id).one()
    return int(row.n), int(row.important)


def change_skipped(conn: Connection, number: int) -> dict[int, Skipped]:
    """{scheduler id: why a change was not for it} of those that passed it over."""
    return {row.scheduler_id: Skipped(*row) for row in _SKIPPED_CHANGE(conn, number=number)}


def tick_skipped(conn: Connection, scheduler_id: int, due: int) -> list[Skipped]:
    """The skips of a scheduler's due times that a time lies in."""
    return [Skipped(*row) for row in _SKIPPED_TICK(conn, id=scheduler_id, due=due)]


def schedule_skipped(conn: Connection, schedule_id: int, due: int) -> list[Skipped]:
    """The skips of a stored schedule that a time lies in."""
    return [Skipped(*row) for row in _SCHEDULE_SKIPS_AT(conn, id=schedule_id, due=due)]


def execution_at(conn: Connection, schedule_id: int, due: int) -> int | None:
    """The execution of a stored schedule's nominal time."""
    found: int | None = _EXECUTION_AT(conn, id=schedule_id, due=due).scalar_one_or_none()
    return found


def failing(conn: Connection, scheduler_id: int | None = None) -> list[Failing]:
    """The causes that schedulers, or one, failed to answer."""
    return [Failing(*row) for row in _FAILING(conn, id=scheduler_id)]


def timers(conn: Connection, scheduler_id: int | None = None) -> dict[int, dict[str, int]]:
    """{scheduler id: {key: due}}, soonest first."""
    found: dict[int, dict[str, int]] = {}
    for row in _TIMERS(conn, id=scheduler_id):
        found.setdefault(row.scheduler_id, {})[row.key] = row.due
    return found


def state(conn: Connection, scheduler_id: int, key: str) -> str | None:
    """The JSON text of one value of a scheduler's state."""
    found: str | None = _STATE(conn, id=scheduler_id, key=key).scalar_one_or_none()
    return found


def held_at(conn: Connection, scheduler_id: int, at: int) -> Holding | None:
    """Who held a scheduler at that time; None: it is before anybody did."""
    row = _HELD_AT(conn, id=scheduler_id, at=at).one_or_none()
    return None if row is None else Holding(row.term, row.master, row.incarnation, row.since, row.until, row.why)


def deeds(conn: Connection, what: str, since: int, until: int, most: int = 10) -> list[Entry]:
    """What people did to ``what`` in that time, newest first."""
    return [Entry(*row) for row in _DEEDS(conn, what=what, since=since, until=until, most=most)]


def discarded(conn: Connection, cause: str) -> list[Entry]:
    """The deeds by which a cause was given up, of whatever scheduler."""
    rows = [Entry(*row) for row in _DISCARDED(conn, pattern=f"%{cause}%")]
    return [entry for entry in rows if cause in entry.reason.split(", ")]


def message(conn: Connection, number: int) -> Asked | None:
    """A message, answered or not."""
    row = _MESSAGE(conn, id=number).one_or_none()
    return None if row is None else Asked(*row)


def messages_waiting(conn: Connection, scheduler_id: int, most: int = 20) -> list[Asked]:
    """What waits for a scheduler's answer, oldest first."""
    return [Asked(*row) for row in _WAITING(conn, id=scheduler_id, most=most)]


def pauses(conn: Connection, scheduler_id: int) -> dict[str, int]:
    """{master: when it tries again} of those that could not activate it."""
    return {row.name: row.retry_at for row in _PAUSES(conn, id=scheduler_id)}


def served_beside(conn: Connection, scheduler_id: int, due: int) -> tuple[int | None, int | None]:
    """The due times next to that one, before and after it, that have a buildset."""
    row = _SERVED_BESIDE(conn, id=scheduler_id, due=due).one()
    return row.earlier, row.later


def queue_of(conn: Connection, task_id: int) -> tuple[int, int, int | None]:
    """(tasks of its builder that go before a queued one, how many run, how many may; None: any number)."""
    room = _ROOM(conn, id=task_id).one_or_none()
    ahead = int(_AHEAD(conn, id=task_id).scalar_one())
    return (ahead, 0, None) if room is None else (ahead, int(room.running), room.max_parallel)


def runners(conn: Connection) -> list[str]:
    """The masters that are up and carry tasks out."""
    return sorted(row.name for row in _RUNNERS(conn) if "tasks" in row.roles.split(","))


def _maybe(row: Any) -> Origin | None:
    return None if row is None else _origin(row)


def _origin(row: Any) -> Origin:
    values = list(row)
    values[10] = bool(values[10])
    return Origin(*values)
