"""What one instance of a scheduler sees of its master: the interface of ``schedulers/interface.py``, until it is closed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import cached_property
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, succeed

from ..db import buildsets, cancelling, changes, schedules
from ..db.effects import Effects, NewBuildset, NewSkip, Stamp
from ..schedulers.arguments import json_encoder
from ..schedulers.catchup import Skip
from ..schedulers.changes import Change
from ..schedulers.hooks import Heeded, begin, has_answered
from ..schedulers.interface import (
    BuildsetRequest,
    FailedTask,
    FinishedBuildset,
    NotActive,
    SchedulerFault,
    StampFields,
    UnfinishedTask,
)
from .changes import validated
from .reading import change_of
from .records import SeatRecords
from .schedule_seat import ScheduleSeat

if TYPE_CHECKING:
    from .tenure import Tenure

T = TypeVar("T")


_OF_BUILDBOT = "; code for Buildbot has it after replacing 'buildbot.' by 'locum.schedulers.compat.' in its imports"


class Seat:
    """One instance's access to its tenure. Closed when the instance is replaced or deactivated: then all of it raises."""

    def __init__(self, tenure: Tenure) -> None:
        self._tenure = tenure
        self._open = True
        self._thread = get_ident()

    @cached_property
    def stored(self) -> ScheduleSeat:
        """For the calendar."""
        return ScheduleSeat(self._there, self._effect, self.add_buildset)

    @cached_property
    def records(self) -> SeatRecords:
        """For code that reads the database's records, such as that written for Buildbot."""
        return SeatRecords(self._tenure, self._there, self._asked)

    if not TYPE_CHECKING:  # which knows better what there is

        def __getattr__(self, name: str) -> Any:
            """Only asked for what is not there."""
            cure = _OF_BUILDBOT if name in ("db", "data", "mq", "botmaster", "config") else ""
            raise AttributeError(f"a scheduler's master has no {name!r} (docs/writing-schedulers.md){cure}")

    def close(self) -> None:
        """Raise NotActive from now on."""
        self._open = False

    # -- what does not change anything ------------------------------------------------------------------------------

    @property
    def timezone(self) -> str:
        return self._there().tools.timezone

    @property
    def active_since(self) -> int:
        return self._there().active_since

    @property
    def enabled_at(self) -> int | None:
        return self._there().enabled_at

    def now(self) -> int:
        return self._tenure.tools.clock.now()

    def known_builders(self) -> Mapping[str, int]:
        return self._tenure.tools.builders

    def get_state(self, key: str) -> str | None:
        tenure = self._there()
        if tenure.open is not None and key in tenure.open.effects.state:
            return tenure.open.effects.state[key]
        return tenure.state.get(key)

    def timers(self) -> Mapping[str, int]:
        tenure = self._there()
        seen: dict[str, int | None] = dict(tenure.timers)
        if tenure.open is not None:
            seen.update(tenure.open.effects.timers)
        return {key: due for key, due in seen.items() if due is not None}

    def classifications(self) -> Mapping[int, bool]:
        tenure = self._there()
        seen: dict[int, bool | None] = dict(tenure.classified)
        if tenure.open is not None:
            seen.update(tenure.open.effects.classified)
        return {number: important for number, important in seen.items() if important is not None}

    def changes(self, numbers: Sequence[int]) -> Deferred[list[Change]]:
        tenure = self._there()
        found = tenure.tools.changes.find(numbers)
        if found is not None:
            return succeed(found)
        rows = self._asked(tenure.tools.remote.single(changes.these, numbers))
        return rows.addCallback(lambda rows: [change_of(row) for row in rows])

    def stamp(self, stamp_id: int) -> Deferred[StampFields]:
        def made(row: buildsets.StampRow | None) -> StampFields:
            if row is None:
                raise SchedulerFault(f"there is no source stamp {stamp_id}")
            return _fields(row)

        return self._asked(self._there().tools.remote.single(buildsets.stamp, stamp_id)).addCallback(made)

    def stamps_of(self, buildset_id: int) -> Deferred[list[StampFields]]:
        found = self._asked(self._there().tools.remote.single(buildsets.stamps_of, [buildset_id]))
        return found.addCallback(lambda found: [_fields(row) for row in found[buildset_id]])

    def tasks_older_than(self, change: int, builders: Sequence[str]) -> Deferred[list[UnfinishedTask]]:
        rows = self._asked(self._there().tools.remote.read(cancelling.older_than, builders, change))
        return rows.addCallback(_unfinished)

    def unfinished_tasks_of(self, buildset_id: int) -> Deferred[list[UnfinishedTask]]:
        rows = self._asked(self._there().tools.remote.read(cancelling.unfinished_of, buildset_id))
        return rows.addCallback(_unfinished)

    def results_of(self, buildset_ids: Sequence[int]) -> Deferred[dict[int, str]]:
        def complete(found: dict[int, str | None]) -> dict[int, str]:
            return {i: result for i, result in found.items() if result is not None}

        if not buildset_ids:
            return succeed({})
        return self._there().tools.remote.single(buildsets.results_of, buildset_ids).addCallback(complete)

    def ticks_served(self, first: int, last: int) -> Deferred[list[int]]:
        tenure = self._there()
        return tenure.tools.remote.single(schedules.ticks_served, tenure.id, first, last)

    # -- effects ----------------------------------------------------------------------------------------------------

    def set_state(self, key: str, value_json: str) -> Deferred[None]:
        return self._effect(lambda effects: effects.state.__setitem__(key, value_json))

    def set_timer(self, key: str, due: int | None) -> Deferred[None]:
        return self._effect(lambda effects: effects.timers.__setitem__(key, due))

    def classify(self, classified: Mapping[int, bool]) -> Deferred[None]:
        return self._effect(lambda effects: effects.classified.update(classified))

    def flush(self, numbers: Sequence[int]) -> Deferred[None]:
        return self._effect(lambda effects: effects.classified.update(dict.fromkeys(numbers)))

    def record_skips(self, skips: Sequence[Skip]) -> Deferred[None]:
        new = [NewSkip("ticks", s.first, s.last, s.count, s.reason) for s in skips]
        return self._effect(lambda effects: effects.skips.extend(new))

    def add_change(self, fields: Mapping[str, Any], request_id: str) -> Deferred[None]:
        change = validated({**fields, "request_id": request_id})
        return self._effect(lambda effects: effects.changes.append(change))

    def cancel_tasks(self, tasks: Sequence[int], why: str) -> Deferred[None]:
        return self._effect(lambda effects: effects.cancel_tasks.update(dict.fromkeys(tasks, why)))

    def cancel_buildset(self, buildset_id: int, why: str) -> Deferred[None]:
        return self._effect(lambda effects: effects.cancel_buildsets.__setitem__(buildset_id, why))

    def consume_failed_tasks(self, consider: Callable[[FailedTask], bool]) -> Deferred[None]:
        tenure = self._there()
        tenure.failed.consume(consider)
        tenure.tools.look_for_failed()
        return succeed(None)

    def consume_changes(self, consider: Callable[[Change], bool | None]) -> Deferred[None]:
        tenure = self._there()

        def begin(effects: Effects) -> None:
            effects.begin_changes |= tenure.changes.consume(consider)

        return self._effect(begin)

    def consume_buildsets(self, consider: Callable[[FinishedBuildset], bool]) -> Deferred[None]:
        tenure = self._there()

        def begin(effects: Effects) -> None:
            effects.begin_finished |= tenure.finished.consume(consider)

        return self._effect(begin)

    def add_buildset(
        self, request: BuildsetRequest, buildset_id: int | None = None
    ) -> Deferred[tuple[int, dict[int, int]]]:
        tenure = self._there()
        tools = tenure.tools
        builder_ids = [tools.builders[name] for name in request.builders]
        bsids = tools.buildset_ids.take(1) if buildset_id is None else [buildset_id]
        brids = tools.task_ids.take(len(builder_ids)) if bsids else None
        if bsids is None or brids is None:
            refilled = self._asked(tools.buildset_ids.refill(1))
            refilled.addCallback(lambda _: tools.task_ids.refill(len(builder_ids)))
            return refilled.addCallback(lambda _: self.add_buildset(request, buildset_id))
        priority = request.priority
        tasks = tuple([(task, builder, priority) for task, builder in zip(brids, builder_ids, strict=True)])
        new = NewBuildset(
            id=bsids[0],
            scheduler=tenure.name,
            reason=request.reason,
            properties_json=_encode(request.properties),
            stamps=_stamps(request.stamps),
            tasks=tasks,
            changes=request.changes,
            due_at=request.due_at,
            external_id=request.external_id,
            waited_for=request.waited_for,
            parent_json=None if request.parent is None else json.dumps(request.parent),
        )
        answer = (new.id, dict(zip(builder_ids, brids, strict=True)))
        return self._effect(lambda effects: effects.buildsets.append(new), answer)

    def expect(self, what: str, answer: Deferred[Any]) -> Deferred[Any]:
        turn = self._tenure.open
        if turn is None or turn.seat is not self or has_answered(answer):
            return answer
        heeded: Heeded[Any] = Heeded()
        answer.addBoth(heeded.callback)
        turn.expected.append((what, heeded))
        return heeded

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        tenure = self._there()
        turn = await tenure.own_turn()
        try:
            yield
        except BaseException:
            await tenure.end_own(turn, failed=True)
            raise
        await tenure.end_own(turn, failed=False)

    # -- how --------------------------------------------------------------------------------------------------------

    def _there(self) -> Tenure:
        if get_ident() != self._thread:
            raise SchedulerFault(
                f"scheduler {self._tenure.name!r} uses its master from another thread; let what runs in a thread return"
                " its answer, and go on where that was awaited"
            )
        if not self._open:
            raise NotActive(f"this instance of scheduler {self._tenure.name!r} is not the active one (any more)")
        return self._tenure

    def _asked(self, answer: Deferred[T]) -> Deferred[T]:
        """The open turn, if there is one, waits for the database: its ``turn_timeout`` does not run out meanwhile."""
        turn = self._tenure.open
        if turn is None or answer.called:
            return answer
        turn.asking += 1

        def came(result: T) -> T:
            turn.asking -= 1
            return result

        return answer.addBoth(came)

    def _effect(self, apply: Callable[[Effects], object], answer: Any = None) -> Deferred[Any]:
        """Join the open turn, or be a turn of its own that gives ``answer`` after its commit."""
        tenure = self._there()
        if tenure.open is not None:
            if tenure.open.seat is not self:
                raise NotActive(f"this instance of scheduler {tenure.name!r} has been replaced")
            apply(tenure.open.effects)
            return succeed(answer)

        async def own() -> Any:
            turn = await tenure.own_turn()
            apply(turn.effects)
            await tenure.end_own(turn, failed=False)
            return answer

        return begin(own())


def _unfinished(rows: list[cancelling.UnfinishedTask]) -> list[UnfinishedTask]:
    return [UnfinishedTask(row.id, row.builder, row.buildset_id, tuple(map(_fields, row.stamps))) for row in rows]


def _fields(row: buildsets.StampRow) -> StampFields:
    return StampFields(row.codebase, row.repository, row.branch, row.revision, row.project, row.patch_json)


_encode = json_encoder(allow_nan=True)


def _stamps(fields: Sequence[StampFields]) -> tuple[Stamp, ...]:
    """Each once."""
    if len(fields) == 1:
        return (_stamp(fields[0]),)
    return tuple({s.content: s for s in map(_stamp, fields)}.values())


def _stamp(fields: StampFields) -> Stamp:
    return Stamp.of(
        fields.codebase, fields.repository, fields.branch, fields.revision, fields.project, fields.patch_json
    )
