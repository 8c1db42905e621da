"""Who changed what by hand, when, and why."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine import Connection

from .sql import Statement


@dataclass(frozen=True, slots=True)
class Entry:
    """One deed; ``at`` in microseconds."""

    id: int
    at: int
    who: str
    action: str
    what: str
    reason: str


_RECORD = Statement("INSERT INTO audit (at, who, action, what, reason) VALUES ({now}, :who, :action, :what, :reason)")
_NEWEST = Statement(
    "SELECT id, at, who, action, what, reason FROM audit WHERE :what IS NULL OR what = :what ORDER BY id DESC LIMIT :most"
)


def record(conn: Connection, who: str, action: str, what: str, reason: str = "") -> None:
    """Note a deed in the transaction that does it. ``what`` names its object: ``scheduler 'quick'``."""
    _RECORD(conn, who=who, action=action, what=what, reason=reason)


def newest(conn: Connection, most: int, what: str | None = None) -> list[Entry]:
    """The newest deeds, newest first; with ``what``, only those on that object."""
    return [Entry(*row) for row in _NEWEST(conn, most=most, what=what)]
