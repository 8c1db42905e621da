"""Commands of tasks, as the reactor of a simulated master sees them: a guard process with a command, without a process.

The guard outlives a frozen master, ends its command at its deadline and when its master is dead, like the real one
(``master/tasks/guard.py``). What really ran, and how it ended, is the ground truth for the tasks' results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .world import Process

SECOND = 1_000_000
NO_PID = 10_000_000
"""Above all numbers that a real process can have: the product may send it a signal."""
ENDING_US = 20_000
"""How long what is told to end takes at most."""


class Guard:
    """Stands in for what ``spawnProcess`` gives. Times of its deadline are of the host's CLOCK_BOOTTIME."""

    def __init__(self, process: Process, protocol: Any, args: Sequence[str]) -> None:
        self._process = process
        self._world = process.world
        self._protocol = protocol
        self.pipes: dict[int, Any] = {}
        *_, deadline, _folder, _program, task = args
        self.task = int(task)
        self._deadline = math.inf if deadline == "never" else float(deadline)
        self.attempt = self._world.next_attempt(self.task)
        self.name = f"command {self.attempt} of task {self.task}"
        self.over = False
        self._killing = ""
        process.guards.append(self)
        protocol.makeConnection(self)
        self._later(1 + int(20_000 * self._world.roll("starts", self.name)), self._begin)

    def _later(self, us: int, act: Callable[[], None]) -> None:
        """Something happens in the guard, which is a process of its own."""
        self._world.later(us, "", act, None)

    def _begin(self) -> None:
        world = self._world
        if self.over:
            return
        other = world.live_commands.get(self.task)
        if other is not None and not world.jumped:
            world.violate(
                f"P6: {self.name} starts on {self._process} while {other.name} of {other._process} still runs"
            )
        world.live_commands[self.task] = self
        world.note(f"{self.name} starts on {self._process}")
        self._tell(3, f"started {NO_PID + self.task}\n".encode())
        self._tell(1, b"working\n")
        self._later(int((0.05 + 6.0 * world.roll("works", self.name) ** 3) * SECOND), self._done)
        self._watch()

    def _watch(self) -> None:
        """The deadline, which orders may have moved."""
        if self.over:
            return
        left_s = self._deadline - self._process.boottime_us() / SECOND
        if left_s <= 0:
            self._end("deadline")
        else:
            self._later(int(min(left_s, 2.0) * SECOND) + 1, self._watch)

    def _done(self) -> None:
        failing = self._world.faults.happens("failing command", self.name)
        self._finish("exit 1" if failing else "exit 0")

    def _end(self, why: str) -> None:
        if not self._killing and not self.over:
            self._killing = why
            self._later(int(ENDING_US * self._world.roll("ends", self.name)) + 1, lambda: self._finish(why))

    def _finish(self, how: str) -> None:
        if self.over:
            return
        self.over = True
        world = self._world
        if world.live_commands.get(self.task) is self:
            del world.live_commands[self.task]
        self._process.guards.remove(self)
        world.note(f"{self.name}: {how}")
        world.last_command[self.task] = how
        self._tell(3, f"{how}\n".encode())
        world.later(1500, "", self._gone, self._process)

    def _gone(self) -> None:
        self._protocol.processExited(None)
        self._protocol.processEnded(None)

    def _tell(self, fd: int, data: bytes) -> None:
        self._world.later(1000, "", lambda: self._protocol.childDataReceived(fd, data), self._process)

    # -- what its master says ---------------------------------------------------------------------------------------------

    def orphaned(self) -> None:
        """Its master is dead."""
        self._end("orphaned")

    def writeToChild(self, fd: int, data: bytes) -> None:
        """An order."""
        word, _, rest = data.decode().strip().partition(" ")
        if word == "kill":
            self._end("killed")
        else:
            self._deadline = math.inf if rest == "never" else float(rest)

    def loseConnection(self) -> None:
        """Nobody listens any more."""
