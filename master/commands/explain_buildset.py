"""Where a buildset came from, and where its tasks are."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from ...db import changes, explaining, requested
from ...db.stored import read_object
from .explaining import Explained, Reader, cause_of, held_by, made_by, tasks_of
from .output import counted, iso


def explain(conn: Connection, number: int, reader: Reader) -> Explained:
    """One buildset. NotFound."""
    line = requested.one(conn, number)
    origin = explaining.origin(conn, number)
    assert origin is not None
    told = Explained({"what": "buildset", "number": number, "result": line.result})
    told.lines.append(f"buildset {number} ({line.result or 'unfinished'}): {line.reason}")
    told.say("made_at", iso(origin.submitted_at), made_by(origin, reader))
    told.value |= {
        "scheduler": origin.scheduler,
        "term": origin.term,
        "turn": origin.turn,
        "master": origin.master,
        "incarnation": origin.incarnation,
    }
    cause, why = cause_of(conn, origin, reader)
    told.say("cause", cause, f"it was made {why}")
    if origin.scheduler_id is not None:
        value, said = held_by(explaining.held_at(conn, origin.scheduler_id, origin.submitted_at), reader)
        told.say("held_by", value, f"when it was made, {said}")
    _say_changes(conn, line.changes, told, reader)
    _say_parent(origin.parent_json, origin.waited_for, told, number)
    tasks, lines = tasks_of(conn, number, reader)
    told.say("tasks", tasks)
    told.lines += lines
    return told


def _say_changes(conn: Connection, numbers: list[int], told: Explained, reader: Reader) -> None:
    told.say("changes", numbers)
    for row in changes.these(conn, numbers[-10:]):
        where = f"branch {row.branch or '(default)'}, revision {row.revision or '-'}"
        told.lines.append(f"change {row.number} by {row.who}, {where}, {reader.at(row.received_at)}")
    if len(numbers) > 10:
        told.lines.append(f"and {counted(len(numbers) - 10, 'earlier change')}")


def _say_parent(parent_json: str | None, waited_for: bool, told: Explained, number: int) -> None:
    if parent_json is None:
        return
    parent: dict[str, Any] = read_object(parent_json, f"parent_json of buildset {number}")
    task = parent.get("parent_buildid")
    if task is not None:
        told.say("parent_task", task, f"task {task} asked for it" + (" and waits for it" if waited_for else ""))
