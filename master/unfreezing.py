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

_LOG = Log()


def unfreeze(database: Database, surroundings: Surroundings, me: Process) -> bool:
    """Kill the master that holds the write lock although its lease has ended. True: it was killed. Blocking."""
    path = database.url.path
    pid = None if path is None else write_lock.holder(path)
    if pid is None or pid == os.getpid():
        return False
    for master in database.read(members.living):  # in WAL mode, reading needs no write lock
        process = master.process
        if process.pid != pid or (process.machine_id, process.boot_id) != (me.machine_id, me.boot_id):
            continue
        if master.lease_until >= surroundings.clocks.boottime_us() or started_at(pid) != process.pid_started:
            return False
        _LOG.error("killing master {name}, pid {pid}: it froze while it was writing", name=master.name, pid=pid)
        os.kill(pid, signal.SIGKILL)
        return True
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
