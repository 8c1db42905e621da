"""Who holds which scheduler: registering, standing by, taking, giving up; enabling, disabling, moving.

The row's ``term`` is the fencing token: every statement here that changes the holder raises it, so it is effective when
the statement returns, whatever its former holder still believes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from .sql import Statement
from .stored import Unreadable, read_moment, read_object

TAKE_AT_MOST = 500


@dataclass(frozen=True, slots=True)
class Registered:
    """A scheduler's lasting row."""

    id: int
    kind: str
    name: str
    type: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """A scheduler that now is the asker's, under a term that nobody had before."""

    id: int
    term: int
    change_cursor: int | None
    finished_cursor: int | None
    active_since: int
    enabled_at: int | None
    blocked: int
    """how often it blocked the reactor of its master"""

    @property
    def faults(self) -> list[str]:
        """What of its row cannot be read: it cannot be active until that is mended. SQLite takes any value."""
        cursors = {"change_cursor": self.change_cursor, "finished_cursor": self.finished_cursor}
        return [
            f"its {name}, {v!r:.60}, is not a number" for name, v in cursors.items() if not isinstance(v, int | None)
        ]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What goes with a scheduler to its next owner; JSON values as text, due times in microseconds."""

    state: dict[str, str]
    timers: dict[str, int]
    classified: dict[int, bool]
    failures: dict[str, tuple[int, int | None, str]]
    """cause -> (attempts, retry_at; None: set aside, detail as JSON)"""
    faults: list[str] = field(default_factory=list)
    """what of it cannot be read: the scheduler cannot be active until that is mended"""


_REGISTER = Statement(
    "INSERT INTO schedulers (kind, name, type) SELECT kind, name, type FROM"
    " {rows(kind text, name text, type text)} AS r WHERE true ON CONFLICT (kind, name) DO NOTHING"
)
_RETYPE = Statement(
    "UPDATE schedulers SET type = r.type FROM {rows(kind text, name text, type text)} AS r"
    " WHERE schedulers.kind = r.kind AND schedulers.name = r.name AND schedulers.type <> r.type"
)
_NAMED = Statement(
    "SELECT s.id, s.kind, s.name, s.type, s.enabled FROM schedulers s"
    " JOIN {rows(kind text, name text)} AS r ON r.kind = s.kind AND r.name = s.name"
)
_STAND_BY = Statement(
    "INSERT INTO standby (scheduler_id, incarnation, digest)"
    " SELECT id, :incarnation, digest FROM {rows(id bigint, digest text)} AS r WHERE true"
    " ON CONFLICT (scheduler_id, incarnation) DO UPDATE SET digest = excluded.digest, retry_at = 0"
)
_WITHDRAW = Statement(
    "DELETE FROM standby WHERE incarnation = :incarnation AND scheduler_id IN (SELECT id FROM {rows(id bigint)} AS r)"
)
_FORGET_STANDBY = Statement(
    "DELETE FROM standby WHERE incarnation IN (SELECT incarnation FROM masters WHERE state IN ('stopped', 'lost'))"
)
_FREE = (
    "s.enabled AND (s.incarnation IS NULL OR EXISTS (SELECT 1 FROM masters h WHERE h.incarnation = s.incarnation"
    " AND h.state IN ('stopped', 'lost')))"
)
_TAKEABLE = Statement(
    f"SELECT s.id, b.incarnation FROM schedulers s JOIN standby b ON b.scheduler_id = s.id"
    f" JOIN masters m ON m.incarnation = b.incarnation"
    f" WHERE {_FREE} AND m.state = 'up' AND b.retry_at <= {{now}}"
    f" AND EXISTS (SELECT 1 FROM standby mine WHERE mine.scheduler_id = s.id AND mine.incarnation = :incarnation"
    f" AND mine.retry_at <= {{now}})"
    f" ORDER BY s.id"
)
_LOCK_FREE = Statement(
    f"SELECT s.id FROM schedulers s WHERE s.id IN (SELECT id FROM {{rows(id bigint)}} AS r) AND {_FREE}"
    f" ORDER BY s.id {{skip_locked_s}}"
)
_TAKE = Statement(
    "UPDATE schedulers SET incarnation = :incarnation, term = term + 1, active_since = {now}"
    " WHERE id IN (SELECT id FROM {rows(id bigint)} AS r) AND enabled"
    " AND (incarnation IS NULL OR EXISTS (SELECT 1 FROM masters h WHERE h.incarnation = schedulers.incarnation"
    " AND h.state IN ('stopped', 'lost')))"
    " AND EXISTS (SELECT 1 FROM masters m WHERE m.incarnation = :incarnation AND m.state = 'up')"
    " RETURNING id, term, change_cursor, finished_cursor, active_since, enabled_at, blocked"
)
_RETAKE = Statement(
    "UPDATE schedulers SET term = term + 1, active_since = {now}"
    " WHERE id IN (SELECT id FROM {rows(id bigint)} AS r) AND incarnation = :incarnation AND enabled"
    " AND EXISTS (SELECT 1 FROM masters m WHERE m.incarnation = :incarnation AND m.state IN ('up', 'stopping'))"
    " RETURNING id, term, change_cursor, finished_cursor, active_since, enabled_at, blocked"
)
_RELEASE = Statement(
    "UPDATE schedulers SET incarnation = NULL, term = schedulers.term + 1, active_since = NULL"
    " FROM {rows(id bigint, term bigint)} AS r"
    " WHERE schedulers.id = r.id AND schedulers.incarnation = :incarnation AND schedulers.term = r.term"
)
_BLOCKED = Statement(
    "UPDATE schedulers SET blocked = blocked + 1 WHERE id = :id AND enabled"
    " AND (:incarnation IS NULL OR incarnation = :incarnation) RETURNING blocked"
)
_PAUSE_TAKING = Statement(
    "UPDATE standby SET retry_at = {now} + :pause_us WHERE incarnation = :incarnation AND scheduler_id = :id"
)
_HOLDS = Statement("SELECT id, term FROM schedulers WHERE incarnation = :incarnation")
_RECORD = Statement(
    "INSERT INTO ownership (scheduler_id, term, incarnation, since, turns, why)"
    " SELECT s.id, s.term, s.incarnation, {now}, s.turns, :why FROM schedulers s WHERE s.id IN (SELECT id FROM {rows(id bigint)} AS r)"
    " ON CONFLICT (scheduler_id, term) DO NOTHING"
)
_LOAD = Statement(
    "WITH ids AS (SELECT id FROM {rows(id bigint)} AS r)"
    " SELECT 's' AS what, scheduler_id, key, value_json AS text, 0 AS a, 0 AS b FROM scheduler_state"
    " WHERE scheduler_id IN (SELECT id FROM ids)"
    " UNION ALL SELECT 't', scheduler_id, key, '', due, 0 FROM timers WHERE scheduler_id IN (SELECT id FROM ids)"
    " UNION ALL SELECT 'c', scheduler_id, '', '', change_number, CASE WHEN important THEN 1 ELSE 0 END"
    " FROM classifications WHERE scheduler_id IN (SELECT id FROM ids)"
    " UNION ALL SELECT 'f', scheduler_id, cause, detail_json, attempts, retry_at FROM failures"
    " WHERE scheduler_id IN (SELECT id FROM ids)"
)


def register(conn: Connection, wanted: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str], Registered]:
    """Make rows for those of ``(kind, name, type)`` that have none; {(kind, name): row} of all of them."""
    rows = sorted(wanted)
    if not rows:
        return {}
    _REGISTER.with_rows(conn, rows)
    _RETYPE.with_rows(conn, rows)
    found = _NAMED.with_rows(conn, [row[:2] for row in rows])
    return {(row.kind, row.name): Registered(row.id, row.kind, row.name, row.type, bool(row.enabled)) for row in found}


def stand_by(conn: Connection, incarnation: str, digests: Iterable[tuple[int, str]]) -> None:
    """This incarnation can run these schedulers, (id, digest of its configuration for it)."""
    rows = sorted(digests)
    if rows:
        _STAND_BY.with_rows(conn, rows, incarnation=incarnation)


def withdraw(conn: Connection, incarnation: str, ids: Iterable[int]) -> None:
    """This incarnation cannot run these any more."""
    rows = [(i,) for i in sorted(ids)]
    if rows:
        _WITHDRAW.with_rows(conn, rows, incarnation=incarnation)


def forget_ended_standbys(conn: Connection) -> None:
    """Remove what lost and stopped incarnations stood by for."""
    _FORGET_STANDBY(conn)


def takeable(conn: Connection, incarnation: str) -> dict[int, list[str]]:
    """{scheduler id: the live incarnations that stand by for it} of those that nobody alive holds and ``incarnation`` may take."""
    found: dict[int, list[str]] = {}
    for scheduler_id, other in _TAKEABLE(conn, incarnation=incarnation):
        found.setdefault(scheduler_id, []).append(other)
    return found


def take(conn: Connection, incarnation: str, ids: Sequence[int], why: str) -> list[Taken]:
    """Give ``incarnation`` those of ``ids`` (at most 500) that are enabled and held by nobody alive; the rest is passed over.

    Atomic: of two masters asking together, each scheduler goes to exactly one. Rows that somebody has locked are left.
    """
    locked = [(i,) for i in _LOCK_FREE.with_rows(conn, [(i,) for i in ids[:TAKE_AT_MOST]]).scalars()]
    if not locked:
        return []
    taken = [Taken(*row) for row in _TAKE.with_rows(conn, locked, incarnation=incarnation)]
    record_ownership(conn, (t.id for t in taken), why)
    return taken


def retake(conn: Connection, incarnation: str, ids: Sequence[int], why: str) -> list[Taken]:
    """Raise the terms of those of ``ids`` that ``incarnation`` still holds, if it is not over; waits for whatever locks them.

    Nothing that was prepared under the old terms can commit afterwards.
    """
    rows = [(i,) for i in sorted(ids)]
    taken = [Taken(*row) for row in _RETAKE.with_rows(conn, rows, incarnation=incarnation)]
    record_ownership(conn, (t.id for t in taken), why)
    return taken


def release(conn: Connection, incarnation: str, terms: Iterable[tuple[int, int]], why: str) -> int:
    """Give up ``(id, term)``, each only under that very term. How many were still held so."""
    rows = sorted(terms)
    if not rows:
        return 0
    released: int = _RELEASE.with_rows(conn, rows, incarnation=incarnation).rowcount
    record_ownership(conn, (i for i, _ in rows), why)
    return released


def pause_taking(conn: Connection, incarnation: str, scheduler_id: int, pause_us: int) -> None:
    """After an activation that failed: this incarnation tries that scheduler again no sooner than in ``pause_us``."""
    _PAUSE_TAKING(conn, incarnation=incarnation, id=scheduler_id, pause_us=pause_us)


def holds(conn: Connection, incarnation: str) -> dict[int, int]:
    """{scheduler id: term} of what ``incarnation`` holds."""
    return {row.id: row.term for row in _HOLDS(conn, incarnation=incarnation)}


def load(conn: Connection, ids: Sequence[int]) -> dict[int, Loaded]:
    """State, timers, classifications and failures of each of ``ids``; empty ones for a scheduler that has none."""
    found = {i: Loaded({}, {}, {}, {}) for i in ids}
    for what, scheduler_id, key, text, a, b in _LOAD.with_rows(conn, [(i,) for i in ids]):
        try:
            _put(found[scheduler_id], what, key, text, a, b)
        except Unreadable as error:
            found[scheduler_id].faults.append(str(error))
    return found


def _put(loaded: Loaded, what: str, key: str, text: str, a: Any, b: Any) -> None:
    if not isinstance(key, str) or "\0" in key:
        raise Unreadable(f"the key {key!r:.60} of a timer, state or failure is not text; remove that row")
    if what == "s":
        loaded.state[key] = text
    elif what == "t":
        loaded.timers[key] = read_moment(a, f"due of timer {key!r}")
    elif what == "c":
        loaded.classified[a] = bool(b)
    else:
        if b is not None:  # it is to be tried again
            read_moment(b, f"retry_at of failure {key!r}")
            read_object(text, f"detail_json of failure {key!r}")
        loaded.failures[key] = (a, b, text)


def note_blocked(conn: Connection, scheduler_id: int, incarnation: str | None) -> int:
    """It has blocked its master's reactor; how often now. 0: ``incarnation`` (None: whoever it is) does not hold it."""
    return int(_BLOCKED(conn, id=scheduler_id, incarnation=incarnation).scalar_one_or_none() or 0)


def record_ownership(conn: Connection, ids: Iterable[int], why: str) -> None:
    """Append to the history who holds each of ``ids`` now, under which term, and why."""
    rows = [(i,) for i in ids]
    if rows:
        _RECORD.with_rows(conn, rows, why=why)
