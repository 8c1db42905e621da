"""What the entry point hands to everything else."""

from __future__ import annotations

import time

import pytest
from locum.config import ConfigError, parse
from locum.master.process_main import _log_stream, real_surroundings
from twisted.internet.epollreactor import EPollReactor


def test_the_reactor_keeps_its_timers_by_a_clock_that_nobody_can_set() -> None:
    """A wall clock that was set back put off every heartbeat until it came to where it had been."""
    reactor = EPollReactor()
    surroundings = real_surroundings(reactor)
    call = reactor.callLater(5.0, lambda: None)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert abs(call.getTime() - 5.0 - now) < 1.0 and abs(surroundings.boottime() - now) < 1.0
    assert 4.0 < reactor.timeout() <= 5.0
    call.cancel()
    fired: list[float] = []
    reactor.callLater(0.01, lambda: (fired.append(surroundings.boottime()), reactor.stop()))
    reactor.run(installSignalHandlers=False)
    assert fired and fired[0] - now < 5.0


def test_the_log_s_file_lies_beside_the_configuration_and_one_that_cannot_be_written_is_said(tmp_path) -> None:
    def configured(name: str):
        return parse(f"log: {{file: '{name}'}}".encode(), "master.yaml", {}, tmp_path)

    with _log_stream(configured("l.log")) as stream:
        stream.write("x")
    assert (tmp_path / "l.log").read_text() == "x"
    with pytest.raises(ConfigError, match=r"log.file: .*/none/l.log cannot be written: No such file or directory"):
        _log_stream(configured("none/l.log"))
