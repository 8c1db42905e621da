"""A change: something that happened in a repository, as schedulers and filters see it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Change:
    """One change. ``number`` follows the order in which changes were committed; ``when`` is microseconds since the epoch, UTC.

    ``branch`` None is the default branch. ``properties`` maps a name to any JSON value, or to a tuple (value, source).
    """

    number: int
    who: str
    files: tuple[str, ...] = ()
    comments: str = ""
    branch: str | None = None
    revision: str | None = None
    when: int = 0
    category: str | None = None
    repository: str = ""
    codebase: str = ""
    project: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)
    revlink: str = ""
    committer: str | None = None
    fault: str = ""
    """why its row could not be read in full; such a change is offered to nobody's code"""

    @property
    def author(self) -> str:
        """``who``, by its other name."""
        return self.who

    @property
    def when_timestamp(self) -> float:
        """``when`` in seconds."""
        return self.when / 1_000_000
