"""What is to come: every scheduler with its rule and its place on it, what waits for its alarms, stored schedules."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine import Connection

from . import schedules
from .schedules import ScheduleRow
from .sql import Statement


@dataclass(frozen=True, slots=True)
class TimedRow:
    """A scheduler or change source. ``about_json``: what it is (db/descriptions.py); None: it never was active.

    ``state_json``: the state under the key that was asked for. ``master``: who that is up holds it.
    """

    id: int
    name: str
    kind: str
    enabled: bool
    disabled_why: str | None
    master: str | None
    about_json: str | None
    state_json: str | None
    pending: int
    """changes on its list"""


_TIMED = Statement(
    "SELECT s.id, s.name, s.kind, s.enabled, s.disabled_why, m.name AS master, d.about_json, t.value_json,"
    " coalesce(c.n, 0) AS pending FROM schedulers s"
    " LEFT JOIN masters m ON m.incarnation = s.incarnation AND m.state IN ('up', 'stopping')"
    " LEFT JOIN descriptions d ON d.scheduler_id = s.id"
    " AND d.turn = (SELECT max(e.turn) FROM descriptions e WHERE e.scheduler_id = s.id)"
    " LEFT JOIN scheduler_state t ON t.scheduler_id = s.id AND t.key = :state_key"
    " LEFT JOIN (SELECT scheduler_id, count(*) AS n FROM classifications GROUP BY scheduler_id) c ON c.scheduler_id = s.id"
    " WHERE :id IS NULL OR s.id = :id ORDER BY s.kind, s.name"
)
_FIRING = Statement(
    "SELECT count(*) FROM schedules WHERE next_due IS NOT NULL AND (:until IS NULL OR next_due <= :until)"
)
_PAUSED = Statement("SELECT id FROM schedules WHERE paused AND ended_at IS NULL ORDER BY id LIMIT :most")
_PAUSED_COUNT = Statement("SELECT count(*) FROM schedules WHERE paused AND ended_at IS NULL")


def timed(conn: Connection, state_key: str, scheduler_id: int | None = None) -> list[TimedRow]:
    """All schedulers and change sources, or one, by kind and name; however many, it is one statement."""
    rows = _TIMED(conn, state_key=state_key, id=scheduler_id)
    return [TimedRow(r.id, r.name, r.kind, bool(r.enabled), *r[4:]) for r in rows]


def stored(conn: Connection, until: int | None, most: int) -> tuple[list[ScheduleRow], int]:
    """The stored schedules that fire next (up to ``until``), soonest first, and how many there are beyond ``most``."""
    found = [s for s in schedules.coming(conn, most) if until is None or (s.next_due or 0) <= until]
    beyond = int(_FIRING(conn, until=until).scalar_one()) - len(found) if len(found) == most else 0
    return found, beyond


def paused(conn: Connection, most: int) -> tuple[list[ScheduleRow], int]:
    """Stored schedules that are paused, and how many more there are."""
    found = schedules.these(conn, list(_PAUSED(conn, most=most).scalars()))
    beyond = int(_PAUSED_COUNT(conn).scalar_one()) - len(found) if len(found) == most else 0
    return found, beyond
