"""A command as its reactor sees it: its end is told once, however early it comes."""

from __future__ import annotations

import os

from locum.master.tasks import command
from locum.tests.support import reactors
from twisted.internet import process


def test_a_process_that_has_ended_before_it_is_known_is_an_ending_like_any_other(monkeypatch, tmp_path):
    register = process.registerReapProcessHandler

    def late(pid, handler):
        # A master that was frozen here goes on when its command has long ended.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        register(pid, handler)

    monkeypatch.setattr(process, "registerReapProcessHandler", late)
    said = []

    async def step(surroundings):
        order = command.Order(["sh", "-c", "echo out; exit 3"], {"PATH": os.environ["PATH"]}, tmp_path)
        run = command.Command(surroundings.reactor, order, said.append, float("inf"))
        ending = await run.done
        # Whoever holds its output open may not hold it for ever: that is looked after, and is over now.
        return ending, run._closing

    ending, closing = reactors.run(step)
    assert (ending.how, ending.number, b"".join(said)) == ("exit", 3, b"out\n")
    assert closing is not None and not closing.active()
