"""Rows that contract tests start from, made by the same functions that masters use."""

from __future__ import annotations

from locum.db import changes, holding, members, turns
from locum.db.database import Database
from locum.db.effects import Effects, NewChange

PROCESS = members.Process("host", "machine", "boot", 1, 1)


def joined(db: Database, name: str, *, lease_s: float = 60.0, digest: str = "d") -> str:
    """A master that is up; its incarnation is its name."""
    roles = ("schedulers", "tasks")
    new = members.NewMaster(name, name, roles, digest, "0.1.0", PROCESS, int(lease_s * 1e6))
    db.write(members.join, new)
    return name


def registered(db: Database, *names: str, kind: str = "scheduler") -> list[int]:
    """Schedulers' rows; their ids."""
    rows = db.write(holding.register, [(kind, name, "Periodic") for name in names])
    return [rows[kind, name].id for name in names]


def standing_by(db: Database, incarnation: str, *ids: int, digest: str = "d") -> None:
    db.write(holding.stand_by, incarnation, [(i, digest) for i in ids])


def taken(db: Database, incarnation: str, *ids: int) -> dict[int, int]:
    """{id: term} of what ``incarnation`` now holds."""
    standing_by(db, incarnation, *ids)
    return {t.id: t.term for t in db.write(holding.take, incarnation, list(ids), "test")}


def a_change(request_id: str, **fields: str) -> NewChange:
    values = {"who": "ann", "comments": "", "branch": "main", "revision": request_id, "repository": "", **fields}
    return NewChange(
        request_id=request_id,
        files_json="[]",
        category=None,
        codebase="",
        project="",
        properties_json="{}",
        revlink="",
        committer=None,
        when_at=None,
        **values,
    )


def change_numbers(db: Database, *request_ids: str) -> dict[str, int]:
    return db.write(changes.add, [a_change(r) for r in request_ids])


def refused(db: Database, incarnation: str, effects: Effects) -> frozenset[int]:
    """The ids of the schedulers whose turns were not committed, of one try to commit ``effects``."""
    return frozenset(db.write(turns.commit, incarnation, [effects]).refused)


def execute(db: Database, sql: str, **parameters: object) -> list[tuple[object, ...]]:
    """Any statement in a transaction of its own; its rows, if it gives any."""
    from sqlalchemy import text

    def run(conn):
        result = conn.execute(text(sql), parameters)
        return [tuple(row) for row in result] if result.returns_rows else []

    return db.write(run)
