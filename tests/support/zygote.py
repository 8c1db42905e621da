"""Masters without the second of computing that a fresh interpreter takes to import them: forked from one that has.

Each is a process of its own all the same, with its own signals, threads, descriptors and environment; only ``exec`` is left
out. What must be there before the interpreter is (LD_PRELOAD, PYTHONPATH) is started the plain way: see ``Cluster.start``.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_LARGEST = 1 << 20
_SERVE = "import sys; from locum.tests.support import zygote; zygote.serve(int(sys.argv[1]))"


class Forked:
    """A forked process, as ``subprocess.Popen`` shows one."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._zygote = zygote
        self._fd = os.pidfd_open(pid)

    def __del__(self) -> None:
        os.close(self._fd)

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._fd], [], [], 0)[0]:
            self.returncode = self._zygote.ask({"end of": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. TimeoutExpired."""
        if not select.select([self._fd], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("locum", timeout or 0.0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(9)


class Zygote:
    """The process that forks them. It ends with the one that made it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        # A session of its own: Ctrl-C on the tests is for those, not for masters, and closing the socket ends it.
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def fork(self, arguments: Sequence[str], *, output: int, cwd: Path, env: Mapping[str, str]) -> Forked:
        """``locum ARGUMENTS`` with nothing to read and ``output`` to write to."""
        request = {"arguments": list(arguments), "cwd": str(cwd), "env": dict(env)}
        return Forked(self, self.ask(request, [output]))

    def ask(self, request: Mapping[str, Any], fds: Sequence[int] = ()) -> Any:
        """Its answer to one request."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], fds)
            answer = self._socket.recv(_LARGEST)
        assert answer, "the process that forks masters has ended"
        return json.loads(answer)

    def close(self) -> None:
        """End it; legal twice."""
        self._socket.close()
        self.process.wait(20)


def serve(fd: int) -> None:
    """In the zygote: import all that a master needs, and fork until nobody can ask any more."""
    import alembic.command
    import sqlalchemy.dialects.postgresql.psycopg2
    import sqlalchemy.dialects.sqlite.pysqlite
    import twisted.internet.epollreactor
    from locum.master import service
    from locum.master.commands import main

    assert "twisted.internet.reactor" not in sys.modules, "each process has a reactor of its own"
    del alembic, sqlalchemy, twisted, service
    gc.collect()
    gc.freeze()  # so that their collections leave the shared pages alone
    with socket.socket(fileno=fd) as asked:
        run = _until_forked(asked)
    if run is not None:
        run(main.main)


def _until_forked(asked: socket.socket) -> Callable[[Callable[[], None]], None] | None:
    """What a child is to do; None: the end of the zygote itself."""
    while True:
        message, fds, _, _ = socket.recv_fds(asked, _LARGEST, 4)
        if not message:
            return None
        request = json.loads(message)
        if "end of" in request:
            status = os.waitpid(request["end of"], 0)[1]
            asked.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())
            continue
        pid = os.fork()
        if pid == 0:
            return lambda main: _become(request, fds[0], main)
        os.close(fds[0])
        asked.send(json.dumps(pid).encode())


def _become(request: Mapping[str, Any], output: int, main: Callable[[], None]) -> None:
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = ["locum", *request["arguments"]]
    main()
