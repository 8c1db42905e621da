"""What committed turns must have done: every change once (P3), every tick once (P4), state that is never lost (P5)."""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from locum.db.effects import Effects

from .load import DISABLED, Spec, follows
from .tasks_model import TasksModel
from .world import Violation, World

LATE_US = 3_000_000


class SchedulerRow(Protocol):
    """What is needed of a scheduler's row."""

    id: int
    name: str
    enabled: bool
    active_since: int | None
    cursor: int | None
    finished_cursor: int | None
    turns: int


@dataclass(slots=True)
class Known:
    """What is known of a scheduler from its committed turns alone."""

    pending: dict[int, str] = field(default_factory=dict)
    examined: int | None = None
    anchor: int = 0
    turns: int = 0
    answers: int = 0
    seen: int = 0
    buildsets: set[int] = field(default_factory=set)


class TurnsModel:
    """Judges turns when they are committed. ``branches[n - 1]`` is that of change n."""

    def __init__(self, world: World, raw: sqlite3.Connection, specs: Mapping[str, Spec], tasks: TasksModel) -> None:
        self.world = world
        self.raw = raw
        self.specs = specs
        self.tasks = tasks
        self.branches: list[str] = []
        self.received: list[int] = []
        self.pushed = 0
        self._known: dict[int, Known] = {}

    def known(self, scheduler_id: int) -> Known:
        """By id."""
        return self._known.setdefault(scheduler_id, Known())

    def _spec(self, row: SchedulerRow) -> Spec:
        """How it was configured; every cluster also has some that nobody configures."""
        return self.specs.get(row.name) or Spec(row.name, "", "built in")

    # -- changes as they come -----------------------------------------------------------------------------------------

    def check_changes(self, numbers: Iterable[int]) -> None:
        """P3: numbered in commit order, without a gap; each thing that was pushed upstream is one of them, in order."""
        for number in numbers:
            found = self.raw.execute(
                "SELECT branch, revision, received_at FROM changes WHERE number = ?", (number,)
            ).fetchone()
            if found is None:
                continue  # of a transaction that was rolled back
            branch, revision, received = found
            if number != len(self.branches) + 1:
                raise Violation(f"P3: change {number} ({revision}) came after change {len(self.branches)}")
            self.branches.append(branch)
            self.received.append(received)
            if revision.startswith("up"):
                self.pushed += 1
                if revision != f"up{self.pushed}" or branch != self.world.upstream[self.pushed - 1]:
                    raise Violation(
                        f"P3: change {number} is {revision} on {branch}; the next pushed is up{self.pushed}"
                    )

    # -- a committed turn -----------------------------------------------------------------------------------------------

    def check_commit(self, e: Effects, before: SchedulerRow, row: SchedulerRow) -> None:
        """These effects are in the database now."""
        spec, known = self._spec(row), self.known(row.id)
        known.turns += e.turns
        known.answers += len(e.answers)
        known.buildsets.update(b.id for b in e.buildsets)
        if row.turns != known.turns:
            raise Violation(f"P2: the row of {row.name} counts {row.turns} turns, {known.turns} were committed")
        self._check_began(before, row)
        new = range(0) if before.cursor is None or row.cursor is None else range(before.cursor + 1, row.cursor + 1)
        self.world.note(f"    {row.name}: {e.turns} turns, cursor {row.cursor}, {len(e.buildsets)} buildsets")
        if not spec.flaky and any(f is not None for f in e.failures.values()):
            raise Violation(f"a turn of {row.name}, whose code never fails, is noted as failed: {e.failures}")
        made = [list(b.changes) for b in e.buildsets if b.reason != "forced"]
        self._check_answers(row, e)
        if spec.role == "change":
            self._check_immediate(spec, new, made)
        elif spec.role == "stable":
            self._check_stable(spec, row, known, new, made)
        elif spec.role == "ticks":
            self._check_ticks(spec, row, known, e)
        elif spec.role == "counter":
            self._check_counter(row, known)
        elif spec.role == "follower":
            self._check_follower(e, before, row)

    def _check_began(self, before: SchedulerRow, row: SchedulerRow) -> None:
        """Who begins to consume begins at the newest."""
        for what, old, new, newest in (
            ("change", before.cursor, row.cursor, len(self.branches)),
            ("finished buildset", before.finished_cursor, row.finished_cursor, len(self.tasks.finished)),
        ):
            if old is None and new is not None and new != newest:
                raise Violation(f"P3: {row.name} began at {what} {new}, the newest was {newest}")
            if old is not None and (new is None or new < old or new > newest):
                raise Violation(f"P3: the cursor of {row.name} went from {what} {old} to {new}, the newest is {newest}")

    def _check_answers(self, row: SchedulerRow, e: Effects) -> None:
        """Each forced buildset is the answer to one message, and each such answer has its buildset."""
        forced = sorted(b.id for b in e.buildsets if b.reason == "forced")
        told = sorted(json.loads(answer).get("buildset", 0) for _, answer in e.answers)
        if forced != [i for i in told if i]:
            raise Violation(f"P2: {row.name} answered messages with buildsets {told}, and made {forced}")

    def check_passed_over(self, old: SchedulerRow, row: SchedulerRow) -> None:
        """P3: a cursor was moved without a turn. Only enabling may do that, and what is passed over must be on record."""
        if old.enabled or not row.enabled or (row.cursor is None) != (old.cursor is None):
            raise Violation(f"P3: the cursor of {row.name} went from {old.cursor} to {row.cursor}, but no turn did it")
        if row.cursor == old.cursor or old.cursor is None or row.cursor is None:
            return
        found = self.raw.execute(
            "SELECT first, last, count FROM skips WHERE scheduler_id = ? AND what = 'changes' ORDER BY id DESC LIMIT 1",
            (row.id,),
        ).fetchone()
        if found != (old.cursor + 1, row.cursor, row.cursor - old.cursor):
            raise Violation(f"P3: {row.name} passed over {old.cursor + 1}-{row.cursor}, on record is {found}")

    def check_failures(self, touched: Iterable[tuple[int, str]], rows: Mapping[int, SchedulerRow]) -> None:
        """Code that never fails is not noted to have failed."""
        for i, cause in touched:
            if not self._spec(rows[i]).flaky:
                found = self.raw.execute(
                    "SELECT error FROM failures WHERE scheduler_id = ? AND cause = ?", (i, cause)
                ).fetchone()
                if found is not None:
                    raise Violation(
                        f"{rows[i].name}, whose code never fails, is noted to have failed at {cause}: {found[0]}"
                    )

    def _wanted(self, spec: Spec, numbers: range) -> list[int]:
        return [n for n in numbers if spec.wants(n, self.branches[n - 1])]

    def _check_immediate(self, spec: Spec, new: range, made: list[list[int]]) -> None:
        wanted = [[n] for n in self._wanted(spec, new)]
        if made != wanted:
            raise Violation(f"P3: {spec.name} made buildsets for {made}; the cursor passed {wanted}")

    def _check_follower(self, e: Effects, before: SchedulerRow, row: SchedulerRow) -> None:
        made = [b.external_id for b in e.buildsets if b.reason != "forced"]
        old, new = before.finished_cursor, row.finished_cursor
        passed = range(0) if old is None or new is None else range(old + 1, new + 1)
        wanted = [str(n) for n in passed if follows(n, self.tasks.finished[n - 1])]
        if made != wanted:
            raise Violation(f"P3: {row.name} followed finished buildsets {made}; the cursor passed {wanted}")

    def _check_stable(self, spec: Spec, row: SchedulerRow, known: Known, new: range, made: list[list[int]]) -> None:
        known.pending.update({n: self.branches[n - 1] for n in self._wanted(spec, new)})
        for numbers in made:
            if not numbers or sorted(numbers) != numbers or not set(numbers) <= set(known.pending):
                raise Violation(f"P3: {row.name} made a buildset for {numbers}; pending were {sorted(known.pending)}")
            self._check_read_first(spec, row, numbers)
            for n in numbers:
                del known.pending[n]
        found = self.raw.execute(
            "SELECT change_number FROM classifications WHERE scheduler_id = ? ORDER BY change_number", (row.id,)
        )
        if [n for (n,) in found] != sorted(known.pending):
            raise Violation(f"P3: {row.name}: pending in the database are other changes than {sorted(known.pending)}")
        if known.pending and not self._timers(row.id):
            raise Violation(f"P3: {row.name} has pending changes {sorted(known.pending)}, but no timer for them")

    def _check_read_first(self, spec: Spec, row: SchedulerRow, numbers: list[int]) -> None:
        """After a failover, changes are read up to the newest before overdue tree-stable timers fire."""
        there = bisect_right(self.received, (row.active_since or 0) - 1)
        late = [] if row.cursor is None else self._wanted(spec, range(row.cursor + 1, there + 1))
        if late and not self.world.jumped:
            raise Violation(f"P3: {row.name} fired for {numbers}, but had not read {late}, older than its term")

    def _check_ticks(self, spec: Spec, row: SchedulerRow, known: Known, e: Effects) -> None:
        if "ticks" not in e.state:
            if any(b.due_at is not None for b in e.buildsets) or e.skips:
                raise Violation(f"P4: {row.name} served or skipped a time, and did not note that it had examined it")
            return
        state = json.loads(e.state["ticks"])
        served = sorted(b.due_at for b in e.buildsets if b.due_at is not None)
        if known.examined is None:
            # A grid fires at once, at its anchor; a calendar's window begins at the first activation.
            known.anchor = state["anchor"]
            known.examined = known.anchor if spec.due else known.anchor - 1
        old, new = known.examined, state["examined"]
        if new < old:
            raise Violation(f"P4: {row.name} had examined all times up to {old}, now only up to {new}")
        due = self._due(spec, known.anchor, old, new)
        skipped = [t for t in due if any(s.first <= t <= s.last for s in e.skips)]
        if sorted([*served, *skipped]) != due:
            raise Violation(
                f"P4: {row.name}: due were {due}, served {served}, skipped {[(s.first, s.last) for s in e.skips]}"
            )
        if sum(s.count for s in e.skips) != len(skipped):
            raise Violation(f"P4: {row.name}: {len(skipped)} times were skipped, on record are {e.skips}")
        self._check_policy(spec, row, e, due, served)
        known.examined = new

    def _due(self, spec: Spec, anchor: int, after: int, until: int) -> list[int]:
        if spec.due is not None:
            return spec.due(after, until)
        step = (after - anchor) // spec.period_us + 1
        return list(range(anchor + step * spec.period_us, until + 1, spec.period_us))

    def _check_policy(self, spec: Spec, row: SchedulerRow, e: Effects, due: list[int], served: list[int]) -> None:
        reasons = {s.reason for s in e.skips} - {DISABLED}
        if spec.catch_up == "all" and "grace" not in spec.arguments and reasons and len(due) <= 100:
            raise Violation(f"P4: {row.name} catches up all, but skipped: {reasons}")
        if spec.catch_up == "one" and due and DISABLED not in {s.reason for s in e.skips} and due[-1] not in served:
            raise Violation(f"P4: {row.name} serves the newest time, but not {due[-1]}; served {served}")
        if served and served[-1] > self.world.wall_us + LATE_US and not self.world.jumped:
            raise Violation(f"P4: {row.name} served {served[-1]} before it was due")

    def _check_counter(self, row: SchedulerRow, known: Known) -> None:
        n = self._state(row.id, "n", 0)
        if n != known.turns - known.answers:
            raise Violation(
                f"P5: {row.name} counts {n}; {known.turns} turns were committed, {known.answers} of them for messages"
            )

    def _state(self, scheduler_id: int, key: str, default: Any) -> Any:
        found = self.raw.execute(
            "SELECT value_json FROM scheduler_state WHERE scheduler_id = ? AND key = ?", (scheduler_id, key)
        ).fetchone()
        return json.loads(found[0]) if found else default

    def _timers(self, scheduler_id: int) -> list[tuple[str, int]]:
        return self.raw.execute("SELECT key, due FROM timers WHERE scheduler_id = ?", (scheduler_id,)).fetchall()

    # -- the whole ------------------------------------------------------------------------------------------------------

    def check_whole(self, rows: Mapping[int, SchedulerRow]) -> None:
        """Everything in the tables is there by a committed turn, and once."""
        for row in rows.values():
            there = {i for (i,) in self.raw.execute("SELECT id FROM buildsets WHERE scheduler_id = ?", (row.id,))}
            made = self.known(row.id).buildsets
            if there != made:
                raise Violation(f"P2: {row.name}: buildsets {sorted(there ^ made)[:10]} are there or missing")
        doubled = self.raw.execute(
            "SELECT b.scheduler, c.change_number FROM buildset_changes c JOIN buildsets b ON b.id = c.buildset_id"
            " GROUP BY 1, 2 HAVING count(*) > 1"
        ).fetchall()
        if doubled:
            raise Violation(f"P3: changes in two buildsets of one scheduler: {doubled[:5]}")

    def what_is_behind(self, row: SchedulerRow) -> str:
        """'' if it has answered everything."""
        spec, known = self._spec(row), self.known(row.id)
        if spec.role in ("change", "stable"):
            left = [] if row.cursor is None else self._wanted(spec, range(row.cursor + 1, len(self.branches) + 1))
            if row.cursor is None or left or known.pending:
                return f"P3: {row.name} has not answered {left or sorted(known.pending)}"
        if spec.role == "source" and self.pushed != len(self.world.upstream):
            return f"P3: {self.pushed} changes are there, {len(self.world.upstream)} were pushed"
        overdue = [t for t in self._timers(row.id) if t[1] < self.world.wall_us - LATE_US]
        if overdue:
            return f"P4: timers of {row.name} are overdue: {overdue}"
        if spec.role == "ticks" and not self.world.jumped:
            if known.examined is None:
                return f"P4: {row.name} never began"
            late = self._due(spec, known.anchor, known.examined, self.world.wall_us - LATE_US)
            if late:
                return f"P4: {row.name} has not examined {late[:5]}"
        return ""
