"""One scheduler's part in failed tasks: which of those that the master sees are new to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..schedulers.interface import FailedTask
from .causes import TaskFailed


class FailedIntake:
    """Every failed task that ``consider`` says yes to is a cause once per instance, and again after a turn of it failed."""

    def __init__(self) -> None:
        self._consider: Callable[[FailedTask], bool] | None = None
        self._waiting: list[TaskFailed] = []
        self._known: set[int] = set()

    @property
    def consuming(self) -> bool:
        """Whether the scheduler has asked for it."""
        return self._consider is not None

    def consume(self, consider: Callable[[FailedTask], bool]) -> None:
        """Begin."""
        self._consider = consider

    def stop(self) -> None:
        """Offer nothing more to the present instance."""
        self._consider = None
        self._waiting.clear()
        self._known.clear()

    def offer(self, found: Sequence[FailedTask], is_blocked: Callable[[str], bool]) -> None:
        """All failed tasks beside which others have not come to rest."""
        self._known &= {task.id for task in found}
        for task in found:
            cause = TaskFailed(task)
            if self._consider is None or task.id in self._known or is_blocked(cause.stream):
                continue
            if self._consider(task):
                self._known.add(task.id)
                self._waiting.append(cause)

    def next(self) -> TaskFailed | None:
        """The next one; None: nothing now."""
        return self._waiting.pop(0) if self._waiting else None
