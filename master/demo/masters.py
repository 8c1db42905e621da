"""The demo's masters: real processes, started, killed, frozen, and never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("m1", "m2", "m3")
LEASE_S, HEARTBEAT_S = 3, 0.5
POLL_S, TICK_S = 0.5, 1
COMMITS, TICKS, SOURCE = "commits", "ticks", "repository"
BUILDERS = ("build", "clock")
_PR_SET_PDEATHSIG = 1
_STOP_S = 15.0

_YAML = """\
# Written by 'locum demo'. The same file for {names}.
database:
  url: {url}
cluster:
  lease: {lease}s
  heartbeat: {heartbeat}s
tasks:
  drain: 10s
change_sources:
  - type: GitPoller
    name: {source}
    repository: {repository}
    branches: [main]
    poll_interval: {poll}s
builders:
  - name: {build}
    on_lost: requeue
    steps:
      - git: {{}}
      - shell: [git, --no-pager, show, --stat, HEAD]
  - name: {clock}
    on_lost: requeue
    steps:
      - shell: [date]
schedulers:
  - type: SingleBranchScheduler
    name: {commits}
    branch: main
    builderNames: [{build}]
  - type: Periodic
    name: {ticks}
    periodicBuildTimer: {tick}
    catch_up: all
    builderNames: [{clock}]
"""


def master_yaml(url: str, repository: Path) -> str:
    """The configuration of all three."""
    return _YAML.format(
        names=", ".join(NAMES),
        url=_quoted(url),
        repository=_quoted(str(repository)),
        lease=LEASE_S,
        heartbeat=HEARTBEAT_S,
        poll=POLL_S,
        tick=TICK_S,
        source=SOURCE,
        build=BUILDERS[0],
        clock=BUILDERS[1],
        commits=COMMITS,
        ticks=TICKS,
    )


def _quoted(text: str) -> str:
    return json.dumps(text).replace("${", "$${")  # a JSON string is a YAML string; the loader would fill in ${...}


class Masters:
    """Three masters of one folder's ``master.yaml``. Leaving the ``with`` ends whoever is left, stopped or frozen."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Masters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for process in self._processes.values():
            process.wait()

    def start(self) -> None:
        """Start all of them, at the same time."""
        tie = _tie_to(os.getpid())
        for name in NAMES:
            with (self._folder / f"{name}.log").open("wb") as log:
                self._processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "locum", "start", "--config", "master.yaml", "--name", name],
                    cwd=self._folder,
                    env=_environment(self._folder),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for the demo, which then ends them
                    preexec_fn=tie,  # noqa: PLW1509 - no other thread runs yet
                )

    def died(self) -> str | None:
        """The name and last words of one that has ended by itself; None: there is none."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                last = (self._folder / f"{name}.log").read_text(errors="replace").strip().splitlines()[-3:]
                return f"{name} ended with exit code {process.returncode}: {' / '.join(last)}"
        return None

    def kill(self, name: str) -> None:
        """SIGKILL; it is gone when this returns."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def freeze(self, name: str) -> None:
        """SIGSTOP: it stands still, and knows nothing of it."""
        self._processes[name].send_signal(signal.SIGSTOP)

    def let_go(self, name: str) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        self._processes[name].send_signal(signal.SIGCONT)

    def stop(self) -> bool:
        """SIGTERM to all and wait for their ends; whether each ended well."""
        for process in self._processes.values():
            process.terminate()
        codes = [_ended(process) for process in self._processes.values()]
        self._processes.clear()
        return not any(codes)


def _ended(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait() or 1


def _environment(folder: Path) -> dict[str, str]:
    """Ours, but for what would make another master, or another repository, of it."""
    foreign = ("LOCUM_", "GIT_", "NOTIFY_SOCKET", "WATCHDOG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {"PATH": os.defpath, "HOME": str(folder), **kept}


def _tie_to(parent: int) -> Callable[[], None]:
    """For a child between fork and exec: the system kills it, even a frozen one, when the demo is gone."""
    prctl: Any = getattr(ctypes.CDLL(None), "prctl", None)

    def tie() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before it was tied
            os._exit(1)

    return tie
