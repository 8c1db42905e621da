"""A shorter way from a ``Statement`` to the driver, for speed: what SQLAlchemy does between them is most of a story's cost.

The SQL text, the transaction around it, the connection and the file are the product's own; only the execution of a
single statement and its rows are made here. A test tells the same story both ways, to the last digit of its digest.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from locum.db import sql
from locum.db.sql import Statement
from sqlalchemy import exc
from sqlalchemy.engine import Connection


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


_made: dict[Statement, tuple[str, Callable[..., Any] | None]] = {}


def _execute(self: Statement, conn: Connection, **parameters: Any) -> Any:
    for name, value in parameters.items():
        if isinstance(value, str):
            sql._refuse_unstorable(name, value)
    raw = conn.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    known = _made.get(self)
    text = known[0] if known else self.clause("sqlite").text.replace("\\:", ":")
    try:
        cursor = raw.execute(text, parameters)
        rows = cursor.fetchall() if cursor.description else []
    except sqlite3.Error as error:
        raise exc.DBAPIError.instance(text, parameters, error, sqlite3.Error) from error
    if known is None:
        names = [column[0] for column in cursor.description or ()]
        row = namedtuple("row", names, rename=True)._make if names else None
        known = _made[self] = text, row
    if known[1] is not None:
        rows = [known[1](row) for row in rows]
    return Rows(rows, cursor.rowcount if not rows else max(cursor.rowcount, len(rows)))


@contextmanager
def taken() -> Iterator[None]:
    """While this lasts, statements go the shorter way."""
    _made.clear()
    with mock.patch.object(Statement, "__call__", _execute):
        yield
