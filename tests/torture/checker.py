"""Judges a run by what it has left: every promise as an invariant over the histories of the database and of the truth.

``check(folder, url)`` is all that the chamber needs; each invariant is a pure function, so that its tests can hand it
histories that are wrong in every way that it claims to see.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from locum.db.database import Database
from locum.db.urls import DatabaseUrl
from locum.tests.support.cluster import CLOCKS

from . import (
    invariants_cancelled,
    invariants_changes,
    invariants_family,
    invariants_ownership,
    invariants_schedules,
    invariants_settled,
    invariants_state,
    invariants_tasks,
    invariants_ticks,
    invariants_timing,
)
from .checker_reading import histories, load, rows_of, save
from .checker_rows import Histories
from .history import Event, Folder, Resources, Seen
from .invariants import Found, Invariant

AROUND_S = 3.0
EVENTS_SHOWN = 12
EACH_AT_MOST = 20

INVARIANTS: tuple[Invariant, ...] = (
    *invariants_ownership.ALL,
    *invariants_changes.ALL,
    *invariants_ticks.ALL,
    *invariants_state.ALL,
    *invariants_tasks.ALL,
    *invariants_cancelled.ALL,
    *invariants_family.ALL,
    *invariants_schedules.ALL,
    *invariants_settled.ALL,
    *invariants_timing.ALL,
)


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that was not kept: which invariant, what was seen, and the events around it (if it has a moment)."""

    invariant: str
    what: str
    at: float | None
    around: tuple[str, ...]

    def __str__(self) -> str:
        when = "" if self.at is None else f" at {self.at:.3f}"
        return "\n".join((f"{self.invariant}: {self.what}{when}", *(f"    {line}" for line in self.around)))


def check(folder: Folder, url: str | None = None) -> list[Broken]:
    """All that is broken in a run, the earliest first.

    The database's rows are kept in the folder, from where they are read again if no URL is given.
    """
    return judged(look_at(folder, url))


def look_at(folder: Folder, url: str | None = None) -> Histories:
    """What a run has left, for ``judged``."""
    kept, dialect = folder.path / "rows.json", folder.path / "rows.dialect"
    if url is not None:
        database = Database(DatabaseUrl.parse(url, folder.path), clocks=CLOCKS, label="checker", pool_size=1)
        try:
            save(rows_of(database), kept)
        finally:
            database.close()
        dialect.write_text(database.dialect)
    return histories(folder, dialect.read_text(), load(kept))


def judged(h: Histories, invariants: Iterable[Invariant] = INVARIANTS) -> list[Broken]:
    """All that is broken, the earliest first; of each invariant at most twenty."""
    found = [(invariant, one) for invariant in invariants for one in _some(invariant(h))]
    found.sort(key=lambda pair: pair[1].at_us or float("inf"))
    events = h.events()
    return [_told(invariant.__name__, one, events) for invariant, one in found]


def _some(found: Iterator[Found]) -> Iterator[Found]:
    for number, one in enumerate(found, 1):
        yield one
        if number == EACH_AT_MOST:
            yield Found(f"and more, of which {EACH_AT_MOST} are listed", one.at_us)
            return


def _told(invariant: str, one: Found, events: list[Event]) -> Broken:
    if one.at_us is None:
        return Broken(invariant, one.what, None, ())
    at = one.at_us / 1e6
    near = [e for e in events if abs(e.at - at) <= AROUND_S and not isinstance(e, (Seen, Resources))]
    near.sort(key=lambda e: abs(e.at - at))
    return Broken(invariant, one.what, at, tuple(_line(e, at) for e in sorted(near[:EVENTS_SHOWN], key=lambda e: e.at)))


def _line(event: Event, at: float) -> str:
    fields = {f.name: getattr(event, f.name) for f in dataclasses.fields(event) if f.name != "at"}
    told = " ".join(f"{name}={str(value)[:120]}" for name, value in fields.items() if value not in ("", {}, None))
    return f"{event.at - at:+.3f} s {type(event).__name__} {told}"
