"""What a run stands on and the nemesis shakes: the database, the network to it, and the masters' clocks."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from . import inside
from .nemesis_disk import Disk, may_mount
from .postgres import Postgres
from .proxy import Network, Proxy

INSIDE = Path(inside.__file__).parent
SQLITE_NAME = "locum.sqlite"
SQLITE_MB = 300


class Ground:
    """Where the database is, for whom: a SQLite file on ``disk``, or ``postgres``. ``folder`` is the run's, ``own`` the nemesis'.

    ``proxies`` are the masters' ways to PostgreSQL; ``clocks`` the files that say how far off a master's clock is (empty
    where clocks are left alone).
    """

    def __init__(
        self,
        folder: Path,
        disk: Disk | None,
        postgres: Postgres | None,
        proxies: Mapping[str, Proxy],
        clocks: Mapping[str, Path],
    ) -> None:
        self.folder = folder
        self.own = own_folder(folder)
        self.disk = disk
        self.postgres = postgres
        self.proxies = proxies
        self.clocks = clocks

    @property
    def sqlite_path(self) -> Path:
        assert self.disk is not None
        return self.disk.folder / SQLITE_NAME

    @property
    def url(self) -> str:
        """The database's URL for those whom no fault is meant for."""
        return f"sqlite:///{self.sqlite_path}" if self.postgres is None else self.postgres.url()

    def url_of(self, master: str) -> str:
        """The database's URL for a master."""
        return self.url if self.postgres is None else self.postgres.url(self.proxies[master].ports)

    def env_of(self, master: str) -> dict[str, str]:
        """What the environment of a master's process needs beside the usual, so that it can be blocked and its clock set."""
        path = f"{INSIDE}:{os.environ['PYTHONPATH']}" if os.environ.get("PYTHONPATH") else str(INSIDE)
        env = {"PYTHONPATH": path, inside.VARIABLE: str(self.own)}
        library = faketime()
        if master in self.clocks and library is not None:
            env |= {
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(self.clocks[master]),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DISABLE_SHM": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        return env

    def set_clock(self, master: str, offset_s: float) -> None:
        """Within a second, that master's wall clock is so far off."""
        _replace(self.clocks[master], f"{offset_s:+.3f}\n")

    def block(self, pid: int, seconds: float) -> bool:
        """Stop that process's main thread, which is its reactor's, for so long. False: it is not ready for that."""
        if not _catches(pid, signal.SIGUSR1):
            return False
        _replace(self.own / f"block-{pid}", json.dumps(seconds))
        os.kill(pid, signal.SIGUSR1)
        return True


@contextlib.contextmanager
def ground(folder: Path, database: str, masters: Sequence[str], needs: Collection[str]) -> Iterator[Ground]:
    """The ground of a run, ready; nothing of it is left running. ``needs`` are those of the kinds of faults that are wanted."""
    with contextlib.ExitStack() as stack:
        clocks = {name: own_folder(folder) / f"{name}.clock" for name in masters} if "libfaketime" in needs else {}
        for path in clocks.values():
            _replace(path, "+0\n")
        if database == "sqlite":
            disk = Disk(own_folder(folder) / "disk", SQLITE_MB)
            stack.callback(disk.close)
            yield Ground(folder, disk, None, {}, clocks)
            if disk.small:
                shutil.copytree(disk.folder, own_folder(folder) / "disk-kept", ignore=shutil.ignore_patterns("ballast"))
            return
        postgres = Postgres(own_folder(folder), standby="standby" in needs)
        stack.callback(postgres.close)
        postgres.begin()
        network = stack.enter_context(Network())
        yield Ground(folder, None, postgres, {name: network.proxy(postgres.ports) for name in masters}, clocks)


def own_folder(folder: Path) -> Path:
    """What the nemesis needs is kept in one folder of the run's."""
    own = folder / "ground"
    own.mkdir(exist_ok=True)
    return own


def lacking() -> dict[str, str]:
    """Which needs of faults this machine does not meet, and why."""
    missing = {}
    if faketime() is None:
        missing["libfaketime"] = "libfaketime is not installed (apt-get install faketime)"
    if not may_mount():
        missing["mount"] = "this process may not mount a tmpfs (it is not root, or is confined)"
    return missing


@cache
def faketime() -> Path | None:
    """The library that sets a process's clock; None: it is not there."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def _catches(pid: int, number: int) -> bool:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    mask = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "0")
    return bool(int(mask, 16) >> (number - 1) & 1)


def _replace(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.rename(path)
