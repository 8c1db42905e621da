"""Membership: one row of ``masters`` per incarnation, and the lease on it.

Every write but joining is one statement that commits by itself, so a master that freezes holds no lock on its row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from .crash_hint import LET_GO
from .schema import SCHEMA_VERSION
from .sql import Statement

ALIVE = ("up", "stopping")


@dataclass(frozen=True, slots=True)
class Process:
    """Which process on which boot of which machine: enough to prove it dead from another process of that machine."""

    host: str
    machine_id: str
    boot_id: str
    pid: int
    pid_started: int


@dataclass(frozen=True, slots=True)
class NewMaster:
    """What joining writes."""

    incarnation: str
    name: str
    roles: tuple[str, ...]
    digest: str
    version: str
    process: Process
    lease_us: int


@dataclass(frozen=True, slots=True)
class Beat:
    """What the database answered to a heartbeat. Times in microseconds; ``held_terms`` is a sum, 0 for none."""

    now: int
    held: int
    held_terms: int
    schema_version: int
    oldest_compatible: int
    cluster_id: str


@dataclass(frozen=True, slots=True)
class Master:
    """A row of ``masters``. Times in microseconds since the epoch, but ``lease_until`` is by the lease clock."""

    incarnation: str
    name: str
    state: str
    lease_until: int
    lease_left: int
    beats: int
    last_beat_at: int
    started_at: int
    ended_at: int | None
    ended_why: str | None
    roles: tuple[str, ...]
    digest: str
    version: str
    crash_key: int | None
    clock_offset_us: int
    process: Process


_JOIN = Statement(
    "INSERT INTO masters (incarnation, name, state, lease_until, lease_s, last_beat_at, started_at, roles, digest, version,"
    " schema_version, host, machine_id, boot_id, pid, pid_started)"
    " VALUES (:incarnation, :name, 'up', {lease_now} + :lease_us, :lease_s, {now}, {now}, :roles, :digest, :version,"
    " :schema_version, :host, :machine_id, :boot_id, :pid, :pid_started)"
)
_OVER = Statement(
    "UPDATE masters SET state = 'lost', ended_at = {now}, ended_why = 'it joined anew', crash_key = NULL"
    " WHERE incarnation = :incarnation AND state IN ('up', 'stopping')"
)
_ADOPT = Statement(
    "UPDATE tasks SET incarnation = :incarnation WHERE incarnation = :old AND state IN ('executing', 'stopping', 'aborting', 'failing')"
)
_BEAT = Statement(
    "UPDATE masters SET lease_until = {lease_now} + :left_us, beats = beats + 1, last_beat_at = {now},"
    " clock_offset_us = :offset_us, running = :running"
    " WHERE incarnation = :incarnation AND state IN ('up', 'stopping')"
    " RETURNING {now} AS now_us,"
    " (SELECT count(*) FROM schedulers WHERE schedulers.incarnation = :incarnation) AS held,"
    " (SELECT coalesce(sum(term), 0) FROM schedulers WHERE schedulers.incarnation = :incarnation) AS terms,"
    " (SELECT schema_version FROM cluster WHERE id = 1) AS sv, (SELECT oldest_compatible FROM cluster WHERE id = 1) AS oc,"
    " (SELECT cluster_id FROM cluster WHERE id = 1) AS cid"
)
_MASTERS = (
    "SELECT incarnation, name, state, lease_until, lease_until - {lease_now} AS lease_left, beats, last_beat_at, started_at,"
    " ended_at, ended_why, roles, digest, version, crash_key, clock_offset_us, host, machine_id, boot_id, pid, pid_started"
    " FROM masters"
)
_LIVING = Statement(_MASTERS + " WHERE state IN ('up', 'stopping') ORDER BY started_at, incarnation")
_RECENT = Statement(_MASTERS + " ORDER BY started_at DESC LIMIT :most")
_ONE = Statement(_MASTERS + " WHERE incarnation = :incarnation")
_STOPPING = Statement("UPDATE masters SET state = 'stopping' WHERE incarnation = :incarnation AND state = 'up'")
_STOPPED = Statement(
    "UPDATE masters SET state = 'stopped', ended_at = {now}, ended_why = :why, crash_key = NULL"
    " WHERE incarnation = :incarnation AND state IN ('up', 'stopping')"
)
_LOST = Statement(
    "UPDATE masters SET state = 'lost', ended_at = {now}, ended_why = :why, crash_key = NULL"
    " WHERE incarnation = :incarnation AND state IN ('up', 'stopping') AND beats = :beats"
    " AND (:lease_ended = 0 OR lease_until < {lease_now})"
)
_LOST_BY_KEY = Statement(
    "UPDATE masters SET state = 'lost', ended_at = {now}, ended_why = '" + LET_GO + "', crash_key = NULL"
    " WHERE incarnation = :incarnation AND crash_key = :key AND state IN ('up', 'stopping')"
)
_CRASH_KEY = Statement(
    "UPDATE masters SET crash_key = :key WHERE incarnation = :incarnation AND state IN ('up', 'stopping')"
)
_DIGEST = Statement(
    "UPDATE masters SET digest = :digest WHERE incarnation = :incarnation AND state IN ('up', 'stopping')"
)
_LEASE = Statement(
    "UPDATE masters SET lease_s = :lease_s WHERE incarnation = :incarnation AND state IN ('up', 'stopping')"
)
_TERMINATE = Statement(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
    " AND starts_with(application_name, :label)"
)


def join(conn: Connection, new: NewMaster, *old_incarnations: str) -> None:
    """Insert the row of an incarnation, ``up``; the ``old_incarnations`` of this very process are over, their unfinished
    tasks become the new one's.

    BadData: another master of that name is up. Atomic.
    """
    for old in old_incarnations:
        _OVER(conn, incarnation=old)
    p = new.process
    _JOIN(
        conn,
        incarnation=new.incarnation,
        name=new.name,
        roles=",".join(new.roles),
        digest=new.digest,
        version=new.version,
        schema_version=SCHEMA_VERSION,
        lease_us=new.lease_us,
        lease_s=new.lease_us // 1_000_000,
        host=p.host,
        machine_id=p.machine_id,
        boot_id=p.boot_id,
        pid=p.pid,
        pid_started=p.pid_started,
    )
    for old in old_incarnations:
        _ADOPT(conn, incarnation=new.incarnation, old=old)


def beat(conn: Connection, incarnation: str, left_us: int, offset_us: int, running: str | None) -> Beat | None:
    """Extend the lease to ``left_us`` from the lease clock's now. None: it has been declared lost, join again.

    ``offset_us`` is this host's wall clock minus the database's, as last known; one statement on both databases.
    """
    row = _BEAT(conn, incarnation=incarnation, left_us=left_us, offset_us=offset_us, running=running).one_or_none()
    if row is None:
        return None
    return Beat(row.now_us, row.held, int(row.terms), row.sv, row.oc, row.cid)


def living(conn: Connection) -> list[Master]:
    """The masters that are up or stopping, oldest first."""
    return [_master(row) for row in _LIVING(conn)]


def recent(conn: Connection, most: int = 100) -> list[Master]:
    """The newest incarnations, whatever their state."""
    return [_master(row) for row in _RECENT(conn, most=most)]


def find(conn: Connection, incarnation: str) -> Master | None:
    """One incarnation's row."""
    row = _ONE(conn, incarnation=incarnation).one_or_none()
    return None if row is None else _master(row)


def stopping(conn: Connection, incarnation: str) -> bool:
    """It gives its schedulers away and takes no more; False: it was not up any more."""
    return bool(_STOPPING(conn, incarnation=incarnation).rowcount == 1)


def stopped(conn: Connection, incarnation: str, why: str) -> bool:
    """It has ended by itself."""
    return bool(_STOPPED(conn, incarnation=incarnation, why=why).rowcount == 1)


def declare_lost(conn: Connection, incarnation: str, beats: int, why: str, *, lease_ended: bool = True) -> bool:
    """Compare-and-set to ``lost``, if it has not beaten since ``beats`` and its lease has ended by the lease clock.

    ``lease_ended=False`` trusts the watcher's own clock alone (the database's may have stepped back).
    """
    done = _LOST(conn, incarnation=incarnation, beats=beats, why=why, lease_ended=1 if lease_ended else 0)
    return bool(done.rowcount == 1)


def declare_crashed(conn: Connection, incarnation: str, key: int) -> bool:
    """The crash hint's compare-and-set: only on the very key that was seen held and then free."""
    return bool(_LOST_BY_KEY(conn, incarnation=incarnation, key=key).rowcount == 1)


def set_crash_key(conn: Connection, incarnation: str, key: int | None) -> bool:
    """Publish the key that is held already, or withdraw it."""
    return bool(_CRASH_KEY(conn, incarnation=incarnation, key=key).rowcount == 1)


def set_digest(conn: Connection, incarnation: str, digest: str) -> None:
    """The digest of the configuration that this master runs now."""
    _DIGEST(conn, incarnation=incarnation, digest=digest)


def terminate_sessions(conn: Connection, label: str) -> int:
    """End the PostgreSQL sessions of the user with that ``label``; 0 on SQLite. Nothing else frees what a frozen one locks."""
    if conn.dialect.name != "postgresql":
        return 0
    return int(_TERMINATE(conn, label=label).scalar_one())


def _master(row: Any) -> Master:
    fields = list(row)
    roles = tuple(fields[10].split(",")) if fields[10] else ()
    fields[10:] = [roles, *fields[11:15], Process(*fields[15:])]
    return Master(*fields)
