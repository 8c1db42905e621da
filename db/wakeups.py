"""Wake-ups: hints that something new is in the database. Everything also works, seconds later, when each one is lost.

Topics: masters, schedulers, changes, finished, tasks, messages, orders.
"""

from __future__ import annotations

import select
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy.engine import Connection

from .sql import Statement

CHANNEL = "locum"
TOPICS = frozenset({"masters", "schedulers", "changes", "finished", "tasks", "messages", "orders"})
_NOTIFY = Statement("SELECT pg_notify('locum', :topics)")


def announce(conn: Connection, topics: Iterable[str]) -> None:
    """Wake every listener. After the commit, by itself (``Database.single``); does nothing on SQLite, which is watched."""
    if conn.dialect.name == "postgresql":
        _NOTIFY(conn, topics=",".join(sorted(topics)))


def start_listening(raw: Any) -> None:
    """Make a raw autocommit connection to PostgreSQL hear the announcements."""
    raw.cursor().execute(f"LISTEN {CHANNEL}")


def hear(raw: Any, wake_fd: int, timeout_s: float) -> set[str]:
    """Wait until something is announced, ``wake_fd`` becomes readable or ``timeout_s`` is over; the topics heard."""
    select.select([raw.fileno(), wake_fd], [], [], timeout_s)
    raw.poll()
    heard: set[str] = set()
    while raw.notifies:
        heard.update(raw.notifies.pop().payload.split(","))
    return heard & TOPICS


class FileWatch:
    """Tells whether another connection has committed to a SQLite file since the last look."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._raw: sqlite3.Connection = connect()
        self._seen = self._version()

    def changed(self) -> bool:
        """True once for each time the file has changed."""
        version = self._version()
        if version == self._seen:
            return False
        self._seen = version
        return True

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()

    def _version(self) -> int:
        return int(self._raw.execute("PRAGMA data_version").fetchone()[0])
