"""Rows that tests start from: incarnations, builders, buildsets with tasks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from locum.db import members, turns
from locum.db.builders import register_builders
from locum.db.database import Database
from locum.db.effects import Effects, NewBuildset, Stamp, to_json
from sqlalchemy import text
from sqlalchemy.engine import Connection

PROCESS = members.Process("host", "machine", "boot", 1, 1)


def join(db: Database, incarnation: str, process: members.Process = PROCESS, old: str | None = None) -> str:
    """An incarnation that is up."""
    new = members.NewMaster(incarnation, f"name-{incarnation}", ("tasks",), "digest", "1", process, 10_000_000)
    db.write(members.join, new, *([old] if old else []))
    return incarnation


def end(db: Database, incarnation: str, state: str = "lost") -> None:
    """An incarnation that is up no more."""
    db.write(_execute, "UPDATE masters SET state = :s WHERE incarnation = :i", {"s": state, "i": incarnation})


def execute(db: Database, sql: str, **values: Any) -> list[Any]:
    """The rows of one statement, committed."""
    return db.write(_execute, sql, values)


def _execute(conn: Connection, sql: str, values: dict[str, Any]) -> list[Any]:
    result = conn.execute(text(sql), values)
    return list(result) if result.returns_rows else []


def builder(db: Database, name: str, max_parallel: int | None = None, on_lost: str = "fail") -> int:
    """The id of a builder."""
    return db.write(register_builders, [(name, max_parallel, on_lost, "auto")])[name]


_external = itertools.count(1)


def buildset(
    db: Database,
    builder_ids: Sequence[int],
    *,
    priority: int = 0,
    properties: dict[str, Any] | None = None,
    stamps: Sequence[Stamp] = (),
    changes: Sequence[int] = (),
) -> tuple[int, list[int]]:
    """(buildset id, its tasks' ids), made by a committed turn of a scheduler."""
    execute(
        db,
        "INSERT INTO schedulers (id, kind, name, type, incarnation, term) VALUES (1, 'scheduler', 'quick', 'X', 'owner', 1)"
        " ON CONFLICT (id) DO NOTHING",
    )
    db.write(turns.add_stamps, stamps)
    number = db.single(turns.reserve, "buildsets", 1)[0]
    tasks = list(db.single(turns.reserve, "tasks", len(builder_ids)))
    new = NewBuildset(
        id=number,
        scheduler="quick",
        reason="a test",
        properties_json=to_json({name: (value, "a test") for name, value in (properties or {}).items()}),
        stamps=tuple(stamps),
        tasks=tuple((task, b, priority) for task, b in zip(tasks, builder_ids, strict=True)),
        changes=tuple(changes),
    )
    assert not db.write(turns.commit, "owner", [Effects(1, 1, buildsets=[new])]).refused
    return number, tasks
