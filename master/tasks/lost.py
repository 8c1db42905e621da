"""Ends the tasks of runners that are gone: at once where that is proved, else after a long silence.

Proof: on the same machine, another boot, or no process of that number and start time any more. The crash hint and an
ended lease are no proof: the process may live, go on with its steps and join again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...db import tasks
from ...db.members import Process
from ...db.tasks import Holder
from ..logs import Log
from ..process import proved_dead
from ..surroundings import RemoteDatabase, Surroundings

WATCHED_S = 15.0
"""How long this master itself must have seen no beat: the database may have been away for all."""
PROOF_SILENCE_US = 5_000_000
"""Whoever beat within this time is not called dead, whatever it looks like from here."""


@dataclass(frozen=True, slots=True)
class _Seen:
    beats: int
    since: float


class LostTasks:
    """``step()`` is for a ``Loop`` (every 5 s, say). ``me`` is this master's own process, ``lost_after_s`` may be changed."""

    log = Log()

    def __init__(
        self,
        remote: RemoteDatabase,
        me: Process,
        lost_after_s: float,
        surroundings: Surroundings,
        announce: Callable[..., object],
        proc: Path = Path("/proc"),
    ) -> None:
        self.remote = remote
        self.lost_after_s = lost_after_s
        self._me = me
        self._surroundings = surroundings
        self._announce = announce
        self._proc = proc
        self._seen: dict[str, _Seen] = {}

    async def step(self) -> None:
        """Look once; a database that does not answer starts every silence anew."""
        try:
            holders = await self.remote.single(tasks.holders)
        except Exception:
            self._seen.clear()
            raise
        now = self._surroundings.boottime()
        before, self._seen = self._seen, {}
        for holder in holders:
            seen = before.get(holder.incarnation)
            if seen is None or seen.beats != holder.beats:
                seen = _Seen(holder.beats, now)
            self._seen[holder.incarnation] = seen
            why = self._why_lost(holder, now - seen.since)
            if why:
                await self._end(holder, why)

    def _why_lost(self, holder: Holder, watched_s: float) -> str:
        """'' for a runner that may be alive."""
        ended = holder.state in ("stopped", "lost")
        if ended or holder.silent_us > PROOF_SILENCE_US:
            proof = proved_dead(holder, self._me, self._proc)
            if proof:
                return f"runner lost: {proof}"
        if holder.silent_us > self.lost_after_s * 1e6 and watched_s >= min(WATCHED_S, self.lost_after_s):
            return f"runner lost: master {holder.name} was silent for {holder.silent_us // 1_000_000} s"
        return ""

    async def _end(self, holder: Holder, why: str) -> None:
        more = True
        while more:
            done = await self.remote.write(tasks.lost, holder.incarnation, holder.beats, why)
            more = done.more
            if done.failed or done.requeued:
                self.log.warn(
                    "{why}; tasks failed: {failed}, queued again: {requeued}",
                    why=why,
                    failed=list(done.failed),
                    requeued=list(done.requeued),
                )
                self._announce("tasks")
            if done.completed:
                self._announce("finished")
