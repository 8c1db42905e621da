"""The crash hint: locks that the system drops when a process dies. A hint, never the truth (design, section 4).

PostgreSQL: a session advisory lock of a random key. SQLite: ``flock`` on a file of its own per incarnation, beside the
database (never ``fcntl`` locks, never the database's own files).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path
from typing import Any

import psycopg2

LET_GO = "its process ended, or gave up its lease"
"""Why somebody is lost whose lock is free: a process that may have lost its lease, as it was frozen, drops the lock, too."""
_LOST = (
    "UPDATE masters SET state = 'lost', ended_at = (extract(epoch from clock_timestamp()) * 1000000)::bigint,"
    f" ended_why = '{LET_GO}', crash_key = NULL"
    " WHERE incarnation = %s AND crash_key = %s AND state IN ('up', 'stopping')"
)


def take_key(raw: Any) -> int | None:
    """Lock a random key on this session; None where a pooler shares sessions, so that the lock would tell nothing."""
    key = secrets.randbits(62) + 1
    with raw.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (key,))
        for _ in range(3):
            cursor.execute("SELECT pg_backend_pid()")
            if cursor.fetchone()[0] != raw.info.backend_pid:
                return None
    return key if key in held_keys(raw, own_too=True) else None


def held_keys(raw: Any, *, own_too: bool = False) -> set[int]:
    """The advisory keys that sessions (other than this one) hold exclusively in this database."""
    with raw.cursor() as cursor:
        cursor.execute(
            "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND mode = 'ExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND (%s OR pid <> pg_backend_pid())",
            (own_too,),
        )
        return {row[0] for row in cursor.fetchall()}


def wait_until_free(raw: Any, key: int, timeout_s: float) -> bool:
    """Wait until nobody holds ``key``, at most ``timeout_s`` (a waiting statement holds back vacuum). False: still held,
    or it was cancelled; the session is as it was."""
    with raw.cursor() as cursor:
        try:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", (f"{int(timeout_s * 1000)}ms",))
            cursor.execute("SELECT pg_advisory_lock_shared(%s)", (key,))
        except (psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled):
            return False
        finally:
            _let_go(cursor)
        return True


def _let_go(cursor: Any) -> None:
    for _ in range(3):  # a cancel that was sent in time may come late
        with contextlib.suppress(psycopg2.errors.QueryCanceled):
            cursor.execute("SELECT pg_advisory_unlock_all()")  # this session holds no other, and need not hold this one
            return


def declare_crashed(raw: Any, incarnation: str, key: int) -> bool:
    """Compare-and-set to ``lost`` on that very key, on this very session, never retried."""
    with raw.cursor() as cursor:
        cursor.execute(_LOST, (incarnation, key))
        if cursor.rowcount != 1:
            return False
        cursor.execute("SELECT pg_notify('locum', 'masters,schedulers')")
        return True


class LockFile:
    """This incarnation's file, locked for as long as its process lives."""

    def __init__(self, database: Path, incarnation: str) -> None:
        folder = _folder(database)
        folder.mkdir(exist_ok=True)
        self.path = folder / incarnation
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def close(self) -> None:
        """Give the lock up and remove the file; legal twice."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self.path.unlink()
            os.close(self._fd)
            self._fd = -1


class PeerFile:
    """Another incarnation's file: ``ended()`` is True once its lock, which this object has itself seen held, is free."""

    def __init__(self, database: Path, incarnation: str) -> None:
        self._path = _folder(database) / incarnation
        self._fd = -1
        self._seen_held = False

    def ended(self) -> bool:
        """Whether its process has ended since it was first seen alive."""
        held = self._held()
        self._seen_held = self._seen_held or held is True
        return held is False and self._seen_held

    def _held(self) -> bool | None:
        """Whether its lock is held; None: there is no such file."""
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return False

    def close(self) -> None:
        """Stop watching; legal twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def forget(self) -> None:
        """It is no longer among the living: stop watching, and remove the file that one who was killed could not."""
        if self._held() is False:
            self.remove()
        self.close()

    def remove(self) -> None:
        """Remove the file of one that has ended."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def _folder(database: Path) -> Path:
    return database.with_name(database.name + "-masters")
