"""What a run of the torture chamber writes down, and where: typed events, one JSON object a line.

Ground truth is written and flushed *before* the product is told, its answer after; so whatever the product has done was
asked before, and whatever was not answered may or may not have happened. ``at`` is unix seconds by the torture's own
clock, which no fault touches.
"""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

Outcome = Literal["yes", "no", "unknown"]
"""What an answer said: done; certainly not done; nobody knows (it was cut off, or a bound was over)."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, or was about to. The kind in the file is the class's name in-lower-case."""

    at: float


# -- ground truth: truth.jsonl ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Configured(Event):
    """From now on a master's file says this: whole entries, as in the YAML. It is read at its start or when ordered."""

    master: str
    version: int
    schedulers: dict[str, dict[str, Any]]
    builders: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class MasterBegan(Event):
    """A master's process was started. It is not up yet."""

    master: str
    pid: int


@dataclass(frozen=True, slots=True)
class MasterEnded(Event):
    """A master's process has ended, whoever ended it."""

    master: str
    pid: int
    exit_code: int


@dataclass(frozen=True, slots=True)
class Phase(Event):
    """``calm``: up, without load; ``load``; ``quiet``: no more load and no more faults; ``stopping``; ``stopped``."""

    phase: str


@dataclass(frozen=True, slots=True)
class ChangeAsked(Event):
    """A writer is about to hand over this change. It repeats the request, with the same id, until it is answered.

    A writer has one request under way at a time: of its changes, those asked earlier have lower numbers.
    """

    request_id: str
    writer: str
    fields: dict[str, Any]
    """as ``locum change add --json`` takes them: who, branch, revision, category, codebase, files, comments"""


@dataclass(frozen=True, slots=True)
class ChangeAnswered(Event):
    request_id: str
    outcome: Outcome
    number: int | None
    """the change's number, where the answer said it"""
    said: str = ""


@dataclass(frozen=True, slots=True)
class OrderAsked(Event):
    """Somebody is about to order ``enable``, ``disable``, ``move``, ``force``, ``rebalance`` or ``reconfigure``.

    ``scheduler`` is '' where it is not about one; ``args`` holds ``to`` (a move's master), ``key`` (a force's request
    id: the buildset is wanted once, however often it is repeated), ``master`` (who is to read its file anew).
    """

    id: str
    action: str
    scheduler: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OrderAnswered(Event):
    id: str
    outcome: Outcome
    said: str
    detail: dict[str, Any]
    """``buildset``: of a force that was done"""


@dataclass(frozen=True, slots=True)
class Seen(Event):
    """What one read of the database showed, begun at ``at`` and done by ``until``."""

    until: float
    schedulers: dict[str, dict[str, Any]]
    """name -> enabled, incarnation, term, turns, change_cursor, state (a mapping of the values in ``setState``)"""


@dataclass(frozen=True, slots=True)
class Resources(Event):
    """What a living master uses, once before the load and once after the quiet time."""

    master: str
    pid: int
    phase: str
    threads: int
    files: int
    children: int
    connections: int
    """sessions of it in the database (PostgreSQL), or descriptors of the database's files (SQLite)"""


@dataclass(frozen=True, slots=True)
class Leftovers(Event):
    """What is still there after all masters have ended: processes (``PID COMMAND``), files, sessions in the database."""

    processes: list[str]
    files: list[str]
    sessions: list[str]


# -- what the nemesis did: faults.jsonl ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FaultBegan(Event):
    """The nemesis is about to do this. ``target``: a master's name, ``database``, ``all``, or what the fault says."""

    id: int
    fault: str
    target: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FaultEnded(Event):
    """It is healed (as far as the nemesis is concerned: processes are started again, the network is whole)."""

    id: int
    fault: str
    target: str
    detail: dict[str, Any]


# -- the plan: plan.json -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault of a plan, ``at_s`` seconds after the load began."""

    at_s: float
    fault: str
    target: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run is made from; the same plan is the same run, as far as processes and clocks can be repeated."""

    seed: int
    minutes: float
    database: str
    faults: tuple[Planned, ...]
    masters: int = 3
    kinds: tuple[str, ...] = ()
    """the kinds that ``--faults`` named; (): all that this database and machine allow"""
    left_out: dict[str, str] = field(default_factory=dict)
    """kinds that were wanted, but that the machine on which this was planned cannot do -> why"""
    load: float = 1.0
    """how many changes there are, compared to the usual"""

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Plan:
        found = json.loads(path.read_text())
        faults = tuple(Planned(**planned) for planned in found.pop("faults"))
        return cls(faults=faults, kinds=tuple(found.pop("kinds")), **found)


# -- files ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Folder:
    """Where everything of one run is."""

    path: Path

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def truth(self) -> Path:
        return self.path / "truth.jsonl"

    @property
    def faults(self) -> Path:
        return self.path / "faults.jsonl"

    @property
    def lines(self) -> Path:
        """What tasks append to: one line for each time that a command ran, ``TASK-ID BUILDER UNIX-NANOSECONDS``."""
        return self.path / "lines.txt"


class History:
    """Appends events to a file, from any thread; what ``add`` was given is with the system when it returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def add(self, event: Event) -> None:
        line = json.dumps({"kind": kind_of(type(event)), **dataclasses.asdict(event)}, ensure_ascii=False) + "\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()

    def close(self) -> None:
        self._file.close()


E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Events:
    """Events that were read, in the order in which they were written."""

    all: tuple[Event, ...]

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.all if isinstance(event, kind)]

    def around(self, at: float, seconds: float = 2.0) -> list[Event]:
        return [event for event in self.all if abs(event.at - at) <= seconds]


def now() -> float:
    """The ``at`` of an event that happens now."""
    return time.time()


def kind_of(event: type[Event]) -> str:
    """``ChangeAsked`` -> ``change-asked``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", event.__name__).lower()


_KINDS: Mapping[str, type[Event]] = {
    kind_of(kind): kind
    for kind in (
        Configured,
        MasterBegan,
        MasterEnded,
        Phase,
        ChangeAsked,
        ChangeAnswered,
        OrderAsked,
        OrderAnswered,
        Seen,
        Resources,
        Leftovers,
        FaultBegan,
        FaultEnded,
    )
}


def read(path: Path) -> Events:
    """The events of a file; none if it is not there."""
    if not path.exists():
        return Events(())
    return Events(tuple(_event(line) for line in path.read_text(encoding="utf-8").split("\n") if line))


def _event(line: str) -> Event:
    fields = json.loads(line)
    return _KINDS[fields.pop("kind")](**fields)
