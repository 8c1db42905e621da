"""What every tenure of one incarnation shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..db.effects import NewFailure
from ..schedulers.changes import Change
from ..schedulers.interface import FinishedBuildset
from .alarms import Alarms
from .clock import DatabaseClock
from .feed import Feed
from .ids import IdBlock
from .records import NewsReader
from .surroundings import RemoteDatabase

if TYPE_CHECKING:
    from .committer import Committer, Committers
    from .tenure import Tenure


class Running:
    """A context: inside, code of that tenure runs on the reactor."""

    __slots__ = ("_before", "_began", "_tenure", "_tools")

    def __init__(self, tools: Tools, tenure: Tenure) -> None:
        self._tools = tools
        self._tenure = tenure

    def __enter__(self) -> None:
        tools = self._tools
        self._before, tools.running = tools.running, self._tenure
        self._began = tools.boottime()

    def __exit__(self, *_: object) -> None:
        tools = self._tools
        tools.running = self._before
        took = tools.boottime() - self._began
        if took >= tools.long_s:
            tools.overran = (self._tenure, took)


@dataclass(slots=True)
class Tools:
    """Clock, feeds, ids, alarms and the committer of an incarnation; the builders as configured now."""

    reactor: Any
    remote: RemoteDatabase
    clock: DatabaseClock
    alarms: Alarms
    changes: Feed[Change]
    finished: Feed[FinishedBuildset]
    buildset_ids: IdBlock
    task_ids: IdBlock
    committer: Committer | Committers
    timezone: str
    turn_timeout_s: float
    note_failure: Callable[[Tenure, str, NewFailure], None]
    builders: Mapping[str, int] = field(default_factory=dict)
    look_for_failed: Callable[[], None] = lambda: None
    """somebody wants to hear of failed tasks"""
    running: Tenure | None = None
    """whose turn's code runs on the reactor right now"""
    news: NewsReader = field(init=False)
    """for code written for Buildbot"""

    overran: tuple[Tenure, float] | None = None
    """whose code has kept the reactor for ``long_s`` or more, and for how many seconds, until the watch takes it"""
    boottime: Callable[[], float] = lambda: 0.0
    long_s: float = math.inf

    def __post_init__(self) -> None:
        self.news = NewsReader(self.remote)

    def runs(self, tenure: Tenure) -> Running:
        """While its code runs, beats and the watch over a blocked reactor can tell whose it is."""
        return Running(self, tenure)

    def take_overran(self) -> tuple[Tenure, float] | None:
        """What was noted since it was last taken; in any thread."""
        found, self.overran = self.overran, None
        return found
