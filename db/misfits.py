"""Values that Locum did not write: of another type than their column's (SQLite takes any), or JSON that is none.

They get in by a restored half of a backup, a person with a SQL client, or a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Column, Table, func, select
from sqlalchemy.engine import Connection

from .schema import metadata
from .stored import Unreadable, read_moment, read_object, read_properties, read_texts, read_value

_MOST = 5
_READ: dict[tuple[str, str], Callable[[Any, str], Any]] = {
    ("buildsets", "properties_json"): read_properties,
    ("changes", "files_json"): read_texts,
    ("changes", "properties_json"): read_object,
    ("failures", "detail_json"): read_object,
    ("failures", "retry_at"): read_moment,
    ("messages", "body_json"): read_object,
    ("orders", "answer_json"): read_object,
    ("tasks", "properties_json"): read_object,
    ("timers", "due"): read_moment,
}


def misfits(conn: Connection) -> Iterator[str]:
    """Sentences that name column and row, and what is wrong; at most five for each column. Reads every row once."""
    for table in metadata.sorted_tables:
        if conn.dialect.name == "sqlite":
            for column in table.columns:
                yield from _of_another_type(conn, table, column)
        yield from _unreadable(conn, table)


def _of_another_type(conn: Connection, table: Table, column: Column[Any]) -> Iterator[str]:
    wanted = "text" if column.type.python_type is str else "integer"
    right = (wanted, "null") if column.nullable else (wanted,)
    kind = func.typeof(column)
    odd = select(kind, *table.primary_key).where(kind.not_in(right)).limit(_MOST)
    for found, *key in conn.execute(odd):
        yield f"{column.name} of {_row(table, key)} is of type {found}, not {wanted}"


def _unreadable(conn: Connection, table: Table) -> Iterator[str]:
    columns = [c for c in table.columns if c.name.endswith("_json") or (table.name, c.name) in _READ]
    if not columns:
        return
    keys = list(table.primary_key)
    left = {column.name: _MOST for column in columns}
    for row in conn.execute(select(*columns, *keys).execution_options(stream_results=True)):
        for column, value in zip(columns, row, strict=False):
            if value is None or isinstance(value, bytes) or not left[column.name]:
                continue
            read: Callable[[Any, str], Any] = _READ.get((table.name, column.name), read_value)
            try:
                read(value, f"{column.name} of {_row(table, row[len(columns) :])}")
            except Unreadable as error:
                left[column.name] -= 1
                yield str(error).rpartition("; ")[0]


def _row(table: Table, key: Any) -> str:
    names = ", ".join(f"{column.name} {value!r:.60}" for column, value in zip(table.primary_key, key, strict=True))
    return f"the row of '{table.name}' with {names}"
