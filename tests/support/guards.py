"""A guard process in the hands of a test, and a look at who is alive."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import locum.master.tasks.guard as guard_module

GUARD = str(Path(guard_module.__file__))


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def marked(mark: str) -> list[int]:
    """The living processes with ``mark`` in their environment."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if mark.encode() in Path(f"/proc/{name}/environ").read_bytes():
                    found.append(int(name))
            except OSError:
                pass
    return found


def until(true: Callable[[], Any], what: str, bound_s: float = 15.0) -> Any:
    """Wait until ``true()`` is, looking often."""
    end = boottime() + bound_s
    while not (found := true()):
        assert boottime() < end, f"not within {bound_s} s: {what}"
        time.sleep(0.005)
    return found


class Guarded:
    """A command under a guard that this process owns."""

    def __init__(
        self, command: Sequence[str], mark: str, folder: str = "/", grace: float = 0.3, deadline: float | str = "never"
    ) -> None:
        orders, self.orders = os.pipe()
        self.output, output = os.pipe()
        self.reports, reports = os.pipe()
        arguments = [sys.executable, "-I", "-S", GUARD, str(grace), str(deadline), folder, *command]
        high = [os.dup(fd) for fd in (orders, output, reports)]  # out of the way of 0, 1 and 3
        self.pid = os.posix_spawn(
            sys.executable,
            arguments,
            {"PATH": os.environ["PATH"], "MARK": mark},
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in zip(high, (0, 1, 3), strict=True)],
        )
        for fd in (orders, output, reports, *high):
            os.close(fd)

    def order(self, line: str) -> None:
        os.write(self.orders, line.encode() + b"\n")

    def read(self, fd: int, until_text: bytes | None = None, bound_s: float = 20.0) -> bytes:
        """All that comes, to the end or until ``until_text`` is in it."""
        got = b""
        end = boottime() + bound_s
        while until_text is None or until_text not in got:
            assert select.select([fd], [], [], max(0, end - boottime()))[0], f"nothing more within {bound_s} s: {got!r}"
            piece = os.read(fd, 65536)
            if not piece:
                break
            got += piece
        return got

    def wait(self) -> list[str]:
        """Its reports, once it has ended."""
        lines = self.read(self.reports).decode().splitlines()
        os.waitpid(self.pid, 0)
        for fd in (self.orders, self.output, self.reports):
            try:
                os.close(fd)
            except OSError:
                pass
        return [line for line in lines if not line.startswith("started ")]
