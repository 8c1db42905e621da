"""One master's service, without a cluster around it."""

from __future__ import annotations

from pathlib import Path

from locum.config import parse
from locum.db.database import HostClocks
from locum.master.service import Master
from locum.master.surroundings import Pool, Surroundings
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

FILE = "database: {url: 'sqlite:///l.sqlite'}\ntasks: {drain: %ss}\n"


def test_a_reconfiguration_that_is_asked_for_during_another_reads_what_the_file_says_then(tmp_path: Path) -> None:
    """A second SIGHUP was refused, so that a file that had changed meanwhile was not read until somebody noticed."""
    reads: list[Deferred[object]] = []

    def in_thread(function: object) -> Deferred[object]:
        reads.append(Deferred())
        return reads[-1]

    def configured(drain: int) -> object:
        return parse((FILE % drain).encode(), "master.yaml", {}, tmp_path)

    clocks = HostClocks(wall_us=lambda: 0, boottime_us=lambda: 0)
    around = Surroundings(Clock(), clocks, in_thread, lambda name, size: Pool(lambda: succeed(None), lambda: None))
    master = Master(configured(1), "m1", around, {}, threads=False)
    answers: list[object] = []
    for _ in range(2):
        Deferred.fromCoroutine(master.reconfigure(apply=False)).addBoth(answers.append)
    assert len(reads) == 1
    reads[0].callback(configured(2))
    assert len(reads) == 2
    reads[1].callback(configured(3))
    assert answers == [{"lines": [f"~ tasks.drain: 1.0 -> {drain}.0"]} for drain in (2, 3)]
