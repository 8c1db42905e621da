"""Finding a scheduler or change source by the name that a person or another program gives, and refusing clearly."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from .errors import DatabaseError
from .sql import Statement

KINDS = ("scheduler", "change_source")


class Refused(DatabaseError):
    """What was asked cannot be done as things stand; the text says why, and what to do instead. Nothing was changed."""


class NotFound(Refused):
    """Nothing has that name or number."""


class Disabled(Refused):
    """The scheduler is disabled: it answers nobody until it is enabled again."""


@dataclass(frozen=True, slots=True)
class Named:
    """A scheduler's row, as it is while it is locked."""

    id: int
    kind: str
    name: str
    enabled: bool
    disabled_why: str | None
    incarnation: str | None
    term: int
    change_cursor: int | None
    finished_cursor: int | None

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} '{self.name}'"


_COLUMNS = (
    "SELECT id, kind, name, enabled, disabled_why, incarnation, term, change_cursor, finished_cursor FROM schedulers"
    " WHERE name = :name AND (:kind IS NULL OR kind = :kind) ORDER BY id"
)
_FIND = Statement(_COLUMNS)
_LOCK = Statement(_COLUMNS + " {lock}")
_IS_SCHEDULE = Statement("SELECT count(*) FROM schedules WHERE name = :name AND ended_at IS NULL")
_NAMES = Statement("SELECT name FROM schedulers WHERE :kind IS NULL OR kind = :kind ORDER BY name LIMIT 20000")


def find(conn: Connection, name: str, kind: str | None = None) -> Named:
    """The one scheduler or change source of that name. NotFound: none; Refused: one of each kind, say which."""
    return _the_one(conn, _FIND, name, kind)


def lock(conn: Connection, name: str, kind: str | None = None) -> Named:
    """As ``find``, with the row locked until COMMIT: no turn of it commits meanwhile."""
    return _the_one(conn, _LOCK, name, kind)


def _the_one(conn: Connection, statement: Statement, name: str, kind: str | None) -> Named:
    if not storable(name):
        raise NotFound(f"there is no scheduler named {name!r}")
    rows = [Named(r.id, r.kind, r.name, bool(r.enabled), *r[4:]) for r in statement(conn, name=name, kind=kind)]
    if len(rows) == 1:
        return rows[0]
    if rows:
        raise Refused(f"both a scheduler and a change source are named '{name}'; say which with --kind")
    called = (kind or "scheduler").replace("_", " ")
    if _IS_SCHEDULE(conn, name=name).scalar_one():
        raise NotFound(f"there is no {called} named '{name}', but a stored schedule; did you mean 'locum schedule'?")
    near = difflib.get_close_matches(name, list(_NAMES(conn, kind=kind).scalars()), n=1)
    cure = f"did you mean '{near[0]}'?" if near else "'locum scheduler list' shows those that a master has registered"
    raise NotFound(f"there is no {called} named '{name}'; {cure}")


def storable(text: str) -> bool:
    """Whether both databases can keep ``text``: no NUL character and no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
