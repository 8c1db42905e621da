"""Finished buildsets, numbered in the order in which they completed, and the sourcestamps of any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from .sql import Statement
from .stored import Unreadable, read_property_values


@dataclass(frozen=True, slots=True)
class FinishedRow:
    """A completed buildset. ``number`` is its place in the order of completion, not its id."""

    number: int
    id: int
    scheduler: str | None
    reason: str
    result: str
    external_id: str | None
    properties: dict[str, Any]
    changes: tuple[int, ...]
    completed_at: int
    fault: str = ""
    """why it cannot be read in full"""


@dataclass(frozen=True, slots=True)
class StampRow:
    """A sourcestamp as it is kept."""

    id: int
    codebase: str
    repository: str
    branch: str | None
    revision: str | None
    project: str
    patch_json: str | None


_AFTER = Statement(
    "SELECT finished_number, id, scheduler, reason, result, external_id, properties_json, completed_at FROM buildsets"
    " WHERE finished_number > :after ORDER BY finished_number LIMIT :most"
)
_CHANGES = Statement(
    "SELECT buildset_id, change_number FROM buildset_changes"
    " WHERE buildset_id IN (SELECT id FROM {rows(id bigint)} AS r) ORDER BY change_number"
)
_LAST = Statement("SELECT value FROM counters WHERE name = 'finished'")
_STAMP = Statement(
    "SELECT id, codebase, repository, branch, revision, project, patch_json FROM sourcestamps WHERE id = :id"
)


def finished_after(conn: Connection, number: int, most: int = 500) -> list[FinishedRow]:
    """The buildsets that completed after the one of that number, in order."""
    rows = _AFTER(conn, after=number, most=most).all()
    changes: dict[int, list[int]] = {row.id: [] for row in rows}
    if rows:
        for buildset, change in _CHANGES.with_rows(conn, [(i,) for i in changes]):
            changes[buildset].append(change)
    return [_finished(row, tuple(changes[row.id])) for row in rows]


def _finished(row: Any, changes: tuple[int, ...]) -> FinishedRow:
    fault, properties = "", {}
    try:
        properties = read_property_values(row.properties_json, f"properties_json of buildset {row.id}")
    except Unreadable as error:
        fault = str(error)
    return FinishedRow(
        row.finished_number, row.id, row.scheduler, row.reason, row.result, row.external_id, properties, changes,
        row.completed_at, fault,
    )  # fmt: skip


def last_finished(conn: Connection) -> int:
    """The newest number; 0 if none has completed."""
    return int(_LAST(conn).scalar_one())


def stamp(conn: Connection, stamp_id: int) -> StampRow | None:
    """One sourcestamp."""
    row = _STAMP(conn, id=stamp_id).one_or_none()
    return None if row is None else StampRow(*row)


def stamps_of(conn: Connection, buildset_ids: Sequence[int]) -> dict[int, list[StampRow]]:
    """{buildset id: its sourcestamps}."""
    found: dict[int, list[StampRow]] = {i: [] for i in buildset_ids}
    for row in _STAMPS_OF.with_rows(conn, [(i,) for i in buildset_ids]):
        found[row.buildset_id].append(StampRow(*row[1:]))
    return found


_RESULTS_OF = Statement("SELECT b.id, b.result FROM buildsets b JOIN {rows(id bigint)} AS r ON r.id = b.id")


def results_of(conn: Connection, buildset_ids: Iterable[int]) -> dict[int, str | None]:
    """{buildset id: its result, None while it is not complete}; one that is not there (any more) is missing."""
    return {row.id: row.result for row in _RESULTS_OF.with_rows(conn, [(i,) for i in buildset_ids])}


_STAMPS_OF = Statement(
    "SELECT b.buildset_id, s.id, s.codebase, s.repository, s.branch, s.revision, s.project, s.patch_json"
    " FROM buildset_sourcestamps b JOIN sourcestamps s ON s.id = b.sourcestamp_id"
    " WHERE b.buildset_id IN (SELECT id FROM {rows(id bigint)} AS r) ORDER BY b.buildset_id, s.codebase, s.id"
)
