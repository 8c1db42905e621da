"""One command under its guard, as the reactor sees it: its output as it comes, its end once, orders in between."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from ...db.fail_points import reach

GUARD = str(Path(__file__).with_name("guard.py"))
GRACE_S = 5.0
"""How long what is told to end may take before it is made to."""
_CLOSING_S = 15.0
_LOUD = ("exit", "signal", "deadline", "killed", "orphaned", "error")

How = Literal["exit", "signal", "deadline", "killed", "orphaned", "error", "vanished"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended: ``exit`` and ``signal`` by itself (``number``), else made to, or never started (``error``)."""

    how: How
    number: int | None = None
    text: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether it ran to its end and said that all is well."""
        return self.how == "exit" and self.number == 0

    def sentence(self) -> str:
        """For people: why it did not succeed."""
        if self.how == "exit":
            return f"exit code {self.number}"
        if self.how == "signal":
            with contextlib.suppress(ValueError):
                return f"ended by {signal.Signals(self.number or 0).name}"
            return f"ended by signal {self.number}"
        return {
            "deadline": "killed: its master had heard nothing from the database for too long",
            "killed": "killed",
            "orphaned": "killed: its master was gone",
            "error": self.text,
        }.get(self.how, "its guard process was killed")


@dataclass(frozen=True, slots=True)
class Order:
    """What to run, where, with which environment (all of it)."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: Path


class Command(ProcessProtocol):
    """A command that runs. ``done`` fires with its ``Ending`` when nothing of it is left and all output was given.

    ``deadline`` is in seconds of CLOCK_BOOTTIME: it is killed then unless ``move_deadline`` says otherwise before.
    """

    def __init__(self, reactor: Any, order: Order, output: Callable[[bytes], None], deadline: float) -> None:
        self.done: Deferred[Ending] = Deferred()
        self._reactor = reactor
        self._output = output
        self._reports = b""
        self._pid: int | None = None
        self._ending: Ending | None = None
        self._closing: Any = None
        arguments = [sys.executable, "-I", "-S", GUARD, str(GRACE_S), _shown(deadline), str(order.folder)]
        reach("command.before")
        # The folder is not handed to spawnProcess: with one it would fork this whole process instead of spawning.
        reactor.spawnProcess(
            self,
            sys.executable,
            [*arguments, *order.arguments],
            dict(order.environment),
            childFDs={0: "w", 1: "r", 3: "r"},
        )
        reach("command.after")

    def move_deadline(self, deadline: float) -> None:
        """Let it live until then."""
        self._order(f"deadline {_shown(deadline)}\n")

    def kill(self) -> None:
        """End it and all that it started; ``done`` tells when that has happened. Legal twice, and after its end."""
        self._order("kill\n")

    def pause(self) -> None:
        """Read no more output for now; a command that writes on has to wait."""
        if 1 in self._process.pipes:
            self._process.pipes[1].stopReading()

    def resume(self) -> None:
        """Read output again."""
        if 1 in self._process.pipes:
            self._process.pipes[1].startReading()

    @property
    def _process(self) -> Any:
        # Not what spawnProcess answers: a process that ends at once may be reported before it has answered.
        return self.transport

    def _order(self, line: str) -> None:
        if self._ending is None:
            with contextlib.suppress(Exception):  # it is ending by itself at this moment
                self._process.writeToChild(0, line.encode())

    # -- what the process says ------------------------------------------------------------------------------------

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Output goes on, reports are kept."""
        if childFD == 1:
            self._output(data)
            return
        *lines, self._reports = (self._reports + data).split(b"\n")
        for line in lines:
            word, _, rest = line.decode("utf-8", "replace").partition(" ")
            if word == "started":
                self._pid = int(rest)
            elif word in _LOUD:
                self._ending = Ending(
                    word,  # type: ignore[arg-type]
                    int(rest) if word in ("exit", "signal") else None,
                    rest if word == "error" else "",
                )

    def processExited(self, reason: Failure) -> None:
        """The guard is gone; output may still be on its way. Somebody who could not be killed may hold the pipe."""
        if self._ending is None and self._pid is not None:
            with contextlib.suppress(OSError):  # the guard was killed: its command must not go on alone
                os.killpg(self._pid, signal.SIGKILL)
        self.resume()
        self._closing = self._reactor.callLater(_CLOSING_S, self._process.loseConnection)

    def processEnded(self, reason: Failure) -> None:
        """All is over and read."""
        reach("command.ended")
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        self.done.callback(self._ending or Ending("vanished"))


def _shown(deadline: float) -> str:
    return "never" if deadline == float("inf") else f"{deadline:.6f}"
