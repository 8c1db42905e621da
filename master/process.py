"""Which process on which boot of which machine this is, and whether another one is proved dead."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

from ..db.members import Process


def this_process() -> Process:
    """What identifies this process among all that ever ran on any machine."""
    pid = os.getpid()
    return Process(socket.gethostname(), machine_id(), boot_id(), pid, _started(pid) or 0)


def proved_dead(process: Process) -> bool:
    """True only if it is certain: it ran on this machine, in an earlier boot or under a pid that is not its any more."""
    if process.machine_id != machine_id():
        return False
    if process.boot_id != boot_id():
        return True
    started = _started(process.pid)
    return started is None or started != process.pid_started


@cache
def machine_id() -> str:
    """The machine's lasting id; the host's name where there is none."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        text = _read(path)
        if text:
            return text
    return socket.gethostname()


@cache
def boot_id() -> str:
    """The id of the machine's present boot."""
    return _read("/proc/sys/kernel/random/boot_id")


def _started(pid: int) -> int | None:
    """Clock ticks from boot to its start; None: there is no such process, or it is a zombie."""
    text = _read(f"/proc/{pid}/stat")
    fields = text.rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
