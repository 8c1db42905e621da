"""The task runner of one master: claims what is queued, as much as it has room for, and runs it to its end.

It works on through an outage of the database and through a change of its own incarnation; ``recorder`` keeps what there
is to tell, the guards kill every command at a deadline that each answered heartbeat moves.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout

from ...config.builders import BuilderSection
from ...config.sections import TasksSection
from ...db import tasks
from ...db.errors import DatabaseError, OutcomeUnknown
from ...db.tasks import ClaimedTask
from ..logs import Log
from ..loop import Loop
from ..surroundings import RemoteDatabase, Surroundings
from .outcomes import Outcomes
from .recorder import Recorder
from .running import Bench, RunningTask

POLL_S = 5.0
KILLED_S = 10.0
"""How long, in seconds, ``kill`` tries to have it recorded before it gives that up."""


class TaskRunner:
    """Claims and runs tasks of the ``builders`` that it knows, at most ``settings.max_running`` at once.

    ``announce(*topics)`` wakes other masters. ``inherited`` is the environment of which commands get a few variables.
    """

    log = Log()

    def __init__(
        self,
        remote: RemoteDatabase,
        incarnation: str,
        builders: Mapping[str, BuilderSection],
        builder_ids: Mapping[str, int],
        settings: TasksSection,
        workdir: Path,
        surroundings: Surroundings,
        announce: Callable[..., object],
        inherited: Mapping[str, str],
    ) -> None:
        self._remote = remote
        self._incarnation = incarnation
        self._workdir = workdir.absolute()
        self._surroundings = surroundings
        self._announce = announce
        self._inherited = dict(inherited)
        self._recorder = Recorder(
            remote, incarnation, surroundings, lambda _: announce("finished"), lambda: announce("failed")
        )
        self._outcomes = Outcomes(remote, surroundings, announce)
        self._loop = Loop(surroundings.reactor, self._claim, POLL_S, "claiming tasks")
        self._running: dict[tuple[int, int], RunningTask] = {}
        self._lost = Loop(surroundings.reactor, self._compare, POLL_S, "cancelled tasks")
        self._going_on: list[tuple[RunningTask, Deferred[None]]] = []
        self._waiting: list[Deferred[bool]] = []
        self._in_doubt = False
        self._draining = False
        self._deadline = 0.0
        self.reconfigured(builders, builder_ids, settings)

    @property
    def running(self) -> int:
        """How many tasks run here now."""
        return len(self._running)

    def start(self) -> None:
        """Begin to claim."""
        self._deadline = self._surroundings.boottime() + self._settings.lost_after
        self._recorder.start()
        self._outcomes.start()
        self._lost.start()
        self._loop.start()

    def wake(self) -> None:
        """Something may be queued."""
        self._loop.soon()

    def heard(self) -> None:
        """A message may have been answered, a buildset completed."""
        self._outcomes.look()

    def cancelled(self) -> None:
        """Some of what runs may have been cancelled."""
        self._lost.soon()

    def beat(self, deadline: float) -> None:
        """A heartbeat was answered: commands may live until ``deadline`` (seconds of CLOCK_BOOTTIME)."""
        self._deadline = deadline
        for task in self._running.values():
            task.move_deadline(deadline)

    def rejoined(self, remote: RemoteDatabase, incarnation: str) -> None:
        """This process has a new incarnation, which holds the old one's tasks."""
        self._remote, self._incarnation = remote, incarnation
        self._in_doubt = True
        self._outcomes.remote = remote
        self._recorder.rejoined(remote, incarnation)
        self._loop.soon()

    def reconfigured(
        self, builders: Mapping[str, BuilderSection], builder_ids: Mapping[str, int], settings: TasksSection
    ) -> None:
        """Claim by these from now on; what runs goes on with the steps that it began with."""
        self._builders = dict(builders)
        self._ids = {builder_ids[name]: name for name in builders}
        self._settings = settings
        self._loop.soon()

    def drain(self, timeout: float) -> Deferred[bool]:
        """Claim no more and wait for what runs, at most ``timeout`` seconds; True: nothing runs any more."""
        self._draining = True
        done: Deferred[bool] = Deferred()
        if not self._running:
            return succeed(True)
        self._waiting.append(done)
        timer = self._surroundings.reactor.callLater(timeout, self._give_up_waiting, done)

        def over(answer: bool) -> bool:
            if timer.active():
                timer.cancel()
            return answer

        return done.addCallback(over)

    async def _stop(self, within_s: float) -> None:
        self._draining = True
        claiming = self._loop.stop()
        for task in list(self._running.values()):
            task.interrupt("the master was stopped")
        self._let_go_on()
        await self.drain(within_s)
        for last in (self._recorder.stop(), self._outcomes.stop(), self._lost.stop(), claiming):
            with contextlib.suppress(DeferredTimeout):  # a thread that waits for the database ends when it is cut
                await last.addTimeout(1.0, self._surroundings.reactor)

    def kill(self, timeout: float = KILLED_S) -> Deferred[None]:
        """Stop: no more is claimed, what runs is ended now and recorded as its builder's ``on_lost`` says. Legal twice.

        What cannot be recorded within ``timeout`` seconds (the database is away) is left for others to find lost.
        """
        return Deferred.fromCoroutine(self._stop(timeout))

    def _give_up_waiting(self, done: Deferred[bool]) -> None:
        self._waiting.remove(done)
        done.callback(False)

    async def _compare(self) -> None:
        """End what has been taken from this runner: it was cancelled."""
        before, incarnation = set(self._running), self._incarnation
        if not before:
            return
        held = await self._remote.single(tasks.held_alive, incarnation)
        if held is None or incarnation != self._incarnation:
            return
        for key in before - set(held):
            if key in self._running:
                self._running[key].taken_away()

    # -- claiming -------------------------------------------------------------------------------------------------

    async def _claim(self) -> None:
        while not self._draining and self._ids:
            if self._in_doubt:
                await self._give_back()
            running = set(self._running)
            # One statement, and no write transaction, while there is nothing to do.
            outlook = await self._remote.single(tasks.outlook, self._incarnation, list(self._ids))
            if outlook.held - running:  # the COMMIT of a claim whose answer was lost may come after all
                self._in_doubt = True
                continue
            free = self._room()
            if free < 1 or not outlook.queued:
                return
            try:
                claimed = await self._remote.write(tasks.claim, self._incarnation, list(self._ids), free)
            except OutcomeUnknown:
                self._in_doubt = True  # tasks may be ours without our knowing which
                raise
            if self._draining:
                await self._give_back()
                return
            for task in claimed:
                self._begin(task)
            if any(
                task.builder in self._builders and self._builders[task.builder].collapse_requests for task in claimed
            ):
                self._announce("finished")  # what collapsed into them may have completed buildsets
            if not claimed or self._room() < 1:
                return

    def _room(self) -> int:
        """How many more may run. Those that wait for others take up no room, else they could wait for one another for ever."""
        return self._settings.max_running - sum(not task.resting for task in self._running.values())

    def _go_on(self, task: RunningTask) -> Deferred[None]:
        """Fires when a task that has rested may go on."""
        may: Deferred[None] = Deferred()
        self._going_on.append((task, may))
        self._let_go_on()
        return may

    def _let_go_on(self) -> None:
        for task, may in list(self._going_on):
            if not task.interrupted and self._room() < 1:
                continue
            self._going_on.remove((task, may))
            task.resting = False
            if not may.called:  # cancelled: its step is over
                may.callback(None)

    async def _give_back(self) -> None:
        """Queue again what is ours by the database, and does not run here. No claim is under way meanwhile."""
        self._in_doubt = False
        running, incarnation = set(self._running), self._incarnation
        try:
            held = await self._remote.single(tasks.held, incarnation)
            given = await self._remote.write(tasks.requeue_forgotten, incarnation, sorted(set(held) - running))
        except DatabaseError:
            self._in_doubt = True
            raise
        if given:
            self.log.warn("{n} tasks that were claimed without an answer are queued again", n=given)

    def _begin(self, claimed: ClaimedTask) -> None:
        builder = self._builders.get(self._ids.get(claimed.builder_id, ""))
        if builder is None:  # reconfigured while the claim was under way
            self._in_doubt = True
            return
        slot = self._free_slot(builder.name)
        task = RunningTask(
            claimed=claimed,
            builder=builder,
            folder=self._workdir / _folder_name(builder.name) / str(slot),
            slot=slot,
            bench=Bench(
                self._surroundings,
                self._recorder,
                self._settings.log_limit,
                self._inherited,
                self._outcomes,
                self._go_on,
                self._loop.soon,
            ),
            deadline=self._deadline,
        )
        self._running[task.key] = task
        Deferred.fromCoroutine(task.run()).addBoth(self._ended, task)

    def _free_slot(self, builder: str) -> int:
        taken = {task.slot for task in self._running.values() if task.builder.name == builder}
        return next(slot for slot in range(len(taken) + 1) if slot not in taken)

    def _ended(self, _: Any, task: RunningTask) -> None:
        del self._running[task.key]
        self._let_go_on()
        if task.builder.max_parallel is not None or task.interrupted:
            self._announce("tasks")
        self._loop.soon()
        if not self._running:
            waiting, self._waiting = self._waiting, []
            for done in waiting:
                done.callback(True)


def _folder_name(builder: str) -> str:
    """One folder's name for each builder's; what a path cannot hold is written as %XX."""
    name = quote(builder, safe=" ").replace(".", "%2E")
    return name if len(name) <= 200 else f"{name[:160]}-{hashlib.sha256(builder.encode()).hexdigest()[:16]}"
