"""What the parts of ``locum explain`` share: how an answer is built, times in the reader's zone, why a buildset was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from ...db import descriptions, explaining, schedules, task_views
from ...db.explaining import Asked, Holding, Origin
from ...db.naming import NotFound
from ...db.stored import Unreadable, read_object
from ...db.task_views import TaskLine
from ...schedulers.describing import read_description, stable_timer
from ...schedulers.overlapping import RUNS
from ...schedulers.timed import TICK
from .output import iso, local_time, span

RECORDED, RECOMPUTED, NOT_RECORDED = "recorded", "recomputed", "not recorded"
"""How an answer is known: it is in the database; worked out now by the real code from what is in it; not at all."""


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom it is told: their zone, and the database's time now."""

    zone: Any
    now: int

    def at(self, us: int | None) -> str:
        """A time in that zone."""
        return "-" if us is None else local_time(us, self.zone)

    def when(self, us: int) -> str:
        """A time, and how far it is from now."""
        return f"{self.at(us)} ({f'in {span(us - self.now)}' if us > self.now else f'{span(self.now - us)} ago'})"


@dataclass(slots=True)
class Explained:
    """An answer: sentences for people, and the same as JSON."""

    value: dict[str, Any]
    lines: list[str] = field(default_factory=list)

    def say(self, key: str, value: Any, line: str | None = None) -> None:
        """Add a fact, and a sentence about it."""
        self.value[key] = value
        if line is not None:
            self.lines.append(line)

    def reason(self, code: str, text: str, how: str = RECORDED) -> None:
        """Add one of the reasons."""
        self.value.setdefault("reasons", []).append({"reason": code, "text": text, "how": how})
        self.lines.append(text if how == RECORDED else f"{text} [{how}]")


def held_by(holding: Holding | None, reader: Reader) -> tuple[dict[str, Any] | None, str]:
    """Who held it, as JSON and as a sentence."""
    if holding is None:
        return None, "nobody had held it yet"
    value = {
        "term": holding.term,
        "master": holding.master,
        "incarnation": holding.incarnation,
        "since": iso(holding.since),
        "until": iso(holding.until),
        "why": holding.why,
    }
    until = "until now" if holding.until is None else f"until {reader.at(holding.until)}"
    who = _who(holding.master, holding.incarnation)
    return (
        value,
        f"{who} held it under term {holding.term}, from {reader.at(holding.since)} {until} (why: {holding.why})",
    )


def _who(master: str | None, incarnation: str | None) -> str:
    if master is not None:
        return f"master {master}"
    return "nobody" if incarnation is None else f"a master that is not known any more (incarnation {incarnation})"


# -- buildsets --------------------------------------------------------------------------------------------------------


def made_by(origin: Origin, reader: Reader) -> str:
    """Who made a buildset, when, under which term."""
    who = _who(origin.master, origin.incarnation)
    turn = "" if origin.term is None else f", in turn {origin.turn} under term {origin.term}"
    return f"made by scheduler {origin.scheduler!r} on {who}{turn}, {reader.when(origin.submitted_at)}"


def cause_of(conn: Connection, origin: Origin, reader: Reader) -> tuple[dict[str, Any], str]:
    """Why a buildset was made: {kind, ...} and a sentence."""
    kind, _, rest = (origin.cause or "").partition(":")
    if kind == "change":
        return {"kind": "change", "change": int(rest)}, f"because change {rest} came"
    if kind == "timer":
        return _timer(conn, origin, rest, reader)
    if kind == "message":
        return _message(conn, int(rest), reader)
    if kind == "finished":
        return _finished(conn, int(rest))
    if kind == "schedule":
        return _schedule(conn, origin, int(rest), reader)
    if kind == "activate":
        return {"kind": "activate"}, "by its activation"
    if origin.scheduler_id is None:
        return {"kind": None}, "by no scheduler"
    return {"kind": "own"}, "by background code of the scheduler itself, in a turn of its own"


def _timer(conn: Connection, origin: Origin, key: str, reader: Reader) -> tuple[dict[str, Any], str]:
    value = {"kind": "timer", "timer": key, "due_at": iso(origin.due_at)}
    if origin.due_at is not None:
        late = span(origin.submitted_at - origin.due_at)
        how = "its time" if key == TICK else "its time, when the run before it had ended,"
        return value, f"for {how} {reader.at(origin.due_at)}, {late} after it"
    if key == RUNS:
        return value, "when the run before it had ended"
    timed = stable_timer(key) if _is_stable(conn, origin.scheduler_id) else f"timer {key!r}"
    return value, f"because its {timed} fired"


def _is_stable(conn: Connection, scheduler_id: int | None) -> bool:
    """Whether a scheduler's timers, as far as is known, are tree-stable ones."""
    try:
        rows = descriptions.newest(conn, scheduler_id)
        about = read_description(rows[scheduler_id].about) if scheduler_id in rows else None
    except (ValueError, Unreadable):
        return False
    return about is not None and about.judgement is not None and about.judgement.reaction == "stable"


def _finished(conn: Connection, number: int) -> tuple[dict[str, Any], str]:
    upstream = explaining.buildset_by_finish(conn, number)
    if upstream is None:
        return {"kind": "finished", "buildset": None}, "because a buildset had completed that is not kept any more"
    value = {"kind": "finished", "buildset": upstream.id, "scheduler": upstream.scheduler}
    return value, f"because buildset {upstream.id} of scheduler {upstream.scheduler!r} had completed: {upstream.result}"


def _message(conn: Connection, number: int, reader: Reader) -> tuple[dict[str, Any], str]:
    asked = explaining.message(conn, number)
    if asked is None:
        return {"kind": "message", "message": number}, f"because of request {number}, which is not kept any more"
    value = {"kind": asked.kind, "message": number, "made_by": asked.made_by, "made_at": iso(asked.made_at)}
    value |= {"body": _body(asked)}
    return value, f"because of {request_text(asked)}, {reader.when(asked.made_at)}"


def request_text(asked: Asked) -> str:
    """What somebody asked for, and who."""
    names = {"run_now": "'run-now'", "backfill": "'backfill'", "force": "'force'", "try": "a try job"}
    body = _body(asked)
    if asked.kind == "trigger":
        return f"a trigger of task {body.get('parent_buildid')}, asked by {asked.made_by}"
    reason = body.get("reason") or body.get("comment")
    said = f" ({reason!r:.200})" if isinstance(reason, str) else ""
    return f"{names.get(asked.kind, asked.kind)}{said}, asked by {asked.made_by}"


def _body(asked: Asked) -> Mapping[str, Any]:
    try:
        return {k: v for k, v in read_object(asked.body_json, "").items() if not k.startswith("patch")}
    except Unreadable:
        return {}


def _schedule(conn: Connection, origin: Origin, number: int, reader: Reader) -> tuple[dict[str, Any], str]:
    value: dict[str, Any] = {"kind": "schedule", "schedule": number}
    try:
        due = schedules.execution(conn, origin.id).due_at
    except NotFound:
        due = None
    found = schedules.these(conn, [number])
    value |= {"name": found[0].name if found else None, "due_at": iso(due)}
    name = str(found[0]) if found else f"schedule {number}, which has been removed"
    return value, f"for the time {reader.at(due)} of {name}" if due is not None else f"for {name}"


def tasks_of(
    conn: Connection, buildset_id: int, reader: Reader, most: int = 200
) -> tuple[list[dict[str, Any]], list[str]]:
    """Where the tasks of a buildset are, as JSON and as sentences."""
    tasks = sorted(task_views.listing(conn, buildset=buildset_id, most=most), key=lambda task: task.id)
    values, lines = [], []
    for task in tasks:
        value, text = _task(conn, task, reader)
        values.append(value | {"text": text})
        lines.append(f"task {task.id} of builder {task.builder!r}: {text}")
    return values, lines


def _task(conn: Connection, task: TaskLine, reader: Reader) -> tuple[dict[str, Any], str]:
    value: dict[str, Any] = {"id": task.id, "builder": task.builder, "state": task.state, "result": task.result}
    value |= {"master": task.master, "status": task.status_line}
    note = f": {task.status_line}" if task.status_line else ""
    if task.state == "queued":
        ahead, running, room = explaining.queue_of(conn, task.id)
        value |= {"ahead": ahead, "running": running, "max_parallel": room}
        why = f"{ahead} go before it, {running} of its builder run" + ("" if room is None else f", {room} may")
        if not explaining.runners(conn):
            why += "; no master with the role 'tasks' is up"
        return value, f"waits since {reader.at(task.submitted_at)}: {why}{note}"
    if task.result is None:
        where = f" on {task.master} since {reader.at(task.started_at)}" if task.started_at is not None else ""
        return value, f"{task.state}{where}{note}"
    where = f" on {task.master}" if task.master else ""
    return value, f"{task.result}{where}, {reader.at(task.finished_at)}{note}"
