"""When a runner's death is proved, and when it only looks like it."""

from __future__ import annotations

import os

import pytest
from locum.db.members import Process
from locum.db.tasks import Holder
from locum.master.process import HIDDEN, proved_dead, started_at

ME = Process("host", "machine", "boot", 1, 1)
GONE = 2**22 + 12345  # above every system's highest


def holder(**other):
    known = {
        "host": "host",
        "machine_id": "machine",
        "boot_id": "boot",
        "pid": os.getpid(),
        "pid_started": started_at(os.getpid()),
    }
    return Holder("inc", "name", "lost", 1, 1, **(known | other))


def test_a_living_process_is_not_dead():
    assert proved_dead(holder(), ME) == ""


@pytest.mark.parametrize(
    "other, why",
    [
        ({"boot_id": "older"}, "host was started anew"),
        ({"pid": GONE}, f"its process {GONE} has ended"),
        ({"pid_started": 1}, f"its process {os.getpid()} has ended, another has that number now"),
    ],
    ids=["another boot", "gone", "another process"],
)
def test_another_boot_and_a_process_that_is_gone_are_proof(other, why):
    assert proved_dead(holder(**other), ME) == why
    assert proved_dead(holder(**other, machine_id="elsewhere"), ME) == ""
    assert proved_dead(holder(**other, host="a copy of the machine"), ME) == ""
    assert proved_dead(holder(**other, machine_id=""), Process("host", "", "boot", 1, 1)) == ""


def test_a_zombie_has_ended(tmp_path):
    pid = os.posix_spawnp("true", ["true"], os.environ)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert started_at(pid) is None
    os.waitpid(pid, 0)


def test_a_process_that_proc_hides_is_not_called_dead(tmp_path, monkeypatch):
    def refuse(pid, number):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert started_at(1, tmp_path) == HIDDEN
    assert proved_dead(holder(pid=1), ME, tmp_path) == ""
