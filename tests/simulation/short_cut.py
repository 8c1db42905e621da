"""A shorter way from a transaction's function to the driver, for speed: what SQLAlchemy does between them is most of a
story's cost.

The functions, the SQL text, the connection's settings and the file are the product's own; only the execution of a
statement, its rows, and BEGIN and COMMIT around them are made here. A test tells the same stories both ways, to the last
digit of their digests.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from locum.db import sql, upgrading
from locum.db.database import Database
from locum.db.errors import translated
from locum.db.sql import Statement
from sqlalchemy import exc


class Rows:
    """As much of a SQLAlchemy result as the product's code uses."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> list[Any]:
        return self._rows

    def first(self) -> Any:
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        if len(self._rows) != 1:
            raise exc.NoResultFound if not self._rows else exc.MultipleResultsFound
        return self._rows[0]

    def one_or_none(self) -> Any:
        return self.one() if self._rows else None

    def scalar_one(self) -> Any:
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        return self.one()[0] if self._rows else None

    def scalar(self) -> Any:
        return self._rows[0][0] if self._rows else None

    def scalars(self) -> Rows:
        return Rows([row[0] for row in self._rows], self.rowcount)


_CALL, _CLOSE = Statement.__call__, Database.close
_made: dict[Statement, tuple[str, Callable[..., Any] | None]] = {}
_open: dict[Database, Connection] = {}


class Connection:
    """As much of a SQLAlchemy connection as the functions of ``db`` use."""

    class dialect:
        name = "sqlite"

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw


def _execute(self: Statement, conn: Any, **parameters: Any) -> Any:
    if not isinstance(conn, Connection):
        return _CALL(self, conn, **parameters)
    for name, value in parameters.items():
        if isinstance(value, str):
            sql._refuse_unstorable(name, value)
    known = _made.get(self)
    text = known[0] if known else self.clause("sqlite").text.replace("\\:", ":")
    try:
        cursor = conn.raw.execute(text, parameters)
        rows = cursor.fetchall() if cursor.description else []
    except sqlite3.Error as error:
        raise exc.DBAPIError.instance(text, parameters, error, sqlite3.Error) from error
    if known is None:
        names = [column[0] for column in cursor.description or ()]
        row = namedtuple("row", names, rename=True)._make if names else None
        known = _made[self] = text, row
    if known[1] is not None:
        rows = [known[1](row) for row in rows]
    return Rows(rows, cursor.rowcount)


def _transaction(real: Callable[..., Any], begin: str, end: str) -> Callable[..., Any]:
    """``Database.write`` and its like, with ``begin`` and ``end`` around the function."""

    def run(self: Database, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if function.__module__ == upgrading.__name__:  # it asks SQLAlchemy itself
            return real(self, function, *args, **kwargs)
        conn = _open.get(self)
        if conn is None:
            conn = _open[self] = Connection(self._connect_sqlite())
        try:
            if begin:
                conn.raw.execute(begin)
            answer = function(conn, *args, **kwargs)
            if end:
                conn.raw.execute(end)
            return answer
        except Exception as error:
            known = translated(error)
            if known is None or known is error:
                raise
            raise known from error
        finally:
            if conn.raw.in_transaction:
                conn.raw.rollback()

    run.__name__ = real.__name__
    return run


def _close(self: Database) -> None:
    conn = _open.pop(self, None)
    if conn is not None:
        conn.raw.close()
    _CLOSE(self)


@contextmanager
def taken() -> Iterator[None]:
    """While this lasts, everything but the check of the schema goes the shorter way."""
    _made.clear()
    with contextlib.ExitStack() as stack:
        for name, begin, end in (
            ("write", "BEGIN IMMEDIATE", "COMMIT"),
            ("read", "BEGIN", "ROLLBACK"),
            ("single", "", ""),
        ):
            short = _transaction(getattr(Database, name), begin, end)
            stack.enter_context(mock.patch.object(Database, name, short))
        stack.enter_context(mock.patch.object(Database, "close", _close))
        stack.enter_context(mock.patch.object(Statement, "__call__", _execute))
        yield
