"""Cancelling tasks that have not come to rest, as part of a scheduler's turn; and what cancellers look at.

Lock order as everywhere: buildsets, then tasks, each by id; the buildsets that this completes are numbered at the end of
the transaction (``tasks.complete``). A runner learns that a task is not its own any more, and kills what runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from .buildsets import StampRow, stamps_of
from .sql import Statement
from .task_states import MOVES, RUNNING, Move, Result, State, quoted
from .tasks import Mine, TaskEnded, end_tasks

UNFINISHED = (State.SCHEDULED, State.QUEUED, *RUNNING)
assert all((state, Move.CANCEL) in MOVES for state in UNFINISHED)
_UNFINISHED = quoted(UNFINISHED)


@dataclass(frozen=True, slots=True)
class UnfinishedTask:
    """A task that has not come to rest, and what its buildset builds."""

    id: int
    builder: str
    buildset_id: int
    stamps: tuple[StampRow, ...]


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task that failed while others of its buildset have not come to rest."""

    id: int
    builder: str
    buildset_id: int
    result: str


_TASKS_OF = Statement(
    f"SELECT t.id, t.buildset_id FROM tasks t JOIN {{rows(id bigint)}} AS r ON r.id = t.buildset_id WHERE t.state IN ({_UNFINISHED})"
)
_BUILDSETS_OF = Statement(
    "SELECT DISTINCT t.buildset_id FROM tasks t JOIN {rows(id bigint)} AS r ON r.id = t.id WHERE t.buildset_id IS NOT NULL"
)
_LOCK_BUILDSETS = Statement(
    "SELECT s.id FROM buildsets s JOIN {rows(id bigint)} AS r ON r.id = s.id ORDER BY s.id {lock_s}"
)
_LOCK_TASKS = Statement(
    "SELECT s.id, s.attempt, s.buildset_id, s.result, s.properties_json FROM tasks s JOIN {rows(id bigint)} AS r ON r.id = s.id"
    f" WHERE s.state IN ({_UNFINISHED}) ORDER BY s.id {{lock_s}}"
)
# Older than a change: with changes, all of which came before it; without any, asked for before it came.
_OLDER = Statement(
    "SELECT t.id, b.name, t.buildset_id FROM {rows(name text)} AS r JOIN builders b ON b.name = r.name"
    f" JOIN tasks t ON t.builder_id = b.id AND t.state IN ({_UNFINISHED}) JOIN buildsets s ON s.id = t.buildset_id"
    " WHERE NOT EXISTS (SELECT 1 FROM buildset_changes c WHERE c.buildset_id = s.id AND c.change_number >= :number)"
    " AND (EXISTS (SELECT 1 FROM buildset_changes c WHERE c.buildset_id = s.id)"
    " OR s.submitted_at <= (SELECT received_at FROM changes WHERE number = :number)) ORDER BY t.id"
)
_FAILED = Statement(
    "SELECT DISTINCT f.id, fb.name, f.buildset_id, f.result FROM builders b"
    f" JOIN tasks t ON t.builder_id = b.id AND t.state IN ({_UNFINISHED})"
    f" JOIN tasks f ON f.buildset_id = t.buildset_id AND f.result IN ('{Result.FAILURE}', '{Result.EXCEPTION}')"
    f" AND f.state NOT IN ({_UNFINISHED}) JOIN builders fb ON fb.id = f.builder_id ORDER BY f.id"
)
_OTHERS = Statement(
    "SELECT t.id, b.name, t.buildset_id FROM tasks t JOIN builders b ON b.id = t.builder_id"
    f" WHERE t.buildset_id = :id AND t.state IN ({_UNFINISHED}) ORDER BY t.id"
)


def cancel(conn: Connection, tasks: Mapping[int, str], buildsets: Mapping[int, str]) -> list[int]:
    """End those of ``tasks`` and of the tasks of ``buildsets`` (id -> why) that have not come to rest as cancelled.

    The buildsets that have no task left: give them to ``tasks.complete`` as the last thing of the transaction.
    """
    wanted = dict(tasks)
    if buildsets:
        for task, buildset in _TASKS_OF.with_rows(conn, [(i,) for i in sorted(buildsets)]):
            wanted.setdefault(task, buildsets[buildset])
    if not wanted:
        return []
    rows = [(i,) for i in sorted(wanted)]
    found = sorted(_BUILDSETS_OF.with_rows(conn, rows).scalars())
    if found:
        _LOCK_BUILDSETS.with_rows(conn, [(i,) for i in found]).all()
    locked = {row.id: row for row in _LOCK_TASKS.with_rows(conn, rows)}
    mine = {(r.id, r.attempt): Mine(r.buildset_id, r.result, r.properties_json) for r in locked.values()}
    ended = [TaskEnded(r.id, r.attempt, State.CANCELLED, Result.CANCELLED, wanted[r.id]) for r in locked.values()]
    return end_tasks(conn, ended, mine)


def older_than(conn: Connection, builders: Iterable[str], change: int) -> list[UnfinishedTask]:
    """The tasks of these builders that have not come to rest and build nothing as new as that change."""
    return _described(conn, _OLDER.with_rows(conn, [(name,) for name in sorted(builders)], number=change).all())


def unfinished_of(conn: Connection, buildset_id: int) -> list[UnfinishedTask]:
    """The tasks of a buildset that have not come to rest."""
    return _described(conn, _OTHERS(conn, id=buildset_id).all())


def failed(conn: Connection) -> list[FailedTask]:
    """Every failed task of a buildset of which others have not come to rest: as long as there is something to cancel."""
    return [FailedTask(*row) for row in _FAILED(conn)]


def _described(conn: Connection, rows: Sequence[Any]) -> list[UnfinishedTask]:
    stamps = stamps_of(conn, sorted({row.buildset_id for row in rows})) if rows else {}
    return [UnfinishedTask(row.id, row.name, row.buildset_id, tuple(stamps[row.buildset_id])) for row in rows]
