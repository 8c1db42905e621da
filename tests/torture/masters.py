"""The masters of a run: started, signalled and started again by whoever may, and every start and end written down."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from locum.db.errors import DatabaseError
from locum.tests.support.cluster import Cluster
from locum.tests.support.ports import free_port

from . import configuration
from .history import Configured, Folder, History, MasterBegan, MasterEnded, now

AGAIN_S = 0.5
"""How long a master that ended by itself stays away, as under systemd with ``Restart=always``."""
STOP_S = 40.0


class Masters:
    """Real master processes, each with a file, a log and a database URL of its own. Safe from any thread.

    A master that ends is started again by itself, unless it was told to ``stay_down``.
    """

    def __init__(
        self,
        folder: Folder,
        names: tuple[str, ...],
        url_of: Callable[[str], str],
        direct_url: str,
        truth: History,
        env_of: Callable[[str], Mapping[str, str]],
    ) -> None:
        self.names = names
        self.cluster = Cluster(folder.path, direct_url)
        self.port = free_port()
        """where whoever is active takes try jobs over HTTP"""
        self._folder = folder
        self._url_of = url_of
        self._truth = truth
        self._env_of = env_of
        self._lock = threading.RLock()
        self._down: set[str] = set()
        self._noted: set[int] = set()
        self._variants: dict[str, int] = {}
        self._over = threading.Event()
        self._tender = threading.Thread(target=self._tend, name="tend masters")

    # -- starting and ending ------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start all, and from now on whatever ends."""
        for name in self.names:
            self.configure(name, 0)
        for name in self.names:
            self.start(name)
        self._tender.start()

    def start(self, name: str, env: Mapping[str, str] | None = None) -> None:
        """Start a master that is not running, with more environment variables for this one process; it may go on by itself."""
        with self._lock:
            self._down.discard(name)
            if self.alive(name):
                return
            self._note_end(name)
            self.cluster.start(name, wait=False, env={**self._env_of(name), **(env or {})}, write=False)
            self._truth.add(MasterBegan(now(), name, self.pid(name)))

    def stay_down(self, *names: str) -> None:
        """From now on these are not started again when they end, until ``start``."""
        with self._lock:
            self._down |= set(names)

    def signal(self, name: str, number: int) -> bool:
        """Send a signal. False: there is no process."""
        with self._lock:
            if not self.alive(name):
                return False
            self.cluster.processes[name].send_signal(number)
            return True

    def kill(self, name: str) -> None:
        """kill -9, and gone."""
        if self.signal(name, signal.SIGKILL):
            self.wait(name)

    def wait(self, name: str, bound_s: float = STOP_S) -> int:
        """Its exit code, once it has ended."""
        code = self.cluster.wait(name, bound_s)
        with self._lock:
            self._note_end(name)
        return code

    def start_twin(self, name: str) -> subprocess.Popen[bytes]:
        """Another process of the same name beside the first, with the same file and log; ``end_twin`` it."""
        with self._lock:
            first = self.cluster.processes.pop(name)
            try:
                self.cluster.start(name, wait=False, env=self._env_of(name), write=False)
                twin = self.cluster.processes[name]
            finally:
                self.cluster.processes[name] = first
            self._truth.add(MasterBegan(now(), name, twin.pid))
            return twin

    def end_twin(self, name: str, twin: subprocess.Popen[bytes], bound_s: float = STOP_S) -> int:
        """SIGTERM to a twin, if it still runs, and its exit code."""
        if twin.poll() is None:
            twin.terminate()
        try:
            code = twin.wait(bound_s)
        except subprocess.TimeoutExpired:
            twin.kill()
            code = twin.wait()
        self._truth.add(MasterEnded(now(), name, twin.pid, code))
        return code

    def stop_all(self) -> dict[str, int]:
        """SIGTERM to all that run, for good; their exit codes."""
        self._over.set()
        if self._tender.is_alive():
            self._tender.join()
        self.stay_down(*self.names)
        running = [name for name in self.names if self.signal(name, signal.SIGTERM)]
        return {name: self.wait(name) for name in running}

    def close(self) -> None:
        """End whatever is left, the hard way."""
        self._over.set()
        if self._tender.is_alive():
            self._tender.join()
        self.cluster.close()

    # -- looking at them ----------------------------------------------------------------------------------------------

    def alive(self, name: str) -> bool:
        """Whether its process is there (it may be frozen, or on its way up or down)."""
        process = self.cluster.processes.get(name)
        return process is not None and process.poll() is None

    def pid(self, name: str) -> int:
        return self.cluster.pid(name)

    def up(self, name: str) -> bool:
        """Whether the process that was started last is up, as far as the database can be asked."""
        with contextlib.suppress(DatabaseError):
            return self.alive(name) and self.cluster.runs(name)
        return False

    def all_up(self) -> bool:
        return all(self.up(name) for name in self.names)

    # -- what they are told to do -------------------------------------------------------------------------------------

    def file(self, name: str) -> Path:
        return self.cluster.file(name)

    def variant(self, name: str) -> int:
        """Which configuration its file holds."""
        return self._variants[name]

    def configure(self, name: str, variant: int) -> None:
        """Write its file anew; it is read at the next start, SIGHUP or order."""
        with self._lock:
            entries = configuration.entries(variant, self.port)
            self._truth.add(Configured(now(), name, variant, entries, configuration.builders(self._folder.lines)))
            self._variants[name] = variant
            self.cluster.configure(
                name, **configuration.sections(self._url_of(name), self._folder.lines, variant, self.port)
            )

    # -- -------------------------------------------------------------------------------------------------------------

    def _tend(self) -> None:
        while not self._over.wait(0.1):
            for name in self.names:
                if not self.alive(name):
                    with self._lock:
                        self._note_end(name)
                    if not self._over.wait(AGAIN_S):
                        self._again(name)

    def _again(self, name: str) -> None:
        with self._lock:
            if name not in self._down and not self.alive(name):
                self.start(name)

    def _note_end(self, name: str) -> None:
        process = self.cluster.processes.get(name)
        if process is not None and process.poll() is not None and process.pid not in self._noted:
            self._noted.add(process.pid)
            self._truth.add(MasterEnded(now(), name, process.pid, process.returncode))
