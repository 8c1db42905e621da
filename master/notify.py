"""Telling systemd how we are: readiness, reloading, stopping and the watchdog, over its datagram socket.

Without a socket in the environment (not started by systemd) everything here does nothing. Nothing here blocks or raises:
a master does not fail because nobody listens.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping


class Notifier:
    """The one conversation with the service manager; ``close()`` is legal twice."""

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self.watchdog_s = watchdog_s
        """how often, at the latest, ``alive()`` must be called, in seconds; None: nobody watches"""
        self._socket: socket.socket | None = None
        self._address: str | bytes = b""
        if address and address[0] in "/@":
            self._address = b"\0" + os.fsencode(address[1:]) if address[0] == "@" else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Notifier:
        """What the service manager asks for; its variables are removed, so that children do not speak in our name."""
        address = environ.pop("NOTIFY_SOCKET", None)
        micros, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        watched = micros.isdecimal() and int(micros) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(micros) / 2e6 if watched else None)

    def ready(self, status: str = "") -> None:
        """It has started, or has finished reloading."""
        self._tell("READY=1", status)

    def reloading(self) -> None:
        """It reads its configuration again; ``ready()`` must follow."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}", "reading the configuration again")

    def stopping(self, status: str = "") -> None:
        """It has begun to stop."""
        self._tell("STOPPING=1", status)

    def alive(self) -> None:
        """Feed the watchdog: call this from the reactor, so that a blocked one is noticed."""
        self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._tell("", text)

    def close(self) -> None:
        """No more is said."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, what: str, status: str = "") -> None:
        if self._socket is None:
            return
        line = " ".join(status.split())
        said = "\n".join(part for part in (what, f"STATUS={line}" if line else "") if part)
        with contextlib.suppress(OSError):
            self._socket.sendto(said.encode(errors="replace"), self._address)
