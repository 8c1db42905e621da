"""What must be true of the database after every transaction, worked out apart from the code that is tested.

Triggers tell which rows a call has written; the model reads just those, by a connection of its own, and compares with
what the promises allow: P1 and P8 here, P2-P5 in ``turns_model``, P6 in ``tasks_model``.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locum.db.effects import Effects
from locum.db.turns import Committed, commit

from .load import Spec
from .tasks_model import TasksModel
from .turns_model import TurnsModel
from .world import Call, Process, Violation, World

OF_RECONFIGURING = ("its configuration changed", "it was taken out of this master's configuration")


@dataclass(slots=True)
class Row:
    """A scheduler's row."""

    id: int
    kind: str
    name: str
    enabled: bool
    incarnation: str | None
    term: int
    active_since: int | None
    cursor: int | None
    finished_cursor: int | None
    turns: int


class Model:
    """The checker. ``Violation`` says which promise was broken, and how."""

    def __init__(self, world: World, path: Path, specs: Mapping[str, Spec]) -> None:
        self.world = world
        self.raw = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
        self.specs = specs
        self.rows: dict[int, Row] = {}
        self.tasks = TasksModel(world, self.raw)
        self.turns = TurnsModel(world, self.raw, specs, self.tasks)
        self.commits = 0
        self.kinds: Counter[str] = Counter()
        """how often each kind of deed and each kind of failed call came"""
        self._lost: set[str] = set()
        self._beat_at: dict[str, int] = {}
        world.on_performed = self.performed

    # -- after each call ----------------------------------------------------------------------------------------------

    def performed(self, call: Call, result: Any) -> None:
        """A call of a master may have changed the database."""
        name = call.what.__name__
        if name == "beat":
            self._beat_at[call.args[1]] = self.world.now_us
        if self.world.touched:
            self._check(call.what, call.args[1:], result, call.lane.process)

    def performed_by_people(self, what: Callable[..., Any], args: tuple[Any, ...], result: Any) -> None:
        """So may one of a person."""
        if self.world.touched:
            self._check(what, args, result, None)

    def _check(self, what: Callable[..., Any], args: tuple[Any, ...], result: Any, process: Process | None) -> None:
        touched: dict[str, list[tuple[Any, ...]]] = {}
        for table, *key in self.world.touched:
            touched.setdefault(table, []).append(tuple(key))
        me = args[0] if process is not None and args and isinstance(args[0], str) else None
        if "changes" in touched:
            self.turns.check_changes(sorted({n for (n,) in touched["changes"]}))
        before = self._reread({i for (i,) in touched.get("schedulers", ())})
        accepted: list[Effects] = []
        if what.__name__ == "commit" and what.__module__ == commit.__module__ and isinstance(result, Committed):
            accepted = [e for e in args[1] if e.scheduler_id not in result.refused]
        self._check_hands(before, me, touched.get("ownership", []), process)
        tasks = {i for (i,) in touched.get("tasks", ())}
        buildsets = {i for (i,) in touched.get("buildsets", ())}
        if tasks or buildsets:
            made = {task for e in accepted for b in e.buildsets for task, _, _ in b.tasks}
            self.tasks.check(tasks, buildsets, made, what.__name__, args, self._beat_at)
        for effects in accepted:
            self.commits += 1
            row = self.rows[effects.scheduler_id]
            old = before.get(effects.scheduler_id, row)
            if (old.incarnation, old.term, old.enabled) != (me, effects.term, True):
                raise Violation(
                    f"P2: a turn of {row.name} was committed by {me} under term {effects.term},"
                    f" but the row said {old.incarnation}, term {old.term}, enabled {old.enabled}"
                )
            self.turns.check_commit(effects, old, row)
        self._check_nothing_else(before, accepted, buildsets)
        self.turns.check_failures(touched.get("failures", []), self.rows)
        if "masters" in touched:
            self._check_lost({i for (i,) in touched["masters"]})

    def _reread(self, ids: set[int]) -> dict[int, Row]:
        """What these rows were before; ``rows`` is brought up to date."""
        before = {}
        for i in ids:
            found = self.raw.execute(
                "SELECT id, kind, name, enabled, incarnation, term, active_since, change_cursor, finished_cursor, turns"
                " FROM schedulers WHERE id = ?",
                (i,),
            ).fetchone()
            if found is None:
                continue  # it was inserted by a transaction that was rolled back
            if i in self.rows:
                before[i] = self.rows[i]
            self.rows[i] = Row(*found[:3], bool(found[3]), *found[4:])
        return before

    def _check_hands(
        self, before: dict[int, Row], me: str | None, history: list[tuple[int, int]], process: Process | None
    ) -> None:
        """P1: terms only rise, with every change of hands; who gives up held it; what is taken nobody alive held."""
        recorded = set(history)
        for i, old in before.items():
            new = self.rows[i]
            if (new.incarnation, new.term, new.enabled) == (old.incarnation, old.term, old.enabled):
                continue
            self.world.note(f"    {new.name}: term {new.term}, held by {new.incarnation}")
            if new.term < old.term:
                raise Violation(f"P1: the term of {new.name} fell from {old.term} to {new.term}")
            if new.term == old.term:
                raise Violation(f"P1: {new.name} changed hands within term {new.term}")
            if new.incarnation is not None and not new.enabled:
                raise Violation(f"P1: {new.name} is disabled, and yet held")
            missing = [t for t in range(old.term + 1, new.term + 1) if (i, t) not in recorded]
            if missing:
                raise Violation(f"P1: the history of {new.name} does not tell of its terms {missing}")
            self._check_giver(old, new, me)
        if process is not None:
            for i, term in recorded:
                self._check_reconfigured(i, term, process)

    def _check_giver(self, old: Row, new: Row, me: str | None) -> None:
        if me is None or old.incarnation is None:
            return
        if new.incarnation is None and old.incarnation != me and new.enabled:
            raise Violation(f"P1: {me} gave up {old.name}, which {old.incarnation} held under term {old.term}")
        if new.incarnation != old.incarnation and new.incarnation is not None:
            state = self._state_of(old.incarnation)
            if state not in ("lost", "stopped"):
                raise Violation(f"P1: {me} took {old.name} from {old.incarnation}, which is {state}")

    def _check_reconfigured(self, i: int, term: int, process: Process) -> None:
        found = self.raw.execute("SELECT why FROM ownership WHERE scheduler_id = ? AND term = ?", (i, term)).fetchone()
        name = self.rows[i].name
        if found is not None and found[0] in OF_RECONFIGURING and name not in process.differs:
            raise Violation(f"P8: {process} disturbed {name}, which no configuration of its changed: {found[0]}")

    def _state_of(self, incarnation: str) -> str:
        found = self.raw.execute("SELECT state FROM masters WHERE incarnation = ?", (incarnation,)).fetchone()
        return str(found[0])

    def _check_lost(self, incarnations: set[str]) -> None:
        for incarnation in sorted(incarnations - self._lost):
            found = self.raw.execute(
                "SELECT state, coalesce(ended_why, '') FROM masters WHERE incarnation = ?", (incarnation,)
            ).fetchone()
            if found is None or found[0] != "lost":
                continue
            self._lost.add(incarnation)
            self.world.note(f"    incarnation {incarnation} is lost: {found[1]}")
            for process in self.world.processes:
                there = process.master.incarnation
                if self.world.lease_by_wall and self.world.jumped:
                    continue  # the clock that leases are judged by was set: the fence is what protects
                if there is not None and there.id == incarnation and there.membership.good():
                    raise Violation(f"P1: {process} was declared lost while it still trusts its lease: {found[1]}")

    def _check_nothing_else(self, before: dict[int, Row], accepted: list[Effects], buildsets: set[int]) -> None:
        """What only turns may write was written by these turns."""
        committed = {e.scheduler_id for e in accepted}
        for i, old in before.items():
            row = self.rows[i]
            if i not in committed and row.turns != old.turns:
                raise Violation(f"P2: the row of {row.name} counts {row.turns} turns, but none was committed")
            if i not in committed and (row.cursor, row.finished_cursor) != (old.cursor, old.finished_cursor):
                self.turns.check_passed_over(old, row)
        made = {b.id for e in accepted for b in e.buildsets}
        odd = {i for i in self.tasks.new_buildsets(buildsets) if i not in made}
        if odd:
            raise Violation(f"P2: buildsets {sorted(odd)[:5]} are there, and no committed turn made them")

    # -- now and then -------------------------------------------------------------------------------------------------

    def check_whole(self) -> None:
        """What takes longer to see."""
        for row in self.rows.values():
            terms = [t for (t,) in self.raw.execute(
                "SELECT term FROM ownership WHERE scheduler_id = ? ORDER BY term", (row.id,))]  # fmt: skip
            if terms != list(range(1, row.term + 1)):
                raise Violation(f"P1: {row.name}: its history {terms[-10:]} does not tell every term up to {row.term}")
        self.turns.check_whole(self.rows)
        self.tasks.check_whole()

    # -- after the quiet time -----------------------------------------------------------------------------------------

    def what_is_not_well(self) -> str:
        """'' when everything is held, active, and up to date."""
        if not {row.name for row in self.rows.values()} >= set(self.specs):
            return "not all schedulers are registered"
        for row in self.rows.values():
            problem = self.what_is_not_held(row) or self.turns.what_is_behind(row)
            if problem:
                return problem
        for question, what in (
            ("SELECT id, scheduler_id, key FROM messages WHERE answered_at IS NULL", "messages have no answer"),
            ("SELECT scheduler_id, cause FROM failures WHERE retry_at IS NOT NULL", "causes wait to be tried again"),
        ):
            found = self.raw.execute(question).fetchall()
            if found:
                return f"{what}: {found[:5]}"
        return self.tasks.what_is_behind() if self._tasks_run() else ""

    def _tasks_run(self) -> bool:
        return any("tasks" in process.config.master.roles for process in self.world.processes)

    def what_is_not_held(self, row: Row, but: Process | None = None) -> str:
        """'' if it is active where the row says; not on ``but``."""
        live = {
            process.master.incarnation.id: process
            for process in self.world.processes
            if process.master.incarnation is not None and process is not but
        }
        if not row.enabled or row.incarnation not in live:
            return f"{row.name} (enabled {row.enabled}) is held by {row.incarnation}, live are {sorted(live)}"
        incarnation = live[row.incarnation].master.incarnation
        tenure = None if incarnation is None else incarnation.activation.tenures.get(row.id)
        if tenure is None or tenure.term != row.term or not tenure.scheduler.active:
            return f"{row.name} is held by {live[row.incarnation]}, but not active there"
        return ""
