"""Connections and transactions: the only place that opens a database.

``Database.write(function, *args)`` is the only way to change anything: one transaction, committed when the function
returns. It tells three outcomes apart: it returned (committed), ``DatabaseAway``/``BadData`` (certainly not
committed), ``OutcomeUnknown`` (the answer to COMMIT was lost). Blocking: call it from a thread, never the reactor's.
"""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg2
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

from .errors import DatabaseAway, DatabaseError, OutcomeUnknown, translated
from .fail_points import reach_write
from .urls import DatabaseUrl

P = ParamSpec("P")
T = TypeVar("T")
_SWITCH_S = 0.05


@dataclass(frozen=True, slots=True)
class HostClocks:
    """This host's clocks in whole microseconds: wall (since the epoch) and CLOCK_BOOTTIME (goes on in suspend)."""

    wall_us: Callable[[], int]
    boottime_us: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long, in seconds, anything may wait: for a connection, a lock, one statement, one whole transaction."""

    connect_s: float = 5.0
    lock_s: float = 5.0
    statement_s: float = 30.0
    transaction_s: float = 45.0


class Database:
    """One database as one user of it (a master's incarnation, a command) sees it, with a pool of connections.

    ``label`` names the user to the server (PostgreSQL's application_name), so that the sessions of a lost incarnation
    can be found and ended. ``close()`` closes every connection; legal twice.
    """

    def __init__(
        self, url: DatabaseUrl, *, clocks: HostClocks, label: str, pool_size: int = 4, bounds: Bounds | None = None
    ) -> None:
        self.url = url
        self.label = label
        self.dialect = url.dialect
        self.pool_size = pool_size
        self.bounds = bounds or Bounds()
        self._clocks = clocks
        self._busy: dict[int, tuple[Any, int]] = {}
        self._mutex = threading.Lock()
        self._closed = False
        self._engine = self._make_engine()

    def __repr__(self) -> str:
        return f"<Database {self.url} as {self.label}>"

    # -- transactions ---------------------------------------------------------------------------------------------

    def write(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``function(connection, *args)`` in one transaction; its answer once that is committed."""
        with self._connection(writing=True) as conn:
            answer = function(conn, *args, **kwargs)
            reach_write(function, "before")
            self._commit(conn)
            reach_write(function, "after")
            return answer

    def read(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``function(connection, *args)`` in a transaction that changes nothing."""
        with self._connection(writing=False) as conn:
            return function(conn, *args, **kwargs)

    def single(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``function(connection, *args)`` where each statement commits by itself (autocommit)."""
        with self._connection(writing=False, autocommit=True) as conn:
            try:
                reach_write(function, "before")
                answer = function(conn, *args, **kwargs)
                reach_write(function, "after")
                return answer
            except Exception as error:
                known = translated(error)
                if isinstance(known, DatabaseAway):  # the statement is its own commit, so its answer may be lost
                    raise OutcomeUnknown(str(known)) from error
                raise

    def close(self) -> None:
        """Close every connection; one that a thread is still inside of breaks, and is closed when that has noticed."""
        self._closed = True
        self.cut_overdue(older_than_us=-1)
        self._engine.dispose()

    def cut_overdue(self, older_than_us: int | None = None) -> int:
        """Break the connections that have been in use for too long (the client's own deadline). How many were cut.

        Safe from any thread. A statement that waits on a server which never answers ends with ``DatabaseAway``.
        """
        limit_us = int(self.bounds.transaction_s * 1e6) if older_than_us is None else older_than_us
        now = self._clocks.boottime_us()
        with self._mutex:
            late = [raw for raw, since in self._busy.values() if now - since > limit_us]
        for raw in late:
            _cut(raw)
        return len(late)

    # -- connections ----------------------------------------------------------------------------------------------

    def connect_raw(self, role: str) -> Any:
        """A driver's connection outside of the pool, in autocommit mode, for a thread that keeps it. The caller closes it."""
        return self._connect(role)

    @contextlib.contextmanager
    def _connection(self, *, writing: bool, autocommit: bool = False) -> Iterator[Connection]:
        try:
            options: dict[str, Any] = {"locum_writing": writing, "locum_autocommit": autocommit}
            with self._engine.connect().execution_options(**options) as conn, self._watched(conn):
                if not autocommit:
                    conn.begin()
                    if self.dialect == "postgresql":
                        self._bound_transaction(conn)
                    yield conn
                else:
                    with _autocommit(conn):
                        yield conn
        except Exception as error:
            known = translated(error)
            if known is None or known is error:
                raise
            raise known from error

    def _bound_transaction(self, conn: Connection) -> None:
        # Set in every transaction, not in the session: a pooler may give each transaction another session.
        b = self.bounds
        conn.exec_driver_sql(
            "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true),"
            " set_config('idle_in_transaction_session_timeout', %s, true)",
            (f"{b.lock_s:.3f}s", f"{b.statement_s:.3f}s", f"{b.transaction_s:.3f}s"),
        )

    def _commit(self, conn: Connection) -> None:
        try:
            conn.commit()
        except Exception as error:
            if self.dialect == "sqlite" and "locked" in str(error):  # BUSY at COMMIT leaves the transaction open
                conn.rollback()
                raise DatabaseAway("the database was locked at COMMIT") from error
            conn.invalidate()
            raise OutcomeUnknown(f"the answer to COMMIT was lost: {str(error).splitlines()[0]}") from error

    @contextlib.contextmanager
    def _watched(self, conn: Connection) -> Iterator[None]:
        raw = conn.connection.dbapi_connection
        key = id(raw)
        with self._mutex:
            self._busy[key] = (raw, self._clocks.boottime_us())
        try:
            yield
        finally:
            with self._mutex:
                self._busy.pop(key, None)
            if self._closed:  # its pool is gone: nobody would ever close it
                conn.invalidate()

    def _make_engine(self) -> Engine:
        name = "sqlite://" if self.dialect == "sqlite" else "postgresql+psycopg2://"
        engine = create_engine(
            name,
            creator=lambda: self._connect("pool"),
            poolclass=QueuePool,
            pool_size=self.pool_size,
            max_overflow=0,
            pool_timeout=self.bounds.connect_s + self.bounds.transaction_s,
            pool_reset_on_return="rollback",
            query_cache_size=1000,
        )
        if self.dialect == "sqlite":
            event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _connect(self, role: str) -> Any:
        return self._connect_sqlite() if self.dialect == "sqlite" else self._connect_postgresql(role)

    def _connect_sqlite(self) -> sqlite3.Connection:
        try:
            return self._opened_file()
        except sqlite3.OperationalError as error:
            if "unable to open" not in str(error):
                raise
            raise sqlite3.OperationalError(f"unable to open the file {self.url.path}") from error

    def _opened_file(self) -> sqlite3.Connection:
        raw = sqlite3.connect(
            self.url.sqlite_path, timeout=self.bounds.lock_s, isolation_level=None, check_same_thread=False, uri=True
        )
        try:
            raw.create_function("locum_now", 0, self._clocks.wall_us)
            raw.create_function("locum_boottime", 0, self._clocks.boottime_us)
            self._switch_to_wal(raw)
            raw.execute("PRAGMA synchronous=FULL")
            raw.execute("PRAGMA foreign_keys=ON")
        except BaseException:
            raw.close()
            raise
        return raw

    def _switch_to_wal(self, raw: sqlite3.Connection) -> None:
        # Of two that open a new file at once, SQLite tells one at once that it is locked, whatever the time-out.
        tries = max(1, int(self.bounds.lock_s / _SWITCH_S))
        for left in range(tries - 1, -1, -1):
            try:
                raw.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if not left or "locked" not in str(error):
                    raise
            threading.Event().wait(_SWITCH_S)

    def _connect_postgresql(self, role: str) -> Any:
        raw = psycopg2.connect(
            self.url.libpq,
            application_name=f"{self.label}:{role}"[:63],
            connect_timeout=max(2, int(self.bounds.connect_s)),
            keepalives=1,
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=int(self.bounds.connect_s * 1000),
        )
        raw.autocommit = role != "pool"
        return raw


def _begin_sqlite(conn: Connection) -> None:
    # IMMEDIATE: a transaction that reads first and writes later could otherwise fail half way, with no way to wait.
    options = conn.get_execution_options()
    if not options.get("locum_autocommit", False):
        conn.exec_driver_sql("BEGIN IMMEDIATE" if options.get("locum_writing", True) else "BEGIN")


@contextlib.contextmanager
def _autocommit(conn: Connection) -> Iterator[None]:
    """Each statement its own transaction. By the driver itself: SQLAlchemy's way costs a SET each time."""
    raw = conn.connection.dbapi_connection
    if isinstance(raw, sqlite3.Connection) or raw is None:
        yield  # SQLite commits each statement while no BEGIN was said
        return
    raw.autocommit = True
    try:
        yield
    finally:
        with contextlib.suppress(psycopg2.Error):  # a broken connection is thrown away by the pool
            raw.autocommit = False


def _cut(raw: Any) -> None:
    if isinstance(raw, sqlite3.Connection):
        with contextlib.suppress(sqlite3.Error):
            raw.interrupt()
        return
    with contextlib.suppress(psycopg2.Error, OSError, ValueError):
        copy = socket.fromfd(raw.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        try:
            copy.shutdown(socket.SHUT_RDWR)
        finally:
            copy.close()


__all__ = ["Bounds", "Database", "DatabaseError", "HostClocks"]
