"""A try job is tried once: what its serving raises is the job's fault, as it would be raised again however often."""

from __future__ import annotations

from ..db.errors import DatabaseAway, OutcomeUnknown
from ..schedulers.interface import NotActive, SchedulerFault
from ..schedulers.try_jobs import BadJob, TryJob
from ..schedulers.trying import TryBase


async def tried(scheduler: TryBase, job: TryJob) -> tuple[int, dict[int, int]]:
    """As ``tryJob``. BadJob with the reason, whatever was raised; but for what says nothing of the job: NotActive,
    DatabaseAway and OutcomeUnknown."""
    try:
        answer: tuple[int, dict[int, int]] = await scheduler.tryJob(job)
    except (BadJob, NotActive, DatabaseAway, OutcomeUnknown):
        raise
    except SchedulerFault as error:
        raise BadJob(str(error)) from error
    except Exception as error:
        raise BadJob(f"{type(error).__name__}: {error}") from error
    return answer
