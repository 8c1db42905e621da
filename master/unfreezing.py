"""SQLite: a master that froze in the middle of a write is killed by a survivor that could not write for a whole lease.

Nothing else frees the lock. Only a master of this cluster is ever killed, only on this host, only when its lease has ended,
and only the very process that joined: pid, start time and boot must match.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from ..db import members, write_lock
from ..db.database import Database
from ..db.members import Process
from .logs import Log
from .process import started_at
from .surroundings import Surroundings

LOOKS = 4
"""In how many looks, half a second apart, the same process must hold the lock without a commit of anybody between them."""
_LOG = Log()


class Unfreezer:
    """Looks who holds the write lock, again and again; kills a master that got no further between ``LOOKS`` of them.

    That its lease has ended is not enough: nobody can renew while some other program holds the lock, and the first master
    to get it afterwards would be taken for frozen.
    """

    def __init__(self, surroundings: Surroundings, me: Process) -> None:
        self._surroundings = surroundings
        self._me = me
        self._seen: tuple[int, tuple[int, int]] | None = None
        self._looks = 0

    def look(self, database: Database) -> bool:
        """Kill the master that holds the write lock, does not get on, and has no lease any more. True: it was killed. Blocking."""
        path = database.url.path
        pid = None if path is None else write_lock.holder(path)
        if path is None or pid is None or pid == os.getpid():
            self._seen = None
            return False
        seen = (pid, write_lock.progress(path))
        self._looks = self._looks + 1 if seen == self._seen else 1
        self._seen = seen
        return self._looks >= LOOKS and self._kill(database, pid)

    def _kill(self, database: Database, pid: int) -> bool:
        for master in database.read(members.living):  # in WAL mode, reading needs no write lock
            process = master.process
            if process.pid != pid or (process.machine_id, process.boot_id) != (self._me.machine_id, self._me.boot_id):
                continue
            if master.lease_until >= self._surroundings.clocks.boottime_us() or started_at(pid) != process.pid_started:
                return False
            _LOG.error("killing master {name}, pid {pid}: it froze while it was writing", name=master.name, pid=pid)
            os.kill(pid, signal.SIGKILL)
            return True
        if self._looks == LOOKS:
            _LOG.error(
                "process {pid} ({name}) holds the database's write lock and is no master of this cluster; end it",
                pid=pid,
                name=_name_of(pid),
            )
        return False


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"
