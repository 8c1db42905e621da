"""Wake-ups: hints that something new is in the database. Everything also works, seconds later, when each one is lost.

Topics: masters, schedulers, changes, finished, tasks, failed, cancelled, messages, answers, orders, schedules.
"""

from __future__ import annotations

import select
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy.engine import Connection

from .sql import Statement

CHANNEL = "locum"
TOPICS = frozenset(
    {
        "masters",
        "schedulers",
        "changes",
        "finished",
        "tasks",
        "failed",
        "cancelled",
        "messages",
        "answers",
        "orders",
        "schedules",
    }
)
_NOTIFY = Statement("SELECT pg_notify('locum', :topics)")
_NOTE = Statement(
    "INSERT INTO announcements (topic, version) SELECT topic, 1 FROM {rows(topic text)} AS r WHERE true"
    " ON CONFLICT (topic) DO UPDATE SET version = version + 1"
)


def announce(conn: Connection, topics: Iterable[str]) -> None:
    """Wake every listener. After the commit, by itself (``Database.single``)."""
    if conn.dialect.name == "postgresql":
        _NOTIFY(conn, topics=",".join(sorted(topics)))
    else:
        _NOTE.with_rows(conn, [(topic,) for topic in sorted(topics)])


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
    """Tells what has been announced in a SQLite file since the last look."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._raw: sqlite3.Connection = connect()
        self._seen = self._data_version()
        self._versions = self._announced()

    def heard(self) -> set[str]:
        """The topics announced since the last call. Costs next to nothing while the file does not change."""
        version = self._data_version()
        if version == self._seen:
            return set()
        self._seen = version
        now = self._announced()
        topics = {topic for topic, number in now.items() if self._versions.get(topic) != number}
        self._versions = now
        return topics & TOPICS

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()

    def _data_version(self) -> int:
        return int(self._raw.execute("PRAGMA data_version").fetchone()[0])

    def _announced(self) -> dict[str, int]:
        return dict(self._raw.execute("SELECT topic, version FROM announcements").fetchall())
