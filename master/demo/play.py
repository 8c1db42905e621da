"""The demo's acts, one after the other, and what is told about each. Durations are measured on this host's own clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import click

from ...db import changes, listings, requested, task_views, upgrading, wakeups
from ...db.database import Database
from ...db.errors import DatabaseAway, WrongDatabase
from ...db.listings import SchedulerLine
from ...db.requested import BuildsetLine
from ..commands.output import table
from .masters import COMMITS, HEARTBEAT_S, LEASE_S, NAMES, SOURCE, TICK_S, TICKS, Masters
from .repository import Author, Repository
from .tally import Done, Verdict, compared, due_ticks, late_commits

LOOK_S = 0.02
START_S = 30.0
FINISH_S = 30.0
_COMMIT_EVERY_S = 0.6
_MOST = 10_000


class DemoFailed(Exception):
    """What should have happened did not; the text says what."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """A scheduler changed hands: its first turn was committed under the new term ``after_s`` after the signal."""

    scheduler: str
    signal: str
    source: str
    target: str
    after_s: float


class Play:
    """Three masters survive a kill and a freeze. ``perform()`` once."""

    def __init__(self, masters: Masters, repository: Repository, database: Database) -> None:
        self._masters = masters
        self._repository = repository
        self._database = database
        self._began = time.monotonic()
        self._takeovers: list[Takeover] = []

    def perform(self) -> int:
        """0: every commit was built once and every tick came once; 1: not. DemoFailed: it did not get so far."""
        self._tell(f"Three masters, one git repository, a kill and a freeze. The database: {self._database.url}")
        self._curtain_up()
        author = Author(self._repository, _COMMIT_EVERY_S)
        author.start()
        try:
            self._tell("somebody commits to the repository from now on, and a tick is due every second")
            self._pause(3.0)
            self._kill()
            self._pause(3.0)
            self._freeze()
            self._pause(2.0)
        finally:
            revisions = author.finish()
        self._tell(f"no more commits: there were {len(revisions)}; waiting until all are built")
        verdict = self._verdict(revisions)
        self._report(verdict)
        return 0 if verdict.exact else 1

    # -- acts -----------------------------------------------------------------------------------------------------

    def _curtain_up(self) -> None:
        self._masters.start()
        self._tell(f"started {', '.join(NAMES)}: the same configuration, lease {LEASE_S} s, heartbeat {HEARTBEAT_S} s")
        self._until(self._all_up, START_S, "the masters did not come up")
        for holder, what in self._held().items():
            self._tell(f"{holder} is active for {_listed(what)}; the others stand by")

    def _kill(self) -> None:
        victim = self._holder()
        before = self._lines()
        signalled = time.monotonic()
        self._masters.kill(victim)
        self._tell(f"kill -9 {victim}, without a warning")
        self._await_takeover("kill -9", victim, before, signalled, START_S)

    def _freeze(self) -> None:
        victim = self._holder()
        before, signalled = self._frozen(victim)
        self._tell(f"SIGSTOP {victim}: it stands still and does not know; only its lease can end this")
        self._await_takeover("SIGSTOP", victim, before, signalled, START_S)
        self._pause(1.5)
        old = {m.incarnation for m in self._database.read(listings.masters) if m.name == victim}
        self._masters.let_go(victim)
        self._tell(f"SIGCONT {victim}: it goes on where it was, believing it was active")
        self._until(lambda: self._rejoined(victim, old), START_S, f"{victim} did not join again")
        self._tell(f"{victim} has noticed, committed nothing, joined again under a new incarnation, and stands by")

    def _frozen(self, victim: str) -> tuple[dict[int, SchedulerLine], float]:
        """Freeze it, but not while it writes to SQLite: it would hold the one lock that all need, and be killed for that."""
        while True:
            before = self._lines()
            signalled = time.monotonic()
            self._masters.freeze(victim)
            try:
                self._database.write(wakeups.announce, ["masters"])
                return before, signalled
            except DatabaseAway:
                self._masters.let_go(victim)
                time.sleep(0.1)

    def _await_takeover(
        self, signal: str, victim: str, before: dict[int, SchedulerLine], signalled: float, limit_s: float
    ) -> None:
        """Until each scheduler that the victim held has had its first turn committed under a new term."""
        waiting = {i: line for i, line in before.items() if line.master == victim}

        def all_taken() -> bool:
            for i, line in self._lines().items():
                old = waiting.get(i)
                if old is None:
                    continue
                if line.term == old.term:
                    waiting[i] = line  # what was committed at the last moment under the old term
                elif line.turns > old.turns and line.master:
                    del waiting[i]
                    taken = Takeover(line.name, signal, victim, line.master, time.monotonic() - signalled)
                    self._takeovers.append(taken)
            return not waiting

        self._until(all_taken, limit_s, f"nobody took over from {victim}")
        recent = [t for t in self._takeovers if t.signal == signal]
        for target in dict.fromkeys(t.target for t in recent):
            its = [t for t in recent if t.target == target]
            longest = max(t.after_s for t in its)
            what = _listed([t.scheduler for t in its])
            self._tell(f"{target} took over {what}: its first turn was committed {longest:.2f} s after the signal")

    # -- looking --------------------------------------------------------------------------------------------------

    def _lines(self) -> dict[int, SchedulerLine]:
        return {line.id: line for line in self._database.read(listings.schedulers)}

    def _held(self) -> dict[str, list[str]]:
        held: dict[str, list[str]] = {}
        for line in self._lines().values():
            held.setdefault(line.master or "nobody", []).append(line.name)
        return held

    def _holder(self) -> str:
        """Who is active for the scheduler that follows the commits."""
        holder = next((line.master for line in self._lines().values() if line.name == COMMITS), None)
        if holder is None:
            raise DemoFailed(f"nobody is active for {COMMITS}")
        return holder

    def _all_up(self) -> bool:
        """All stand by for everything, and the poller has seen the repository once: later commits are new to it."""
        died = self._masters.died()
        if died:
            raise DemoFailed(died)
        try:
            if self._database.read(upgrading.versions) is None:
                return False
            lines = self._lines().values()
            ready = [line for line in lines if line.master and len(line.standby) == len(NAMES) - 1]
            if len(ready) < 3:
                return False
            page = self._database.read(listings.scheduler, SOURCE)
            commits = self._database.read(listings.scheduler, COMMITS)
        except (DatabaseAway, WrongDatabase):  # the first master is making it
            return False
        return "revisions" in page.state and commits.line.change_cursor is not None

    def _rejoined(self, name: str, old: set[str]) -> bool:
        found = self._database.read(listings.masters)
        return any(m.name == name and m.acts and m.incarnation not in old for m in found)

    # -- the end --------------------------------------------------------------------------------------------------

    def _verdict(self, revisions: list[str]) -> Verdict:
        self._until(lambda: self._all_built(revisions), FINISH_S, "not every commit was built")
        self._until(self._ticks_are_up_to_date, FINISH_S, "the ticks have stopped")
        if not self._masters.stop():
            raise DemoFailed("a master did not end well when it was told to stop")
        built = [self._as_done(b, _revision(b)) for b in self._buildsets(COMMITS)]
        ticked = [Done(b.due_at or 0, b.term or 0, b.submitted_at, True) for b in self._buildsets(TICKS)]
        times = sorted(int(one.what) for one in ticked)
        rows = (
            compared("commits", revisions, built),
            compared("ticks", due_ticks(times[0], int(TICK_S * 1e6), times[-1]), ticked),
        )
        faults = [*self._change_faults(revisions)]
        for name, done in ((COMMITS, built), (TICKS, ticked)):
            page = self._database.read(listings.scheduler, name)
            faults += late_commits(name, done, {owner.term: owner.since for owner in page.owners})
            faults += [f"{name}: {skip.count} {skip.what} were skipped: {skip.reason}" for skip in page.skips]
        return Verdict(rows, tuple(faults))

    def _change_faults(self, revisions: list[str]) -> list[str]:
        found = [change.revision for change in self._database.read(changes.after, 0, _MOST)]
        return [] if found == revisions else ["the changes are not the commits, each once and in their order"]

    def _buildsets(self, scheduler: str) -> list[BuildsetLine]:
        return self._database.read(requested.newest, _MOST, scheduler)

    def _all_built(self, revisions: list[str]) -> bool:
        complete = {_revision(b) for b in self._buildsets(COMMITS) if b.result is not None}
        return complete >= set(revisions)

    def _ticks_are_up_to_date(self) -> bool:
        newest = max((b.due_at or 0 for b in self._buildsets(TICKS)), default=0)
        return self._database.read(listings.now) - newest < TICK_S * 1e6

    def _as_done(self, buildset: BuildsetLine, revision: str) -> Done:
        """Well: its task succeeded, and what it checked out is the commit that it was for."""
        shown = [self._database.read(task_views.show, task.id) for task in buildset.tasks]
        well = all(
            task is not None and task.task.result == "success" and task.properties.get("got_revision") == revision
            for task in shown
        )
        attempts = max((task.task.attempt for task in shown if task is not None), default=1)
        return Done(revision, buildset.term or 0, buildset.submitted_at, well, attempts)

    def _report(self, verdict: Verdict) -> None:
        click.echo()
        columns = ("what", "there were", "done once", "lost", "doubled", "went wrong", "started again")
        done = [(r.name, r.expected, r.done, r.lost, r.doubled, r.wrong, r.again) for r in verdict.rows]
        table(columns, done, "")
        click.echo()
        taken = [(t.signal, t.source, t.target, t.scheduler, f"{t.after_s:.2f} s") for t in self._takeovers]
        table(("signal", "from", "to", "scheduler", "first turn after"), taken, "")
        click.echo()
        for fault in verdict.faults:
            click.echo(f"! {fault}")
        if verdict.exact:
            click.echo("Every commit was built exactly once, and every tick came exactly once.")
        else:
            click.echo("FAILED: not everything was done exactly once.")

    # -- how ------------------------------------------------------------------------------------------------------

    def _tell(self, line: str) -> None:
        click.echo(f"{time.monotonic() - self._began:5.1f} s  {line}")

    def _pause(self, seconds: float) -> None:
        died = self._masters.died()
        if died:
            raise DemoFailed(died)
        time.sleep(seconds)

    def _until(self, done: Callable[[], bool], limit_s: float, failure: str) -> None:
        until = time.monotonic() + limit_s
        while not done():
            if time.monotonic() >= until:
                raise DemoFailed(f"{failure} within {limit_s:g} s")
            time.sleep(LOOK_S)


def _revision(buildset: BuildsetLine) -> str:
    return next((stamp.revision or "" for stamp in buildset.sourcestamps), "")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
