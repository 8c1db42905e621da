"""A scheduler written for Buildbot, as a plugin of real masters: its messages come once, whoever is killed."""

from __future__ import annotations

import re
from collections.abc import Callable

from locum.tests.support.cluster import Cluster, branch, single
from locum.tests.support.written_for_buildbot import FOLDER

Make = Callable[..., Cluster]


def test_what_it_hears_is_served_once_though_its_master_is_killed(cluster: Make) -> None:
    text = (FOLDER / "of_messages.py").read_text(encoding="utf-8")
    text = re.sub(r"^(from|import) buildbot\b", r"\1 locum.schedulers.compat", text, flags=re.M)
    every = {"type": "of_messages.AggregatingScheduler", "name": "all", "builderNames": ["sum"]}
    # A task of r2 may run on the master that is killed, and everybody waits for its success.
    c = cluster(
        builders=[{**builder, "on_lost": "requeue"} for builder in single(("a", "b", "sum"))],
        schedulers=[
            branch("quick", builderNames=["a", "b"]),
            {**every, "upstreamBuilders": ["a", "b"]},
            {"type": "of_messages.ChangeLog", "name": "log", "builderNames": ["a"]},
        ],
        plugins=["./of_messages.py"],
    )
    (c.folder / "of_messages.py").write_text(text, encoding="utf-8")
    c.start("m1", "m2")
    c.wait_held("quick", "all", "log")
    c.add_changes(["r1"])
    c.until(lambda: len(c.buildsets("all")) == 1, "the first sum")
    victim = c.wait_held("all")
    c.add_changes(["r2"])
    c.kill(victim)
    c.wait_held("quick", "all", "log", by={"m1", "m2"} - {victim})
    c.until(
        lambda: c.value("SELECT count(*) FROM buildsets WHERE scheduler = 'quick' AND result = 'success'") == 2, "r2"
    )
    c.until(lambda: len(c.buildsets("all")) == 2, "the second sum")
    c.add_changes(["r3"])
    c.until(lambda: len(c.buildsets("all")) == 3, "the third sum")
    assert [c.state("log", f"changes.{number}.new") for number in (1, 2, 3)] == [1, 1, 1]
    assert c.state("all", "left") == ["a", "b"] and len(c.buildsets("all")) == 3
