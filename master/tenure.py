"""A scheduler's time on this master under one term: its causes, its turns one after another, what waits for a commit.

A turn's effects are gathered in memory. When its code has returned they join ``pending``, which the committer writes
together with other schedulers' turns; the next turn starts at once and sees them. If they do not commit, everything after
them is discarded too, and the scheduler is rebuilt from what is durable.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from ..db import buildsets, changes
from ..db.effects import Effects, NewFailure
from ..db.errors import DatabaseAway, OutcomeUnknown
from ..db.holding import Loaded, Taken
from ..db.turns import Committed
from ..schedulers.base import Clustered, answered
from ..schedulers.describing import description_of
from ..schedulers.hooks import has_answered, rest_of
from ..schedulers.interface import FailedTask, NotActive, SchedulerFault, away
from .causes import (
    RETRY_AFTER_S,
    Activation,
    BuildsetFinished,
    Cause,
    ChangeCame,
    MessageCame,
    ScheduleDue,
    TimerFired,
    TriedAgain,
)
from .failed_intake import FailedIntake
from .intake import ChangeIntake, Intake
from .logs import Log
from .reading import change_of, finished_of
from .seat import Seat
from .stored_schedules import StoredSchedules
from .tools import Tools
from .turn_code import OpenTurn, TurnTimeout, awaited, failure_of, first_step, forgotten, kind_of, overtime

MOST_PENDING = 500
DEACTIVATE_S = 5.0
MAX_ERROR = 4000
OWN_PAUSES_S = (1.0, 5.0, 30.0)
"""before an instance whose background code failed again is replaced; all else of the scheduler waits meanwhile"""


class Tenure:
    """One scheduler, held under one term.

    ``fresh()`` makes a new, started instance; ``ended(tenure, why)`` is told when the term cannot go on here and must be
    retaken (nothing more is committed under it); ``unable(tenure, error)`` when it cannot be activated.
    """

    log = Log()

    def __init__(
        self,
        taken: Taken,
        loaded: Loaded,
        name: str,
        kind: str,
        tools: Tools,
        scheduler: Clustered,
        fresh: Callable[[], Clustered],
        ended: Callable[[Tenure, str], None],
        unable: Callable[[Tenure, str], None],
    ) -> None:
        self.id = taken.id
        self.term = taken.term
        self.name = name
        self.kind = kind
        self.active_since = taken.active_since
        self.enabled_at = taken.enabled_at
        self.tools = tools
        self.scheduler = scheduler
        self._fresh = fresh
        self._ended = ended
        self._unable = unable
        self.state = loaded.state
        self.timers = loaded.timers
        self.classified = loaded.classified
        self.changes: Intake[Any] = ChangeIntake(tools.changes, taken.change_cursor, self.pump)
        self.finished: Intake[Any] = Intake(tools.finished, taken.finished_cursor, self.pump)
        self.changes.log_error = self.finished.log_error = lambda text: self.log.warn(
            "scheduler {name}: {text}", name=name, text=text
        )
        self.stored: StoredSchedules | None = None
        """of the calendar only, once it has asked for them"""
        self.open: OpenTurn | None = None
        self.pending: Effects | None = None
        self.in_flight: Effects | None = None
        self._pending_causes: list[Cause | None] = []
        self._flight_causes: list[Cause | None] = []
        self._pending_waiters: list[Deferred[None]] = []
        self._flight_waiters: list[Deferred[None]] = []
        self._attempts: dict[str, int] = {}
        self._attempts_before: dict[str, int] = {}
        """of causes whose code has succeeded at last: the database may still refuse what it did"""
        self._blocked: dict[str, int] = {}
        self._due: list[TimerFired] = []
        self._messages: list[MessageCame] = []
        self._known_messages: set[int] = set()
        self._again: list[TriedAgain] = []
        self.failed = FailedIntake()
        self._own: list[Deferred[OpenTurn]] = []
        self.activated = False
        """whether the present instance's first turn has succeeded"""
        self._begun = False
        """whether the present instance's activate has been called"""
        self._replacing = False
        self._own_failures = 0
        """own turns of background code that failed one after another"""
        self._leaving: Deferred[None] = succeed(None)
        self._closing = False
        self.over = False
        self._pumping = False
        self.alone = 0
        """how many of the next turns must each be committed by itself: one of them was refused in a group"""
        self._idle_waiters: list[Deferred[None]] = []
        self.read_first = tools.changes.newest
        """the newest change when it was taken: all up to it are read before an overdue timer may fire"""
        self.seat = Seat(self)
        self._load_failures(loaded)
        for key, due in self.timers.items():
            tools.alarms.set(self, key, due)

    # -- its life -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Run the term's first turn: ``activate``."""
        self.scheduler.master = self.seat
        self.pump()

    @property
    def idle(self) -> bool:
        """No turn's code runs, and nothing waits for a commit."""
        return self.open is None and self.pending is None and self.in_flight is None

    @property
    def newest_cause(self) -> Cause | None:
        """Of the newest of the turns that wait for their commit; None: it had none, or nothing waits."""
        return self._pending_causes[-1] if self._pending_causes else None

    def wind_down(self) -> Deferred[None]:
        """Start no further turn; fires once the open one has ended and all is committed."""
        self._closing = True
        if self.idle:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._idle_waiters.append(waiting)
        return waiting

    def close(self, why: str) -> Deferred[None]:
        """The term is over here: effects raise from now on, what is not committed is discarded. Fires when deactivated.

        A ``deactivate`` that takes longer than five seconds is abandoned. Legal twice.
        """
        if self.over:
            return succeed(None)
        self.over = self._closing = True
        if self.open is not None:
            self._forget_timeout(self.open)
            self.open = None
        self.pending = None
        waiters = self._pending_waiters + self._flight_waiters
        self._pending_waiters, self._flight_waiters = [], []
        gone = NotActive(f"scheduler {self.name!r}: {why}")
        for waiter in waiters:
            waiter.errback(failure_of(gone))
        for own in self._own:
            own.errback(failure_of(gone))
        self._own.clear()
        self._tell_idle()
        if self._replacing:  # the last instance is being deactivated, and there is no other
            left: Deferred[None] = Deferred()
            self._leaving.addBoth(left.callback)
            return left
        return self._deactivate(self.scheduler)

    def _deactivate(self, scheduler: Clustered) -> Deferred[None]:
        self.seat.close()
        self.failed.stop()
        self.changes.stop()
        self.finished.stop()
        if self.stored is not None:
            self.stored.stop()

        finished: Deferred[None] = Deferred()

        async def run() -> None:
            try:
                await answered(scheduler.deactivate())
                if scheduler.active:
                    self.log.warn("scheduler {name}: deactivate never called BaseScheduler's", name=self.name)
            except BaseException as error:  # user code must not keep a term
                self.log.warn(
                    "scheduler {name}: {cause} failed: {error}",
                    name=self.name,
                    cause="deactivate",
                    error=repr(error),
                    failure=failure_of(error),
                )

        def gone(_: object) -> None:
            if timer is not None and timer.active():
                timer.cancel()
            if not finished.called:
                scheduler.active = False
                scheduler.master = away(self.name)
                finished.callback(None)

        def late() -> None:
            self.log.warn("scheduler {name}: deactivate took over 5 s and was abandoned", name=self.name)
            gone(None)
            done.cancel()

        timer: Any = None
        begun, self._begun = self._begun, False
        if not begun:
            gone(None)
            return finished
        done = Deferred.fromCoroutine(run())
        if not done.called:
            timer = self.tools.reactor.callLater(DEACTIVATE_S, late)
        done.addBoth(gone)
        return finished

    def _replace(self, pause_s: float = 0.0) -> None:
        """Deactivate the instance, whose attributes may be dirty, and activate a fresh one in the same term."""
        self._replacing = True
        self.activated = False
        for own in self._own:
            own.errback(
                failure_of(NotActive(f"scheduler {self.name!r}: the instance was replaced after a failed turn"))
            )
        self._own.clear()
        self._leaving = self._deactivate(self.scheduler)
        if pause_s:
            self._leaving.addBoth(lambda _: self.tools.reactor.callLater(pause_s, self._put_fresh) and None)
        else:
            self._leaving.addBoth(self._put_fresh)

    def _put_fresh(self, _: object = None) -> None:
        self._replacing = False
        if self.over:
            return
        try:
            self.scheduler = self._fresh()
        except Exception as error:
            self._unable(self, f"a fresh instance could not be made: {error!r}")
            return
        self.seat = Seat(self)
        self.scheduler.master = self.seat
        self.pump()

    # -- causes ---------------------------------------------------------------------------------------------------

    def timer_due(self, key: str, due: int) -> None:
        """The alarm of that timer has gone off."""
        if self.timers.get(key) == due and not self.over:
            self._due.append(TimerFired(key, due))
            self.pump()

    def message(self, number: int, serve: Callable[[Clustered], Any]) -> None:
        """A message waits for an answer."""
        if number not in self._known_messages and not self.over:
            self._known_messages.add(number)
            self._messages.append(MessageCame(number, serve, []))
            self.pump()

    def failed_tasks(self, found: Sequence[FailedTask]) -> None:
        """All failed tasks beside which others have not come to rest; those that are new are causes."""
        self.failed.offer(found, self._is_blocked)
        self.pump()

    def own_turn(self) -> Deferred[OpenTurn]:
        """A turn for background code, as soon as none is open."""
        if self.over or self._closing:
            return fail(NotActive(f"scheduler {self.name!r} is being deactivated"))
        waiting: Deferred[OpenTurn] = Deferred()
        self._own.append(waiting)
        self.pump()
        return waiting

    def pump(self) -> None:
        """Run turns until there is nothing to react to, one waits for something, or enough await their commit."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._may_start():
                if self.activated and self._own:
                    self._start_own()
                    continue
                cause = self._next_cause()
                if cause is None:
                    return
                if self._attempts.get(cause.id, 0) > len(RETRY_AFTER_S):
                    self._give_up(cause)
                else:
                    self._start(cause)
        finally:
            self._pumping = False

    def _may_start(self) -> bool:
        if self.open is not None or self._closing or self._replacing or self.over:
            return False
        if self.alone:
            return self.pending is None and self.in_flight is None
        return self.pending is None or self.pending.turns < MOST_PENDING

    def _next_cause(self) -> Cause | None:
        if not self.activated:
            return Activation()
        if self._messages:
            return self._messages.pop(0)
        if self._again:
            return self._again.pop(0)
        failed = self.failed.next()
        if failed is not None:
            return failed
        if self.changes.consuming and not self._is_blocked("change"):
            found = self.changes.next()
            if found is not None:
                change, important, error = found
                return ChangeCame(change, bool(important), error)
        if self.finished.consuming and not self._is_blocked("finished"):
            found = self.finished.next()
            if found is not None:
                buildset, _, error = found
                return BuildsetFinished(buildset, error)
        if self._due:
            timer = self._next_timer()
            if timer is not None:
                return timer
        return None if self.stored is None else self._next_schedule(self.stored)

    def _next_schedule(self, stored: StoredSchedules) -> ScheduleDue | None:
        schedule = stored.next(self._is_blocked)
        return None if schedule is None else ScheduleDue(schedule)

    def _next_timer(self) -> TimerFired | None:
        # After a failover, changes are read up to the newest before an overdue tree-stable timer may fire.
        if self.changes.caught_up_to < self.read_first and not self._is_blocked("change"):
            return None
        for _ in range(len(self._due)):
            fired = self._due.pop(0)
            if self.timers.get(fired.key) != fired.due:
                continue
            if not self._is_blocked(fired.stream):
                return fired
            self._due.append(fired)  # its alarm has rung and will not ring again
        return None

    def _is_blocked(self, stream: str) -> bool:
        until = self._blocked.get(stream)
        if until is None:
            return False
        if until > self.tools.clock.now():
            return True
        del self._blocked[stream]
        return False

    # -- a turn ---------------------------------------------------------------------------------------------------

    def _start(self, cause: Cause) -> None:
        turn = self.open = OpenTurn(cause, Effects(self.id, self.term), self.seat)
        self._begun = self._begun or isinstance(cause, Activation)
        try:
            with self.tools.runs(self):
                answer = cause.react(self.scheduler)
                if not isinstance(answer, Deferred) and isawaitable(answer):
                    coroutine = answer if iscoroutine(answer) else awaited(answer)
                    ended, answer = first_step(coroutine)
                    if not ended:
                        answer = Deferred.fromCoroutine(self._go_on(coroutine, answer))
        except BaseException:  # whatever user code raises: what got past here would leave the turn open for ever
            self._failed(turn, failure_of())
            return
        if not isinstance(answer, Deferred) or has_answered(answer):
            self._returned(turn, answer.result if isinstance(answer, Deferred) else answer)
            return
        done = answer
        done.addCallbacks(lambda value: self._returned(turn, value), lambda failure: self._failed(turn, failure))
        if self.open is turn:
            self._limit(turn, done)

    async def _go_on(self, answer: Coroutine[Any, Any, Any], waits_for: Any) -> Any:
        return await rest_of(answer, waits_for, partial(self.tools.runs, self))

    def _start_own(self) -> None:
        waiting = self._own.pop(0)
        turn = self.open = OpenTurn(None, Effects(self.id, self.term), self.seat)
        self._limit(turn, None)
        waiting.callback(turn)

    def _limit(self, turn: OpenTurn, done: Deferred[Any] | None) -> None:
        seconds = self.tools.turn_timeout_s

        def late() -> None:
            if turn.asking:
                turn.timeout = self.tools.reactor.callLater(seconds, late)
                return
            turn.timeout = None
            self._failed(turn, failure_of(TurnTimeout(overtime(seconds, bool(turn.cause and self._own)))))
            if done is not None:
                done.cancel()

        turn.timeout = self.tools.reactor.callLater(seconds, late)

    def _forget_timeout(self, turn: OpenTurn) -> None:
        if turn.timeout is not None and turn.timeout.active():
            turn.timeout.cancel()
        turn.timeout = None

    def _returned(self, turn: OpenTurn, value: Any) -> None:
        fault = forgotten(value, turn.expected)
        self._failed(turn, failure_of(SchedulerFault(fault))) if fault else self._end(turn)

    def _end(self, turn: OpenTurn) -> None:
        """The turn's code has returned: its effects are what the next turn sees, and go to the committer."""
        if self.open is not turn:
            return  # it timed out, or the term is over
        self._forget_timeout(turn)
        self.open = None
        cause = turn.cause
        if cause is not None:
            cause.answered(turn.effects)
            if cause.id in self._attempts:
                self._attempts_before[cause.id] = self._attempts.pop(cause.id)
                turn.effects.failures[cause.id] = None
            if isinstance(cause, ChangeCame):
                self.changes.offered = cause.change.number
            elif isinstance(cause, BuildsetFinished):
                self.finished.offered = cause.buildset.number
            elif isinstance(cause, Activation):
                self.activated = True
                turn.effects.about = (self.changes.saved, description_of(self.scheduler, self.changes.consuming))
            for made in turn.effects.buildsets:
                made.cause = cause.id
        self._hand_over(turn.effects, cause)
        self.pump()

    def end_own(self, turn: OpenTurn, failed: bool) -> Deferred[None]:
        """Background code's turn is over; fires when it is committed. NotActive: it will not be."""
        if self.open is not turn:
            return fail(NotActive(f"scheduler {self.name!r}: the turn was given up before it ended"))
        fault = "" if failed else forgotten(None, turn.expected)
        if failed or fault:
            self._forget_timeout(turn)
            self.open = None
            self._tell_idle()
            self._own_turn_failed()
            return fail(SchedulerFault(fault)) if fault else succeed(None)
        self._own_failures = 0
        committed: Deferred[None] = Deferred()
        self._pending_waiters.append(committed)
        self._end(turn)
        return committed

    def _hand_over(self, effects: Effects, cause: Cause | None) -> None:
        self.state.update(effects.state)
        for key, due in effects.timers.items():
            if due is None:
                self.timers.pop(key, None)
            else:
                self.timers[key] = due
                self.tools.alarms.set(self, key, due)
        for number, important in effects.classified.items():
            if important is None:
                self.classified.pop(number, None)
            else:
                self.classified[number] = important
        if effects.calendar is not None and self.stored is not None:
            self.stored.apply(effects.calendar)
        effects.change_cursor = self.changes.progress()
        effects.finished_cursor = self.finished.progress()
        if self.pending is None:
            self.pending = effects
        else:
            self.pending.merge(effects)
        self._pending_causes.append(cause)
        self.tools.committer.submit(self)

    def save_progress(self) -> None:
        """Write the cursors if they lag behind what has been offered."""
        if self.over or self._closing or self.open is not None or self.pending is not None:
            return  # a turn's own effects carry them
        if self.changes.saved != self.changes.offered or self.finished.saved != self.finished.offered:
            effects = Effects(self.id, self.term, turns=0)
            self._hand_over(effects, None)

    # -- failure of user code -------------------------------------------------------------------------------------

    def _failed(self, turn: OpenTurn, failure: Failure) -> None:
        if self.open is not turn:
            return
        self._forget_timeout(turn)
        self.open = None
        if isinstance(
            failure.value, (DatabaseAway, OutcomeUnknown)
        ):  # not its code's fault, so it does not count against it
            self._ended(self, f"the database did not answer a turn: {failure.getErrorMessage()}")
            return
        if turn.cause is None:
            self._own_turn_failed()
            return
        self._count_failure(turn.cause, failure)

    def _own_turn_failed(self) -> None:
        """Background code begins anew with the fresh instance, so one that keeps failing gets a growing pause."""
        self._own_failures += 1
        pause_s = 0.0 if self._own_failures == 1 else OWN_PAUSES_S[min(self._own_failures - 2, len(OWN_PAUSES_S) - 1)]
        self.log.warn(
            "scheduler {name}: a turn of its background code failed; a fresh instance follows in {s:g} s",
            name=self.name,
            s=pause_s,
        )
        self._replace(pause_s)

    def _count_failure(self, cause: Cause, failure: Failure) -> None:
        text = failure.getErrorMessage() or kind_of(failure)
        self.log.error(
            "scheduler {name}: {cause} failed: {kind}: {text}",
            name=self.name,
            cause=cause.id,
            kind=kind_of(failure),
            text=text,
            failure=failure,
        )
        self.log.debug("{trace}", trace=failure.getTraceback())
        if isinstance(cause, Activation):
            self._unable(self, text)
            return
        attempts = self._attempts.get(cause.id, 0) + 1
        effects = Effects(self.id, self.term)
        detail = dict(cause.detail())
        retry_us: int | None = None
        if isinstance(cause, MessageCame):  # a person waits for it: say so now
            cause.answer[:] = [{"error": f"{kind_of(failure)}: {text}"[:MAX_ERROR]}]
            cause.answered(effects)
        else:
            if attempts <= len(RETRY_AFTER_S):
                retry_us = int(RETRY_AFTER_S[attempts - 1] * 1e6)
                self._attempts[cause.id] = attempts
                self._block(cause, retry_us)
            else:
                self._set_aside(cause, effects)
                detail["aside"] = True
            error = f"{kind_of(failure)}: {text}"[:MAX_ERROR].replace("\0", "\\0")
            effects.failures[cause.id] = NewFailure(json.dumps(detail), attempts, retry_us, error)
        self._hand_over(effects, None)
        self._replace()

    def _block(self, cause: Cause, pause_us: int) -> None:
        self._blocked[cause.stream] = self.tools.clock.now() + pause_us
        if isinstance(cause, TimerFired):
            self._due.append(cause)
        elif isinstance(cause, TriedAgain):
            self.tools.reactor.callLater(pause_us / 1e6, self._try_again, cause)
            return
        self._go_on_later(cause.stream)

    def _go_on_later(self, stream: str) -> None:
        """Pump once ``stream`` is not blocked any more, by the database's clock, which may be set back meanwhile."""
        left_us = self._blocked.get(stream, 0) - self.tools.clock.now()
        if left_us > 0 and not self.over:
            self.tools.reactor.callLater(max(0.1, left_us / 1e6 + 0.01), self._go_on_later, stream)
        else:
            self.pump()

    def _try_again(self, cause: TriedAgain) -> None:
        if not self.over:
            self._again.append(cause)
            self.pump()

    def _give_up(self, cause: Cause) -> None:
        """Its last try was under an earlier term: set it aside now."""
        attempts = self._attempts[cause.id]
        effects = Effects(self.id, self.term)
        self._set_aside(cause, effects)
        detail = json.dumps({**cause.detail(), "aside": True})
        effects.failures[cause.id] = NewFailure(detail, attempts, None, "refused by the database; see the master's log")
        self._hand_over(effects, None)

    def _set_aside(self, cause: Cause, effects: Effects) -> None:
        """Go on without it; it stays listed."""
        self._attempts.pop(cause.id, None)
        self.log.error("scheduler {name}: {cause} is set aside after its last try", name=self.name, cause=cause.id)
        if isinstance(cause, ChangeCame):
            self.changes.offered = cause.change.number
        elif isinstance(cause, BuildsetFinished):
            self.finished.offered = cause.buildset.number
        elif not isinstance(cause, TriedAgain):
            cause.answered(effects)

    def _load_failures(self, loaded: Loaded) -> None:
        now = self.tools.clock.now()
        for cause, (attempts, retry_at, detail_json) in loaded.failures.items():
            if retry_at is None:
                continue
            detail = json.loads(detail_json)
            pause_s = max(0, retry_at - now) / 1e6 + 0.01
            if detail.get("aside"):
                self.tools.reactor.callLater(pause_s, self._fetch_again, detail)
                continue
            self._attempts[cause] = attempts
            stream = cause.split(":", 1)[0]
            if retry_at > now:
                stream = cause if stream in ("timer", "schedule") else stream
                self._blocked[stream] = retry_at
                self.tools.reactor.callLater(pause_s, self._go_on_later, stream)

    def _fetch_again(self, detail: dict[str, Any]) -> None:
        """A cause that was set aside is to be tried again, on a person's word."""

        async def fetch() -> None:
            cause = await self._cause_of(detail)
            if cause is not None:
                self._try_again(TriedAgain(cause))

        if not self.over:
            Deferred.fromCoroutine(fetch()).addErrback(
                lambda failure: self.log.warn("{name}: {e}", name=self.name, e=failure.getErrorMessage())
            )

    async def _cause_of(self, detail: dict[str, Any]) -> Cause | None:
        if "timer" in detail:
            return TimerFired(detail["timer"], detail["due"])
        if "change" in detail:
            rows = await self.tools.remote.single(changes.these, [detail["change"]])
            return ChangeCame(change_of(rows[0]), True) if rows else None
        if "finished" in detail:
            found = await self.tools.remote.single(buildsets.finished_after, detail["finished"] - 1, 1)
            return BuildsetFinished(finished_of(found[0])) if found else None
        return None

    # -- what the committer says ----------------------------------------------------------------------------------

    def take_pending(self) -> Effects | None:
        """What is to be committed now; None: nothing (any more)."""
        if self.over or self.pending is None or self.in_flight is not None:
            return None
        self.in_flight, self.pending = self.pending, None
        self._flight_causes, self._pending_causes = self._pending_causes, []
        self._flight_waiters, self._pending_waiters = self._pending_waiters, []
        return self.in_flight

    def committed(self, answer: Committed) -> None:
        """What was in flight is durable."""
        effects, self.in_flight = self.in_flight, None
        if self.over or effects is None:
            return
        self.alone = max(0, self.alone - effects.turns)
        if effects.begin_changes:
            self.tools.changes.begin(answer.change_start or 0)
            self.changes.began(answer.change_start)
        if effects.begin_finished:
            self.tools.finished.begin(answer.finished_start or 0)
            self.finished.began(answer.finished_start)
        for number, _ in effects.answers:
            self._known_messages.discard(number)
        for cause in self._flight_causes:
            if cause is not None:
                self._attempts_before.pop(cause.id, None)
        waiters, self._flight_waiters = self._flight_waiters, []
        for waiter in waiters:
            waiter.callback(None)
        if self.pending is not None:
            self.tools.committer.submit(self)
        self._tell_idle()
        self.pump()

    def not_committed(self, why: str) -> None:
        """What was in flight is not durable, or nobody knows: the term ends here."""
        if not self.over:
            self._ended(self, why)

    def refused_data(self, error: Exception) -> None:
        """The database refused what was in flight, and it was alone in its transaction: our data, or a turn's."""
        effects, causes = self.in_flight, self._flight_causes
        if self.over or effects is None:
            return
        if effects.turns > 1:
            self._ended(self, f"one of {effects.turns} turns was refused by the database: {error}")
            return
        cause = causes[0] if causes else None
        # Everything that later turns did was built on what has just been refused.
        self.in_flight = self.pending = None
        if cause is None or isinstance(cause, Activation):  # nothing that could be set aside: a pause that grows
            self._unable(self, f"the database refused {'a turn' if cause is None else 'its activation'}: {error}")
            return
        self._remember_refusal(cause, error)

    def _remember_refusal(self, cause: Cause, error: Exception) -> None:
        attempts = self._attempts_before.get(cause.id, 0) + 1
        retry_us = int(RETRY_AFTER_S[min(attempts, len(RETRY_AFTER_S)) - 1] * 1e6)
        detail = json.dumps(dict(cause.detail()))
        self.tools.note_failure(self, cause.id, NewFailure(detail, attempts, retry_us, str(error)[:MAX_ERROR]))
        self._ended(self, f"the database refused the turn of {cause.id}: {error}")

    def _tell_idle(self) -> None:
        if self.idle or self.over:
            waiters, self._idle_waiters = self._idle_waiters, []
            for waiter in waiters:
                waiter.callback(None)
