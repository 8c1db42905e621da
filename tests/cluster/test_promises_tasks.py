"""Tasks of masters that are killed or stopped (promise P6), and clocks that are off (P4)."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from locum.tests.support import truth
from locum.tests.support.cluster import Cluster, branch, periodic

Make = Callable[..., Cluster]


def sleeper(name: str, mark: Path, on_lost: str = "fail", seconds: float = 600) -> dict[str, Any]:
    """A builder whose command says its process id in a file, then sleeps."""
    command = f"echo $$ >> {mark}; exec sleep {seconds}"
    return {"name": name, "on_lost": on_lost, "steps": [{"shell": command}]}


def pids(mark: Path) -> list[int]:
    return [int(line) for line in mark.read_text().split()] if mark.exists() else []


def tasks(c: Cluster, builder: str) -> list[tuple[Any, ...]]:
    """(state, result, attempt) of a builder's tasks."""
    return [
        tuple(row)
        for row in c.rows(
            "SELECT t.state, t.result, t.attempt FROM tasks t JOIN builders b ON b.id = t.builder_id"
            " WHERE b.name = :b ORDER BY t.id",
            b=builder,
        )
    ]


def test_a_killed_runners_commands_die_with_it_and_its_tasks_end_as_their_builder_says(
    cluster: Make, tmp_path: Path
) -> None:
    """P6: ``fail`` ends it as failed, ``requeue`` runs it again elsewhere; one result each."""
    fails, again = tmp_path / "fails", tmp_path / "again"
    c = cluster(
        builders=[sleeper("fails", fails), sleeper("again", again, "requeue")],
        schedulers=[branch("quick", builderNames=["fails", "again"])],
        tasks={"drain": "1s"},
    )
    c.start("m1")
    c.wait_held("quick")
    c.add_changes(["r0"])
    c.until(lambda: pids(fails) and pids(again), "both commands run")
    commands = [*pids(fails), *pids(again)]
    c.start("m2")
    c.kill("m1")
    c.until(lambda: not any(psutil.pid_exists(pid) for pid in commands), "the commands die with their master")
    c.until(lambda: tasks(c, "fails")[0][1] is not None, "the one has failed")
    assert tasks(c, "fails")[0][0] == "failed"
    c.until(lambda: len(pids(again)) == 2, "the other runs again")
    c.until(lambda: tasks(c, "again")[0][2] == 2, "that is its second attempt")
    c.signal("m2", signal.SIGTERM)
    c.until(lambda: c.holder("quick") is None, "the schedulers are given away at once")
    assert c.wait("m2") == 0  # after tasks.drain
    assert not psutil.pid_exists(pids(again)[1])


def test_a_clean_stop_waits_for_steps_and_a_second_sigterm_stops_them(cluster: Make, tmp_path: Path) -> None:
    """SIGTERM gives schedulers away at once, then waits; steps that end meanwhile are recorded."""
    mark, release = tmp_path / "mark", tmp_path / "release"
    waits = f"echo $$ >> {mark}; while [ ! -e {release} ]; do sleep 0.1; done"
    c = cluster(
        builders=[{"name": "waits", "steps": [{"shell": waits}]}],
        schedulers=[branch("quick", builderNames=["waits"])],
    )
    c.start("m1")
    c.wait_held("quick")
    c.add_changes(["r0"])
    c.until(lambda: pids(mark), "the command runs")
    c.start("m2")
    c.signal("m1", signal.SIGTERM)
    c.wait_held("quick", by=["m2"])
    assert c.processes["m1"].poll() is None and psutil.pid_exists(pids(mark)[0]), "it waits for the step"
    release.touch()
    assert c.wait("m1") == 0
    assert tasks(c, "waits") == [("executed", "success", 1)]
    release.unlink()
    c.add_changes(["r1"])
    c.until(lambda: len(pids(mark)) == 2, "another command runs")
    c.signal("m2", signal.SIGTERM)
    c.until(lambda: c.holder("quick") is None, "it hands over")
    c.signal("m2", signal.SIGTERM)
    assert c.wait("m2") == 0
    assert not psutil.pid_exists(pids(mark)[1])
    assert tasks(c, "waits")[1][1] != "success"
    assert "Unhandled" not in c.log("m2")
    ended = c.rows("SELECT name, state, ended_why FROM masters ORDER BY name")
    assert ended == [(name, "stopped", "it was stopped") for name in ("m1", "m2")], "nobody took it for a crash"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # on SQLite, one frozen in a write is killed
def test_a_stopping_master_whose_lease_lapses_is_a_member_again_until_its_last_result_is_recorded(
    cluster: Make, tmp_path: Path
) -> None:
    """It was frozen while it waited for a step: others have long taken its schedulers, and it takes none; the result counts."""
    mark, release = tmp_path / "mark", tmp_path / "release"
    waits = f"echo $$ >> {mark}; while [ ! -e {release} ]; do sleep 0.1; done"
    c = cluster(
        builders=[{"name": "waits", "steps": [{"shell": waits}]}],
        schedulers=[branch("quick", builderNames=["waits"])],
    )
    c.start("m1")
    c.wait_held("quick")
    c.add_changes(["r0"])
    c.until(lambda: pids(mark), "the command runs")
    c.signal("m1", signal.SIGTERM)
    c.until(lambda: c.holder("quick") is None, "it hands over")
    first = c.value("SELECT incarnation FROM masters WHERE name = 'm1'")
    c.freeze("m1")
    c.start("m2")
    c.until(lambda: c.value("SELECT state FROM masters WHERE incarnation = :i", i=first) == "lost", "its lease ends")
    c.thaw("m1")
    again = "SELECT count(*) FROM masters WHERE name = 'm1' AND state = 'stopping'"
    c.until(lambda: c.value(again), "it is a member again, and still stopping")
    release.touch()
    assert c.wait("m1") == 0
    assert tasks(c, "waits") == [("executed", "success", 1)]
    assert c.holder("quick") == "m2"


SHIFTED = """
import time
_time, _ns = time.time, time.time_ns
time.time = lambda: _time() + {offset}
time.time_ns = lambda: _ns() + {offset} * 10**9
"""


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("how", "offset"), [("shifted", 3600), ("faketime", -3600)])
def test_a_clock_an_hour_off_moves_no_tick_and_is_shown(cluster: Make, tmp_path: Path, how: str, offset: int) -> None:
    """P4: recurring times are the database's; the master whose host clock is off fires at the right moment all the same."""
    env = {}
    if how == "faketime":
        library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
        if library is None or shutil.which("faketime") is None:
            pytest.skip("faketime is not installed")
        env = {"LD_PRELOAD": str(library), "FAKETIME": f"{offset:+d}", "DONT_FAKE_MONOTONIC": "1"}
    else:
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(SHIFTED.format(offset=offset))
        before = os.environ.get("PYTHONPATH")
        env = {"PYTHONPATH": str(tmp_path / "site") + (f":{before}" if before else "")}
    c = cluster(
        master={"roles": ["schedulers"]},
        builders=[{"name": "unit", "steps": [{"shell": ["true"]}]}],
        schedulers=[periodic("tick")],
    )
    c.start("m1")
    c.wait_held("tick")
    c.start("m2", env=env)
    c.until(lambda: len(c.buildsets("tick")) >= 2, "it ticks")
    c.kill("m1")
    c.wait_held("tick", by=["m2"])
    count = len(c.buildsets("tick"))
    c.until(lambda: len(c.buildsets("tick")) >= count + 3, "it ticks on the other")
    truth.every_tick_once(c, "tick")
    now = time.time() * 1e6
    for row in c.buildsets("tick"):
        assert -1_000 <= row[4] - row[3] <= 20e6, "never early, and late only by the takeover"
        assert abs(now - row[3]) < 300e6
    shown = c.json("status", code=2)
    (off,) = [m["clock_offset_s"] for m in shown["masters"] if m["name"] == "m2" and m["state"] == "up"]
    assert abs(off - offset) < 60
    assert any("clock" in need["what"] for need in shown["needs_attention"])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_clock_that_is_set_back_while_a_master_runs_puts_off_nothing(cluster: Make, tmp_path: Path) -> None:
    """P4, P9: the master goes on beating and ticking; it used to wait for its wall clock to come to where it had been."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("faketime is not installed")
    clock = tmp_path / "clock"

    def set_clock(offset_s: int) -> None:
        (tmp_path / "new").write_text(f"{offset_s:+d}\n")
        (tmp_path / "new").rename(clock)

    set_clock(0)
    c = cluster(
        master={"roles": ["schedulers"]},
        builders=[{"name": "unit", "steps": [{"shell": ["true"]}]}],
        schedulers=[periodic("tick")],
    )
    faked = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1"}
    c.start("m1", env={**faked, "FAKETIME_DISABLE_SHM": "1", "DONT_FAKE_MONOTONIC": "1"})
    c.wait_held("tick")
    incarnation = c.incarnation("m1")
    for offset_s in (3600, 0):
        set_clock(offset_s)
        c.until(lambda at=offset_s: abs(_clock_offset_s(c) - at) < 60, f"its clock is {offset_s} s off")
    count = len(c.buildsets("tick"))
    c.until(lambda: len(c.buildsets("tick")) >= count + 5, "it ticks on")
    truth.every_tick_once(c, "tick")
    assert c.incarnation("m1") == incarnation, "it never missed a beat"


def _clock_offset_s(c: Cluster) -> float:
    (offset,) = [m["clock_offset_s"] for m in c.json("status", code=None)["masters"] if m["state"] == "up"]
    return float(offset or 0.0)
