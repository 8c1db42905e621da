"""Being a member of the cluster: joining, beating, trusting one's own lease, judging the others'.

Trust is measured on this host's CLOCK_BOOTTIME from the moment *before* a beat was asked for; a beat is asked for by the
reactor itself, so a master whose reactor is blocked, or whose process is frozen, beats no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import DeferredList

from ..db import members
from ..db.errors import DatabaseError
from ..db.schema import SCHEMA_VERSION
from .clock import DatabaseClock
from .logs import Log
from .loop import Loop
from .surroundings import RemoteDatabase, Surroundings


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds: how long a lease lasts, how often it is renewed, how much earlier its holder stops trusting it."""

    lease_s: float
    heartbeat_s: float
    margin_s: float


@dataclass(slots=True)
class _Seen:
    """What this master itself saw of another: when its number of beats last changed."""

    beats: int
    at: float


class Membership:
    """Heartbeats of one incarnation, and the watch over the others.

    ``on_beat(beat)`` after every answered one; ``on_lost(why)`` once, when the incarnation is over: its lease ran out, or
    others declared it lost; ``on_outdated(why)`` when the schema is too new for this release; ``on_peer_lost(master)`` when this master has declared another lost.
    """

    log = Log()

    def __init__(
        self,
        surroundings: Surroundings,
        remote: RemoteDatabase,
        incarnation: str,
        times: LeaseTimes,
        clock: DatabaseClock,
        running: Callable[[], str | None],
        on_beat: Callable[[members.Beat], None],
        on_lost: Callable[[str], None],
        on_outdated: Callable[[str], None],
        on_peer_lost: Callable[[members.Master], None],
        on_members: Callable[[list[members.Master]], None],
        proved_dead: Callable[[members.Process], str],
    ) -> None:
        self._surroundings = surroundings
        self._remote = remote
        self.incarnation = incarnation
        self.times = times
        self._clock = clock
        self._running = running
        self._on_beat = on_beat
        self._on_lost = on_lost
        self._on_outdated = on_outdated
        self._on_peer_lost = on_peer_lost
        self._on_members = on_members
        self._proved_dead = proved_dead
        self.trusted_until = 0.0
        self._silence_from: float | None = None
        self._seen: dict[str, _Seen] = {}
        self.peers: list[members.Master] = []
        self._lapse: Any = None
        self.over = False
        self._loop = Loop(surroundings.reactor, self._beat, times.heartbeat_s, "heartbeat")
        self._watch_loop = Loop(surroundings.reactor, self._watch, times.heartbeat_s, "watching the others")

    def start(self, joined_asked_at: float) -> None:
        """Begin to beat. ``joined_asked_at``: the boottime just before the row was inserted."""
        self._trust(joined_asked_at)
        self._loop.start()
        self._watch_loop.start()

    def stop(self) -> Any:
        """Beat no more; a Deferred that fires when no beat is under way."""
        self.over = True
        self._disarm()
        return DeferredList([self._loop.stop(), self._watch_loop.stop()])

    def good(self) -> bool:
        """Whether this master may act on what it holds."""
        return not self.over and self._surroundings.boottime() < self.trusted_until

    def look(self) -> None:
        """Look at the others now rather than at the next heartbeat."""
        self._watch_loop.soon()

    def retime(self, times: LeaseTimes) -> None:
        """Other times from the next beat on."""
        self.times = times
        self._loop.interval_s = self._watch_loop.interval_s = times.heartbeat_s
        self._loop.soon()

    # -- our own lease ----------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        if self.over:
            return
        asked_at = self._surroundings.boottime()
        left_us = int(self.times.lease_s * 1e6)
        try:
            beat = await self._remote.single(
                members.beat, self.incarnation, left_us, self._clock.host_offset_us(), self._running()
            )
        except DatabaseError as error:
            self._loop.interval_s = min(1.0, self.times.heartbeat_s)
            self._silence_from = None  # the database may have been away for everybody
            if not self.over:
                self.log.warn("heartbeat: {error}", error=error)
            return
        self._loop.interval_s = self.times.heartbeat_s
        if self.over:
            return
        if beat is None:
            self._lost("it was declared lost")
            return
        if beat.oldest_compatible > SCHEMA_VERSION:
            self.over = True
            self._disarm()
            self._on_outdated(
                f"the database needs a release of schema version {beat.oldest_compatible}, this one has {SCHEMA_VERSION}"
            )
            return
        answered_at = self._surroundings.boottime()
        self._clock.heard(beat.now, int(asked_at * 1e6), int(answered_at * 1e6))
        self._trust(asked_at)
        if self._silence_from is None:
            self._silence_from = answered_at
        self._on_beat(beat)

    def _trust(self, asked_at: float) -> None:
        until = asked_at + self.times.lease_s - self.times.margin_s
        if self.trusted_until and self._surroundings.boottime() >= self.trusted_until:
            return  # it lapsed while this beat was under way: the end of it is being dealt with
        self.trusted_until = max(self.trusted_until, until)
        self._arm()

    def _arm(self) -> None:
        self._disarm()
        left = max(0.0, self.trusted_until - self._surroundings.boottime())
        self._lapse = self._surroundings.reactor.callLater(left, self._lapsed)

    def _disarm(self) -> None:
        if self._lapse is not None and self._lapse.active():
            self._lapse.cancel()
        self._lapse = None

    def _lapsed(self) -> None:
        self._lapse = None
        if self.over:
            return
        if self.good():  # CLOCK_BOOTTIME and the reactor's clock need not agree
            self._arm()
        else:
            self._lost("its lease could not be renewed in time")

    def _lost(self, why: str) -> None:
        if not self.over:
            self.over = True
            self._disarm()
            self._on_lost(why)

    # -- the others' ------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        if self.over:
            return
        found = await self._remote.single(members.living)
        now = self._surroundings.boottime()
        self.peers = [master for master in found if master.incarnation != self.incarnation]
        self._on_members(found)
        here = {master.incarnation for master in self.peers}
        self._seen = {incarnation: seen for incarnation, seen in self._seen.items() if incarnation in here}
        for master in self.peers:
            seen = self._seen.get(master.incarnation)
            why_dead = self._proved_dead(master.process)
            if why_dead:  # of this machine, and certain: no lease need be waited for
                await self._declare(master, why_dead, lease_ended=False)
            elif seen is None or seen.beats != master.beats:
                self._seen[master.incarnation] = _Seen(master.beats, now)
            elif self.good() and self._silence_from is not None:
                await self._judge(master, now - max(seen.at, self._silence_from))

    async def _judge(self, master: members.Master, silent_s: float) -> None:
        """Declare it lost if its lease has ended by the lease clock and by what we saw; or by what we saw alone."""
        ended = master.lease_left < 0 and silent_s >= self.times.heartbeat_s + 1.0 - 0.001
        certain = silent_s >= self.times.lease_s + self.times.margin_s
        if not ended and not certain:
            return
        await self._declare(master, f"no heartbeat for {silent_s:.1f} s", lease_ended=not certain)

    async def _declare(self, master: members.Master, why: str, *, lease_ended: bool) -> None:
        if await self._remote.single(
            members.declare_lost, master.incarnation, master.beats, why, lease_ended=lease_ended
        ):
            self.log.warn("master {name} is lost: {why}", name=master.name, why=why)
            self._on_peer_lost(master)


async def wait_for_name(
    remote: RemoteDatabase, surroundings: Surroundings, name: str, times: LeaseTimes, pause: Callable[[float], Any]
) -> str | None:
    """Wait while another master of that name may be alive: None: the name is free; else who renewed it meanwhile.

    One that is lost (its lease has ended and it did not beat while we waited) is declared so.
    """
    first = _named(await remote.single(members.living), name)
    if first is None:
        return None
    deadline = surroundings.boottime() + times.lease_s + times.heartbeat_s
    while surroundings.boottime() < deadline:
        await pause(min(0.5, times.heartbeat_s))
        now = _named(await remote.single(members.living), name)
        if now is None:
            return None
        if now.incarnation != first.incarnation or now.beats != first.beats:
            return f"a master named {name!r} is running on {now.process.host} (pid {now.process.pid})"
    await remote.single(
        members.declare_lost, first.incarnation, first.beats, "its name was started anew", lease_ended=False
    )
    return None


def _named(found: list[members.Master], name: str) -> members.Master | None:
    return next((master for master in found if master.name == name and master.state == "up"), None)
