"""What a task can be, and what may become of it: one table, from which SQL, tests and the docs' diagram come.

A state says who must act next; a result says how it went, and is given when a task first comes to rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class State(StrEnum):
    """Where a task is."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    EXECUTING = "executing"
    FAILING = "failing"
    STOPPING = "stopping"
    ABORTING = "aborting"
    EXECUTED = "executed"
    FAILED = "failed"
    STOPPED = "stopped"
    ABORTED = "aborted"
    DONE = "done"
    CANCELLED = "cancelled"


class Move(StrEnum):
    """What happens to a task."""

    SUBMIT = "submit"
    CREATE = "create"
    START = "start"
    SCHEDULE = "schedule"
    CLAIM = "claim"
    SUCCEED = "succeed"
    FAIL = "fail"
    STOP = "stop"
    ABORT = "abort"
    END = "end"
    LOSE = "lose"
    REQUEUE = "requeue"
    ARCHIVE = "archive"
    CANCEL = "cancel"


class Result(StrEnum):
    """How a task went; the later one in this list is the worse one."""

    SUCCESS = "success"
    SKIPPED = "skipped"
    WARNINGS = "warnings"
    FAILURE = "failure"
    EXCEPTION = "exception"
    CANCELLED = "cancelled"


WAITING_FOR_A_PERSON = (State.PENDING, State.EXECUTED, State.FAILED, State.STOPPED, State.ABORTED)
RUNNING = (State.EXECUTING, State.FAILING, State.STOPPING, State.ABORTING)
"""The states in which a task belongs to its runner."""
FINAL = (State.DONE, State.CANCELLED)
RESTING = (State.FAILED, State.STOPPED, State.ABORTED)

MOVES: dict[tuple[State | None, Move], State] = {
    (None, Move.SUBMIT): State.QUEUED,
    (None, Move.CREATE): State.PENDING,
    (State.PENDING, Move.START): State.QUEUED,
    (State.PENDING, Move.SCHEDULE): State.SCHEDULED,
    (State.SCHEDULED, Move.SCHEDULE): State.SCHEDULED,
    (State.SCHEDULED, Move.START): State.QUEUED,
    (State.SCHEDULED, Move.CANCEL): State.CANCELLED,
    (State.QUEUED, Move.CLAIM): State.EXECUTING,
    (State.QUEUED, Move.CANCEL): State.CANCELLED,
    (State.EXECUTING, Move.SUCCEED): State.EXECUTED,
    (State.EXECUTING, Move.FAIL): State.FAILING,
    (State.EXECUTING, Move.STOP): State.STOPPING,
    (State.STOPPING, Move.FAIL): State.FAILING,
    (State.EXECUTING, Move.ABORT): State.ABORTING,
    (State.STOPPING, Move.ABORT): State.ABORTING,
    (State.FAILING, Move.ABORT): State.ABORTING,
    (State.FAILING, Move.END): State.FAILED,
    (State.STOPPING, Move.END): State.STOPPED,
    (State.ABORTING, Move.END): State.ABORTED,
    **{(state, Move.LOSE): State.FAILED for state in RUNNING},
    **{(state, Move.REQUEUE): State.QUEUED for state in RUNNING},
    **{(state, Move.CANCEL): State.CANCELLED for state in RUNNING},
    **{(state, Move.START): State.QUEUED for state in RESTING},
    **{(state, Move.SCHEDULE): State.SCHEDULED for state in RESTING},
    **{(state, Move.CANCEL): State.CANCELLED for state in RESTING},
    (State.EXECUTED, Move.ARCHIVE): State.DONE,
    (State.EXECUTED, Move.CANCEL): State.CANCELLED,
}
"""(from, move) -> to; what is not here is refused. A runner with no other step running passes FAILING over at once."""

_ORDER = {result: place for place, result in enumerate(Result)}


def leading_to(state: State) -> tuple[State, ...]:
    """The states from which one move leads to ``state``."""
    return tuple({old: None for (old, _), new in MOVES.items() if new is state and old is not None})


def worst(results: Iterable[str | None]) -> Result:
    """The worst of some results; ``success`` of none. None (a task without a result) counts as ``exception``."""
    return max((Result(r or Result.EXCEPTION) for r in results), key=_ORDER.__getitem__, default=Result.SUCCESS)


def quoted(states: Iterable[State]) -> str:
    """The states as SQL literals, for ``IN (...)``."""
    return ", ".join(f"'{state}'" for state in states)
