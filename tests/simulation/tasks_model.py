"""What may become of tasks (P6): one runner at a time, one result, what really ran; buildsets that complete in order."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .load import LOST_AFTER_S, MAX_PARALLEL, ON_LOST
from .world import SECOND, Violation, World

RUNNING = ("executing", "failing", "stopping", "aborting")
WORST = ("success", "skipped", "warnings", "failure", "exception", "cancelled")
_MOVES = {
    ("queued", "executing"): {"claim"},
    ("executing", "executed"): {"record"},
    ("executing", "failed"): {"record", "lost"},
    ("executing", "queued"): {"record", "lost", "requeue_forgotten"},
    ("executing", "executing"): {"join", "record"},
    ("executed", "executed"): set(),
    ("failed", "failed"): set(),
    ("queued", "queued"): set(),
}
"""which function may make which move"""


@dataclass(frozen=True, slots=True)
class Task:
    """A task's row."""

    id: int
    buildset: int | None
    builder: str
    state: str
    result: str | None
    attempt: int
    incarnation: str | None


class TasksModel:
    """``finished``: the scheduler of each finished buildset, in the order of their numbers."""

    def __init__(self, world: World, raw: sqlite3.Connection) -> None:
        self.world = world
        self.raw = raw
        self.finished: list[str] = []
        self._tasks: dict[int, Task] = {}
        self._left: dict[int, int] = {}
        self._running: dict[str, int] = {}

    def new_buildsets(self, touched: set[int]) -> set[int]:
        """Those of them that were not there before, and are there now."""
        new = {i for i in touched if i not in self._left}
        for i in list(new):
            found = self.raw.execute("SELECT tasks_left FROM buildsets WHERE id = ?", (i,)).fetchone()
            if found is None:
                new.discard(i)
            else:
                self._left[i] = found[0]
        return new

    def check(
        self,
        tasks: set[int],
        buildsets: set[int],
        made: set[int],
        how: str,
        args: tuple[Any, ...],
        beat_at: Mapping[str, int],
    ) -> None:
        """The function ``how`` has written these rows."""
        ended: dict[int, int] = {}
        for i in sorted(tasks):
            new = self._read(i)
            if new is None:
                continue
            old = self._tasks.get(i)
            self._tasks[i] = new
            if old is None:
                if i not in made or (new.state, new.attempt, new.incarnation) != ("queued", 0, None):
                    raise Violation(f"P2: {new} is there, and no committed turn asked for it")
                continue
            self._check_move(old, new, how, args, beat_at)
            if old.result is None and new.result is not None and new.buildset is not None:
                ended[new.buildset] = ended.get(new.buildset, 0) + 1
        for name, most in MAX_PARALLEL.items():
            if self._running.get(name, 0) > most:
                raise Violation(f"P6: {self._running[name]} tasks of {name} run at once, {most} may")
        self._check_buildsets(buildsets, ended)

    def _read(self, task_id: int) -> Task | None:
        found = self.raw.execute(
            "SELECT t.id, t.buildset_id, b.name, t.state, t.result, t.attempt, t.incarnation FROM tasks t"
            " JOIN builders b ON b.id = t.builder_id WHERE t.id = ?",
            (task_id,),
        ).fetchone()
        return None if found is None else Task(*found)

    def _check_move(self, old: Task, new: Task, how: str, args: tuple[Any, ...], beat_at: Mapping[str, int]) -> None:
        if old == new:
            return
        self.world.note(f"    task {new.id}: {new.state}, attempt {new.attempt} of {new.incarnation}")
        moved = (old.state, new.state)
        if how not in _MOVES.get(moved, ()):
            raise Violation(f"P6: {how} made {new} of {old}")
        self._running[new.builder] = self._running.get(new.builder, 0) + (new.state in RUNNING) - (old.state in RUNNING)
        if new.attempt != old.attempt + (how == "claim"):
            raise Violation(f"P6: {how} made attempt {new.attempt} of attempt {old.attempt}: task {new.id}")
        me = args[0]
        if how == "claim" and (new.incarnation != me or not self._is_up(me)):
            raise Violation(f"P6: {me} claimed {new}, which is not its or it is not up")
        if how == "join" and (old.incarnation not in args[1:] or new.incarnation != me.incarnation):
            raise Violation(f"P6: {me.incarnation} joined and took over {old}")
        if how in ("record", "lost", "requeue_forgotten") and old.incarnation != me:
            raise Violation(f"P6: {how} of {me} wrote to {old}")
        if how == "record" and moved == ("executing", "executing"):
            raise Violation(f"P6: {me} changed {old} to {new}")
        self._check_result(old, new, how)
        if how == "lost":
            self._check_lost(old, new, beat_at)

    def _check_result(self, old: Task, new: Task, how: str) -> None:
        if old.result is not None:
            raise Violation(f"P6: {old} has a result, and became {new}")
        expected = {"queued": (None,), "executing": (None,), "executed": ("success",)}.get(
            new.state, ("failure", "exception")
        )
        if new.result not in expected:
            raise Violation(f"P6: {new} has result {new.result}")
        truth = self.world.last_command.get(new.id, "never ran")
        wrong = {"success": truth != "exit 0", "failure": truth != "exit 1"}.get(new.result or "", False)
        if wrong:
            raise Violation(f"P6: {new} by {how}, but its last command: {truth}")

    def _check_lost(self, old: Task, new: Task, beat_at: Mapping[str, int]) -> None:
        """Who is called lost is dead, or was silent for long; and what becomes of the task is its builder's policy."""
        policy = {"requeue": "queued", "fail": "failed"}[ON_LOST[old.builder]]
        if new.state != policy:
            raise Violation(f"P6: {old} was lost and became {new.state}; its builder says {policy}")
        runner = old.incarnation or ""
        alive = [
            p for p in self.world.processes if p.master.incarnation is not None and p.master.incarnation.id == runner
        ]
        silent_s = (self.world.now_us - beat_at.get(runner, self.world.now_us)) / SECOND
        if alive and silent_s < LOST_AFTER_S and not self.world.jumped:
            raise Violation(f"P6: {old} was lost, but {alive[0]} lives and beat {silent_s:.1f} s ago")

    def _is_up(self, incarnation: str) -> bool:
        found = self.raw.execute("SELECT state FROM masters WHERE incarnation = ?", (incarnation,)).fetchone()
        return bool(found and found[0] == "up")

    def _check_buildsets(self, touched: set[int], ended: dict[int, int]) -> None:
        completed: list[tuple[int, int, str, str]] = []
        for i in sorted(touched):
            found = self.raw.execute(
                "SELECT tasks_left, result, finished_number, scheduler FROM buildsets WHERE id = ?", (i,)
            ).fetchone()
            if found is None or i not in self._left:
                continue  # rolled back; or new, and its turn is judged elsewhere
            left, result, number, scheduler = found
            expected = self._left[i] - ended.pop(i, 0)
            if left != expected:
                raise Violation(f"P6: buildset {i} says that {left} tasks are left, {expected} are")
            if (left == 0) != (number is not None) or (number is None) != (result is None):
                raise Violation(f"P6: buildset {i} has {left} tasks left, result {result} and number {number}")
            if left == 0 and self._left[i] > 0:
                completed.append((number, i, result, scheduler))
            self._left[i] = left
        if ended:
            raise Violation(f"P6: tasks of buildsets {sorted(ended)} ended, and the buildsets do not know it")
        for number, i, result, scheduler in sorted(completed):
            if number != len(self.finished) + 1:
                raise Violation(f"P3: buildset {i} finished as number {number}, after {len(self.finished)}")
            self.finished.append(scheduler or "")
            results = [t.result for t in self._tasks.values() if t.buildset == i]
            worst = max((WORST.index(r or "cancelled") for r in results), default=0)
            if WORST[worst] != result:
                raise Violation(f"P6: buildset {i} is a {result}, its tasks are {results}")

    def check_whole(self) -> None:
        """Nobody wrote to a task behind our back."""
        for (i,) in self.raw.execute("SELECT id FROM tasks").fetchall():
            if self._read(i) != self._tasks.get(i):
                raise Violation(f"P6: {self._read(i)} is there, known is {self._tasks.get(i)}")

    def what_is_behind(self) -> str:
        """'' if every task has come to rest."""
        waiting = [t for t in self._tasks.values() if t.state not in ("executed", "failed", "queued")]
        carried_out = self._carried_out()
        stuck = [t for t in waiting if (t.incarnation, t.id, t.attempt) not in carried_out]
        return f"P6: tasks that nobody carries out: {stuck[:3]}" if stuck else ""

    def _carried_out(self) -> set[tuple[str, int, int]]:
        """(incarnation, task, attempt) of all that the runners of living masters know to be theirs."""
        return {
            (process.master.incarnation.id, *key)
            for process in self.world.processes
            if process.master.incarnation is not None and process.master._runner is not None
            for key in process.master._runner._running
        }
