"""Which process on which boot of which machine this is, and whether another one is proved dead."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from typing import Protocol

from ..db.members import Process

HIDDEN = -1


class Identified(Protocol):
    """What identifies a process among all that ever ran: ``db.members.Process`` and whatever says the same."""

    @property
    def host(self) -> str: ...
    @property
    def machine_id(self) -> str: ...
    @property
    def boot_id(self) -> str: ...
    @property
    def pid(self) -> int: ...
    @property
    def pid_started(self) -> int: ...


def this_process() -> Process:
    """What identifies this process among all that ever ran on any machine."""
    pid = os.getpid()
    return Process(socket.gethostname(), machine_id(), boot_id(), pid, started_at(pid) or 0)


def proved_dead(other: Identified, me: Process, proc: Path = Path("/proc")) -> str:
    """What proves that the other process is dead, seen from ``me``; '' if nothing does."""
    if not other.machine_id or (other.machine_id, other.host) != (me.machine_id, me.host):
        return ""  # copies of one machine share its id, so the host's name must be the same too
    if other.boot_id != me.boot_id:
        return f"{other.host} was started anew"
    started = started_at(other.pid, proc)
    if started == HIDDEN:
        return ""
    if started is None:
        return f"its process {other.pid} has ended"
    return "" if started == other.pid_started else f"its process {other.pid} has ended, another has that number now"


def started_at(pid: int, proc: Path = Path("/proc")) -> int | None:
    """When a process of this machine started, in clock ticks since boot; None: there is none; HIDDEN: it does not tell.

    A zombie has ended.
    """
    try:
        fields = (proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return HIDDEN if _hidden(pid) else None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _hidden(pid: int) -> bool:
    """Whether it lives, though /proc (mounted with ``hidepid``) does not show it."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        pass
    return False


@cache
def machine_id() -> str:
    """The machine's lasting id, with the namespace of its pids: a container's pids say nothing outside of it."""
    ids = [text for path in ("/etc/machine-id", "/var/lib/dbus/machine-id") if (text := _read(path))]
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{ids[0] if ids else socket.gethostname()}/{namespace}"


@cache
def boot_id() -> str:
    """The id of the machine's present boot."""
    return _read("/proc/sys/kernel/random/boot_id")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
