"""Stored schedules for programs: make them, remove and replace them, see what has become of their firings.

It needs the database and no master. What it does is effective when the call returns; masters are woken at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlalchemy.engine import Connection

from ..config import suggest
from ..config.durations import parse_duration
from ..db import audit, builders, listings, schedules, turns, wakeups
from ..db.database import Database
from ..db.errors import DatabaseError, OutcomeUnknown
from ..db.naming import NotFound, Refused, storable
from ..db.schedules import ExecutionRow, NewSchedule, ScheduleRow
from ..db.urls import DatabaseUrl
from ..schedulers.catchup import CatchUp, Policy, skipped, start_of
from ..schedulers.grid import TimeRule
from ..schedulers.overlap import Overlap, checked_overlap
from ..schedulers.recurrence import Recurrence, ScheduleImmed
from ..schedulers.stored import StartBuildset
from .commands.opening import CLOCKS, polled
from .reading import rule_and_start_of, schedule_of

LONGEST_NAME = 200
METADATA_LIMIT = 64 * 1024
IMMED_WAIT_S = 5.0
CUT_OFF = "the schedule was removed before it could be served"
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule to be made. Durations: seconds, or text such as 5m. ValueError names the argument."""

    rule: Recurrence
    start: StartBuildset
    name: str | None = None
    catch_up: CatchUp = "one"
    catch_up_limit: int = 100
    grace: float | str | None = None
    overlap: Overlap = "skip"
    jitter: float | str = 0
    paused: bool = False
    metadata: Any = None
    policy: Policy = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Recurrence) or type(self.rule) is Recurrence:
            raise ValueError(f"rule: expected one of the Schedule classes, such as ScheduleCron, got {self.rule!r}")
        if not isinstance(self.start, StartBuildset):
            raise ValueError(f"start: expected a StartBuildset, got {self.start!r}")
        if self.name is not None:
            _check_name(self.name)
        checked_overlap(self.overlap)
        _metadata_json(self.metadata)
        if isinstance(self.catch_up_limit, bool) or not isinstance(self.catch_up_limit, int):
            raise ValueError(f"catch_up_limit: expected a whole number, got {self.catch_up_limit!r}")
        grace_us = None if self.grace is None else _microseconds("grace", self.grace)
        jitter_us = _microseconds("jitter", self.jitter)
        object.__setattr__(self, "policy", Policy(self.catch_up, self.catch_up_limit, grace_us, jitter_us))


class Schedules:
    """Stored schedules in a database that is open; ``who`` is kept with each deed. Blocking: never on a reactor's thread."""

    def __init__(self, database: Database, who: str) -> None:
        self._database = database
        self._who = who

    @classmethod
    def connect(cls, url: str, who: str, base: Path | None = None) -> Schedules:
        """Those of the database of that URL, as in the configuration; a SQLite file is relative to ``base``. Close it."""
        parsed = DatabaseUrl.parse(url, base or Path.cwd())
        return cls(Database(parsed, clocks=CLOCKS, label="locum:schedules", pool_size=2), who)

    def close(self) -> None:
        """Close the database. Legal twice."""
        self._database.close()

    # -- making and removing ----------------------------------------------------------------------------------------

    def schedule(
        self,
        rule: Recurrence,
        builders: Sequence[str],
        *,
        metadata: Any = None,
        name: str | None = None,
        catch_up: Literal["none", "one", "all"] = "one",
        catch_up_limit: int = 100,
        grace: float | str | None = None,
        overlap: Literal["skip", "queue", "allow", "replace"] = "skip",
        jitter: float | str = 0,
        paused: bool = False,
        wait_s: float = IMMED_WAIT_S,
        **start: Any,
    ) -> int:
        """Store a schedule that starts a buildset of ``builders`` at each of its times; its id.

        ``start``: properties, branch, revision, repository, project, codebase, reason, priority of the buildset.
        A ``ScheduleImmed`` is waited for, at most ``wait_s`` seconds; ``outcome(id)`` tells what has come of it.
        ValueError: an argument makes no sense. Refused: a builder is unknown, or the name is taken.
        """
        plan = Plan(
            rule,
            StartBuildset(tuple(builders), **start),
            name,
            catch_up,
            catch_up_limit,
            grace,
            overlap,
            jitter,
            paused,
            metadata,
        )
        (schedule_id,) = self.replace((), [plan])
        if isinstance(rule, ScheduleImmed):
            self.wait(schedule_id, wait_s)
        return schedule_id

    def unschedule(self, schedule_id: int) -> None:
        """Remove a schedule: nothing of it fires once this returns; what runs runs on. NotFound."""
        self.replace([schedule_id], ())

    def replace(self, remove: Iterable[int], plans: Iterable[Plan]) -> list[int]:
        """Remove some schedules and store others, all or nothing; the ids of those stored. NotFound, Refused."""
        gone, plans = sorted(set(remove)), list(plans)
        ids = list(self._database.single(turns.reserve, "schedules", len(plans))) if plans else []

        def done() -> bool:
            left = {row.id for row in self._database.read(schedules.these, [*gone, *ids])}
            return left == set(ids)

        self._certainly(done, _replace, gone, ids, plans, self._who)
        return ids

    # -- pausing ----------------------------------------------------------------------------------------------------

    def pause(self, schedule_id: int, why: str = "") -> bool:
        """Let nothing of it fire until it is resumed. False: it is paused already. NotFound."""
        return bool(self._write(_pause, schedule_id, why, self._who))

    def resume(self, schedule_id: int, why: str = "") -> bool:
        """Let it fire again; ``catch_up`` decides on what came due meanwhile. False: it is not paused. NotFound."""
        return bool(self._write(_resume, schedule_id, why, self._who))

    # -- what has come of them --------------------------------------------------------------------------------------

    def unfinished(self, schedule_id: int) -> list[ExecutionRow]:
        """The executions of a schedule that wait or run, oldest first."""
        return self._database.read(schedules.unfinished, schedule_id)

    def executions(self, schedule_id: int, most: int = 20) -> list[ExecutionRow]:
        """A schedule's executions, newest first."""
        return self._database.read(schedules.newest, schedule_id, most)

    def outcome(self, schedule_id: int) -> str | None:
        """The result of its newest execution ('success', 'failure', ...); None: there is none, or it is unfinished."""
        newest = self.executions(schedule_id, 1)
        return newest[0].result if newest else None

    def wait(self, schedule_id: int, seconds: float) -> ExecutionRow | None:
        """Wait until its newest execution is over; None: it is not over yet, and goes on."""

        def over(conn: Connection) -> ExecutionRow | None:
            newest = schedules.newest(conn, schedule_id, 1)
            return newest[0] if newest and newest[0].ended_at is not None else None

        return polled(self._database, over, _POLL_S, seconds)

    # -- how --------------------------------------------------------------------------------------------------------

    def _write(self, function: Callable[..., Any], *args: Any) -> Any:
        answer = self._database.write(function, *args)
        self._announce()
        return answer

    def _certainly(self, done: Callable[[], bool], function: Callable[..., Any], *args: Any) -> None:
        """Write; when the answer gets lost, look whether it was done before doing it again."""
        for attempt in range(4):
            try:
                self._database.write(function, *args)
                break
            except OutcomeUnknown:
                if attempt == 3:
                    raise
                if done():
                    break
        self._announce()

    def _announce(self) -> None:
        with suppress(DatabaseError):
            self._database.single(wakeups.announce, ["schedules"])


# -- in one transaction -----------------------------------------------------------------------------------------------


def _replace(conn: Connection, gone: list[int], ids: list[int], plans: list[Plan], who: str) -> None:
    now = listings.now(conn)
    _check_builders(conn, plans)
    removed = schedules.lock(conn, gone)
    schedules.record_skips(conn, [skip for row in removed for skip in _cut_off(row, now)])
    schedules.remove(conn, gone)
    for row in removed:
        audit.record(conn, who, "remove", str(row))
    schedules.add(conn, [_new(i, plan, now, who) for i, plan in zip(ids, plans, strict=True)])
    if plans:
        what = f"schedule {ids[0]}" if len(ids) == 1 else f"schedules {ids[0]} to {ids[-1]}"
        audit.record(conn, who, "add", what)


def _check_builders(conn: Connection, plans: Iterable[Plan]) -> None:
    wanted = {name for plan in plans for name in plan.start.builders}
    known = builders.names(conn) if wanted else []
    for name in sorted(wanted - set(known)):
        meant = suggest(name, known)
        raise Refused(
            f"unknown builder {name!r}; "
            + (f"did you mean {meant!r}?" if meant else f"masters have registered: {', '.join(known) or 'none yet'}")
        )


def _new(schedule_id: int, plan: Plan, now: int, who: str) -> NewSchedule:
    rule = plan.rule.bound(now)
    next_due = None if plan.paused else _wake_at(rule.rule, plan.policy, schedule_id, now - 1)
    return NewSchedule(
        id=schedule_id,
        name=plan.name,
        rule_json=json.dumps(rule.to_json()),
        start_json=json.dumps(plan.start.to_json()),
        metadata_json=_metadata_json(plan.metadata),
        catch_up=plan.policy.catch_up,
        catch_up_limit=plan.policy.catch_up_limit,
        grace_us=plan.policy.grace_us,
        jitter_us=plan.policy.jitter_us,
        overlap=plan.overlap,
        paused=plan.paused,
        since=now,
        examined=now - 1,
        next_due=next_due,
        made_by=who,
    )


def _wake_at(rule: TimeRule | None, policy: Policy, schedule_id: int, examined: int) -> int | None:
    nominal = None if rule is None else rule.after(examined)
    return None if nominal is None or rule is None else start_of(rule, policy, str(schedule_id), nominal)


def _cut_off(row: ScheduleRow, now: int) -> list[tuple[int, int, int, int, str]]:
    """Times that had come due and that nobody has served: silent loss is not ours."""
    try:
        rule, _ = rule_and_start_of(row)
    except ValueError:  # of a release that knew more
        return []
    skip = None if rule.rule is None else skipped(rule.rule, row.examined, now, CUT_OFF)
    return [] if skip is None else [(row.id, skip.first, skip.last, skip.count, skip.reason)]


def _pause(conn: Connection, schedule_id: int, why: str, who: str) -> bool:
    (row,) = schedules.lock(conn, [schedule_id])
    if not schedules.pause(conn, schedule_id, why or f"by {who}"):
        return False
    audit.record(conn, who, "pause", str(row), why)
    return True


def _resume(conn: Connection, schedule_id: int, why: str, who: str) -> bool:
    (row,) = schedules.lock(conn, [schedule_id])
    stored = schedule_of(row)
    if stored.fault:
        raise Refused(f"{row} cannot be read by this release: {stored.fault}")
    next_due = _wake_at(stored.rule.rule, stored.policy, row.id, row.examined)
    if not schedules.resume(conn, schedule_id, listings.now(conn), next_due):
        return False
    audit.record(conn, who, "resume", str(row), why)
    return True


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name or len(name) > LONGEST_NAME or not storable(name):
        raise ValueError(f"name: expected 1 to {LONGEST_NAME} printable characters, got {name!r}")
    if name.isdigit() or name != name.strip() or not name.isprintable():
        raise ValueError(f"name: {name!r} cannot be told from a number, or has spaces around it; choose another")


def _metadata_json(metadata: Any) -> str | None:
    if metadata is None:
        return None
    try:
        text = json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata: expected a JSON value: {error}") from None
    if len(text) > METADATA_LIMIT or not storable(text) or "\\u0000" in text:
        raise ValueError(f"metadata: it has NUL characters, or more than {METADATA_LIMIT} of any")
    return text


def _microseconds(name: str, value: float | str) -> int:
    try:
        return int(parse_duration(value) * 1e6)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


__all__ = ["NotFound", "Plan", "Refused", "Schedules", "StartBuildset"]
