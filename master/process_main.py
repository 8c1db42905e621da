"""The entry point of a master's process: the real reactor, clocks, threads and signals, handed to everything else."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, TextIO

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ReactorNotRunning
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from ..config import ConfigError, Fault, MasterConfig, Place, load
from ..db import fail_points
from ..db.database import HostClocks
from ..db.errors import DatabaseAway
from .logs import Log, start_logging
from .loop import Loop
from .notify import Notifier
from .service import CannotStart, Master
from .surroundings import Pool, Surroundings


def real_clocks() -> HostClocks:
    """This host's clocks."""
    return HostClocks(
        wall_us=lambda: time.time_ns() // 1000,
        boottime_us=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000,
    )


def real_surroundings(reactor: Any) -> Surroundings:
    """This process as a master sees it. ``reactor`` keeps its timers by CLOCK_BOOTTIME from now on.

    Twisted's keep them by the wall clock: one that is set back by an hour would put off every heartbeat by an hour.
    """
    clocks = real_clocks()
    reactor.seconds = lambda: clocks.boottime_us() / 1e6

    def new_pool(name: str, size: int) -> Pool:
        pool = ThreadPool(minthreads=0, maxthreads=size, name=name)
        # One that waits for a database which never answers must not keep the process from ending.
        pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
        pool.start()
        stopped = False

        def in_thread(function: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
            if stopped:  # no thread would ever come for it, and whoever waits for the answer would wait for ever
                return fail(DatabaseAway(f"the connections for {name} are closed: this incarnation is over"))
            return deferToThreadPool(reactor, pool, function, *args, **kwargs)

        def stop() -> None:
            nonlocal stopped
            if not stopped:
                stopped = True
                pool.adjustPoolsize(0, 0)  # lets idle threads go; a busy one goes when its work has ended

        return Pool(in_thread, stop)

    general = new_pool("locum", 6)
    return Surroundings(reactor, clocks, general.in_thread, new_pool)


def _log_stream(config: MasterConfig) -> TextIO:
    """Where the log goes; a relative path begins at the file's folder. ConfigError: it cannot be written."""
    if not config.log.file:
        return sys.stderr
    path = config.base_dir / config.log.file
    try:
        return open(path, "a", buffering=1)
    except OSError as error:
        what = f"{path} cannot be written: {error.strerror}"
        raise ConfigError([Fault(Place(config.file, 1, 1), "log.file", what, "name another file")]) from None


def run_process(config: MasterConfig, *, name: str, config_path: Path) -> int:
    """Run a master until SIGTERM or SIGINT; the exit code: 0 stopped, 1 it could not start or had to end."""
    reactor: Any = the_reactor
    log = Log()
    # Ten thousand schedulers are a large heap that stays: the default thresholds would walk it again and again.
    gc.set_threshold(50_000, 50, 50)
    gc.freeze()  # modules and the configuration, which are there already
    # A thread that has its answer from the database must not wait long for a reactor that is busy with turns.
    sys.setswitchinterval(0.001)
    stream = _log_stream(config)
    start_logging(stream, config.log.format, config.log.level)
    notifier = Notifier.from_environment(os.environ)
    environ = dict(os.environ)
    fail_points.arm(environ.get(fail_points.VARIABLE, ""))
    code = 0

    def ended(_: object) -> None:
        with contextlib.suppress(ReactorNotRunning):  # it was told to stop more than once
            reactor.stop()

    def end(with_code: int) -> None:
        nonlocal code
        code = code or with_code
        master.stop("it had to end").addBoth(ended)

    master = Master(
        config,
        name,
        real_surroundings(reactor),
        environ,
        read_config=lambda: load(config_path, environ),
        on_end=end,
    )

    async def start() -> None:
        nonlocal code
        try:
            await master.start()
            notifier.ready(f"master {name} is up")
        except (CannotStart, ConfigError) as error:
            for line in str(error).splitlines():
                log.error("cannot start: {line}", line=line)
            end(1)
        except Exception:
            log.error("cannot start: {trace}", trace=_trace())
            end(1)

    def terminate(*_: Any) -> None:
        notifier.stopping("handing over")
        reactor.callFromThread(lambda: master.stop("it was stopped").addBoth(ended))

    def reload(*_: Any) -> None:
        notifier.reloading()

        async def again() -> None:
            answer = await master.reconfigure()
            notifier.ready("reconfiguration refused" if "error" in answer else f"master {name} is up")

        reactor.callFromThread(lambda: Deferred.fromCoroutine(again()))

    async def alive() -> None:
        notifier.alive()

    watchdog = Loop(reactor, alive, (notifier.watchdog_s or 60.0) / 2, "watchdog")

    def begin() -> None:
        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGINT, terminate)
        signal.signal(signal.SIGHUP, reload)
        if notifier.watchdog_s:
            watchdog.start()
        Deferred.fromCoroutine(start())

    reactor.callWhenRunning(begin)
    reactor.run()
    notifier.close()
    if stream is not sys.stderr:
        stream.close()
    return code


def _trace() -> str:
    import traceback

    return traceback.format_exc()
