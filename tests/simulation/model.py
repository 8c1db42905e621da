"""What must be true of the database after every transaction, worked out apart from the code that is tested.

The model sees each call that may have written, reads the rows by a connection of its own, and compares with what the
promises allow: P1 terms and holders, P2 the fence, P3 changes, P4 ticks, P5 state.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from locum.db.effects import Effects
from locum.db.turns import Committed, commit

from .load import DISABLED, FLAKY, IMMEDIATE, PERIODS_US, STABLE
from .world import Call, Violation, World

LATE_US = 3_000_000


@dataclass(slots=True)
class Row:
    """A scheduler's row."""

    id: int
    name: str
    enabled: bool
    incarnation: str | None
    term: int
    active_since: int | None
    cursor: int | None
    turns: int


@dataclass(slots=True)
class Known:
    """What is known of a scheduler from its committed turns alone."""

    begun: int | None = None
    pending: dict[int, str] = field(default_factory=dict)
    built: set[int] = field(default_factory=set)
    examined: int | None = None
    anchor: int = 0
    turns: int = 0
    answers: int = 0
    buildsets: set[int] = field(default_factory=set)
    passed: list[tuple[int, int]] = field(default_factory=list)


class Model:
    """The checker. ``Violation`` says which promise was broken, and how."""

    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        self.raw = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
        self.rows: dict[int, Row] = {}
        self.known: dict[int, Known] = {}
        self.branches: list[str] = []
        """of change number n at n - 1"""
        self.received: list[int] = []
        self.lost: set[str] = set()
        self.commits = 0
        self.jumped = False
        world.on_performed = self.performed

    # -- after each call ----------------------------------------------------------------------------------------------

    def performed(self, call: Call | None, what: Callable[..., Any], args: tuple[Any, ...], result: Any) -> None:
        """A call of ``what`` may have changed the database."""
        before, self.rows = self.rows, self._read_rows()
        self._check_p1(before)
        if call is not None and args:
            self._check_hands(before, args[0])
        accepted: list[Effects] = []
        if what.__name__ == commit.__name__ and what.__module__ == commit.__module__:
            if isinstance(result, Committed):
                accepted = [e for e in args[1] if e.scheduler_id not in result.refused]
            for effects in accepted:
                self._check_commit(args[0], effects, before[effects.scheduler_id])
        self._check_cursors(before, {e.scheduler_id for e in accepted})
        self._check_lost()

    def _read_rows(self) -> dict[int, Row]:
        return {
            r[0]: Row(r[0], r[1], bool(r[2]), *r[3:])
            for r in self.raw.execute(
                "SELECT id, name, enabled, incarnation, term, active_since, change_cursor, turns FROM schedulers"
            )
        }

    def _check_p1(self, before: dict[int, Row]) -> None:
        for i, row in self.rows.items():
            old = before.get(i)
            if old is None:
                self.known[i] = Known()
                continue
            if row.term != old.term or row.incarnation != old.incarnation:
                self.world.note(f"    {row.name}: term {row.term}, held by {row.incarnation}")
            if row.term < old.term:
                raise Violation(f"P1: the term of {row.name} fell from {old.term} to {row.term}")
            if (row.incarnation, row.enabled) != (old.incarnation, old.enabled) and row.term == old.term:
                raise Violation(f"P1: {row.name} changed hands within term {row.term}")
            if row.incarnation is not None and not row.enabled:
                raise Violation(f"P1: {row.name} is disabled, and yet held")

    def _check_hands(self, before: dict[int, Row], me: str) -> None:
        """A master gives up only what it holds, and takes only what nobody alive does."""
        for i, old in before.items():
            new = self.rows[i]
            if old.incarnation is None or (new.incarnation, new.term) == (old.incarnation, old.term):
                continue
            if new.incarnation is None and old.incarnation != me:
                raise Violation(f"P1: {me} gave up {old.name}, which {old.incarnation} held under term {old.term}")
            if new.incarnation != old.incarnation and new.incarnation is not None:
                found = self.raw.execute(
                    "SELECT state FROM masters WHERE incarnation = ?", (old.incarnation,)
                ).fetchone()
                if found[0] not in ("lost", "stopped"):
                    raise Violation(f"P1: {me} took {old.name} from {old.incarnation}, which is {found[0]}")

    def _check_lost(self) -> None:
        found = dict(
            self.raw.execute("SELECT incarnation, coalesce(ended_why, '') FROM masters WHERE state = 'lost'").fetchall()
        )
        for incarnation, why in found.items():
            if incarnation in self.lost:
                continue
            self.lost.add(incarnation)
            self.world.note(f"    incarnation {incarnation} is lost: {why}")
            for process in self.world.processes:
                there = process.master.incarnation
                if there is not None and there.id == incarnation and there.membership.good():
                    raise Violation(f"P1: {process} was declared lost while it still trusts its lease")

    # -- a committed turn -----------------------------------------------------------------------------------------------

    def _check_commit(self, incarnation: str, e: Effects, before: Row) -> None:
        name = before.name
        if (before.incarnation, before.term, before.enabled) != (incarnation, e.term, True):
            raise Violation(
                f"P2: a turn of {name} was committed by {incarnation} under term {e.term},"
                f" but the row said {before.incarnation}, term {before.term}, enabled {before.enabled}"
            )
        self.commits += 1
        known = self.known[e.scheduler_id]
        known.turns += e.turns
        known.answers += len(e.answers)
        known.buildsets.update(b.id for b in e.buildsets)
        row = self.rows[e.scheduler_id]
        new = self._new_changes(known, before, row)
        self.world.note(f"    {name}: {e.turns} turns, cursor {row.cursor}, {len(e.buildsets)} buildsets")
        if name not in FLAKY and any(f is not None for f in e.failures.values()):
            raise Violation(f"a turn of {name}, whose code never fails, is noted as failed: {e.failures}")
        made = [b for b in e.buildsets if b.reason != "forced"]
        if name in IMMEDIATE:
            self._check_immediate(name, known, new, [list(b.changes) for b in made])
        elif name in STABLE:
            self._check_stable(row, known, new, [list(b.changes) for b in made])
        elif name in PERIODS_US:
            self._check_ticks(row, known, e)
        elif name == "counter":
            self._check_counter(row, known)

    def _new_changes(self, known: Known, before: Row, row: Row) -> range:
        if row.cursor is None:
            return range(0)
        if before.cursor is None:
            known.begun = row.cursor
            if row.cursor != len(self.branches):
                raise Violation(f"P3: {row.name} began at change {row.cursor}, the newest was {len(self.branches)}")
            return range(0)
        return range(before.cursor + 1, row.cursor + 1)

    def _check_cursors(self, before: dict[int, Row], committed: set[int]) -> None:
        for i, row in self.rows.items():
            old = before.get(i)
            if old is None or row.cursor == old.cursor or i in committed:
                continue
            # Enabling is all else that may move it, and what is passed over must be on record.
            if old.enabled or not row.enabled or row.cursor is None or old.cursor is None:
                raise Violation(
                    f"P3: the cursor of {row.name} went from {old.cursor} to {row.cursor}, but no turn did it"
                )
            found = self.raw.execute(
                "SELECT first, last, count FROM skips WHERE scheduler_id = ? AND what = 'changes' ORDER BY id DESC LIMIT 1",
                (i,),
            ).fetchone()
            if found != (old.cursor + 1, row.cursor, row.cursor - old.cursor):
                raise Violation(f"P3: {row.name} passed over {old.cursor + 1}-{row.cursor}, on record is {found}")
            self.known[i].passed.append((old.cursor + 1, row.cursor))

    def _wanted(self, name: str, numbers: range) -> list[int]:
        wants = IMMEDIATE.get(name) or STABLE[name]
        return [n for n in numbers if wants(n, self.branches[n - 1])]

    def _check_immediate(self, name: str, known: Known, new: range, made: list[list[int]]) -> None:
        wanted = [[n] for n in self._wanted(name, new)]
        if made != wanted:
            raise Violation(f"P3: {name} made buildsets for {made}; the cursor passed {wanted}")
        known.built.update(n for numbers in made for n in numbers)

    def _check_stable(self, row: Row, known: Known, new: range, made: list[list[int]]) -> None:
        known.pending.update({n: self.branches[n - 1] for n in self._wanted(row.name, new)})
        for numbers in made:
            if not numbers or sorted(numbers) != numbers or not set(numbers) <= set(known.pending):
                raise Violation(f"P3: {row.name} made a buildset for {numbers}; pending were {sorted(known.pending)}")
            self._check_read_first(row, known, numbers)
            for n in numbers:
                del known.pending[n]
            known.built.update(numbers)
        found = self.raw.execute(
            "SELECT change_number FROM classifications WHERE scheduler_id = ? ORDER BY change_number", (row.id,)
        )
        if [n for (n,) in found] != sorted(known.pending):
            raise Violation(f"P3: {row.name}: pending in the database are other changes than {sorted(known.pending)}")
        if known.pending and not self._timers(row.id):
            raise Violation(f"P3: {row.name} has pending changes {sorted(known.pending)}, but no timer for them")

    def _check_read_first(self, row: Row, known: Known, numbers: list[int]) -> None:
        """After a failover, changes are read up to the newest before overdue tree-stable timers fire."""
        there = bisect_right(self.received, (row.active_since or 0) - 1)
        assert row.cursor is not None
        late = [n for n in self._wanted(row.name, range(row.cursor + 1, there + 1))]
        if late and not self.jumped:
            raise Violation(f"P3: {row.name} fired for {numbers}, but had not read {late}, older than its term")

    def _check_ticks(self, row: Row, known: Known, e: Effects) -> None:
        if "ticks" not in e.state:
            if any(b.due_at is not None for b in e.buildsets) or e.skips:
                raise Violation(f"P4: {row.name} served or skipped a time, and did not note that it had examined it")
            return
        state = json.loads(e.state["ticks"])
        period = PERIODS_US[row.name]
        if known.examined is None:
            known.anchor = 0 if row.name == "minute" else state["anchor"]
            # A Periodic fires at once, at its anchor; a Nightly's window begins at its first activation.
            served = [b.due_at for b in e.buildsets if b.due_at is not None]
            known.examined = state["examined"] if row.name == "minute" and not served else known.anchor - 1
            if row.name == "minute" and served:
                known.examined = min(served) - 1
        old, new = known.examined, state["examined"]
        if new < old:
            raise Violation(f"P4: {row.name} had examined all times up to {old}, now only up to {new}")
        step = (old - known.anchor) // period + 1
        due = list(range(known.anchor + step * period, new + 1, period))
        served = sorted(b.due_at for b in e.buildsets if b.due_at is not None)
        skipped = [t for t in due if any(s.first <= t <= s.last for s in e.skips)]
        if sorted([*served, *skipped]) != due:
            raise Violation(
                f"P4: {row.name}: due were {due}, served {served}, skipped {[(s.first, s.last) for s in e.skips]}"
            )
        if sum(s.count for s in e.skips) != len(skipped):
            raise Violation(f"P4: {row.name}: {len(skipped)} times were skipped, on record are {e.skips}")
        self._check_policy(row, e, due, served)
        known.examined = new

    def _check_policy(self, row: Row, e: Effects, due: list[int], served: list[int]) -> None:
        reasons = {s.reason for s in e.skips} - {DISABLED}
        if row.name in ("tick-all", "minute", "flaky-tick") and reasons and len(due) <= 100:
            raise Violation(f"P4: {row.name} catches up all, but skipped: {reasons}")
        if row.name == "tick-one" and due and DISABLED not in {s.reason for s in e.skips} and due[-1] not in served:
            raise Violation(f"P4: {row.name} serves the newest time, but not {due[-1]}; served {served}")
        if served and served[-1] > self.world.wall_us + LATE_US and not self.jumped:
            raise Violation(f"P4: {row.name} served {served[-1]} before it was due")

    def _check_counter(self, row: Row, known: Known) -> None:
        found = self.raw.execute(
            "SELECT value_json FROM scheduler_state WHERE scheduler_id = ? AND key = 'n'", (row.id,)
        ).fetchone()
        n = int(found[0]) if found else 0
        if row.turns != known.turns or n != known.turns - known.answers:
            raise Violation(
                f"P5: {row.name} counts {n}, its row {row.turns}; {known.turns} turns, {known.answers} of them for messages"
            )

    def _timers(self, scheduler_id: int) -> list[tuple[str, int]]:
        return self.raw.execute("SELECT key, due FROM timers WHERE scheduler_id = ?", (scheduler_id,)).fetchall()

    # -- now and then -----------------------------------------------------------------------------------------------------

    def check_whole(self) -> None:
        """What takes longer to see: everything in the tables is there by a committed turn, and once."""
        for row in self.rows.values():
            known = self.known[row.id]
            there = {i for (i,) in self.raw.execute("SELECT id FROM buildsets WHERE scheduler_id = ?", (row.id,))}
            if there != known.buildsets:
                raise Violation(
                    f"P2: {row.name}: buildsets {sorted(there ^ known.buildsets)[:10]} are there or missing"
                )
            if row.turns != known.turns:
                raise Violation(f"P2: {row.name}: its row counts {row.turns} turns, {known.turns} were committed")
            terms = [t for (t,) in self.raw.execute(
                "SELECT term FROM ownership WHERE scheduler_id = ? ORDER BY term", (row.id,))]  # fmt: skip
            if terms != list(range(1, row.term + 1)):
                raise Violation(f"P1: {row.name}: its history {terms[-10:]} does not tell every term up to {row.term}")
        doubled = self.raw.execute(
            "SELECT b.scheduler, c.change_number FROM buildset_changes c JOIN buildsets b ON b.id = c.buildset_id"
            " GROUP BY 1, 2 HAVING count(*) > 1"
        ).fetchall()
        if doubled:
            raise Violation(f"P3: changes in two buildsets of one scheduler: {doubled[:5]}")
        names = {row.id: row.name for row in self.rows.values()}
        for i, cause, error in self.raw.execute("SELECT scheduler_id, cause, error FROM failures"):
            if names[i] not in FLAKY:
                raise Violation(f"{names[i]}, whose code never fails, is noted to have failed at {cause}: {error}")

    # -- after the quiet time ---------------------------------------------------------------------------------------------

    def check_quiet(self) -> None:
        """All is well again: everything is held, active, and up to date."""
        self.check_whole()
        live = {
            process.master.incarnation.id: process
            for process in self.world.processes
            if process.master.incarnation is not None
        }
        for row in self.rows.values():
            if not row.enabled or row.incarnation not in live:
                raise Violation(f"after the quiet time {row.name} (enabled {row.enabled}) is held by {row.incarnation}")
            incarnation = live[row.incarnation].master.incarnation
            assert incarnation is not None
            tenure = incarnation.activation.tenures.get(row.id)
            if tenure is None or tenure.term != row.term or not tenure.scheduler.active:
                raise Violation(f"after the quiet time {row.name} is held by {live[row.incarnation]}, but not active")
            self._check_caught_up(row)
        waiting = self.raw.execute("SELECT id, scheduler_id, key FROM messages WHERE answered_at IS NULL").fetchall()
        if waiting:
            raise Violation(f"after the quiet time messages have no answer: {waiting}")
        failing = self.raw.execute("SELECT scheduler_id, cause FROM failures WHERE retry_at IS NOT NULL").fetchall()
        if failing:
            raise Violation(f"after the quiet time causes still wait to be tried again: {failing}")

    def _check_caught_up(self, row: Row) -> None:
        known = self.known[row.id]
        if row.name in IMMEDIATE or row.name in STABLE:
            assert row.cursor is not None
            left = self._wanted(row.name, range(row.cursor + 1, len(self.branches) + 1))
            if left or known.pending:
                raise Violation(f"P3: after the quiet time {row.name} has not answered {left or sorted(known.pending)}")
        overdue = [t for t in self._timers(row.id) if t[1] < self.world.wall_us - LATE_US]
        if overdue:
            raise Violation(f"P4: after the quiet time timers of {row.name} are overdue: {overdue}")
        if row.name in PERIODS_US and not self.jumped:
            behind = self.world.wall_us - (known.examined or 0) - PERIODS_US[row.name]
            if behind > LATE_US:
                raise Violation(f"P4: {row.name} has not examined the last {behind / 1e6:.1f} s")
