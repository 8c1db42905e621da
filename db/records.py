"""What code written for Buildbot asks of the database: buildsets and tasks by id or the newest ones, and how far everything is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from .buildsets import StampRow, last_finished, stamps_of
from .cancelling import UNFINISHED
from .changes import last_number
from .sql import Statement
from .stored import read_object
from .task_states import quoted

_UNFINISHED = quoted(UNFINISHED)


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task, with its builder's name. Times in microseconds."""

    id: int
    buildset_id: int | None
    builder_id: int
    builder: str
    ended: bool
    result: str | None
    priority: int
    waited_for: bool
    incarnation: str | None
    submitted_at: int
    started_at: int | None
    finished_at: int | None
    status_line: str
    properties: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BuildsetRecord:
    """A buildset, with its sourcestamps and changes. ``properties`` are name -> [value, source]."""

    id: int
    scheduler: str | None
    reason: str
    external_id: str | None
    submitted_at: int
    completed_at: int | None
    result: str | None
    parent: dict[str, Any]
    properties: dict[str, Any]
    stamps: list[StampRow]
    changes: list[int]


@dataclass(frozen=True, slots=True)
class HowFar:
    """The newest change and finished buildset; (task, buildset, ended) of each buildset of which tasks have not ended."""

    change: int
    finished: int
    open_tasks: list[tuple[int, int, bool]]


_TASKS = (
    f"SELECT t.id, t.buildset_id, t.builder_id, b.name, t.state NOT IN ({_UNFINISHED}), t.result, t.priority,"
    " coalesce(s.waited_for, false), t.incarnation, t.submitted_at, t.started_at, t.finished_at, t.status_line,"
    " t.properties_json FROM tasks t JOIN builders b ON b.id = t.builder_id LEFT JOIN buildsets s ON s.id = t.buildset_id"
)
_TASKS_BY_ID = Statement(_TASKS + " JOIN {rows(id bigint)} AS r ON r.id = t.id ORDER BY t.id")
_NEWEST_TASKS = Statement(_TASKS + " ORDER BY t.submitted_at DESC, t.id DESC LIMIT :most")
_TASKS_OF_BUILDSET = Statement(_TASKS + " WHERE t.buildset_id = :buildset ORDER BY t.id DESC LIMIT :most")
_TASKS_OF_BUILDER = Statement(
    _TASKS + " WHERE t.builder_id = :builder ORDER BY t.submitted_at DESC, t.id DESC LIMIT :most"
)
_BUILDSETS = (
    "SELECT s.id, s.scheduler, s.reason, s.external_id, s.submitted_at, s.completed_at, s.result, s.parent_json,"
    " s.properties_json FROM buildsets s"
)
_BUILDSETS_BY_ID = Statement(_BUILDSETS + " JOIN {rows(id bigint)} AS r ON r.id = s.id ORDER BY s.id")
_NEWEST_BUILDSETS = Statement(_BUILDSETS + " ORDER BY s.submitted_at DESC, s.id DESC LIMIT :most")
_CHANGES_OF = Statement(
    "SELECT c.buildset_id, c.change_number FROM buildset_changes c JOIN {rows(id bigint)} AS r ON r.id = c.buildset_id"
    " ORDER BY c.change_number"
)
_OPEN_TASKS = Statement(
    f"SELECT t.id, t.buildset_id, t.state NOT IN ({_UNFINISHED}) FROM tasks t WHERE t.buildset_id IN"
    f" (SELECT u.buildset_id FROM builders b JOIN tasks u ON u.builder_id = b.id AND u.state IN ({_UNFINISHED}))"
    " ORDER BY t.id"
)
_FINISHED_TASKS = Statement(
    "SELECT s.finished_number, s.id, t.id FROM buildsets s LEFT JOIN tasks t ON t.buildset_id = s.id WHERE s.id IN"
    " (SELECT id FROM buildsets WHERE finished_number > :after ORDER BY finished_number LIMIT :most)"
    " ORDER BY s.finished_number, t.id"
)


def tasks(
    conn: Connection, ids: Sequence[int] | None, buildset: int | None, builder: int | None, most: int
) -> list[TaskRecord]:
    """The tasks of these ids, or else the newest ones of a buildset, of a builder, or of all; oldest first."""
    if ids is not None:
        rows = _TASKS_BY_ID.with_rows(conn, [(i,) for i in ids]).all()
    elif buildset is not None:
        rows = _TASKS_OF_BUILDSET(conn, buildset=buildset, most=most).all()[::-1]
    elif builder is not None:
        rows = _TASKS_OF_BUILDER(conn, builder=builder, most=most).all()[::-1]
    else:
        rows = _NEWEST_TASKS(conn, most=most).all()[::-1]
    return [_task(row) for row in rows]


def _task(row: Any) -> TaskRecord:
    fields = [*row[:-1], read_object(row.properties_json, f"properties_json of task {row.id}")]
    fields[4], fields[7] = bool(fields[4]), bool(fields[7])
    return TaskRecord(*fields)


def buildsets(conn: Connection, ids: Sequence[int] | None, most: int) -> list[BuildsetRecord]:
    """The buildsets of these ids, or else the newest ones; oldest first."""
    if ids is None:
        rows = _NEWEST_BUILDSETS(conn, most=most).all()[::-1]
    else:
        rows = _BUILDSETS_BY_ID.with_rows(conn, [(i,) for i in ids]).all()
    stamps = stamps_of(conn, [row.id for row in rows]) if rows else {}
    changes: dict[int, list[int]] = {row.id: [] for row in rows}
    for buildset, change in _CHANGES_OF.with_rows(conn, [(i,) for i in changes]) if rows else ():
        changes[buildset].append(change)
    return [_buildset(row, stamps[row.id], changes[row.id]) for row in rows]


def _buildset(row: Any, stamps: list[StampRow], changes: list[int]) -> BuildsetRecord:
    parent = {} if row.parent_json is None else read_object(row.parent_json, f"parent_json of buildset {row.id}")
    properties = read_object(row.properties_json, f"properties_json of buildset {row.id}")
    return BuildsetRecord(
        row.id, row.scheduler, row.reason, row.external_id, row.submitted_at, row.completed_at, row.result, parent,
        properties, stamps, changes,
    )  # fmt: skip


def how_far(conn: Connection) -> HowFar:
    """Everything that is new since is in what ``finished_tasks`` says afterwards, or in a later answer of this."""
    change, finished = last_number(conn), last_finished(conn)
    return HowFar(change, finished, [(row[0], row[1], bool(row[2])) for row in _OPEN_TASKS(conn)])


def finished_tasks(conn: Connection, after: int, most: int) -> list[tuple[int, int, list[int]]]:
    """(number, buildset, its tasks) of those that finished after the one of that number, in order."""
    found: dict[int, tuple[int, int, list[int]]] = {}
    for number, buildset, task in _FINISHED_TASKS(conn, after=after, most=most):
        own = found.setdefault(buildset, (number, buildset, []))
        if task is not None:
            own[2].append(task)
    return list(found.values())
