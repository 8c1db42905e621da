"""Reads what a run has left, and keeps its rows in the run's folder, so that it can be judged again when its database is gone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

from locum.db.database import Database
from sqlalchemy import text
from sqlalchemy.engine import Connection

from .checker_rows import (
    Builder,
    Buildset,
    BuildsetChange,
    Change,
    Classification,
    Counter,
    Execution,
    Failure,
    Histories,
    Master,
    Message,
    Ownership,
    Rows,
    Schedule,
    Scheduler,
    ScheduleSkip,
    Skip,
    State,
    Step,
    Task,
    Timer,
)
from .history import Folder, read

R = TypeVar("R")

_TABLES: dict[str, type[Any]] = {
    "schedulers": Scheduler,
    "ownership": Ownership,
    "masters": Master,
    "buildsets": Buildset,
    "buildset_changes": BuildsetChange,
    "changes": Change,
    "skips": Skip,
    "scheduler_state": State,
    "timers": Timer,
    "classifications": Classification,
    "failures": Failure,
    "messages": Message,
    "builders": Builder,
    "tasks": Task,
    "steps": Step,
    "counters": Counter,
    "schedules": Schedule,
    "executions": Execution,
    "schedule_skips": ScheduleSkip,
}


def rows_of(database: Database) -> Rows:
    """All the rows, once nobody writes any more."""
    return database.read(_rows)


def _rows(conn: Connection) -> Rows:
    return Rows(**{table: _table(conn, table, row) for table, row in _TABLES.items()})


def _table(conn: Connection, table: str, row: type[R]) -> list[R]:
    columns = ", ".join(f.name for f in dataclasses.fields(row))  # type: ignore[arg-type]
    return [row(*found) for found in conn.execute(text(f"SELECT {columns} FROM {table}"))]


def save(rows: Rows, path: Path) -> None:
    """Put them into a file that ``load`` reads."""
    path.write_text(json.dumps({table: [dataclasses.astuple(r) for r in getattr(rows, table)] for table in _TABLES}))


def load(path: Path) -> Rows:
    """What ``save`` has put there."""
    found = json.loads(path.read_text())
    return Rows(**{table: [row(*values) for values in found[table]] for table, row in _TABLES.items()})


def histories(folder: Folder, dialect: str, rows: Rows) -> Histories:
    """With what is in the run's folder."""
    lines = folder.lines.read_text(errors="replace").splitlines() if folder.lines.exists() else []
    return Histories(dialect, rows, read(folder.truth), read(folder.faults), tuple(lines), tuple(_bad_lines(folder)))


_BAD = ("Unhandled", "the committer failed", "Traceback (most recent call last)")


def _bad_lines(folder: Folder) -> list[str]:
    found = []
    for path in sorted(folder.path.glob("*.log")):
        lines = path.read_text(errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            if any(mark in line for mark in _BAD):
                found.append(
                    f"{path.name}:{number}: {line.strip()[:200]}: {' / '.join(lines[number : number + 30])[:1500]}"
                )
    return found
