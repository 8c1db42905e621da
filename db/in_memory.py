"""A database in memory, with the schema in place: for rehearsals, in which nothing may be left behind.

It is one connection, so whoever uses it does one thing at a time; it is gone when it is closed.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from . import upgrading
from .database import Database, HostClocks
from .urls import DatabaseUrl

_URL = DatabaseUrl("sqlite", "a database in memory", path=Path(":memory:"))


def open_in_memory(clocks: HostClocks, label: str) -> Database:
    """A new one, empty but for the schema."""
    database = Database(_URL, clocks=clocks, label=label, pool_size=1)
    database.single(_fill, _template())
    return database


@cache
def _template() -> bytes:
    """Made once in the life of a process, as migrating takes a good part of a second."""
    still = HostClocks(lambda: 0, lambda: 0)
    database = Database(_URL, clocks=still, label="locum:template", pool_size=1)
    try:
        database.write(upgrading.upgrade)
        return database.single(_content)
    finally:
        database.close()


def _content(conn: Connection) -> bytes:
    raw: Any = conn.connection.dbapi_connection
    found: bytes = raw.serialize()
    return found


def _fill(conn: Connection, content: bytes) -> None:
    raw: Any = conn.connection.dbapi_connection
    raw.deserialize(content)
