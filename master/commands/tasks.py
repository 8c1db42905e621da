"""``locum task``: what runs, what ran, and its output."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from ...db import task_views
from ...db.database import Database
from ...db.errors import DatabaseAway
from ...db.naming import NotFound
from ...db.task_states import State
from ...db.task_views import LogChunk, ShownTask, StepLine, TaskLine
from .opening import EVERYTHING, LIMIT, NUMBER, database_command, json_option
from .output import clean_output, either, emit_json, emit_json_line, fields, iso, moment, say, table, up_to, warn

_PIECES = 200
_EVERY_S = 0.25


@click.group()
def task() -> None:
    """Tasks: what builders do; their output."""


@task.command("list")
@click.option("--builder", metavar="NAME", help="Only this builder's.")
@click.option("--buildset", type=NUMBER, metavar="ID", help="Only those of this buildset.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in State], case_sensitive=False),
    metavar="STATE",
    help="Only those in this state; may be repeated.",
)
@click.option("--limit", default=50, type=LIMIT, show_default=True, help="How many of the newest.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@json_option
@database_command
def task_list(
    database: Database,
    builder: str | None,
    buildset: int | None,
    states: tuple[str, ...],
    limit: int,
    everything: bool,
    as_json: bool,
) -> None:
    """The newest tasks, newest first."""
    limit = EVERYTHING if everything else limit
    listed = database.read(
        task_views.listing, buildset=buildset, builder=builder, states=list(states) or None, most=limit + 1
    )
    found = up_to(limit, listed)
    columns = ("id", "builder", "buildset", "state", "result", "master", "submitted", "started", "finished", "status")
    rows = [
        (
            *(t.id, t.builder, t.buildset_id, t.state, t.result, t.master),
            *(moment(t.submitted_at), moment(t.started_at), moment(t.finished_at), t.status_line),
        )
        for t in found
    ]
    either(as_json, lambda: [task_json(t) for t in found], lambda: table(columns, rows, "no tasks yet"))


@task.command("show")
@click.argument("number", type=NUMBER)
@json_option
@database_command
def task_show(database: Database, number: int, as_json: bool) -> None:
    """One task, with its properties and steps."""
    found = _find(database, number)
    if as_json:
        steps = [_step_json(s) for s in found.steps]
        properties = found.properties
        more = {"scheduler": found.scheduler, "reason": found.reason, "properties": properties, "steps": steps}
        emit_json({**task_json(found.task), **more})
        return
    t = found.task
    fields(
        {
            **{"task": t.id, "builder": t.builder, "buildset": t.buildset_id, "scheduler": found.scheduler},
            **{"reason": found.reason, "state": t.state, "result": t.result, "master": t.master, "attempt": t.attempt},
            **{"submitted": moment(t.submitted_at), "started": moment(t.started_at)},
            **{"finished": moment(t.finished_at), "status": t.status_line or None},
        }
    )
    for name, value in found.properties.items():
        say(f"property {name} = {value!r}")
    for s in found.steps:
        ended = f", exit code {s.exit_code}" if s.exit_code is not None else ""
        say(f"attempt {s.attempt}, step {s.number} {s.name}: {s.state}{ended}{': ' + s.why if s.why else ''}")


@task.command("log")
@click.argument("number", type=NUMBER, required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the task has ended.")
@click.option("--attempt", type=click.IntRange(0, 2**31 - 1), help="Of this attempt. Default: the last.")
@click.option("--step", type=click.IntRange(0, 2**31 - 1), help="Of this step only.")
@json_option
@database_command
def task_log(
    database: Database, number: int | None, follow: bool, attempt: int | None, step: int | None, as_json: bool
) -> None:
    """The output of a task's commands.

    Without NUMBER: of the newest task that has begun. With --json one object a line, as it comes.
    """
    if number is None:
        number = _newest_begun(database)
    for chunk, headline in _chunks(database, number, attempt, step, follow):
        if as_json:
            pieces = {"attempt": chunk.attempt, "step": chunk.step, "sequence": chunk.sequence}
            emit_json_line({**pieces, "at": iso(chunk.at), "text": chunk.text})
            continue
        if headline and step is None:
            say(headline)
        click.echo(clean_output(chunk.text) if sys.stdout.isatty() else chunk.text, nl=False)


def _chunks(
    database: Database, number: int, attempt: int | None, only: int | None, follow: bool
) -> Iterator[tuple[LogChunk, str | None]]:
    """The output in order; with each first piece of a step, its headline."""
    shown = _find(database, number)
    at = (attempt if attempt is not None else shown.task.attempt, -1 if only is None else only, -1)
    headed: tuple[int, int] | None = None
    while True:
        found = _patiently(database, task_views.log_after, follow, number, *at, _PIECES)
        for chunk in found:
            if only is not None and chunk.step != only:
                return
            step = (chunk.attempt, chunk.step)
            if headed != step and not any((s.attempt, s.number) == step for s in shown.steps):
                shown = _patiently(database, task_views.show, follow, number) or shown
            yield chunk, _headline(shown, chunk) if headed != step else None
            headed = step
            at = (chunk.attempt, chunk.step, chunk.sequence)
        if found:
            continue
        if not follow or (shown.task.finished_at is not None and shown.task.attempt <= at[0]):
            return
        time.sleep(_EVERY_S)
        shown = _patiently(database, task_views.show, follow, number) or shown
        if attempt is None and shown.task.attempt > at[0]:
            warn(f"task {number} was started again: attempt {shown.task.attempt}")
            at = (shown.task.attempt, -1, -1)
        sys.stdout.flush()


def _patiently(database: Database, ask: Any, follow: bool, *args: Any) -> Any:
    """The answer; while following, an outage of the database is waited through."""
    while True:
        try:
            return database.read(ask, *args)
        except DatabaseAway:
            if not follow:
                raise
            time.sleep(1.0)


def _headline(shown: ShownTask, chunk: LogChunk) -> str:
    name = next((s.name for s in shown.steps if (s.attempt, s.number) == (chunk.attempt, chunk.step)), "")
    return f"--- attempt {chunk.attempt}, step {chunk.step} {name}".rstrip()


def _newest_begun(database: Database) -> int:
    begun = [(t.started_at, t.id) for t in database.read(task_views.listing) if t.started_at is not None]
    if not begun:
        raise NotFound("no task has begun yet; 'locum task list' shows those that there are")
    return max(begun)[1]


def _find(database: Database, number: int) -> ShownTask:
    found = database.read(task_views.show, number)
    if found is None:
        raise NotFound(f"there is no task {number}; 'locum task list' shows those that there are")
    return found


def task_json(t: TaskLine) -> dict[str, Any]:
    """A task as JSON has it."""
    return {
        "id": t.id,
        "builder": t.builder,
        "buildset": t.buildset_id,
        "state": t.state,
        "result": t.result,
        "priority": t.priority,
        "attempt": t.attempt,
        "master": t.master,
        "submitted_at": iso(t.submitted_at),
        "started_at": iso(t.started_at),
        "finished_at": iso(t.finished_at),
        "status_line": t.status_line,
    }


def _step_json(s: StepLine) -> dict[str, Any]:
    return {
        "attempt": s.attempt,
        "number": s.number,
        "name": s.name,
        "state": s.state,
        "started_at": iso(s.started_at),
        "finished_at": iso(s.finished_at),
        "exit_code": s.exit_code,
        "why": s.why,
    }
