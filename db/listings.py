"""What people ask to see of the cluster: a few statements each, however many schedulers there are.

All times are microseconds since the epoch, by the database's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from . import audit, naming
from .sql import Statement
from .stored import Unreadable, read_value


@dataclass(frozen=True, slots=True)
class MasterLine:
    """An incarnation. ``lease_left`` is in microseconds by the lease clock, and below 0 once the lease has ended."""

    name: str
    incarnation: str
    state: str
    lease_until: int
    lease_left: int
    lease_s: int
    host: str
    pid: int
    started_at: int
    last_beat_at: int
    ended_at: int | None
    ended_why: str | None
    roles: tuple[str, ...]
    digest: str
    version: str
    clock_offset_us: int
    running: str | None
    holds: int

    @property
    def acts(self) -> bool:
        """Whether it may act now: it is up or stopping, and its lease is good."""
        return self.state in ("up", "stopping") and self.lease_left >= 0


@dataclass(frozen=True, slots=True)
class SchedulerLine:
    """A scheduler or change source, who holds it and who could. ``digests``: master's name -> of its configuration for it."""

    id: int
    name: str
    kind: str
    type: str
    enabled: bool
    disabled_why: str | None
    master: str | None
    incarnation: str | None
    held: bool
    """whether a master that is up or stopping holds it"""
    term: int
    active_since: int | None
    unheld_since: int | None
    """since when nobody holds it, as far as that is recorded"""
    unheld_why: str | None
    next_due: int | None
    timers: int
    standby: tuple[str, ...]
    digests: Mapping[str, str]
    failures: int
    set_aside: int
    messages_waiting: int
    change_cursor: int | None
    finished_cursor: int | None
    turns: int
    trouble: str | None
    """what a change source says is wrong with it, such as a remote that does not answer; None: nothing"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Everything that ``locum status`` tells."""

    cluster_id: str
    schema_version: int
    now: int
    newest_change: int
    masters: list[MasterLine]
    schedulers: list[SchedulerLine]


@dataclass(frozen=True, slots=True)
class FailureLine:
    """A cause that user code failed to answer; ``retry_at`` None: set aside."""

    scheduler: str
    kind: str
    cause: str
    attempts: int
    first_at: int
    last_at: int
    retry_at: int | None
    error: str


@dataclass(frozen=True, slots=True)
class TimerLine:
    """When a scheduler's alarm is due."""

    scheduler: str
    kind: str
    key: str
    due: int
    enabled: bool
    master: str | None


@dataclass(frozen=True, slots=True)
class SkipLine:
    """Causes that were passed over: due times (``ticks``) or numbers (``changes``, ``finished``)."""

    what: str
    first: int
    last: int
    count: int
    reason: str
    at: int


@dataclass(frozen=True, slots=True)
class OwnerLine:
    """Who held a scheduler under a term (None: nobody), since when, and why it changed hands. ``until`` None: still.

    ``turns``: how many turns of it had been committed by then.
    """

    term: int
    incarnation: str | None
    master: str | None
    since: int
    why: str
    turns: int
    until: int | None


@dataclass(frozen=True, slots=True)
class SchedulerPage:
    """One scheduler in full; lists newest first, at most 20 long, but timers soonest first."""

    line: SchedulerLine
    state: dict[str, str]
    timers: list[TimerLine]
    failures: list[FailureLine]
    skips: list[SkipLine]
    owners: list[OwnerLine]
    audit: list[audit.Entry]


_NOW = Statement("SELECT {now}")
_CLUSTER = Statement(
    "SELECT c.cluster_id, c.schema_version, {now} AS now_us,"
    " (SELECT value FROM counters WHERE name = 'changes') AS newest FROM cluster c WHERE c.id = 1"
)
# The living, and of each name that has none its last one, for a day.
_MASTERS = Statement(
    "SELECT m.name, m.incarnation, m.state, {now} + m.lease_until - {lease_now} AS lease_until,"
    " m.lease_until - {lease_now} AS lease_left, m.lease_s, m.host, m.pid, m.started_at, m.last_beat_at, m.ended_at,"
    " m.ended_why, m.roles, m.digest, m.version, m.clock_offset_us, m.running,"
    " (SELECT count(*) FROM schedulers s WHERE s.incarnation = m.incarnation) AS holds FROM masters m"
    " WHERE m.state IN ('up', 'stopping') OR (m.last_beat_at > {now} - 86400000000 AND NOT EXISTS"
    " (SELECT 1 FROM masters n WHERE n.name = m.name AND (n.started_at > m.started_at OR n.state IN ('up', 'stopping'))))"
    " ORDER BY m.name, m.started_at"
)
_ONE = " AND s.id = :id"
_SCHEDULERS = (
    "SELECT s.id, s.name, s.kind, s.type, s.enabled, s.disabled_why, m.name AS master, s.incarnation,"
    " coalesce(m.state IN ('up', 'stopping'), false) AS held, s.term, s.active_since, s.change_cursor,"
    " s.finished_cursor, s.turns FROM schedulers s LEFT JOIN masters m ON m.incarnation = s.incarnation WHERE true"
)
_TIMERS = (
    "SELECT s.id, min(t.due) AS due, count(*) AS n FROM timers t JOIN schedulers s ON s.id = t.scheduler_id WHERE true"
)
_FAILURES = (
    "SELECT s.id, count(*) AS n, sum(CASE WHEN f.retry_at IS NULL THEN 1 ELSE 0 END) AS aside"
    " FROM failures f JOIN schedulers s ON s.id = f.scheduler_id WHERE true"
)
_STANDBY = (
    "SELECT s.id, m.name, b.digest FROM standby b JOIN masters m ON m.incarnation = b.incarnation"
    " JOIN schedulers s ON s.id = b.scheduler_id WHERE m.state = 'up'"
)
_WAITING = (
    "SELECT s.id, count(*) AS n FROM messages g JOIN schedulers s ON s.id = g.scheduler_id WHERE g.answered_at IS NULL"
)
_UNHELD = (
    "SELECT s.id, coalesce(m.ended_at, o.since) AS since, coalesce(m.ended_why, o.why) AS why FROM schedulers s"
    " LEFT JOIN masters m ON m.incarnation = s.incarnation"
    " LEFT JOIN ownership o ON o.scheduler_id = s.id"
    " AND o.term = (SELECT max(p.term) FROM ownership p WHERE p.scheduler_id = s.id)"
    " WHERE s.enabled AND coalesce(m.state, 'lost') NOT IN ('up', 'stopping')"
)
_TROUBLE = (
    "SELECT s.id, t.value_json FROM scheduler_state t JOIN schedulers s ON s.id = t.scheduler_id"
    " WHERE (s.kind = 'change_source' AND t.key = 'status' OR s.type = 'Try_Userpass' AND t.key = 'listening')"
)
_GROUP = " GROUP BY s.id"
_EVERY = {
    "schedulers": Statement(_SCHEDULERS + " ORDER BY s.kind, s.name"),
    "timers": Statement(_TIMERS + _GROUP),
    "failures": Statement(_FAILURES + _GROUP),
    "standby": Statement(_STANDBY + " ORDER BY m.name"),
    "waiting": Statement(_WAITING + _GROUP),
    "unheld": Statement(_UNHELD),
    "trouble": Statement(_TROUBLE),
}
_SINGLE = {
    "schedulers": Statement(_SCHEDULERS + _ONE),
    "timers": Statement(_TIMERS + _ONE + _GROUP),
    "failures": Statement(_FAILURES + _ONE + _GROUP),
    "standby": Statement(_STANDBY + _ONE + " ORDER BY m.name"),
    "waiting": Statement(_WAITING + _ONE + _GROUP),
    "unheld": Statement(_UNHELD + _ONE),
    "trouble": Statement(_TROUBLE + _ONE),
}
_FAILURE_LINES = Statement(
    "SELECT s.name, s.kind, f.cause, f.attempts, f.first_at, f.last_at, f.retry_at, f.error FROM failures f"
    " JOIN schedulers s ON s.id = f.scheduler_id WHERE :id IS NULL OR s.id = :id ORDER BY f.last_at DESC, s.name, f.cause"
    " LIMIT :most"
)
_TIMER_LINES = Statement(
    "SELECT s.name, s.kind, t.key, t.due, s.enabled, m.name AS master FROM timers t"
    " JOIN schedulers s ON s.id = t.scheduler_id"
    " LEFT JOIN masters m ON m.incarnation = s.incarnation AND m.state IN ('up', 'stopping')"
    " WHERE :id IS NULL OR s.id = :id ORDER BY t.due, s.name, t.key LIMIT :most"
)
_SKIP_LINES = Statement(
    "SELECT what, first, last, count, reason, at FROM skips WHERE scheduler_id = :id ORDER BY id DESC LIMIT :most"
)
_OWNER_LINES = Statement(
    "SELECT o.term, o.incarnation, m.name, o.since, o.why, o.turns FROM ownership o"
    " LEFT JOIN masters m ON m.incarnation = o.incarnation WHERE o.scheduler_id = :id ORDER BY o.term DESC LIMIT :most"
)
_STATE = Statement("SELECT key, value_json FROM scheduler_state WHERE scheduler_id = :id ORDER BY key")
ALL = 2**31 - 1
_PAGE = 20


def now(conn: Connection) -> int:
    """The database's time."""
    return int(_NOW(conn).scalar_one())


def cluster(conn: Connection) -> Cluster:
    """The whole cluster at once, for ``locum status``."""
    row = _CLUSTER(conn).one()
    return Cluster(
        row.cluster_id, row.schema_version, row.now_us, int(row.newest or 0), masters(conn), schedulers(conn)
    )


def masters(conn: Connection) -> list[MasterLine]:
    """The masters that are up or stopping, and of each name without one the last, if it ended within a day."""
    found = []
    for row in _MASTERS(conn):
        fields = list(row)
        fields[12] = tuple(fields[12].split(",")) if fields[12] else ()
        found.append(MasterLine(*fields))
    return found


def schedulers(conn: Connection) -> list[SchedulerLine]:
    """All schedulers and change sources, by kind and name."""
    return _lines(conn, _EVERY, {})


def scheduler(conn: Connection, name: str, kind: str | None = None) -> SchedulerPage:
    """One scheduler in full. NotFound, Refused: see ``naming.find``."""
    row = naming.find(conn, name, kind)
    page = {"id": row.id, "most": _PAGE}
    return SchedulerPage(
        _lines(conn, _SINGLE, {"id": row.id})[0],
        {key: value for key, value in _STATE(conn, id=row.id)},
        timers(conn, row.id, _PAGE),
        failures(conn, row.id, _PAGE),
        [SkipLine(*skip) for skip in _SKIP_LINES(conn, **page)],
        _owners(_OWNER_LINES(conn, **page).all()),
        audit.newest(conn, _PAGE, str(row)),
    )


def _owners(newest_first: Sequence[Any]) -> list[OwnerLine]:
    until = [None, *(row.since for row in newest_first)]
    return [OwnerLine(*(*row, end)) for row, end in zip(newest_first, until, strict=False)]


def failures(conn: Connection, scheduler_id: int | None = None, most: int = ALL) -> list[FailureLine]:
    """Causes that are being retried or were set aside, the newest failure first."""
    return [FailureLine(*row) for row in _FAILURE_LINES(conn, id=scheduler_id, most=most)]


def timers(conn: Connection, scheduler_id: int | None = None, most: int = ALL) -> list[TimerLine]:
    """Alarms, soonest first."""
    rows = _TIMER_LINES(conn, id=scheduler_id, most=most)
    return [TimerLine(r.name, r.kind, r.key, r.due, bool(r.enabled), r.master) for r in rows]


def _lines(conn: Connection, ask: Mapping[str, Statement], which: Mapping[str, int]) -> list[SchedulerLine]:
    due = {row.id: (row.due, row.n) for row in ask["timers"](conn, **which)}
    failed = {row.id: (row.n, int(row.aside)) for row in ask["failures"](conn, **which)}
    waiting = {row.id: row.n for row in ask["waiting"](conn, **which)}
    unheld = {row.id: (row.since, row.why) for row in ask["unheld"](conn, **which)}
    digests: dict[int, dict[str, str]] = {}
    for scheduler_id, name, digest in ask["standby"](conn, **which):
        digests.setdefault(scheduler_id, {})[name] = digest
    trouble = {row.id: _trouble(row.value_json) for row in ask["trouble"](conn, **which)}
    return [
        _line(row, due, failed, waiting, unheld, digests.get(row.id, {}), trouble.get(row.id))
        for row in ask["schedulers"](conn, **which)
    ]


def _trouble(value_json: str) -> str | None:
    try:
        status = read_value(value_json, "its stored status")
    except Unreadable as error:
        return str(error)
    return str(status.get("text")) if isinstance(status, dict) and status.get("ok") is False else None


def _line(
    row: Any,
    due: Mapping[int, tuple[int, int]],
    failed: Mapping[int, tuple[int, int]],
    waiting: Mapping[int, int],
    unheld: Mapping[int, tuple[int | None, str | None]],
    digests: Mapping[str, str],
    trouble: str | None,
) -> SchedulerLine:
    holder = row.master if row.held else None
    return SchedulerLine(
        id=row.id,
        name=row.name,
        kind=row.kind,
        type=row.type,
        enabled=bool(row.enabled),
        disabled_why=row.disabled_why,
        master=holder,
        incarnation=row.incarnation,
        held=bool(row.held),
        term=row.term,
        active_since=row.active_since,
        unheld_since=unheld.get(row.id, (None, None))[0],
        unheld_why=unheld.get(row.id, (None, None))[1],
        next_due=due.get(row.id, (None, 0))[0],
        timers=due.get(row.id, (0, 0))[1],
        standby=tuple(name for name in digests if name != holder),
        digests=digests,
        failures=failed.get(row.id, (0, 0))[0],
        set_aside=failed.get(row.id, (0, 0))[1],
        messages_waiting=waiting.get(row.id, 0),
        change_cursor=row.change_cursor,
        finished_cursor=row.finished_cursor,
        turns=row.turns,
        trouble=trouble,
    )
