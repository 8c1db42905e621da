"""Buildsets as people see them: with their sourcestamps, changes and tasks, in a few statements for any number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from .naming import NotFound
from .sql import Statement
from .stored import read_object


@dataclass(frozen=True, slots=True)
class StampLine:
    """Which revision of which branch of which repository."""

    id: int
    codebase: str
    repository: str
    branch: str | None
    revision: str | None
    project: str
    patched: bool


@dataclass(frozen=True, slots=True)
class TaskLine:
    """A task of a buildset; its builder's name."""

    id: int
    builder: str
    state: str
    result: str | None
    priority: int


@dataclass(frozen=True, slots=True)
class BuildsetLine:
    """A buildset. Times in microseconds; ``result`` and ``completed_at`` are None until all its tasks have ended."""

    id: int
    scheduler: str | None
    term: int | None
    reason: str
    submitted_at: int
    due_at: int | None
    external_id: str | None
    result: str | None
    completed_at: int | None
    properties: dict[str, Any]
    changes: list[int]
    sourcestamps: list[StampLine]
    tasks: list[TaskLine]


_COLUMNS = (
    "SELECT id, scheduler, term, reason, submitted_at, due_at, external_id, result, completed_at, properties_json"
    " FROM buildsets"
)
_NEWEST = Statement(
    _COLUMNS + " WHERE :scheduler IS NULL OR scheduler = :scheduler ORDER BY submitted_at DESC, id DESC LIMIT :most"
)
_BY_ID = Statement(_COLUMNS + " WHERE id = :id")
_CHANGES = Statement(
    "SELECT buildset_id, change_number FROM buildset_changes"
    " WHERE buildset_id IN (SELECT id FROM {rows(id bigint)} AS r) ORDER BY change_number"
)
_STAMPS = Statement(
    "SELECT b.buildset_id, s.id, s.codebase, s.repository, s.branch, s.revision, s.project, s.patch_json IS NOT NULL"
    " FROM buildset_sourcestamps b JOIN sourcestamps s ON s.id = b.sourcestamp_id"
    " WHERE b.buildset_id IN (SELECT id FROM {rows(id bigint)} AS r) ORDER BY s.codebase, s.id"
)
_TASKS = Statement(
    "SELECT t.buildset_id, t.id, coalesce(b.name, ''), t.state, t.result, t.priority"
    " FROM tasks t LEFT JOIN builders b ON b.id = t.builder_id"
    " WHERE t.buildset_id IN (SELECT id FROM {rows(id bigint)} AS r) ORDER BY t.id"
)


def newest(conn: Connection, most: int, scheduler: str | None = None) -> list[BuildsetLine]:
    """The newest buildsets, newest first; by time, as each master hands out ids of its own blocks."""
    return _whole(conn, _NEWEST(conn, scheduler=scheduler, most=most).all())


def one(conn: Connection, buildset_id: int) -> BuildsetLine:
    """NotFound: there is none of that id."""
    rows = _BY_ID(conn, id=buildset_id).all()
    if not rows:
        raise NotFound(f"there is no buildset {buildset_id}; 'locum buildset list' shows those that there are")
    return _whole(conn, rows)[0]


def _whole(conn: Connection, rows: Sequence[Any]) -> list[BuildsetLine]:
    if not rows:
        return []
    found = {}
    for row in rows:
        fields = [*row[:-1], read_object(row.properties_json, f"properties_json of buildset {row.id}"), [], [], []]
        found[row.id] = BuildsetLine(*fields)
    ids = [(i,) for i in found]
    for buildset_id, number in _CHANGES.with_rows(conn, ids):
        found[buildset_id].changes.append(number)
    for buildset_id, *stamp, patched in _STAMPS.with_rows(conn, ids):
        stamp.append(bool(patched))
        found[buildset_id].sourcestamps.append(StampLine(*stamp))
    for buildset_id, *task in _TASKS.with_rows(conn, ids):
        found[buildset_id].tasks.append(TaskLine(*task))
    return list(found.values())
