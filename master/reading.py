"""Rows of the database as schedulers see them."""

from __future__ import annotations

from typing import cast

from ..db.buildsets import FinishedRow
from ..db.changes import ChangeRow
from ..db.schedules import ExecutionRow, ScheduleRow
from ..db.stored import Unreadable, read_value
from ..schedulers.catchup import CatchUp, Policy
from ..schedulers.changes import Change
from ..schedulers.interface import FinishedBuildset
from ..schedulers.overlap import Overlap
from ..schedulers.recurrence import Recurrence, recurrence_from_json
from ..schedulers.stored import Cause, Execution, StartBuildset, StoredSchedule, start_from_json


def change_of(row: ChangeRow) -> Change:
    """A change as schedulers and filters get it."""
    return Change(
        number=row.number,
        who=row.who,
        files=row.files,
        comments=row.comments,
        branch=row.branch,
        revision=row.revision,
        when=row.when_at,
        category=row.category,
        repository=row.repository,
        codebase=row.codebase,
        project=row.project,
        properties=row.properties,
        revlink=row.revlink,
        committer=row.committer,
        fault=row.fault,
    )


def finished_of(row: FinishedRow) -> FinishedBuildset:
    """A completed buildset as ``gotBuildsetComplete`` gets it."""
    return FinishedBuildset(
        id=row.id,
        number=row.number,
        scheduler=row.scheduler,
        reason=row.reason,
        result=row.result,
        external_id=row.external_id,
        properties=row.properties,
        changes=row.changes,
        completed_at=row.completed_at,
        fault=row.fault,
    )


def rule_and_start_of(row: ScheduleRow) -> tuple[Recurrence, StartBuildset]:
    """When it fires, and what it starts. ValueError: this release cannot read it."""
    try:
        rule = read_value(row.rule_json, f"rule_json of schedule {row.id}")
        start = read_value(row.start_json, f"start_json of schedule {row.id}")
    except Unreadable as error:
        raise ValueError(str(error)) from None
    return recurrence_from_json(rule), start_from_json(start)


def policy_of(row: ScheduleRow) -> Policy:
    """What becomes of its times that nobody could serve. ValueError: this release cannot read it."""
    return Policy(cast("CatchUp", row.catch_up), row.catch_up_limit, row.grace_us, row.jitter_us)


def schedule_of(row: ScheduleRow) -> StoredSchedule:
    """A stored schedule as the calendar gets it; what cannot be read has a ``fault``."""
    fault = ""
    try:
        rule, start = rule_and_start_of(row)
        policy = policy_of(row)
    except ValueError as error:
        rule, start, policy, fault = Recurrence(), StartBuildset(("?",)), Policy(), str(error)
    return StoredSchedule(
        id=row.id,
        name=row.name,
        rule=rule,
        start=start,
        policy=policy,
        overlap=cast("Overlap", row.overlap),
        since=row.since,
        examined=row.examined,
        next_due=row.next_due,
        version=row.version,
        paused=row.paused,
        fault=fault,
    )


def execution_of(row: ExecutionRow) -> Execution:
    """An unfinished firing as the calendar knows it."""
    return Execution(row.id, row.schedule_id, row.due_at, cast("Cause", row.cause), row.state == "started")
