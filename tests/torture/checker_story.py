"""A run in which nothing is wrong, as values; and ways to make it wrong. What the checker's own tests begin with.

Two masters, m1 and m2, a minute of load in which m1 is killed (its heir joins), a quiet time, the end. Times are seconds of
the story; rows and events hold them on top of ``T0``.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

from locum.db.crash_hint import LET_GO

from . import checker_rows as rows
from .checker_rows import Histories, Rows
from .history import (
    ChangeAnswered,
    ChangeAsked,
    Configured,
    Event,
    Events,
    FaultBegan,
    FaultEnded,
    Leftovers,
    MasterBegan,
    MasterEnded,
    OrderAnswered,
    OrderAsked,
    Phase,
    Resources,
    Seen,
)

T0 = 1_800_000_000
KILLED, QUIET, STOPPING, STOPPED = 30.0, 70.0, 130.0, 135.0
PERIOD = 10
ENTRIES: dict[str, dict[str, Any]] = {
    "quick": {"type": "SingleBranchScheduler", "branch": "main"},
    "stable": {"type": "SingleBranchScheduler", "branch": "main", "treeStableTimer": 2},
    "count": {"type": "plugin.Counting", "branch": "main"},
    "gather": {"type": "plugin.Gathering", "branch": "main", "seconds": 3},
    "all": {"type": "Periodic", "periodicBuildTimer": PERIOD, "catch_up": "all"},
    "one": {"type": "Periodic", "periodicBuildTimer": PERIOD, "catch_up": "one"},
    "none": {"type": "Periodic", "periodicBuildTimer": PERIOD, "catch_up": "none"},
    "beat": {"type": "plugin.Ticking", "seconds": PERIOD},
    "after": {"type": "plugin.Following", "upstream": "count"},
    "toggle": {"type": "SingleBranchScheduler", "branch": "main"},
}
FIRST, HEIR, OTHER = "inc-1", "inc-1b", "inc-2"


def at(seconds: float) -> int:
    """A moment of the story in microseconds."""
    return round((T0 + seconds) * 1e6)


class Story:
    """Rows and events that are added one by one, in the order in which a good product would have made them."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Any]] = {field.name: [] for field in dataclasses.fields(Rows)}
        self.truth: list[Event] = []
        self.faults: list[Event] = []
        self.lines: list[str] = []
        self._ids = itertools.count(1)
        self._turns: dict[int, int] = {}
        self._finished = itertools.count(1)
        self._owner: dict[int, rows.Ownership] = {}

    def add(self, table: str, row: Any) -> Any:
        self.tables[table].append(row)
        return row

    def tell(self, event: Event) -> None:
        self.truth.append(dataclasses.replace(event, at=T0 + event.at))

    def scheduler(self, name: str, **fields: Any) -> int:
        number = len(self.tables["schedulers"]) + 1
        values: dict[str, Any] = {
            "change_start": None,
            "change_cursor": None,
            "finished_start": None,
            "finished_cursor": None,
        }
        row = rows.Scheduler(
            id=number, kind="scheduler", name=name, enabled=True, disabled_why=None, incarnation=None, term=0, turns=0,
            **{**values, **fields},
        )  # fmt: skip
        self.add("schedulers", row)
        self._turns[number] = 0
        return number

    def owner(self, scheduler: int, incarnation: str | None, when: float, why: str = "nobody held it") -> None:
        """It changes hands."""
        term = self._owner[scheduler].term + 1 if scheduler in self._owner else 1
        row = rows.Ownership(scheduler, term, incarnation, at(when), self._turns[scheduler], why)
        self._owner[scheduler] = self.add("ownership", row)

    def turn(self, scheduler: int) -> int:
        """One more turn of it is committed; its number."""
        self._turns[scheduler] += 1
        return self._turns[scheduler]

    def buildset(self, scheduler: int, when: float, changes: tuple[int, ...] = (), **fields: Any) -> int:
        """A turn that asks for work, which is done at once."""
        number, owner = next(self._ids), self._owner[scheduler]
        values: dict[str, Any] = {"turn": fields.pop("turn", None) or self.turn(scheduler), "reason": "because"}
        values |= {"due_at": None, "external_id": None, **fields}
        self.add(
            "buildsets",
            rows.Buildset(
                id=number, scheduler_id=scheduler, term=owner.term, incarnation=owner.incarnation,
                submitted_at=at(when), tasks_left=0, result="success", completed_at=at(when + 0.2),
                finished_number=next(self._finished), **values,
            ),
        )  # fmt: skip
        for change in changes:
            self.add("buildset_changes", rows.BuildsetChange(number, change))
        self.add(
            "tasks", rows.Task(number, number, 1, "executed", "success", 1, at(when), at(when + 0.1), at(when + 0.2))
        )
        self.add("steps", rows.Step(number, 1, 0, "done", at(when + 0.1), at(when + 0.2)))
        self.lines.append(f"{number} unit {at(when + 0.15) * 1000}")
        return number

    def state(self, scheduler: int, key: str, value: Any) -> None:
        """What its newest turn has set."""
        owner = self._owner[scheduler]
        row = rows.State(scheduler, key, json.dumps(value), owner.term, self._turns[scheduler])
        self.add("scheduler_state", row)

    def skip(
        self, scheduler: int, what: str, first: int, last: int, count: int, reason: str, when: float, turn: Any
    ) -> None:
        term = None if turn is None else self._owner[scheduler].term
        number = len(self.tables["skips"]) + 1
        self.add("skips", rows.Skip(number, scheduler, what, first, last, count, reason, at(when), term, turn))

    def histories(self) -> Histories:
        """All of it, the schedulers' rows as their histories end."""
        ended = []
        for s in self.tables["schedulers"]:
            owner = self._owner[s.id]
            ended.append(
                dataclasses.replace(s, term=owner.term, incarnation=owner.incarnation, turns=self._turns[s.id])
            )
        counters = [
            rows.Counter("changes", len(self.tables["changes"])),
            rows.Counter("finished", len(self.tables["buildsets"])),
        ]
        found = Rows(**{**self.tables, "schedulers": ended, "counters": counters})
        return Histories("postgresql", found, Events(tuple(self.truth)), Events(tuple(self.faults)), tuple(self.lines))


def right() -> Histories:
    """A run in which nothing is wrong."""
    story = Story()
    _masters(story)
    _changes(story)
    for name in ENTRIES:
        number = story.scheduler(name, **_begun(name))
        story.owner(number, FIRST, 1)
        _MADE[name](story, number)
        story.owner(number, None, STOPPING + 1, "it was stopped")
    _looks(story)
    story.truth.sort(key=lambda event: event.at)
    return story.histories()


def _begun(name: str) -> Mapping[str, int]:
    if name == "after":
        return {"finished_start": 0, "finished_cursor": 10_000}
    consumes = {"quick", "stable", "count", "gather", "toggle"}
    return {"change_start": 0, "change_cursor": 5} if name in consumes else {}


def _masters(story: Story) -> None:
    lost = rows.Master(FIRST, "m1", "lost", 11, at(KILLED + 2), at(0), at(KILLED + 0.1), LET_GO)
    heir = rows.Master(HEIR, "m1", "stopped", 12, at(STOPPED), at(KILLED + 3), at(STOPPED - 1), "it was stopped")
    other = rows.Master(OTHER, "m2", "stopped", 21, at(STOPPED), at(0), at(STOPPED - 1), "it was stopped")
    story.tables["masters"] += [lost, heir, other]
    story.tables["builders"].append(rows.Builder(1, "unit", 8, "fail"))
    entries = {name: {"name": name, "builderNames": ["unit"], **entry} for name, entry in ENTRIES.items()}
    for master in ("m1", "m2"):
        story.tell(Configured(-1, master, 0, entries, {"unit": {}}))
        story.tell(Resources(8, master, 11, "calm", 10, 20, 0, 8))
        story.tell(Resources(STOPPING - 1, master, 12, "quiet", 11, 22, 1, 8))
    for when, phase in ((0, "calm"), (9, "load"), (QUIET, "quiet"), (STOPPING, "stopping"), (STOPPED, "stopped")):
        story.tell(Phase(when, phase))
    story.tell(MasterBegan(0, "m1", 11))
    story.tell(MasterBegan(0, "m2", 21))
    story.tell(MasterEnded(KILLED + 0.2, "m1", 11, -9))
    story.tell(MasterBegan(KILLED + 2, "m1", 12))
    story.tell(MasterEnded(STOPPED - 0.5, "m1", 12, 0))
    story.tell(MasterEnded(STOPPED - 0.5, "m2", 21, 0))
    story.tell(Leftovers(STOPPED + 1, [], ["m1.yaml", "m1.log", "work"], []))
    story.faults.append(FaultBegan(T0 + KILLED, 1, "kill", "m1", {}))
    story.faults.append(FaultEnded(T0 + KILLED + 2, 1, "kill", "m1", {}))


_CAME = {1: 12.0, 2: 20.0, 3: 42.0, 4: 45.0, 5: 60.0}
"""Changes and when they came; the third is of another branch."""
_WANTED = {number: when for number, when in _CAME.items() if number != 3}


def _changes(story: Story) -> None:
    for number, when in _CAME.items():
        request, branch = f"ann-{number}", "other" if number == 3 else "main"
        story.add("changes", rows.Change(number, request, at(when), branch, "code", '["src/a.c"]'))
        story.tell(ChangeAsked(when - 0.1, request, "ann", {"branch": branch}))
        story.tell(ChangeAnswered(when + 0.1, request, "yes", number))


def _taken_over(story: Story, number: int, when: float) -> None:
    """At the first moment after the kill m2 has it."""
    if when > KILLED and story._owner[number].incarnation == FIRST:
        story.owner(number, OTHER, KILLED + 0.2)


def _quick(story: Story, number: int) -> None:
    story.turn(number)  # activate
    for change, when in _WANTED.items():
        _taken_over(story, number, when)
        story.buildset(number, when + 0.1, (change,))


def _stable(story: Story, number: int) -> None:
    story.turn(number)
    for changes, when in (((1,), 14.1), ((2,), 22.1), ((4,), 47.1), ((5,), 62.1)):
        _taken_over(story, number, when)
        story.buildset(number, when, changes)


def _count(story: Story, number: int) -> None:
    story.turn(number)
    for count, (change, when) in enumerate(_WANTED.items(), 1):
        _taken_over(story, number, when)
        story.buildset(number, when + 0.1, (change,), reason=f"number {count}")
    story.state(number, "count", len(_WANTED))


def _gather(story: Story, number: int) -> None:
    story.turn(number)
    for count, (changes, when) in enumerate((((1,), 15.1), ((2,), 23.1), ((4,), 48.1), ((5,), 63.1)), 1):
        _taken_over(story, number, when)
        story.buildset(number, when, changes, reason=f"number {count}")
    story.state(number, "waiting", [])
    story.state(number, "count", 4)


def _ticks(story: Story, number: int, missed: Mapping[int, str]) -> None:
    """Due at 2, 12, 22, ...; ``missed``: those that were skipped with the next one, and why."""
    story.turn(number)
    anchor = at(2)
    for n, when in enumerate(range(2, int(STOPPING), PERIOD)):
        _taken_over(story, number, when)
        if n in missed:
            story.skip(number, "ticks", at(when), at(when), 1, missed[n], when + PERIOD, story._turns[number] + 1)
        else:
            story.buildset(number, when + 0.05, due_at=at(when))
    story.state(
        number, "ticks", {"rule": ["periodic", PERIOD * 10**6], "anchor": anchor, "examined": at(STOPPING - 8) + 1}
    )
    story.add("timers", rows.Timer(number, "tick", at(STOPPING + 2)))


def _all(story: Story, number: int) -> None:
    _ticks(story, number, {})


def _one(story: Story, number: int) -> None:
    _ticks(story, number, {4: "catch_up one: only the newest of the times that came due together is served"})


def _none(story: Story, number: int) -> None:
    _ticks(story, number, {4: "catch_up none: it came due while nobody could act"})


def _beat(story: Story, number: int) -> None:
    from datetime import UTC, datetime

    for count, when in enumerate(range(3, int(STOPPING), PERIOD), 1):
        _taken_over(story, number, when)
        due = datetime.fromtimestamp(T0 + when, UTC).isoformat()
        story.buildset(number, when + 0.1, reason=f"number {count}", external_id=f"beat-{due}")
    story.state(number, "count", count)
    story.add("timers", rows.Timer(number, "beat", at(STOPPING + 3)))


def _after(story: Story, number: int) -> None:
    followed = [b for b in story.tables["buildsets"] if b.scheduler_id == 3]
    for count, b in enumerate(followed, 1):
        when = b.completed_at / 1e6 - T0 + 0.1
        _taken_over(story, number, when)
        story.buildset(number, when, reason=f"number {count}", external_id=f"after-{b.id}")
    story.state(number, "count", len(followed))


def _toggle(story: Story, number: int) -> None:
    """Disabled from 40 to 50: changes 3 and 4 are not for it."""
    story.turn(number)
    story.buildset(number, 12.1, (1,))
    story.buildset(number, 20.1, (2,))
    story.owner(number, OTHER, KILLED + 0.2)
    story.turn(number)
    story.tell(OrderAsked(40, "o1", "disable", "toggle", {}))
    story.owner(number, None, 40.1, "disabled by ann")
    story.tell(OrderAnswered(40.2, "o1", "yes", "", {}))
    story.tell(OrderAsked(50, "o2", "enable", "toggle", {}))
    story.owner(number, None, 50.1, "enabled by ann")
    story.skip(number, "changes", 3, 4, 2, "disabled", 50.1, None)
    story.tell(OrderAnswered(50.2, "o2", "yes", "", {}))
    story.owner(number, OTHER, 50.3)
    story.buildset(number, 60.1, (5,))
    story.tell(OrderAsked(64, "o3", "force", "toggle", {"key": "force-1"}))
    forced = story.buildset(number, 65, reason="force-1")
    story.tell(OrderAnswered(65.2, "o3", "yes", "", {"buildset": forced}))
    answer = json.dumps({"buildset": forced})
    story.add("messages", rows.Message(1, number, "force-1", at(64.1), at(65), answer))


_MADE: dict[str, Callable[[Story, int], None]] = {
    "quick": _quick,
    "stable": _stable,
    "count": _count,
    "gather": _gather,
    "all": _all,
    "one": _one,
    "none": _none,
    "beat": _beat,
    "after": _after,
    "toggle": _toggle,
}


def _looks(story: Story) -> None:
    """What somebody saw who looked at 9, 45 and just before the end."""
    for when in (9.0, 45.0, STOPPING - 0.5):
        seen = {}
        for s in story.tables["schedulers"]:
            owner = [o for o in story.tables["ownership"] if o.scheduler_id == s.id and o.since <= at(when)][-1]
            made = [b.turn for b in story.tables["buildsets"] if b.scheduler_id == s.id and b.submitted_at <= at(when)]
            seen[s.name] = {
                "enabled": not owner.why.startswith("disabled"),
                "incarnation": owner.incarnation,
                "term": owner.term,
                "turns": max([owner.turns, *made]),
                "change_cursor": s.change_start and 0,
                "state": {},
            }
        story.tell(Seen(when, T0 + when + 0.01, seen))


# -- ways to be wrong ------------------------------------------------------------------------------------------------------

Where = Callable[[Any], bool]


def with_rows(h: Histories, **tables: Any) -> Histories:
    """The same, with other tables."""
    return dataclasses.replace(h, rows=dataclasses.replace(h.rows, **tables))


def altered(h: Histories, table: str, where: Where, **fields: Any) -> Histories:
    """Rows for which ``where`` says yes get other values (a function of the row, or a value)."""
    found = []
    hits = 0
    for row in getattr(h.rows, table):
        if where(row):
            hits += 1
            row = dataclasses.replace(row, **{k: v(row) if callable(v) else v for k, v in fields.items()})
        found.append(row)
    assert hits, f"no row of {table} to alter"
    return with_rows(h, **{table: found})


def without(h: Histories, table: str, where: Where) -> Histories:
    """Rows are gone."""
    kept = [row for row in getattr(h.rows, table) if not where(row)]
    assert len(kept) < len(getattr(h.rows, table)), f"no row of {table} to take away"
    return with_rows(h, **{table: kept})


def also(h: Histories, table: str, *new: Any) -> Histories:
    """More rows."""
    return with_rows(h, **{table: [*getattr(h.rows, table), *new]})


def told(h: Histories, *events: Event) -> Histories:
    """More ground truth, in the order of its time."""
    every = sorted((*h.truth.all, *(dataclasses.replace(e, at=T0 + e.at) for e in events)), key=lambda e: e.at)
    return dataclasses.replace(h, truth=Events(tuple(every)))


def retold(h: Histories, kind: type[Event], where: Where, **fields: Any) -> Histories:
    """Events with other values."""
    hits = [e for e in h.truth.all if isinstance(e, kind) and where(e)]
    assert hits, f"no {kind.__name__} to retell"

    def one(e: Any) -> Event:
        new: Event = dataclasses.replace(e, **{k: v(e) if callable(v) else v for k, v in fields.items()})
        return new

    return dataclasses.replace(h, truth=Events(tuple(one(e) if e in hits else e for e in h.truth.all)))
