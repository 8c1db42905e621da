"""The guard of a command: nothing that it started outlives it, whatever becomes of the master."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys

import pytest
from locum.tests.support.guards import Guarded, boottime, marked, until

STUBBORN = "trap '' TERM; echo up; while :; do sleep 100; done"
DAEMON = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(1, b'daemon\\n')
        time.sleep(600)
    os._exit(0)
os.wait()
"""


@pytest.fixture
def mark():
    """A word by which this test's processes are known; none of them is left."""
    mark = f"MARK={secrets.token_hex(8)}"
    yield mark.removeprefix("MARK=")
    left = marked(mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def sh(mark, line, **options):
    return Guarded(["sh", "-c", line], mark, **options)


@pytest.mark.parametrize(
    "line, told",
    [
        ("exit 0", "exit 0"),
        ("exit 3", "exit 3"),
        ("exit 255", "exit 255"),
        ("kill -KILL $$", "signal 9"),
        ("kill $$", "signal 15"),
    ],
)
def test_an_exit_code_and_a_signal_are_told_apart(mark, line, told):
    assert sh(mark, line).wait() == [told]


def test_both_outputs_come_through_one_pipe_in_order(mark):
    guarded = sh(mark, "for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; done")
    assert guarded.read(guarded.output) == b"".join(b"o%d\ne%d\n" % (i, i) for i in range(1, 6))
    assert guarded.wait() == ["exit 0"]


def test_the_command_gets_no_descriptor_but_three_and_no_ignored_signal(mark):
    guarded = sh(mark, "ls /proc/$$/fd; grep SigIgn /proc/self/status; grep SigBlk /proc/self/status; cat")
    *fds, ignored, blocked = guarded.read(guarded.output).decode().split("\n")[:-1]
    assert fds == ["0", "1", "2"]
    own = 0b11 << 31  # the C library's own two signals, which it sets as it likes
    assert int(ignored.split()[1], 16) & ~own == int(blocked.split()[1], 16) & ~own == 0
    assert guarded.wait() == ["exit 0"]


@pytest.mark.parametrize("command", [["/nonexistent/program"], ["/etc/passwd"]])
def test_what_cannot_be_started_is_an_error_not_an_exit_code(mark, command):
    (told,) = Guarded(command, mark).wait()
    assert told.startswith(f"error cannot start '{command[0]}': ")


def test_a_folder_that_is_not_there_is_an_error(mark):
    (told,) = Guarded(["true"], mark, folder="/nonexistent").wait()
    assert told == "error cannot work in /nonexistent: No such file or directory"


@pytest.mark.parametrize("end", ["kill", "eof", "sigterm", "deadline"])
def test_every_end_takes_the_stubborn_the_background_and_the_daemons_with_it(mark, end):
    script = f"{sys.executable} -c '{DAEMON}'; ({STUBBORN}) & sleep 600 & setsid sleep 600 & {STUBBORN}"
    guarded = sh(mark, script, grace=0.2)
    if b"up" not in guarded.read(guarded.output, b"daemon"):  # they may come together
        guarded.read(guarded.output, b"up")
    until(lambda: len(marked(mark)) >= 5, "all are up")
    if end == "kill":
        guarded.order("kill")
    elif end == "eof":
        os.close(guarded.orders)
        guarded.orders = -1
    elif end == "sigterm":
        os.kill(guarded.pid, signal.SIGTERM)
    else:
        guarded.order(f"deadline {boottime() + 0.1}")
    told = {"kill": "killed", "eof": "orphaned", "sigterm": "killed", "deadline": "deadline"}[end]
    assert guarded.wait() == [told]
    assert marked(mark) == []


def test_what_a_command_leaves_behind_is_ended_with_it(mark):
    guarded = sh(mark, f"{sys.executable} -c '{DAEMON}'; sleep 600 & setsid sleep 600 & exit 7", grace=0.2)
    assert guarded.wait() == ["exit 7"]
    assert marked(mark) == []


def test_what_ends_when_asked_may_tidy_up(mark):
    guarded = sh(mark, "trap 'echo tidy; exit 0' TERM; echo up; while :; do sleep 0.01; done", grace=10)
    guarded.read(guarded.output, b"up")
    guarded.order("kill")
    assert guarded.read(guarded.output).endswith(b"tidy\n")
    assert guarded.wait() == ["killed"]


def test_a_deadline_that_is_moved_does_not_strike(mark):
    guarded = sh(mark, "sleep 0.6; echo done", deadline=boottime() + 0.5)
    guarded.order("deadline never")
    assert guarded.wait() == ["exit 0"]


def test_a_master_that_is_killed_takes_its_commands_with_it(mark):
    master = (
        "import sys; from locum.tests.support.guards import Guarded;"
        f"g = Guarded(['sh', '-c', sys.argv[1]], {mark!r}, grace=0.2);"
        "print(g.read(g.output, b'up'), flush=True); g.wait()"
    )
    line = f"{sys.executable} -c '{DAEMON}'; sleep 600 & {STUBBORN}"
    process = subprocess.Popen([sys.executable, "-c", master, line], stdout=subprocess.PIPE)
    assert b"up" in process.stdout.readline()
    until(lambda: len(marked(mark)) >= 4, "all are up")
    process.kill()
    process.wait()
    process.stdout.close()
    until(lambda: not marked(mark), "everything is gone")


def test_a_terminals_interrupt_does_not_reach_command_or_guard(mark):
    guarded = sh(mark, "echo up; sleep 0.3; echo done")
    guarded.read(guarded.output, b"up")
    assert os.getsid(guarded.pid) == guarded.pid
    os.kill(guarded.pid, signal.SIGINT)
    assert guarded.wait() == ["exit 0"]
