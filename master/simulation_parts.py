"""A simulation in parts that cannot know of one another, each in a process of its own: the same outcome, sooner."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import connection
from typing import Any, NamedTuple, TypeVar

from ..config import MasterConfig
from ..schedulers.base import Clustered
from ..schedulers.basic import AnyBranchScheduler, SingleBranchScheduler
from ..schedulers.force import ForceScheduler
from ..schedulers.timed import Nightly, Periodic
from .configuring import Catalogue, wanted
from .try_jobdir import Try_Jobdir
from .try_userpass import Try_Userpass

T = TypeVar("T")

_INDEPENDENT = frozenset(
    {SingleBranchScheduler, AnyBranchScheduler, Periodic, Nightly, ForceScheduler, Try_Jobdir, Try_Userpass}
)
"""They hear of their own buildsets only, and nobody hears of theirs unless a scheduler of another class is there."""
_PARTS_A_PROCESS = 3
"""more than one, so that none waits long for the one that has most to do"""


class PartEnded(Exception):
    """A process ended before it had an answer."""


class Part(NamedTuple):
    """Schedulers that are simulated together. ``changes``: whether any of them hears of changes."""

    names: frozenset[str]
    changes: bool


def separable(config: MasterConfig) -> bool:
    """Whether each scheduler does what it does whatever the others do. Plugins may share what nobody sees."""
    return not config.plugins and all(one.cls in _INDEPENDENT for one in _schedulers(config))


def parts_of(config: MasterConfig, processes: int) -> list[Part]:
    """Of a configuration that is ``separable``: those who hear of changes, and the others in parts of equal number."""
    hearing: list[str] = []
    others: list[str] = []
    for one in _schedulers(config):
        (hearing if _hears_of_changes(one.make()) else others).append(one.name)
    count = processes * _PARTS_A_PROCESS
    dealt = [frozenset(others[n::count]) for n in range(count)]
    parts = [Part(frozenset(hearing), True), *(Part(names, False) for names in dealt)]
    return [part for part in parts if part.names]


def _schedulers(config: MasterConfig) -> list[Any]:
    found, _ = wanted(config, Catalogue())
    return [one for one in found if one.kind == "scheduler"]


def _hears_of_changes(scheduler: Clustered) -> bool:
    if isinstance(scheduler, (Periodic, Nightly)):
        return scheduler.onlyIfChanged or scheduler.createAbsoluteSourceStamps
    return True


def in_processes(works: Sequence[Callable[[], T]], processes: int) -> list[T]:
    """What each gives, in their order; so many at a time. What one raises is raised here, and the others are ended.

    PartEnded: one was killed.
    """
    # They have what they work on already: nothing of it must be fit to be copied to them.
    context = multiprocessing.get_context("fork")
    sys.stdout.flush()
    waiting = list(enumerate(works))[::-1]
    running: dict[Any, tuple[int, Any]] = {}
    found: dict[int, T] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                place, work = waiting.pop()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_answer, args=(work, sender), daemon=True)
                process.start()
                sender.close()
                running[receiver] = (place, process)
            for ready in connection.wait(list(running)):
                place, process = running[ready]
                found[place] = _received(ready, process)
                del running[ready]
                _end(ready, process)
    finally:
        for receiver, (_, process) in running.items():
            process.terminate()
            _end(receiver, process)
    return [found[place] for place in range(len(works))]


def _answer(work: Callable[[], Any], sender: Any) -> None:
    """In a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(50_000, 50, 50)  # what is requested in a year is a large heap that grows
    try:
        answer = (True, work())
    except Exception as error:
        answer = (False, error)
    with suppress(BrokenPipeError):  # nobody waits any more
        sender.send(answer)


def _received(receiver: Any, process: Any) -> Any:
    try:
        done, answer = receiver.recv()
    except EOFError:
        process.join()
        raise PartEnded(
            f"a process of the simulation ended without an answer (exit code {process.exitcode}); try '--jobs 1'"
        ) from None
    if not done:
        raise answer
    return answer


def _end(receiver: Any, process: Any) -> None:
    process.join()
    receiver.close()
