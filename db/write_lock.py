"""Who holds a SQLite database's write lock: a process that is frozen in the middle of a write stops everybody else.

In WAL mode the write lock is byte 120 of the ``-shm`` file, and the kernel tells in ``/proc/locks`` who holds it. Nothing is
opened here: closing the file elsewhere in this process would drop the locks of its connections.
"""

from __future__ import annotations

import os
from pathlib import Path

_WRITE_BYTE = 120


def holder(database: Path, locks: Path = Path("/proc/locks")) -> int | None:
    """The pid that holds the write lock; None: nobody, or it cannot be told here."""
    try:
        status = os.stat(f"{database}-shm")
        lines = locks.read_text().splitlines()
    except OSError:
        return None
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in lines:
        fields = line.replace("-> ", "").split()
        if len(fields) < 8 or fields[1] != "POSIX" or fields[3] != "WRITE" or fields[5] != file or "->" in line:
            continue
        last = float("inf") if fields[7] == "EOF" else int(fields[7])
        if int(fields[6]) <= _WRITE_BYTE <= last:
            return int(fields[4])
    return None


def progress(database: Path) -> tuple[int, int]:
    """Something that changes with every commit: the WAL's time of change and size."""
    try:
        status = os.stat(f"{database}-wal")
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
