"""``locum buildset``: what was requested, and what became of it."""

from __future__ import annotations

from typing import Any

import click

from ...db import requested
from ...db.database import Database
from ...db.requested import BuildsetLine
from .opening import EVERYTHING, LIMIT, NUMBER, database_command, json_option
from .output import either, fields, iso, moment, say, table, up_to


@click.group()
def buildset() -> None:
    """Buildsets: what schedulers asked for."""


@buildset.command("list")
@click.option("--scheduler", metavar="NAME", help="Only those that this scheduler made.")
@click.option("--limit", default=50, type=LIMIT, show_default=True, help="How many of the newest.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@json_option
@database_command
def buildset_list(database: Database, scheduler: str | None, limit: int, everything: bool, as_json: bool) -> None:
    """The newest buildsets, newest first."""
    limit = EVERYTHING if everything else limit
    found = up_to(limit, database.read(requested.newest, limit + 1, scheduler))
    columns = ("id", "scheduler", "submitted", "due", "changes", "revisions", "tasks", "result", "reason")
    rows = [
        (
            b.id,
            b.scheduler,
            moment(b.submitted_at),
            moment(b.due_at),
            _numbers(b.changes),
            ", ".join(s.revision or s.branch or "-" for s in b.sourcestamps) or "-",
            ", ".join(f"{t.id} {t.builder}: {t.result or t.state}" for t in b.tasks),
            b.result,
            b.reason,
        )
        for b in found
    ]
    either(as_json, lambda: [buildset_json(b) for b in found], lambda: table(columns, rows, "no buildsets yet"))


@buildset.command("show")
@click.argument("number", type=NUMBER)
@json_option
@database_command
def buildset_show(database: Database, number: int, as_json: bool) -> None:
    """One buildset, with its sourcestamps, properties and tasks."""
    found = database.read(requested.one, number)
    either(as_json, lambda: buildset_json(found), lambda: _page(found))


def good(result: str | None) -> bool:
    """Whether a buildset's result counts as success."""
    return result in ("success", "warnings")


def buildset_json(b: BuildsetLine) -> dict[str, Any]:
    """A buildset as JSON has it."""
    return {
        "id": b.id,
        "scheduler": b.scheduler,
        "term": b.term,
        "reason": b.reason,
        "submitted_at": iso(b.submitted_at),
        "due_at": iso(b.due_at),
        "external_id": b.external_id,
        "changes": b.changes,
        "sourcestamps": [
            {
                "id": s.id,
                "codebase": s.codebase,
                "repository": s.repository,
                "branch": s.branch,
                "revision": s.revision,
                "project": s.project,
                "patched": s.patched,
            }
            for s in b.sourcestamps
        ],
        "properties": {name: property_value(pair) for name, pair in b.properties.items()},
        "property_sources": {name: property_source(pair) for name, pair in b.properties.items()},
        "tasks": [{"id": t.id, "builder": t.builder, "state": t.state, "result": t.result} for t in b.tasks],
        "result": b.result,
        "completed_at": iso(b.completed_at),
    }


def property_value(pair: Any) -> Any:
    """The value of a property as the database keeps it, ``[value, source]``."""
    return pair[0] if isinstance(pair, list) and len(pair) == 2 else pair


def property_source(pair: Any) -> str | None:
    """Where a property comes from; None: not said."""
    return str(pair[1]) if isinstance(pair, list) and len(pair) == 2 else None


def _numbers(changes: list[int]) -> str:
    if len(changes) > 4:
        return f"{changes[0]} to {changes[-1]} ({len(changes)})"
    return ", ".join(map(str, changes)) or "-"


def _page(b: BuildsetLine) -> None:
    fields(
        {
            "buildset": b.id,
            "scheduler": b.scheduler,
            "reason": b.reason,
            "submitted": moment(b.submitted_at),
            "due": moment(b.due_at),
            "result": b.result,
            "completed": moment(b.completed_at),
            "changes": _numbers(b.changes),
        }
    )
    for s in b.sourcestamps:
        where = " ".join(filter(None, (s.codebase, s.repository, s.project)))
        say(f"sourcestamp {s.id}: {where or '(no repository)'} branch {s.branch or '-'} revision {s.revision or '-'}")
    for name, pair in b.properties.items():
        say(f"property {name} = {property_value(pair)!r} ({property_source(pair) or 'no source'})")
    for t in b.tasks:
        say(f"task {t.id}: {t.builder}: {t.result or t.state}")
