"""What a master is given from outside: clocks, threads, a reactor. Nothing here or below asks for them elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy.engine import Connection
from twisted.internet.defer import Deferred

from ..db.database import Database, HostClocks

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pool:
    """Threads of one purpose: ``in_thread(f, *args)`` gives a Deferred; ``stop()`` lets them end, without waiting.

    What is asked for after ``stop()`` fails at once with DatabaseAway.
    """

    in_thread: Callable[..., Deferred[Any]]
    stop: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The world as a master sees it; a test hands in another one.

    ``reactor`` gives ``callLater`` and processes (never trusted for the time of day); ``in_thread(f, *args)`` runs a
    blocking function elsewhere and gives a Deferred of its answer; ``new_pool(name, size)`` gives threads that nothing
    else can use up; ``boottime()`` is CLOCK_BOOTTIME in seconds.
    """

    reactor: Any
    clocks: HostClocks
    in_thread: Callable[..., Deferred[Any]]
    new_pool: Callable[[str, int], Pool]

    def boottime(self) -> float:
        """Seconds of this machine's life; goes on in suspend, never steps."""
        return self.clocks.boottime_us() / 1e6


class RemoteDatabase:
    """A ``Database`` for code on the reactor: the same methods, each giving a Deferred."""

    def __init__(
        self, database: Database, surroundings: Surroundings, in_thread: Callable[..., Deferred[Any]] | None = None
    ) -> None:
        self.database = database
        self._in_thread = in_thread or surroundings.in_thread

    def write(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Deferred[T]:
        """``Database.write`` in a thread."""
        return self._in_thread(self.database.write, function, *args, **kwargs)

    def read(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """``Database.read`` in a thread."""
        return self._in_thread(self.database.read, function, *args, **kwargs)

    def single(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Deferred[T]:
        """``Database.single`` in a thread."""
        return self._in_thread(self.database.single, function, *args, **kwargs)
