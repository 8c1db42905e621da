"""Commands of a change source, one at a time: their output bounded, their time bounded, each under a guard process.

The guard ends a command with all that it started when its time is over, when it is told to, and when the master dies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..surroundings import Surroundings
from ..tasks.command import Command, Ending, Order

MOST_OUTPUT = 32 * 1024 * 1024
_TAIL = 16 * 1024
_LIFE_S = 1.0
# Apart: standard output comes through the pipe; what is written as an error, by strangers too, goes to a bounded file.
_APART = 'ulimit -f 16384; exec "$@" <input 2>errors'
_TOGETHER = 'exec "$@" <input 2>&1'


class Stopped(Exception):
    """The source is being deactivated: no command runs any more."""


@dataclass(frozen=True, slots=True)
class Call:
    """A command. Killed ``timeout_s`` after its start, or, if ``lively``, after its last sign of life.

    A lively command's two outputs are one, of which only the end is kept; it is killed after ``most_s`` in any case.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    timeout_s: float
    input: bytes = b""
    lively: bool = False
    most_output: int = MOST_OUTPUT
    most_s: float = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended; ``too_long``: it wrote more than is kept and was killed."""

    ending: Ending
    output: bytes
    errors: str
    too_long: bool = False

    @property
    def late(self) -> bool:
        """It was killed because its time was over."""
        return self.ending.how == "deadline"


class Processes:
    """Runs the commands of one source in ``folder``, which is made anew whenever it is missing."""

    def __init__(self, surroundings: Surroundings, folder: Path, files: Mapping[str, str]) -> None:
        self._surroundings = surroundings
        self._folder = folder
        self._files = files
        self._command: Command | None = None
        self._stopped = False

    def stop(self) -> None:
        """Kill what runs and start nothing more."""
        self._stopped = True
        if self._command is not None:
            self._command.kill()

    async def run(self, call: Call) -> Outcome:
        """Run it to its end. Stopped; OSError: the folder cannot be written."""
        in_thread = self._surroundings.in_thread
        await in_thread(_prepare, self._folder, {**self._files, "errors": "", "input": call.input})
        heard = _Heard(self._surroundings, call)
        if self._stopped:
            raise Stopped
        shell = ["/bin/sh", "-c", _TOGETHER if call.lively else _APART, "sh"]
        order = Order([*shell, *call.arguments], call.environment, self._folder)
        self._command = heard.command = Command(
            self._surroundings.reactor, order, heard, self._surroundings.boottime() + call.timeout_s
        )
        try:
            ending = await self._command.done
        finally:
            self._command = None
        if self._stopped:
            raise Stopped
        errors = heard.tail() if call.lively else await in_thread(_beginning, self._folder / "errors")
        return Outcome(ending, bytes(heard.output), errors, heard.too_long)


class _Heard:
    """The output of one command as it comes."""

    command: Command

    def __init__(self, surroundings: Surroundings, call: Call) -> None:
        self._call = call
        self._boottime = surroundings.boottime
        self._begun = self._alive = self._boottime()
        self.output = bytearray()
        self.too_long = False

    def __call__(self, data: bytes) -> None:
        if self.too_long:
            return
        self.output += data
        if self._call.lively:
            del self.output[:-_TAIL]
            self._still_alive()
        elif len(self.output) > self._call.most_output:
            self.too_long = True
            self.output.clear()
            self.command.kill()

    def tail(self) -> str:
        return self.output.decode("utf-8", "replace").replace("\r", "\n")

    def _still_alive(self) -> None:
        now = self._boottime()
        if now - self._alive > _LIFE_S:
            self._alive = now
            self.command.move_deadline(min(now + self._call.timeout_s, self._begun + self._call.most_s))


def _prepare(folder: Path, files: Mapping[str, str | bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def _beginning(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""
