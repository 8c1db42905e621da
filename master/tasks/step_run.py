"""What the code of a step works with: its task's properties and folder, its output, and commands under their guards."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from ...config.secret import Secret
from ...db.tasks import SourceStamp
from ..surroundings import Surroundings
from .command import Command, Ending, Order
from .outcomes import Outcomes
from .output import Output
from .rendering import environment, first_unfit

T = TypeVar("T")
INHERITED = ("PATH", "HOME", "LANG", "TZ")


class StepFailed(Exception):
    """A step did not succeed; the text is a sentence for people. The steps after it are not run."""

    def __init__(self, sentence: str, exit_code: int | None = None) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class Interrupted(Exception):
    """The step was ended from outside, through no fault of its own: its task is as good as lost."""


@dataclass(slots=True)
class StepRun:
    """One step while it runs. ``folder`` is its task's own; ``deadline`` in seconds of CLOCK_BOOTTIME."""

    surroundings: Surroundings
    properties: dict[str, Any]
    sourcestamps: Sequence[SourceStamp]
    folder: Path
    output: Output
    inherited: Mapping[str, str]
    given: Mapping[str, str | Secret]
    deadline: float
    found: Callable[[dict[str, Any]], None]
    """To be called with properties that the step found out."""
    task: tuple[int, int]
    """(task, attempt)"""
    number: int
    """the step's, from 0"""
    outcomes: Outcomes
    resting: Callable[[bool], Deferred[None]]
    """To be called with True when the step begins to wait for others, and with False when it goes on: fires when it may."""
    _command: Command | None = field(default=None, init=False)
    _waiting: Deferred[Any] | None = field(default=None, init=False)
    _failed: str = field(default="", init=False)
    _interrupted: str = field(default="", init=False)

    async def command(
        self,
        arguments: Sequence[str],
        folder: Path,
        extra: Mapping[str, str] | None = None,
        heard: Callable[[bytes], None] | None = None,
    ) -> Ending:
        """Run a command to its end; its output goes to the step's, or to ``heard``.

        Raises StepFailed if it could not be started or its time was up, Interrupted if it was ended from outside.
        """
        self._raise_if_over()
        variables = self._environment() | dict(extra or {})
        if fault := first_unfit(arguments) or first_unfit(variables.values()):
            raise StepFailed(fault)
        self._command = Command(
            self.surroundings.reactor, Order(arguments, variables, folder), heard or self._heard, self.deadline
        )
        try:
            ending = await self._command.done
        finally:
            self._command = None
            self.output.settle()
        self._raise_if_over()
        if ending.how == "error":
            raise StepFailed(ending.sentence())
        if ending.how in ("deadline", "orphaned", "killed"):
            raise Interrupted(ending.sentence())
        return ending

    async def wait(self, waiting: Deferred[T]) -> T:
        """What another part of the cluster answers; meanwhile the step takes up no room. StepFailed, Interrupted."""
        await self.resting(True)
        try:
            answer = await self._interruptible(waiting)
        except (StepFailed, Interrupted):
            raise
        except Exception:
            await self._interruptible(self.resting(False))
            raise
        await self._interruptible(self.resting(False))
        return answer

    async def _interruptible(self, waiting: Deferred[T]) -> T:
        self._raise_if_over()
        self._waiting = waiting
        try:
            return await waiting
        except CancelledError:
            self._raise_if_over()
            raise
        finally:
            self._waiting = None

    def place(self, below: str | None) -> Path:
        """A folder inside the task's."""
        return Path(os.path.normpath(self.folder / (below or "")))

    def in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run what may block elsewhere."""
        self._raise_if_over()
        return self.surroundings.in_thread(function, *args)

    def fail(self, sentence: str) -> None:
        """End it as failed: its time is up."""
        self._failed = self._failed or sentence
        self._kill()

    def interrupt(self, sentence: str) -> None:
        """End it from outside."""
        self._interrupted = self._interrupted or sentence
        self._kill()

    def move_deadline(self, deadline: float) -> None:
        """Let its commands live until then."""
        self.deadline = deadline
        if self._command is not None:
            self._command.move_deadline(deadline)

    def drained(self) -> None:
        """There is room for output again."""
        if self._command is not None:
            self._command.resume()

    def _heard(self, data: bytes) -> None:
        self.output.write(data)
        if self.output.full and self._command is not None:
            self._command.pause()

    def _kill(self) -> None:
        if self._command is not None:
            self._command.kill()
        if self._waiting is not None:
            self._waiting.cancel()

    def _raise_if_over(self) -> None:
        if self._interrupted:
            raise Interrupted(self._interrupted)
        if self._failed:
            raise StepFailed(self._failed)

    def _environment(self) -> dict[str, str]:
        made = {name: self.inherited[name] for name in INHERITED if name in self.inherited}
        made |= environment(self.properties)[0]
        return made | {n: v.reveal() if isinstance(v, Secret) else v for n, v in self.given.items()}
