"""Threads that wait: for announcements, for a change of the SQLite file, for a neighbour's death, for a blocked reactor.

Each calls back on the reactor through ``call(function, *args)`` (``reactor.callFromThread``). All are hints: everything
also works, seconds later, when every one of them is lost.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ..db import crash_hint, members, wakeups
from ..db.database import Database
from ..db.fail_points import reach
from .logs import Log

Call = Callable[..., None]
POLL_S = 0.05
RETRY_S = 1.0
ASK_AGAIN_S = 25.0


class _Thread:
    """A thread with a pipe that wakes it and tells it to stop."""

    log = Log()

    def __init__(self, name: str) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Make it look again at once."""
        with contextlib.suppress(OSError):
            os.write(self._write_fd, b".")

    def stop(self) -> None:
        """Tell it to end; ``join`` waits for that."""
        self.stopped.set()
        self.wake()

    def join(self, timeout_s: float) -> None:
        """Wait for its end, and close the pipe."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if not self._thread.is_alive() and self._read_fd >= 0:
            os.close(self._read_fd)
            os.close(self._write_fd)
            self._read_fd = self._write_fd = -1

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            os.read(self._read_fd, 4096)

    def _guarded(self) -> None:
        while not self.stopped.is_set():
            try:
                self._work()
            except Exception as error:
                if not self.stopped.is_set():
                    self.log.warn("{name}: {error}; trying again", name=self._thread.name, error=str(error).strip())
                    self.stopped.wait(RETRY_S)

    def _work(self) -> None:
        raise NotImplementedError


class Listener(_Thread):
    """PostgreSQL: hears announcements, and on the same session holds this incarnation's advisory lock."""

    def __init__(
        self, database: Database, incarnation: str, hint: bool, call: Call, on_topics: Callable[[set[str]], None]
    ) -> None:
        super().__init__(f"locum-listen-{incarnation[:6]}")
        self._database = database
        self._incarnation = incarnation
        self._hint = hint
        self._call = call
        self._on_topics = on_topics

    def _work(self) -> None:
        raw = self._database.connect_raw("listen")
        try:
            wakeups.start_listening(raw)
            key = crash_hint.take_key(raw) if self._hint else None
            if self._hint and key is None:
                self.log.info("sessions are shared by a pooler: a killed master will be noticed when its lease ends")
            self._database.single(members.set_crash_key, self._incarnation, key)  # after locking, never before
            self._call(self._on_topics, set(wakeups.TOPICS))  # whatever was announced meanwhile is lost
            while not self.stopped.is_set():
                heard = wakeups.hear(raw, self._read_fd, 30.0)
                self._drain()
                if heard:
                    self._call(self._on_topics, heard)
        finally:
            raw.close()


class RingWatch(_Thread):
    """PostgreSQL: waits for the lock of the next master in the ring to become free."""

    def __init__(self, database: Database, incarnation: str, call: Call, on_crash: Callable[[str], None]) -> None:
        super().__init__(f"locum-ring-{incarnation[:6]}")
        self._database = database
        self._me = incarnation
        self._call = call
        self._on_crash = on_crash
        self._keys: Mapping[str, int] = {}
        self._changed = threading.Event()
        self._mutex = threading.Lock()
        self._waiting: Any = None

    def watch(self, keys: Mapping[str, int]) -> None:
        """The living masters that hold a lock, incarnation -> key (from the reactor)."""
        others = {incarnation: key for incarnation, key in keys.items() if incarnation != self._me}
        if others != self._keys:
            self._keys = others
            self._interrupt()

    def stop(self) -> None:
        super().stop()
        self._interrupt()

    def _interrupt(self) -> None:
        self._changed.set()
        threading.Thread(target=self._cancel, daemon=True).start()

    def _cancel(self) -> None:
        with self._mutex, contextlib.suppress(Exception):  # it may just have been closed
            if self._waiting is not None:
                self._waiting.cancel()

    def _wait(self, raw: Any, key: int) -> None:
        """Wait for that lock; only this may be cancelled: an error in anything else would end the session, and with it
        what this session has seen."""
        with self._mutex:
            if self._changed.is_set():
                return
            self._waiting = raw
        try:
            crash_hint.wait_until_free(raw, key, ASK_AGAIN_S)
        finally:
            with self._mutex:
                self._waiting = None

    def _work(self) -> None:
        raw = self._database.connect_raw("ring")
        seen: set[tuple[str, int]] = set()
        try:
            while not self.stopped.is_set():
                keys = dict(self._keys)
                self._look(raw, keys, seen)
                target = _next_in_ring(self._me, {i: k for i, k in keys.items() if (i, k) in seen})
                if self._changed.is_set():
                    self._changed.clear()
                elif target is None:
                    self._changed.wait(1.0 if keys else ASK_AGAIN_S)
                else:
                    self._wait(raw, keys[target])
        finally:
            raw.close()

    def _look(self, raw: Any, keys: Mapping[str, int], seen: set[tuple[str, int]]) -> None:
        """Whoever this very session has seen hold its lock, and holds it no more, has ended."""
        if not keys:
            return
        held = crash_hint.held_keys(raw)
        for incarnation, key in keys.items():
            if key in held:
                seen.add((incarnation, key))
            elif (incarnation, key) in seen:
                seen.discard((incarnation, key))
                reach("declare_crashed.before")
                if crash_hint.declare_crashed(raw, incarnation, key):
                    reach("declare_crashed.after")
                    self._call(self._on_crash, incarnation)


class FileWatchman(_Thread):
    """SQLite: looks every 50 ms whether the file has changed, and whether a neighbour's lock has become free."""

    def __init__(
        self,
        database: Database,
        incarnation: str,
        hint: bool,
        call: Call,
        on_topics: Callable[[set[str]], None],
        on_crash: Callable[[str], None],
    ) -> None:
        super().__init__(f"locum-watch-{incarnation[:6]}")
        self._database = database
        self._me = incarnation
        self._hint = hint
        self._call = call
        self._on_topics = on_topics
        self._on_crash = on_crash
        self._keys: Mapping[str, int] = {}
        self._peers: dict[str, crash_hint.PeerFile] = {}
        assert database.url.path is not None
        self._path = database.url.path
        self._lock = crash_hint.LockFile(self._path, incarnation) if hint else None

    def watch(self, keys: Mapping[str, int]) -> None:
        """The living masters that hold a lock, incarnation -> key (from the reactor)."""
        self._keys = {incarnation: key for incarnation, key in keys.items() if incarnation != self._me}

    def _work(self) -> None:
        watch = wakeups.FileWatch(lambda: self._database.connect_raw("watch"))
        try:
            if self._lock is not None:
                self._database.single(members.set_crash_key, self._me, os.getpid())
            while not self.stopped.wait(POLL_S):
                heard = watch.heard()
                if heard:
                    self._call(self._on_topics, heard)
                self._look()
        finally:
            watch.close()

    def join(self, timeout_s: float) -> None:
        super().join(timeout_s)
        for peer in self._peers.values():
            peer.close()
        if self._lock is not None:
            self._lock.close()

    def _look(self) -> None:
        keys = self._keys
        for incarnation in [i for i in self._peers if i not in keys]:
            self._peers.pop(incarnation).forget()
        for incarnation, key in keys.items():
            peer = self._peers.setdefault(incarnation, crash_hint.PeerFile(self._path, incarnation))
            if peer.ended():
                self._peers.pop(incarnation).close()
                if self._database.single(members.declare_crashed, incarnation, key):
                    peer.remove()
                    self._call(self._on_crash, incarnation)


class BlockWatch(_Thread):
    """Tells which scheduler's code runs while the reactor does not answer for ``long_s``; once for each blocking."""

    def __init__(
        self, call: Call, boottime: Callable[[], float], code: Code, on_block: Callable[[Any, float], None]
    ) -> None:
        super().__init__("locum-block-watch")
        self._call = call
        self._boottime = boottime
        self._code = code
        self._on_block = on_block
        self._answered = boottime()
        self._told: Any = None
        """who has been blamed for what goes on; kept when the word could not be passed on"""

    def _answer(self) -> None:
        self._answered = self._boottime()

    def _work(self) -> None:
        asked = False
        limit_s = self._code.long_s
        looked_at, used, waited = self._boottime(), _processor_s(), _waited_s()
        answered, ran = 0.0, 0.0
        while not self.stopped.wait(limit_s / 4):
            waited_before, waited = waited, _waited_s()
            passed, worked, kept = self._boottime() - looked_at, _processor_s() - used, _longest(waited_before, waited)
            looked_at, used = looked_at + passed, used + worked
            # Time in which others had the processor is nobody's fault here. If this thread stood still too, then the
            # interpreter's lock was kept, by computing; or the process was frozen, and it computed nothing.
            ran += worked if passed > limit_s else max(passed - kept, 0.0)
            over = self._code.take_overran()  # it ended before this thread could run again
            late = looked_at - self._answered
            running = over[0] if over is not None else self._code.running if late >= limit_s else None
            if running is not None and running is not self._told and ran >= limit_s:
                self._told = running
                self._on_block(running, late if over is None else over[1])
            if self._answered != answered:
                answered, ran = self._answered, 0.0
            if late < limit_s:
                self._told, asked = None, False
                self._call(self._answer)
            elif running is None and not asked:
                asked = True
                self._call(self._answer)


class Code(Protocol):
    """What runs on the reactor: ``Tools``."""

    @property
    def running(self) -> Any: ...

    @property
    def long_s(self) -> float: ...

    def take_overran(self) -> tuple[Any, float] | None: ...


def _processor_s() -> float:
    """How long this process has computed, in seconds."""
    times = os.times()
    return times.user + times.system


def _waited_s() -> dict[str, float]:
    """How long each thread of this process has been kept from a processor that it was ready for, in seconds."""
    waited = {}
    for thread in os.listdir("/proc/self/task"):
        # A thread may end meanwhile, and kernels can be built without these figures.
        with contextlib.suppress(OSError, IndexError, ValueError):
            waited[thread] = int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1]) / 1e9
    return waited


def _longest(before: Mapping[str, float], now: Mapping[str, float]) -> float:
    """Of all threads, the longest wait since ``before``: whoever holds the interpreter may be the one that waits."""
    return max((waited - before.get(thread, 0.0) for thread, waited in now.items()), default=0.0)


def _next_in_ring(me: str, keys: Mapping[str, int]) -> str | None:
    """The living neighbour after ``me``, in the order of incarnations."""
    later = sorted(i for i in keys if i > me)
    return later[0] if later else min(keys, default=None)
