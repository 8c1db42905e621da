"""What every tenure of one incarnation shares."""

from __future__ import annotations

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
from .surroundings import RemoteDatabase

if TYPE_CHECKING:
    from .committer import Committer, Committers
    from .tenure import Tenure


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
