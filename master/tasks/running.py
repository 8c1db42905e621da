"""One task while it runs: its steps in turn, what is told of them, and its end."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed

from ...config.builders import BuilderSection, StepSection
from ...config.durations import format_duration
from ...config.secret import Secret, mask_credentials
from ...db.task_states import Result, State
from ...db.tasks import (
    Chunk,
    ClaimedTask,
    PropertiesSet,
    Record,
    SourceStamp,
    StepEnded,
    StepStarted,
    TaskEnded,
    TaskRequeued,
)
from ..logs import Log
from ..surroundings import Surroundings
from .git_step import run_git
from .outcomes import Outcomes
from .output import Output
from .recorder import Recorder
from .shell_step import run_shell
from .step_run import Interrupted, StepFailed, StepRun
from .trigger_step import run_trigger

STEPS: dict[str, Callable[[StepRun, StepSection], Awaitable[int]]] = {
    "shell": run_shell,
    "git": run_git,
    "trigger": run_trigger,
}
_log = Log()
STAMP_PROPERTIES = ("branch", "revision", "repository", "project", "codebase")


@dataclass(frozen=True, slots=True)
class Bench:
    """What every task of a master works with."""

    surroundings: Surroundings
    recorder: Recorder
    log_limit: int
    inherited: Mapping[str, str]
    outcomes: Outcomes
    go_on: Callable[[RunningTask], Deferred[None]]
    """Fires when a task that has rested may go on: there is room for it again."""
    rests: Callable[[], None]
    """To be called when one begins to rest: another may begin."""


@dataclass(slots=True)
class RunningTask:
    """A claimed task and the builder as it was then; ``folder`` is nobody else's meanwhile."""

    claimed: ClaimedTask
    builder: BuilderSection
    folder: Path
    slot: int
    bench: Bench
    deadline: float
    _step: StepRun | None = field(default=None, init=False)
    _interrupted: str = field(default="", init=False)
    _mine: bool = field(default=True, init=False)
    resting: bool = field(default=False, init=False)
    """whether it waits for others, and takes up no room"""

    @property
    def interrupted(self) -> bool:
        """Whether it was ended from outside."""
        return bool(self._interrupted)

    @property
    def key(self) -> tuple[int, int]:
        """(task, attempt)"""
        return self.claimed.id, self.claimed.attempt

    async def run(self) -> bool:
        """Run all steps and record the end. Whether the task was ours to the end; raises nothing."""
        ending: TaskEnded | TaskRequeued
        try:
            ending = await self._run_steps()
        except Interrupted as error:
            ending = self._lost(str(error))
        except Exception as error:
            _log.error(
                "task {task}: {trace}",
                task=self.claimed.id,
                trace=traceback.format_exc(),
            )
            ending = TaskEnded(*self.key, State.FAILED, Result.EXCEPTION, _clean(f"{type(error).__name__}: {error}"))
        if self._mine:
            return await self.bench.recorder.put(ending)
        return False

    def interrupt(self, why: str) -> None:
        """End it now; it is recorded as lost."""
        self._interrupted = self._interrupted or why
        self.resting = False  # it ends now, and waits for no room
        if self._step is not None:
            self._step.interrupt(why)

    def taken_away(self) -> None:
        """End it now, and record nothing more: it is not ours any more."""
        self._told(False)

    def move_deadline(self, deadline: float) -> None:
        """Let its commands live until then (seconds of CLOCK_BOOTTIME)."""
        self.deadline = deadline
        if self._step is not None:
            self._step.move_deadline(deadline)

    async def _run_steps(self) -> TaskEnded:
        if self.claimed.fault:
            return TaskEnded(*self.key, State.FAILED, Result.EXCEPTION, _clean(self.claimed.fault))
        properties = properties_of(self.claimed, self.builder)
        for number, section in enumerate(self.builder.steps):
            if self._interrupted:
                raise Interrupted(self._interrupted)
            failed = await self._run_step(number, section, properties)
            if failed is not None:
                return TaskEnded(*self.key, State.FAILED, Result.FAILURE, f"step {section.name!r} failed: {failed}")
        return TaskEnded(*self.key, State.EXECUTED, Result.SUCCESS)

    async def _run_step(self, number: int, section: StepSection, properties: dict[str, Any]) -> str | None:
        """Why it failed; None: it did not."""
        self._tell(StepStarted(*self.key, number, _clean(section.name)))
        run = self._step = self._new_run(number, section, properties)
        timer = None
        if section.timeout is not None:
            limit = f"killed: its time limit of {format_duration(section.timeout)} was over"
            timer = self.bench.surroundings.reactor.callLater(section.timeout, run.fail, limit)
        state, code, why = "done", None, None
        try:
            code = await STEPS[section.kind](run, section)
        except StepFailed as error:
            state, code, why = "failed", error.exit_code, _clean(mask_credentials(str(error)))
            if code is None:
                run.output.line(f"Locum: {why}")
        except Interrupted as error:
            run.output.line(f"Locum: {error}")
            raise
        finally:
            self._step = None
            if timer is not None and timer.active():
                timer.cancel()
            run.output.close()
        self._tell(StepEnded(*self.key, number, "done" if state == "done" else "failed", code, why))
        return why

    def _new_run(self, number: int, section: StepSection, properties: dict[str, Any]) -> StepRun:
        given = {**self.builder.env, **section.env}
        secrets = [v.reveal() for v in given.values() if isinstance(v, Secret)]

        def put(text: str, sequence: int, done: Callable[[], None]) -> None:
            self._tell(Chunk(*self.key, number, sequence, text)).addCallback(lambda _: done())

        def found(values: dict[str, Any]) -> None:
            properties.update(values)
            self._tell(PropertiesSet(*self.key, values))

        def drained() -> None:
            run.drained()

        output = Output(self.bench.surroundings.reactor, put, self.bench.log_limit, secrets, drained)
        run = StepRun(
            surroundings=self.bench.surroundings,
            properties=properties,
            sourcestamps=self.claimed.sourcestamps,
            folder=self.folder,
            output=output,
            inherited=self.bench.inherited,
            given=given,
            deadline=self.deadline,
            found=found,
            task=self.key,
            number=number,
            outcomes=self.bench.outcomes,
            resting=self._rest,
        )
        return run

    def _rest(self, begins: bool) -> Deferred[None]:
        if not begins:
            return self.bench.go_on(self)
        self.resting = True
        self.bench.rests()
        return succeed(None)

    def _tell(self, record: Record) -> Deferred[None]:
        if not self._mine:
            gone: Deferred[None] = Deferred()
            gone.callback(None)
            return gone
        return self.bench.recorder.put(record).addCallback(self._told)

    def _told(self, mine: bool) -> None:
        if not mine and self._mine:
            self._mine = False
            self.interrupt("it was cancelled, or another runner has it now")

    def _lost(self, why: str) -> TaskEnded | TaskRequeued:
        if self.builder.on_lost == "requeue":
            return TaskRequeued(*self.key, why)
        return TaskEnded(*self.key, State.FAILED, Result.EXCEPTION, why)


def properties_of(claimed: ClaimedTask, builder: BuilderSection) -> dict[str, Any]:
    """The builder's properties, over them the buildset's and the task's, over them what is known of the task itself."""
    stamp = _stamp_of(claimed)
    properties = {**builder.properties, **claimed.properties}
    if stamp is not None:
        own: Mapping[str, Any] = stamp
        properties |= {name: own[name] for name in STAMP_PROPERTIES if own[name] is not None}
    about = {"scheduler": claimed.scheduler, "buildset": claimed.buildset_id}
    properties |= {name: value for name, value in about.items() if value is not None}
    return properties | {"builder": claimed.builder, "task": claimed.id}


def _stamp_of(claimed: ClaimedTask) -> SourceStamp | None:
    """The one that gives a task its branch and revision: codebase '' if there is one, else the first by name."""
    return min(claimed.sourcestamps, key=lambda stamp: stamp["codebase"], default=None)


def _clean(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text[:2000])
