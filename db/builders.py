"""Builders' lasting rows: an id for each name, and what the cluster must know of it."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.engine import Connection

from .sql import Statement

_COLUMNS = "{rows(name text, max_parallel bigint, on_lost text, archive text, collapses bigint)}"
_REGISTER = Statement(
    "INSERT INTO builders (name, max_parallel, on_lost, archive, collapses)"
    " SELECT name, max_parallel, on_lost, archive, collapses = 1"
    f" FROM {_COLUMNS} AS r WHERE true ON CONFLICT (name) DO NOTHING"
)
_DIFFERS = (
    "(coalesce(s.max_parallel, 0) <> coalesce(r.max_parallel, 0) OR s.on_lost <> r.on_lost OR s.archive <> r.archive"
    " OR s.collapses <> (r.collapses = 1))"
)
_LOCK_DIFFERENT = Statement(
    f"SELECT s.id FROM builders s JOIN {_COLUMNS} AS r ON r.name = s.name WHERE {_DIFFERS} ORDER BY s.id {{lock_s}}"
)
_CHANGE = Statement(
    "UPDATE builders SET max_parallel = r.max_parallel, on_lost = r.on_lost, archive = r.archive,"
    f" collapses = r.collapses = 1 FROM {_COLUMNS} AS r WHERE builders.name = r.name"
)
_NAMED = Statement("SELECT b.name, b.id FROM builders b JOIN {rows(name text)} AS r ON r.name = b.name")
_NAMES = Statement("SELECT name FROM builders ORDER BY name")


BuilderRow = tuple[str, int | None, str, str] | tuple[str, int | None, str, str, bool]


def register_builders(conn: Connection, wanted: Iterable[BuilderRow]) -> dict[str, int]:
    """Make or bring up to date the rows of ``(name, max_parallel, on_lost, archive[, collapses])``; {name: id} of all.

    A few statements however many there are; nothing is written where all is right already. Atomic.
    """
    rows = sorted(((*row[:4], int(row[4]) if len(row) > 4 else 0) for row in wanted), key=lambda row: row[0])
    if not rows:
        return {}
    _REGISTER.with_rows(conn, rows)
    if _LOCK_DIFFERENT.with_rows(conn, rows).scalars().all():
        _CHANGE.with_rows(conn, rows)
    return {row.name: row.id for row in _NAMED.with_rows(conn, [row[:1] for row in rows])}


def names(conn: Connection) -> list[str]:
    """Every builder that a master has ever registered."""
    return list(_NAMES(conn).scalars())
