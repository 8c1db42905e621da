"""Who of the configured schedulers is active here: taking, retaking, giving up. One step at a time, so nothing races itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.engine import Connection
from twisted.internet.defer import Deferred, DeferredList

from ..db import changes, holding, members, wakeups
from ..db.effects import Effects, NewFailure
from ..db.errors import DatabaseAway, DatabaseError, OutcomeUnknown
from ..db.turns import commit
from ..schedulers.base import Clustered
from .logs import Log
from .loop import Loop
from .membership import Membership
from .surroundings import RemoteDatabase
from .tenure import Tenure
from .tools import Tools

FALLBACK_S = 5.0
RETRY_S = 0.5
SECOND_PASS_S = 0.1
CLOSE_S = 0.3
NAMES_TOLD = 10
SAVE_S = 4.0
PAUSE_FIRST_S, PAUSE_LONGEST_S = 2.0, 300.0

_Answer = tuple[list[holding.Taken], dict[int, holding.Loaded], int]
"""what was taken, what it has in the database, and the newest change"""


class NotConfigured(Exception):
    """It has been removed from the configuration: there is nothing to make another instance of."""


@dataclass(slots=True)
class Standing:
    """A scheduler that this master stands by for. ``current()`` is its present instance, started; None: it is not configured
    any more. ``fresh()`` makes and starts another in its place, or raises NotConfigured."""

    id: int
    name: str
    kind: str
    digest: str
    current: Callable[[], Clustered | None]
    fresh: Callable[[], Clustered]


def in_place(make: Callable[[], Clustered]) -> tuple[Callable[[], Clustered], Callable[[], Clustered]]:
    """``current`` and ``fresh`` of a scheduler that is configured once and for all."""
    present = make()

    def fresh() -> Clustered:
        nonlocal present
        present = make()
        return present

    return lambda: present, fresh


class Activation:
    """Makes what the database says this incarnation holds, and what is active here, the same.

    Every ``look_every_s`` seconds it looks around by itself; every ``save_every_s`` it saves how far schedulers have read.
    """

    log = Log()

    def __init__(
        self,
        reactor: Any,
        remote: RemoteDatabase,
        membership: Membership,
        tools: Tools,
        on_freed: Callable[[], None],
        on_active: Callable[[Tenure], None],
        *,
        look_every_s: float = FALLBACK_S,
        save_every_s: float = SAVE_S,
    ) -> None:
        self._reactor = reactor
        self._remote = remote
        self._membership = membership
        self._me = membership.incarnation
        self.tools = tools
        self._on_freed = on_freed
        self._on_active = on_active
        self.standing: dict[int, Standing] = {}
        self.tenures: dict[int, Tenure] = {}
        self._retake: dict[int, str] = {}
        self._alone: dict[int, int] = {}
        self._unable: dict[int, str] = {}
        self._pauses: dict[int, float] = {}
        self._reread = False
        self._greedy = False
        self._busy_since_beat = False
        self._odd_beats = 0
        self._stopping = False
        self._why = "nobody held it"
        self._failures: list[tuple[int, int, str, NewFailure]] = []
        self._loop = Loop(reactor, self._step, look_every_s, "activation", retry_s=RETRY_S)
        self._progress = Loop(reactor, self._save_progress, save_every_s, "saving cursors", first_s=save_every_s)

    # -- from outside -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to take what is to be had."""
        self._loop.start()
        self._progress.start()

    def look(self, why: str = "nobody held it") -> None:
        """Something may have changed hands."""
        self._why = why
        self._reread = True
        self._loop.soon()

    def beat(self, beat: members.Beat) -> None:
        """Compare what the heartbeat counted with what is active here."""
        held = {id: t.term for id, t in self.tenures.items()}
        if self._busy_since_beat or (beat.held, beat.held_terms) == (len(held), sum(held.values())):
            self._odd_beats = 0
        else:
            self._odd_beats += 1
            self._reread = True
            self._loop.soon()
        self._busy_since_beat = False

    def abandon(self, why: str) -> Deferred[Any]:
        """The incarnation is over: deactivate everything at once, write nothing more. Fires when all has stopped."""
        self._stopping = True
        self._loop.stop()
        self._progress.stop()
        # A copy: whoever waits for one of them to be idle (a reconfiguration, say) goes on in here, and may take some out.
        closed = [self._close(tenure, why) for tenure in list(self.tenures.values())]
        self.tenures.clear()
        return DeferredList(closed)

    async def give_up_all(self, why: str) -> None:
        """A clean stop: let open turns commit for a moment, then release everything, exactly where it stands."""
        self._stopping = True
        self._progress.stop()
        await self._loop.stop()
        await self._give_up(list(self.tenures.values()), why)

    async def reconfigured(
        self,
        removed: Iterable[int],
        changed: Iterable[int],
        standing: Mapping[int, Standing],
        record: Callable[[Connection], None] = lambda conn: None,
    ) -> None:
        """Stop what was removed or changed, and put the new ones in place; what was held here stays here.

        ``record`` writes the ``standby`` rows, in one transaction with what follows: a changed scheduler that this
        master holds is activated anew under a new term. A removed one is released for others.
        """
        await self._loop.stop()
        try:
            gone = [self.tenures[i] for i in removed if i in self.tenures]
            await self._give_up(gone, "it was taken out of this master's configuration")
            kept = [self.tenures[i] for i in changed if i in self.tenures]
            await self._settle(kept)
            why = "its configuration changed"
            for tenure in kept:
                self._retake[tenure.id] = why
                self.tenures.pop(tenure.id, None)
            await _all(tenure.close(why) for tenure in kept)
            self.standing = dict(standing)
            for tenure in kept:
                self._put_fresh(self.standing.get(tenure.id), tenure)
            self._busy_since_beat = True
            reasons = {tenure.id: why for tenure in kept}
            taken, loaded, newest = await self._remote.write(_record_and_take_back, self._me, record, reasons)
            for scheduler_id in reasons:
                self._retake.pop(scheduler_id, None)
            if not self._stopping:
                self._begin(taken, loaded, newest)
        finally:
            if not self._stopping:
                self._loop.start()

    # -- one step ---------------------------------------------------------------------------------------------------

    async def _step(self) -> None:
        if self._stopping or not self._membership.good():
            return
        if self._failures:
            await self._write_failures()
        if self._unable:
            await self._release_unable()
        if self._retake:
            await self._do_retake()
        await self._take()  # before comparing: what is free waits for somebody, what is lost is fenced already
        if self._reread:
            self._reread = False
            await self._compare()

    async def _compare(self) -> None:
        held = await self._remote.single(holding.holds, self._me)
        for tenure in list(self.tenures.values()):
            if held.get(tenure.id) != tenure.term:
                self._drop(tenure, "it was given to another master, disabled or moved")
        for scheduler_id in held:
            if scheduler_id not in self.tenures and scheduler_id in self.standing:
                self._retake.setdefault(scheduler_id, "it was moved here")
                self._loop.soon()

    async def _do_retake(self) -> None:
        wanted = dict(list(self._retake.items())[: holding.TAKE_AT_MOST])
        self._busy_since_beat = True
        # _take_back may be answered wrongly; only an answer clears the list, and asking again is harmless.
        taken, loaded, newest = await self._remote.write(_take_back, self._me, wanted)
        for scheduler_id in wanted:
            self._retake.pop(scheduler_id, None)
        if not self._stopping:
            self._begin(taken, loaded, newest)
        if self._retake:
            self._loop.soon()

    async def _take(self) -> None:
        free = await self._remote.single(holding.takeable, self._me)
        free = {i: others for i, others in free.items() if i in self.standing and i not in self.tenures}
        if not free:
            self._greedy = False
            return
        mine = [i for i, others in free.items() if self._greedy or _first_choice(i, others) == self._me]
        parts = [mine[start : start + holding.TAKE_AT_MOST] for start in range(0, len(mine), holding.TAKE_AT_MOST)]
        coming = self._take_some(parts)
        while coming is not None:
            taken, loaded, newest = await coming
            if self._stopping or self._membership.over:
                return
            coming = self._take_some(parts)  # the database works at it while these are activated
            self._tell_taken(taken)
            # Those that once blocked a master come last, when everything else is served.
            self._begin([t for t in taken if not t.blocked], loaded, newest)
            self._begin([t for t in taken if t.blocked], loaded, newest)
        if len(mine) < len(free):
            self._greedy = True
            self._reactor.callLater(SECOND_PASS_S, self._loop.soon)
        else:
            self._greedy = False

    def _take_some(self, parts: list[list[int]]) -> Deferred[_Answer] | None:
        """The first of ``parts``, which is taken off the list; None: there is none, or nothing may be taken any more."""
        if not parts or self._stopping or not self._membership.good():
            return None
        self._busy_since_beat = True
        return self._remote.write(_take_and_load, self._me, parts.pop(0), self._why)

    def _tell_taken(self, taken: Sequence[holding.Taken]) -> None:
        names = [self.standing[one.id].name for one in taken if one.id in self.standing]
        if names:
            more = f" and {len(names) - NAMES_TOLD} more" if len(names) > NAMES_TOLD else ""
            what = ", ".join(names[:NAMES_TOLD]) + more
            self.log.info("takes {n} scheduler(s): {what} ({why})", n=len(names), what=what, why=self._why)

    def _begin(self, taken: list[holding.Taken], loaded: dict[int, holding.Loaded], newest: int) -> None:
        self.tools.changes.begin(newest)
        for ids in (self.tools.buildset_ids, self.tools.task_ids):
            ids.expect(len(self.tenures) + len(taken))
        for one in taken:
            standing = self.standing.get(one.id)
            if standing is None:
                continue
            try:
                instance = standing.current()
                if instance is None or instance.active or not instance.running:
                    instance = standing.fresh()
            except Exception as error:
                self._unable[one.id] = f"no instance could be made: {error!r}"
                self._loop.soon()
                continue
            faults = one.faults + loaded[one.id].faults
            if faults:  # the others are taken all the same
                self._unable[one.id] = "; ".join(faults)
                self.log.error(
                    "scheduler {name} cannot be activated: {why}", name=standing.name, why=self._unable[one.id]
                )
                self._loop.soon()
                continue
            tenure = Tenure(
                one, loaded[one.id], standing.name, standing.kind, self.tools, instance,
                partial(self._fresh, one.id), self._ended, self._cannot,
            )  # fmt: skip
            tenure.read_first = newest
            tenure.alone = self._alone.pop(one.id, 0)
            before = self.tenures.get(one.id)
            if before is not None:
                self._drop(before, "it was taken anew")
            self._retake.pop(one.id, None)  # wished for under an earlier term: this one is ours already
            self.tenures[one.id] = tenure
            tenure.begin()
            if not tenure.over:
                self._on_active(tenure)

    def _fresh(self, scheduler_id: int) -> Clustered:
        return self.standing[scheduler_id].fresh()  # as it is configured then, not as it was when its term began

    # -- what tenures say -------------------------------------------------------------------------------------------

    def _ended(self, tenure: Tenure, why: str) -> None:
        """Nothing more may be committed under this term: retake it, if it is still ours, and start afresh."""
        effects = tenure.in_flight
        if effects is not None and effects.turns > 1 and "refused by the database" in why:
            self._alone[tenure.id] = effects.turns + (tenure.pending.turns if tenure.pending else 0)
        self._drop(tenure, why)
        if tenure.id not in self.tenures:
            self._retake[tenure.id] = why
        self._reread = True
        self._loop.soon()

    def _cannot(self, tenure: Tenure, error: str) -> None:
        self.log.error("scheduler {name} cannot be activated here: {error}", name=tenure.name, error=error)
        self._drop(tenure, f"it could not be activated: {error}")
        self._unable[tenure.id] = error
        self._loop.soon()

    def note_failure(self, tenure: Tenure, cause: str, failure: NewFailure) -> None:
        """Remember a failure whose turn could not be written, in a transaction of its own, under the term retaken."""
        self._failures.append((tenure.id, tenure.term, cause, failure))
        self._loop.soon()

    def _drop(self, tenure: Tenure, why: str) -> None:
        if self.tenures.get(tenure.id) is tenure:
            del self.tenures[tenure.id]
        self._close(tenure, why)

    def _close(self, tenure: Tenure, why: str) -> Deferred[None]:
        standing = self.standing.get(tenure.id)
        return tenure.close(why).addBoth(lambda _: self._put_fresh(standing, tenure))

    def _put_fresh(self, standing: Standing | None, tenure: Tenure) -> None:
        """After a term the instance that stands by is a fresh one: attributes of the old may be dirty."""
        if standing is None or standing.current() is not tenure.scheduler:
            return
        try:
            standing.fresh()
        except NotConfigured:
            pass  # the incarnation was over before its removal had been carried out here
        except Exception as error:
            self.log.error("scheduler {name}: no fresh instance: {error}", name=standing.name, error=repr(error))

    async def _write_failures(self) -> None:
        failures, self._failures = self._failures, []
        for scheduler_id, term, cause, failure in failures:
            effects = Effects(scheduler_id, term, turns=0, failures={cause: failure})
            try:
                await self._remote.write(commit, self._me, [effects])
            except (DatabaseAway, OutcomeUnknown):  # written again is the same row
                self._failures.append((scheduler_id, term, cause, failure))
            except DatabaseError as error:
                self.log.error("a failure of {cause} could not be noted: {error}", cause=cause, error=error)
                # Uncounted, it would be tried again at once, for ever.
                self._unable[scheduler_id] = f"a failure of {cause} could not be noted: {error}"
                self._retake.pop(scheduler_id, None)

    async def _release_unable(self) -> None:
        held = await self._remote.single(holding.holds, self._me)
        for scheduler_id, error in list(self._unable.items()):
            pause = min(PAUSE_LONGEST_S, 2 * self._pauses.get(scheduler_id, PAUSE_FIRST_S / 2))
            self._pauses[scheduler_id] = pause
            why = f"it could not be activated: {error}"[:300]
            self._busy_since_beat = True
            term = held.get(scheduler_id)
            await self._remote.write(_release_and_pause, self._me, scheduler_id, term, int(pause * 1e6), why)
            del self._unable[scheduler_id]
            self._reactor.callLater(pause + 0.01, self._loop.soon)
        self._on_freed()

    # -- giving up --------------------------------------------------------------------------------------------------

    async def _settle(self, tenures: list[Tenure]) -> None:
        """Let open turns end and commit, for at most 0.3 s, cursors included."""
        for tenure in tenures:
            tenure.save_progress()
        await bounded(self._reactor, _all(tenure.wind_down() for tenure in tenures), CLOSE_S)

    async def _give_up(self, tenures: list[Tenure], why: str) -> None:
        if not tenures:
            return
        await self._settle(tenures)
        terms = [(tenure.id, tenure.term) for tenure in tenures]
        closed = _all(tenure.close(why) for tenure in tenures)
        await bounded(self._reactor, closed, CLOSE_S)
        for tenure in tenures:
            self.tenures.pop(tenure.id, None)
        self._busy_since_beat = True
        for start in range(0, len(terms), 5000):
            await self._remote.write(_release_and_announce, self._me, terms[start : start + 5000], why)

    async def _save_progress(self) -> None:
        for tenure in list(self.tenures.values()):
            tenure.save_progress()
            if self._pauses and tenure.activated:
                self._pauses.pop(tenure.id, None)  # the next failure begins with a short pause again


def _take_and_load(conn: Connection, me: str, ids: list[int], why: str) -> _Answer:
    taken = holding.take(conn, me, ids, why)
    return taken, holding.load(conn, [t.id for t in taken]), changes.last_number(conn)


def _record_and_take_back(
    conn: Connection, me: str, record: Callable[[Connection], None], reasons: Mapping[int, str]
) -> _Answer:
    record(conn)
    return _take_back(conn, me, reasons) if reasons else ([], {}, changes.last_number(conn))


def _take_back(conn: Connection, me: str, reasons: Mapping[int, str]) -> _Answer:
    why = "; ".join(sorted(set(reasons.values())))[:300]
    taken = holding.retake(conn, me, list(reasons), why)
    return taken, holding.load(conn, [t.id for t in taken]), changes.last_number(conn)


def _release_and_announce(conn: Connection, me: str, terms: list[tuple[int, int]], why: str) -> None:
    holding.release(conn, me, terms, why)
    # With the release, not after it: this process may be gone a moment later, and the others would look only by themselves.
    wakeups.announce(conn, ["masters", "schedulers"])


def _release_and_pause(conn: Connection, me: str, scheduler_id: int, term: int | None, pause_us: int, why: str) -> None:
    if term is not None:
        holding.release(conn, me, [(scheduler_id, term)], why)
    holding.pause_taking(conn, me, scheduler_id, pause_us)


def _first_choice(scheduler_id: int, incarnations: list[str]) -> str:
    """Rendezvous hashing: every master works out the same answer, and each gets its share."""
    return max(incarnations, key=lambda i: hashlib.blake2b(f"{scheduler_id}:{i}".encode(), digest_size=8).digest())


def _all(deferreds: Iterable[Deferred[Any]]) -> Deferred[Any]:
    return DeferredList(list(deferreds), consumeErrors=True)


async def bounded(reactor: Any, waiting: Deferred[Any], seconds: float) -> None:
    """Wait for it, but not longer; it goes on by itself."""
    if waiting.called:
        return
    over: Deferred[None] = Deferred()

    def done(_: object) -> None:
        if not over.called:
            over.callback(None)

    timer = reactor.callLater(seconds, done, None)
    waiting.addBoth(done)
    await over
    if timer.active():
        timer.cancel()
