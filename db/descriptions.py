"""What each scheduler was, and since which turn: written by whoever activates it, when it is not what it was before.

``change_cursor`` is where the instance that is described began: changes up to there had been answered, or were not for it,
by what it was before. So the description that a change was judged by in the end is the newest one that begins before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from .sql import Statement
from .stored import read_object


@dataclass(frozen=True, slots=True)
class DescriptionRow:
    """What a scheduler is, as JSON, since when (microseconds) and under which term."""

    scheduler_id: int
    term: int
    turn: int
    since: int
    about: dict[str, Any]


_KEEP = Statement(
    "INSERT INTO descriptions (scheduler_id, turn, term, since, change_cursor, about_json)"
    " SELECT r.id, r.turn, r.term, {now}, r.change_cursor, r.about"
    " FROM {rows(id bigint, turn bigint, term bigint, change_cursor bigint, about text)} AS r WHERE NOT EXISTS"
    " (SELECT 1 FROM descriptions d WHERE d.scheduler_id = r.id AND d.about_json = r.about"
    " AND d.turn = (SELECT max(e.turn) FROM descriptions e WHERE e.scheduler_id = r.id))"
)
_COLUMNS = "SELECT d.scheduler_id, d.term, d.turn, d.since, d.about_json FROM descriptions d"
_NEWEST = Statement(
    _COLUMNS + " WHERE (:id IS NULL OR d.scheduler_id = :id)"
    " AND d.turn = (SELECT max(e.turn) FROM descriptions e WHERE e.scheduler_id = d.scheduler_id)"
)
_AT_CHANGE = Statement(
    _COLUMNS + " WHERE (:id IS NULL OR d.scheduler_id = :id) AND d.turn = (SELECT max(e.turn) FROM descriptions e"
    " WHERE e.scheduler_id = d.scheduler_id AND (e.change_cursor IS NULL OR e.change_cursor < :number))"
)


def keep(conn: Connection, rows: Iterable[tuple[int, int, int, int | None, str]]) -> None:
    """(scheduler id, turn, term, cursor where it begins, JSON) of what has been activated, unless it is what it was."""
    _KEEP.with_rows(conn, rows)


def newest(conn: Connection, scheduler_id: int | None = None) -> dict[int, DescriptionRow]:
    """What each scheduler (or that one) was when it was last activated, by its id. Unreadable."""
    return _found(_NEWEST(conn, id=scheduler_id))


def at_change(conn: Connection, number: int, scheduler_id: int | None = None) -> dict[int, DescriptionRow]:
    """What each was that judged the change of that number, or would have. Unreadable."""
    return _found(_AT_CHANGE(conn, id=scheduler_id, number=number))


def _found(rows: Iterable[Any]) -> dict[int, DescriptionRow]:
    found = {}
    for row in rows:
        about = read_object(row.about_json, f"about_json of scheduler {row.scheduler_id}, turn {row.turn}")
        found[row.scheduler_id] = DescriptionRow(row.scheduler_id, row.term, row.turn, row.since, about)
    return found
