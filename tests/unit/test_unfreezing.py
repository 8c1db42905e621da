"""SQLite: who holds the write lock for ever is killed if it is a master without a lease; who only works is left alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from locum.db import members, upgrading
from locum.db.database import Database
from locum.master.process import boot_id, machine_id, started_at, this_process
from locum.master.surroundings import Surroundings
from locum.master.unfreezing import LOOKS, Unfreezer
from locum.tests.conftest import CLOCKS, opened

WRITER = """
import sqlite3, sys, time
raw = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
raw.execute("CREATE TABLE IF NOT EXISTS mine (n int)")
print("ready", flush=True)
sys.stdin.readline()
while True:
    raw.execute("BEGIN IMMEDIATE")
    raw.execute("INSERT INTO mine VALUES (1)")
    print("writing", flush=True)
    time.sleep(float(sys.argv[2]))
    raw.execute("COMMIT")
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    one = opened(f"sqlite:///{tmp_path / 'locum.sqlite'}")
    one.write(upgrading.upgrade)
    yield one
    one.close()


@pytest.fixture
def writer(database: Database, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``writer(holds_s, lease_us)``: a process that writes, each time for so long, and is a master with such a lease."""
    started: list[subprocess.Popen[str]] = []

    def start(holds_s: float, lease_us: int | None) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, str(tmp_path / "locum.sqlite"), str(holds_s)]
        one = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(one)
        assert one.stdin is not None and one.stdout is not None and one.stdout.readline() == "ready\n"
        if lease_us is not None:
            process = members.Process(this_process().host, machine_id(), boot_id(), one.pid, started_at(one.pid) or 0)
            database.write(members.join, members.NewMaster("i1", "m1", ("schedulers",), "d", "1", process, lease_us))
        one.stdin.write("go\n")
        one.stdin.flush()
        assert one.stdout.readline() == "writing\n"
        return one

    yield start
    for one in started:
        one.kill()
        one.wait()
        for pipe in (one.stdin, one.stdout):
            assert pipe is not None
            pipe.close()


def unfreezer() -> Unfreezer:
    return Unfreezer(Surroundings(None, CLOCKS, lambda *a: None, lambda *a: None), this_process())  # type: ignore[arg-type, return-value]


def test_a_master_without_a_lease_that_does_not_get_on_is_killed(
    database: Database, writer: Callable[..., subprocess.Popen[str]]
) -> None:
    frozen = writer(60, 1)
    frozen.send_signal(signal.SIGSTOP)
    looks = unfreezer()
    assert [looks.look(database) for _ in range(LOOKS)] == [False] * (LOOKS - 1) + [True]
    assert frozen.wait(10) == -signal.SIGKILL
    assert not looks.look(database), "nobody holds it any more"


def test_a_master_without_a_lease_that_writes_and_writes_is_left_alone(
    database: Database, writer: Callable[..., subprocess.Popen[str]]
) -> None:
    """Nobody can renew while another program holds the lock: who gets it first afterwards is not frozen."""
    busy = writer(0.01, 1)
    looks = unfreezer()
    for _ in range(20):
        assert not looks.look(database)
        time.sleep(0.05)
    assert busy.poll() is None


@pytest.mark.parametrize("lease_us", [None, 3600 * 10**6])
def test_strangers_and_masters_with_a_lease_are_left_alone(
    database: Database, writer: Callable[..., subprocess.Popen[str]], lease_us: int | None
) -> None:
    holder = writer(60, lease_us)
    looks = unfreezer()
    for _ in range(3 * LOOKS):
        assert not looks.look(database)
    assert holder.poll() is None
