"""One run: a database, masters, a load, a nemesis, a quiet time, and an orderly end. What happened is in the folder then."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from locum.db import listings, orders
from locum.db.database import Bounds, Database
from locum.db.errors import DatabaseError
from locum.db.urls import DatabaseUrl
from locum.tests.support.cluster import CLOCKS
from sqlalchemy import text
from sqlalchemy.engine import Connection

from . import configuration
from .asking import WHO
from .faults import Site
from .history import Folder, History, Leftovers, Phase, Plan, Resources, now
from .load import Load, names_of, rates
from .machine import Machine
from .masters import Masters
from .nemesis import Nemesis, names_of_masters, needs_of
from .nemesis_ground import Ground, ground

UP_S = 90.0
QUIET_S = 30.0
"""The quiet time is over when all has settled, or when nothing more has happened for so long."""
QUIET_AT_MOST_S = 600.0
LINGER_S = 5.0
"""How long a process or session may outlive the last master."""
OVERDUE_S = 2.0


class Stuck(Exception):
    """A run did not get as far as it should have."""


@contextlib.contextmanager
def opened(plan: Plan, folder: Folder) -> Iterator[Ground]:
    """The database of a run, and the way to it; nothing is left of a PostgreSQL but its logs."""
    needs = needs_of({planned.fault for planned in plan.faults})
    with ground(folder.path, plan.database, names_of_masters(plan.masters), needs) as found:
        yield found


class Chamber:
    """Carries out a plan in a folder. Nothing of it runs any more when ``carry_out`` is done, however it ends."""

    def __init__(self, plan: Plan, folder: Folder, server: Ground, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._folder = folder
        self._server = server
        self._say = say
        self._truth = History(folder.truth)
        self._faults = History(folder.faults)
        self._machine = Machine(self._faults)
        self._nemesis_troubles: list[str] = []
        self.masters = Masters(
            folder, names_of_masters(plan.masters), server.url_of, server.url, self._truth, server.env_of
        )
        self._url = DatabaseUrl.parse(server.url, folder.path)
        self.load = Load(self.masters, self._url, self._truth, plan.seed, rates(plan.load))
        bounds = Bounds(connect_s=3.0, lock_s=10.0)
        self._database = Database(self._url, clocks=CLOCKS, label="torture", pool_size=1, bounds=bounds)

    def carry_out(self) -> None:
        """The whole run. Stuck: it did not even begin or end as it should."""
        self._plan.write(self._folder.plan)
        self._machine.begin()
        try:
            self._begin()
            self._torture()
            self._quieten()
            self._end()
        finally:
            self.load.close()
            self.masters.close()
            self._machine.close()
            self._database.close()
            self._truth.close()
            self._faults.close()

    @property
    def troubles(self) -> list[str]:
        """What went wrong in the torture itself, or what the product answered that it never should."""
        return [*self.load.troubles, *self._nemesis_troubles]

    def _begin(self) -> None:
        self._phase("calm")
        self.load.prepare()
        self.masters.begin()
        self._until(lambda: not self._unsettled(), UP_S, "all masters up and all schedulers served before the load")
        self._until(self._all_stand_by, UP_S, "each master stands by for all schedulers")
        self.masters.cluster.order(orders.rebalance, WHO)  # what one uses that has nothing to do is no measure
        self._until(self._all_work, UP_S, "each master has schedulers")
        self._measure("calm")

    def _torture(self) -> None:
        self._phase("load")
        self.load.begin()
        over = threading.Event()
        site = Site(self._server, self.masters, configuration.LEASE_S, over, self._folder.path)
        nemesis = Nemesis(self._plan.faults, site, self._faults, self._say)
        striking = threading.Thread(target=nemesis.run, name="nemesis")
        striking.start()
        try:
            over.wait(self._plan.minutes * 60)
        finally:
            over.set()  # faults are healed before the load ends, so that there is somebody who answers it
            striking.join()
        self.load.end()
        self._nemesis_troubles = nemesis.troubles

    def _quieten(self) -> None:
        self._phase("quiet")
        for name in self.masters.names:
            self.masters.start(name)
        self.load.make_whole()
        self._say(f"not settled: {self._settle() or 'nothing'}")
        self._measure("quiet")
        self.load.look()

    def _end(self) -> None:
        self._phase("stopping")
        self.load.close()
        try:
            codes = self.masters.stop_all()
        except AssertionError as error:  # a master does not end, and its log is in the text
            raise Stuck(str(error)) from None
        self._phase("stopped")
        self._say(f"exit codes: {codes}")
        end = time.monotonic() + LINGER_S
        while (left := self._leftovers()).processes or left.sessions:
            if time.monotonic() > end:
                break
            time.sleep(0.2)
        self._truth.add(left)

    def _phase(self, phase: str) -> None:
        self._truth.add(Phase(now(), phase))
        self._say(phase)

    # -- looking ------------------------------------------------------------------------------------------------------

    def _until(self, true: Callable[[], bool], bound_s: float, what: str) -> None:
        end = time.monotonic() + bound_s
        while not true():
            if time.monotonic() > end:
                raise Stuck(f"not within {bound_s:.0f} s: {what}; {self._unsettled()}\n{self.masters.cluster.told()}")
            time.sleep(0.3)

    def _all_stand_by(self) -> bool:
        """A master is up a moment before it stands by, and what is moved then is not moved to it."""
        found = self._database.read(listings.schedulers)
        return all({one.master, *one.standby} >= set(self.masters.names) for one in found)

    def _all_work(self) -> bool:
        found = self._database.read(listings.schedulers)
        return {one.master for one in found} >= set(self.masters.names) and not self._unsettled()

    def _settle(self) -> str:
        """Wait until all is done, for as long as it goes on. What has not been done; the checker says what that means."""
        left, since = "", time.monotonic()
        end = since + QUIET_AT_MOST_S
        while (found := self._unsettled()) and time.monotonic() < min(end, since + QUIET_S):
            if found != left:
                left, since = found, time.monotonic()
            time.sleep(0.3)
        return found

    def _unsettled(self) -> str:
        """What still has to happen; '' when every scheduler is held by a living master, and nothing is left to be done."""
        away = [name for name in self.masters.names if not self.masters.up(name)]
        if away:
            return f"{', '.join(away)} not up"
        try:
            found = self._database.read(_unsettled)
            found["unheard"] = self._database.read(self.load.unheard)
        except DatabaseError as error:
            return str(error)
        return "; ".join(f"{what}: {names_of(names)}" for what, names in found.items() if names)

    def _measure(self, phase: str) -> None:
        for name in self.masters.names:
            if self.masters.alive(name):
                self._truth.add(resources(name, self.masters.pid(name), phase, self._url))

    def _leftovers(self) -> Leftovers:
        sessions: list[str] = []
        if self._url.dialect == "postgresql":
            sessions = self._database.read(_sessions)
        processes = [f"{pid} {command}" for pid, command in _processes_of(self._folder.path)]
        known = {self._folder.plan, self._folder.truth, self._folder.faults, self._folder.lines}
        files = [str(p.relative_to(self._folder.path)) for p in self._folder.path.iterdir() if p not in known]
        return Leftovers(now(), processes, sorted(files), sessions)


_UNHELD = (
    "SELECT s.name FROM schedulers s LEFT JOIN masters m ON m.incarnation = s.incarnation AND m.state = 'up'"
    " WHERE s.enabled AND m.incarnation IS NULL AND EXISTS (SELECT 1 FROM standby b JOIN masters n"
    " ON n.incarnation = b.incarnation AND n.state = 'up' WHERE b.scheduler_id = s.id)"
)
_NEVER = (
    "SELECT s.name FROM schedulers s WHERE s.enabled AND (s.turns = 0 OR s.kind = 'change_source' AND NOT EXISTS"
    " (SELECT 1 FROM scheduler_state t WHERE t.scheduler_id = s.id AND t.key = 'revisions'))"
)
_OVERDUE = "SELECT s.name FROM timers t JOIN schedulers s ON s.id = t.scheduler_id WHERE s.enabled AND t.due < :late"
_SCHEDULES_OVERDUE = "SELECT COALESCE(name, CAST(id AS TEXT)) FROM schedules WHERE next_due < :late"
_EXECUTIONS = (
    "SELECT CAST(e.id AS TEXT) FROM executions e JOIN buildsets b ON b.id = e.id"
    " WHERE e.state = 'started' AND b.completed_at IS NOT NULL"
)
_WAITING = "SELECT s.name FROM messages g JOIN schedulers s ON s.id = g.scheduler_id WHERE g.answered_at IS NULL"
_FAILING = "SELECT s.name FROM failures f JOIN schedulers s ON s.id = f.scheduler_id WHERE f.retry_at IS NOT NULL"
_BEHIND = (
    "SELECT name FROM schedulers WHERE enabled AND change_cursor < (SELECT value FROM counters WHERE name = 'changes')"
)
_OLD_TASKS = (
    "SELECT CAST(id AS TEXT) FROM tasks WHERE state IN ('queued', 'executing', 'failing', 'stopping', 'aborting')"
    " AND submitted_at < :old"
)


def _unsettled(conn: Connection) -> dict[str, list[str]]:
    def names(sql: str, **values: Any) -> list[str]:
        return [str(row[0]) for row in conn.execute(text(sql), values)]

    now_us = int(now() * 1e6)
    return {
        "held by nobody": names(_UNHELD),
        "without a turn": names(_NEVER),
        "overdue": names(_OVERDUE, late=now_us - int(OVERDUE_S * 1e6)),
        "schedules overdue": names(_SCHEDULES_OVERDUE, late=now_us - int(OVERDUE_S * 1e6)),
        "executions that have ended unheard": names(_EXECUTIONS),
        "with messages": names(_WAITING),
        "trying again": names(_FAILING),
        "behind": names(_BEHIND),
        "unfinished tasks": names(_OLD_TASKS, old=now_us - 8_000_000),
    }


def _sessions(conn: Connection) -> list[str]:
    found = conn.execute(
        text(
            "SELECT application_name, state FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'locum%' AND application_name NOT LIKE 'locum:test%'"
        )
    )
    return sorted(f"{name} {state}" for name, state in found)


def resources(master: str, pid: int, phase: str, url: DatabaseUrl) -> Resources:
    """What a process uses; zeros if it is gone."""
    threads = files = children = connections = 0
    with contextlib.suppress(OSError):
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
        links = [_link(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        files = len(links)
        mark = str(url.path) if url.path is not None else "socket:"
        connections = sum(1 for link in links if link.startswith(mark))
        children = len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return Resources(now(), master, pid, phase, threads, files, children, connections)


def _link(entry: Path) -> str:
    try:
        return os.readlink(entry)
    except OSError:
        return ""


def _processes_of(folder: Path) -> Iterator[tuple[int, str]]:
    """(pid, command line) of those that were started for this run: their environment says so."""
    mark = f"LOCUM_TEST_FOLDER={folder}".encode()
    line = f"LINES={folder}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                given = (entry / "environ").read_bytes().split(b"\0")
                if any(value == mark or value.startswith(line) for value in given):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    yield int(entry.name), command[:200]
