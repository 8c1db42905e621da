"""A real repository, real masters, kills: every commit becomes one change and one buildset, in order."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from locum.tests.support import truth
from locum.tests.support.cluster import Cluster, branch, single
from locum.tests.support.git_polling import Origin
from locum.tests.support.guards import until

Make = Callable[..., Cluster]


def source(origin: Origin | str, **keys: object) -> dict[str, object]:
    repository = origin if isinstance(origin, str) else origin.url
    return {"type": "GitPoller", "name": "app", "repository": repository, "poll_interval": "200ms", **keys}


def reported(c: Cluster) -> list[str]:
    return [row.revision for row in c.rows("SELECT revision FROM changes ORDER BY number")]


def test_commits_are_reported_once_and_in_order_while_masters_are_killed_stopped_and_frozen(
    cluster: Make, tmp_path: Path
) -> None:
    origin = Origin(tmp_path / "origin")
    origin.commit("the first", a="1")
    c = cluster(
        master={"roles": ["schedulers"]},
        change_sources=[source(origin)],
        builders=single(),
        schedulers=[branch("quick")],
    )
    c.start("m1", "m2", "m3")
    c.wait_held("app", "quick")
    c.until(lambda: c.state("app", "revisions"), "the first poll")  # what comes from now on is new
    made: list[str] = []
    for how, count in (("kill", 700), ("freeze", 30), ("stop", 30), ("kill", 700)):
        made += origin.many(count)
        victim = c.until(lambda: c.holder("app"), "the source is held")
        incarnation = c.incarnation(victim)
        if how == "kill":
            c.kill(victim)
        elif how == "stop":
            assert c.stop(victim) == [0]
        else:
            c.freeze(victim)
        c.wait_held("app", "quick", by={"m1", "m2", "m3"} - {victim})
        made.append(origin.commit(f"after a {how}", **{how: "x"}))
        wanted = len(made)
        c.until(lambda n=wanted: len(reported(c)) >= n, f"all {wanted} commits")
        if how == "freeze":
            c.wake(victim, incarnation)
        else:
            c.start(victim)
    assert reported(c) == made
    c.until(lambda: len(c.built("quick")) >= len(made), "all are built")
    truth.every_change_once(c, "quick", made)


def test_a_killed_master_leaves_no_git_behind(cluster: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = f"127.0.0.1:{silent.getsockname()[1]}/"
        c = cluster(change_sources=[source(f"git://{at}")], builders=single(), schedulers=[branch("quick")])
        c.start("m1")
        until(lambda: _running(at), "git asks the remote")
        c.kill("m1")
        until(lambda: not _running(at), "nothing of it is left")


def _running(word: str) -> list[str]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if word.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(name)
        except OSError:
            pass
    return found


def test_a_failing_remote_is_kept_as_the_sources_status(cluster: Make, tmp_path: Path) -> None:
    c = cluster(change_sources=[source(str(tmp_path / "nowhere"))], builders=single(), schedulers=[branch("quick")])
    c.start("m1")
    status = c.until(lambda: c.state("app", "status"), "it is kept")
    assert not status["ok"]
    assert "does not appear to be a git repository" in status["text"]
