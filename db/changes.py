"""Changes, numbered in the order in which they commit, so that no reader can skip one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.engine import Connection

from .effects import NewChange
from .sql import Statement
from .stored import Unreadable, read_object, read_texts


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A change as it is kept. Times in microseconds since the epoch. ``fault``: why it cannot be read in full."""

    number: int
    request_id: str
    received_at: int
    when_at: int
    who: str
    committer: str | None
    files: tuple[str, ...]
    comments: str
    branch: str | None
    revision: str | None
    category: str | None
    repository: str
    codebase: str
    project: str
    properties: dict[str, Any]
    revlink: str
    fault: str = ""


_NUMBER = Statement("UPDATE counters SET value = value + :n WHERE name = 'changes' RETURNING value")
_LOCK = Statement("SELECT value FROM counters WHERE name = 'changes' {lock}")
_KNOWN = Statement(
    "SELECT request_id, number FROM changes WHERE request_id IN (SELECT request_id FROM {rows(request_id text)} AS r)"
)
_INSERT = Statement(
    "INSERT INTO changes (number, request_id, received_at, when_at, who, committer, files_json, comments, branch, revision,"
    " category, repository, codebase, project, properties_json, revlink)"
    " SELECT number, request_id, {now}, coalesce(when_at, {now}), who, committer, files_json, comments, branch, revision,"
    " category, repository, codebase, project, properties_json, revlink FROM {rows(number bigint, request_id text,"
    " when_at bigint, who text, committer text, files_json text, comments text, branch text, revision text, category text,"
    " repository text, codebase text, project text, properties_json text, revlink text)} AS r WHERE true"
)
_COLUMNS = (
    "SELECT number, request_id, received_at, when_at, who, committer, files_json, comments, branch, revision, category,"
    " repository, codebase, project, properties_json, revlink FROM changes"
)
_AFTER = Statement(_COLUMNS + " WHERE number > :after ORDER BY number LIMIT :most")
_NEWEST = Statement(_COLUMNS + " ORDER BY number DESC LIMIT :most")
_THESE = Statement(_COLUMNS + " WHERE number IN (SELECT number FROM {rows(number bigint)} AS r) ORDER BY number")
_LAST = Statement("SELECT value FROM counters WHERE name = 'changes'")


def add(conn: Connection, new: Sequence[NewChange]) -> dict[str, int]:
    """Insert changes, in order; {request id: number}, the number it has already for one that was inserted before.

    Holds the changes' commit-order lock until COMMIT: make it the last statement of a transaction.
    """
    if not new:
        return {}
    _LOCK(conn)
    known = {r.request_id: r.number for r in _KNOWN.with_rows(conn, [(c.request_id,) for c in new])}
    fresh = list({c.request_id: c for c in new if c.request_id not in known}.values())
    if fresh:
        number = _NUMBER(conn, n=len(fresh)).scalar_one() - len(fresh)
        rows = []
        for c in fresh:
            number += 1
            known[c.request_id] = number
            rows.append(
                (
                    number,
                    c.request_id,
                    c.when_at,
                    c.who,
                    c.committer,
                    c.files_json,
                    c.comments,
                    c.branch,
                    c.revision,
                    c.category,
                    c.repository,
                    c.codebase,
                    c.project,
                    c.properties_json,
                    c.revlink,
                )
            )
        _INSERT.with_rows(conn, rows)
    return known


def lock_order(conn: Connection) -> int:
    """Take the commit-order lock: no change commits between this and our COMMIT. The newest number."""
    return int(_LOCK(conn).scalar_one())


def last_number(conn: Connection) -> int:
    """The newest committed change's number; 0 if there is none."""
    return int(_LAST(conn).scalar_one())


def after(conn: Connection, number: int, most: int = 500) -> list[ChangeRow]:
    """The changes with a higher number, in order."""
    return [_row(row) for row in _AFTER(conn, after=number, most=most)]


def newest(conn: Connection, most: int) -> list[ChangeRow]:
    """The newest changes, newest first."""
    return [_row(row) for row in _NEWEST(conn, most=most)]


def these(conn: Connection, numbers: Sequence[int]) -> list[ChangeRow]:
    """The changes of these numbers, in order; those that do not exist are left out."""
    return [_row(row) for row in _THESE.with_rows(conn, [(n,) for n in numbers])] if numbers else []


def _row(row: Any) -> ChangeRow:
    fields = list(row)
    fault, files, properties = "", fields[6], fields[14]
    fields[6], fields[14] = (), {}
    try:
        fields[6] = read_texts(files, f"files_json of change {row.number}")
        fields[14] = read_object(properties, f"properties_json of change {row.number}")
    except Unreadable as error:
        fault = str(error)
    return replace(ChangeRow(*fields), fault=fault)
