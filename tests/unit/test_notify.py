"""What systemd hears, and that nobody hears anything is no failure."""

import os
import socket

import pytest
from locum.master.notify import Notifier


@pytest.fixture
def systemd(tmp_path):
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    listening.settimeout(5)
    yield listening
    listening.close()


def test_it_tells_its_states(systemd, tmp_path):
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000", "HOME": "/"}
    notifier = Notifier.from_environment(environ)
    assert environ == {"HOME": "/"} and notifier.watchdog_s == 15.0
    notifier.ready("up\nand well")
    notifier.reloading()
    notifier.alive()
    notifier.status("2 schedulers")
    notifier.stopping()
    heard = [systemd.recv(1000).decode().split("\n") for _ in range(5)]
    assert heard[0] == ["READY=1", "STATUS=up and well"]
    assert heard[1][0] == "RELOADING=1" and heard[1][1].removeprefix("MONOTONIC_USEC=").isdecimal()
    assert heard[2:] == [["WATCHDOG=1"], ["STATUS=2 schedulers"], ["STOPPING=1"]]
    notifier.close()
    notifier.close()
    notifier.ready()


def test_an_abstract_socket_works_too():
    name = f"locum-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(5)
        notifier = Notifier("@" + name)
        notifier.ready()
        assert listening.recv(100) == b"READY=1"
        notifier.close()


@pytest.mark.parametrize("address", [None, "", "relative", "/nowhere/at/all"])
def test_without_a_listener_nothing_happens(address):
    notifier = Notifier(address)
    notifier.ready("x")
    notifier.alive()
    notifier.close()


def test_a_watchdog_meant_for_another_process_is_not_ours():
    assert Notifier.from_environment({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert Notifier.from_environment({"WATCHDOG_USEC": "junk"}).watchdog_s is None
