"""Reconfiguring disturbs only what changed, and a bad file changes nothing (promises P8 and P12)."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from locum.db import listings
from locum.tests.support import hostile, truth
from locum.tests.support.cluster import Cluster, branch, periodic, single

Make = Callable[..., Cluster]
HOSTILE = str(Path(hostile.__file__))
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
"""What does not depend on the database is tried on one of them: each master takes a second to start."""


def settings(*schedulers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "master": {"roles": ["schedulers"]},
        "plugins": [HOSTILE],
        "builders": single(("unit", "docs")),
        "schedulers": list(schedulers),
        **more,
    }


def witness(name: str, mark: str = "") -> dict[str, Any]:
    return {"type": "hostile.Witness", "name": name, "builderNames": ["unit"], "mark": mark}


def standing(c: Cluster) -> dict[str, tuple[Any, ...]]:
    """Who holds what, since when, under which term."""
    return {s.name: (s.master, s.term, s.active_since) for s in c.database.read(listings.schedulers)}


def test_only_what_changed_is_touched_on_every_master(cluster: Make) -> None:
    """P8, by SIGHUP and by ``locum reconfig``: others keep term, holder and instance; state and cursor stay."""
    names = ("same", "changed", "removed", "tick")
    entries = [witness("same"), witness("changed", "old"), witness("removed"), periodic("tick", 3600)]
    c = cluster(**settings(*entries, branch("disabled")))
    c.start("m1", "m2")
    c.wait_held(*names, "disabled")
    c.quick("scheduler", "disable", "disabled")
    c.add_changes(["r0"])
    c.until(lambda: all(len(c.built(n)) == 1 for n in ("same", "changed", "removed")), "they build")
    c.until(lambda: len(c.buildsets("tick")) == 1, "the first tick")
    before = standing(c)
    new = [witness("same"), witness("changed", "new"), witness("added"), periodic("tick", 1)]
    c.configure("m1", "m2", schedulers=[*new, branch("disabled", reason="another")])
    diff = c.json("reconfig", "--diff", "--all")["masters"]
    said = "\n".join(diff["m1"]["lines"])
    assert all(name in said for name in ("changed", "removed", "added", "tick")) and "same" not in said
    assert standing(c) == before, "a look changes nothing"

    # one master by SIGHUP: the others still run the old file, and that is shown
    c.signal("m1", signal.SIGHUP)
    c.until(lambda: "reconfigured" in c.log("m1"), "m1 has reconfigured")
    shown = c.json("status", code=2)
    assert "configuration" in [d["about"] for d in shown["drift"]]
    done = c.json("reconfig", "--master", "m2")["masters"]
    assert list(done) == ["m2"] and done["m2"]["lines"]
    c.wait_held("added", "changed", "tick")
    assert c.json("status", code=None)["drift"] == []
    c.add_changes(["r1"])
    c.until(
        lambda: len(c.built("changed")) == 2 and len(c.built("same")) == 2 and c.built("added") == ["r1"], "r1 is built"
    )
    after = standing(c)
    assert after["same"] == before["same"]
    traces = "".join(path.read_text() for path in c.folder.glob("same.*.trace"))
    assert traces.count(" activate\n") == 1 and "deactivate" not in traces, "its instance was left alone"
    assert after["changed"][0] == before["changed"][0] and after["changed"][1] > before["changed"][1]
    assert [row[2] for row in c.buildsets("changed")] == ["old", "new"]
    truth.every_change_once(c, "changed", ["r0", "r1"])
    assert after["removed"][0] is None, "nobody holds what was taken out"
    assert c.built("removed") == ["r0"]
    assert after["disabled"][1] == before["disabled"][1] and after["disabled"][0] is None, "a disabled one stays so"
    c.until(lambda: len(c.buildsets("tick")) > 2, "a changed period is armed at once")
    assert c.json("reconfig", "--all")["masters"] == {"m1": {"lines": []}, "m2": {"lines": []}}
    assert c.stop("m1", "m2") == [0, 0]
    truth.terms_only_rise(c)


@on_sqlite
def test_a_faulty_file_changes_nothing_and_says_why(cluster: Make) -> None:
    """P8 and P12: YAML faults, a constructor that refuses, an unknown builder: place, fault and cure; nothing is touched."""
    c = cluster(**settings(witness("same"), periodic("tick", 3600)))
    c.start("m1")
    c.wait_held("same", "tick")
    before = standing(c)
    faulty = (
        ([witness("same"), periodic("tick", -5)], "periodicBuildTimer"),
        ([{**witness("same"), "builderNames": ["unti"]}], "did you mean 'unit'"),
        ([{**witness("same"), "marc": "x"}], "did you mean 'mark'"),
        ([witness("same"), witness("same")], "same"),
        ([{"type": "Nightly", "name": "n", "hour": 25, "builderNames": ["unit"]}], "hour"),
        ([{"type": "SingleBranchScheduler", "name": "n", "builderNames": ["unit"]}], "branch"),
        ([{"type": "hostile.Nowhere", "name": "n", "builderNames": ["unit"]}], "Nowhere"),
    )
    for schedulers, said in faulty:
        c.configure("m1", schedulers=schedulers)
        answer = c.json("reconfig", "--master", "m1", code=1)["masters"]["m1"]
        faults = "\n".join(answer["faults"])
        assert said in faults and "m1.yaml:" in faults, faults
    c.file("m1").write_text("schedulers: [\n")
    c.signal("m1", signal.SIGHUP)
    c.until(lambda: "m1.yaml:2" in c.log("m1"), "SIGHUP's fault is in the log")
    c.file("m1").unlink()
    assert c.json("reconfig", code=1)["masters"]["m1"]["faults"]
    assert standing(c) == before
    c.add_changes(["r0"])
    c.until(lambda: c.built("same") == ["r0"], "all goes on as before")
    traces = "".join(path.read_text() for path in c.folder.glob("same.*.trace"))
    assert traces.count(" activate\n") == 1


@on_postgresql
def test_a_stubborn_scheduler_stops_neither_a_reconfiguration_nor_a_stop(cluster: Make) -> None:
    """One whose ``deactivate`` never finishes is abandoned; its term is raised, so it can do no harm."""
    kinds = ("wait", "deny", "deferred")

    def entries(mark: str) -> list[dict[str, Any]]:
        made = [
            {"type": "hostile.Stubborn", "name": kind, "how": kind, "mark": mark, "builderNames": ["unit"]}
            for kind in kinds
        ]
        return [*made, witness("meek", mark)]

    c = cluster(**settings(*entries("old")))
    c.start("m1")
    c.wait_held(*kinds, "meek")
    c.configure("m1", schedulers=entries("new"))
    done = c.json("reconfig", "--timeout", "40")["masters"]["m1"]
    assert len(done["lines"]) >= 4
    c.wait_held(*kinds, "meek")
    c.add_changes(["r0"])
    for name in (*kinds, "meek"):
        c.until(lambda n=name: [row[2] for row in c.buildsets(n)] == ["new"], f"{name} is the new one")
    c.start("m2")
    c.signal("m1", signal.SIGTERM)
    c.wait_held(*kinds, "meek", by=["m2"])
    assert c.wait("m1") == 0
    c.add_changes(["r1"])
    for name in (*kinds, "meek"):
        c.until(lambda n=name: len(c.built(n)) == 2, f"{name} goes on elsewhere")
        truth.every_change_once(c, name, ["r0", "r1"])
    truth.terms_only_rise(c)


def test_removing_a_scheduler_from_one_masters_file_leaves_it_to_the_others(cluster: Make) -> None:
    """The withdrawn standby takes nothing; the row, the state and the cursor stay for whoever has it configured."""
    c = cluster(**settings({"type": "hostile.Counting", "name": "count", "builderNames": ["unit"]}))
    c.start("m1", "m2")
    first = c.wait_held("count")
    other = ({"m1", "m2"} - {first}).pop()
    c.add_changes(["r0", "r1"])
    c.until(lambda: c.state("count", "count") == 2, "it counts")
    c.configure(first, schedulers=[])
    c.signal(first, signal.SIGHUP)
    c.wait_held("count", by=[other])
    c.add_changes(["r2"])
    c.until(lambda: c.state("count", "count") == 3, "its state went with it")
    truth.in_order(c, "count")
    assert set(c.line("count").digests) == {other}


@on_sqlite
def test_builders_and_lease_change_live(cluster: Make) -> None:
    """Also builders and those cluster settings that can change without a restart; what cannot is said."""
    c = cluster(**settings(branch("quick")))
    c.start("m1")
    c.wait_held("quick")
    c.configure(
        "m1",
        cluster={"lease": "9s", "heartbeat": "400ms", "crash_hint": "off"},
        builders=single(("unit", "new")),
        schedulers=[branch("quick", builderNames=["unit", "new"])],
        database={"url": c.url, "pool_size": 7},
    )
    lines = c.json("reconfig")["masters"]["m1"]["lines"]
    assert any("pool_size" in line and "restart" in line for line in lines)
    assert "cluster.crash_hint: restart needed" in lines
    assert not any("lease" in line and "restart" in line for line in lines)
    c.configure(
        "m1",
        cluster={"lease": "9s", "heartbeat": "400ms"},
        builders=single(("unit", "new")),
        schedulers=[branch("quick", builderNames=["unit", "new"])],
        database={"url": c.url},
    )
    lines = c.json("reconfig")["masters"]["m1"]["lines"]
    assert not any("restart" in line for line in lines)  # it is put back to what the process began with
    c.until(lambda: c.up()["m1"].lease_left > 6_000_000, "the longer lease is in force")
    c.wait_held("quick")
    c.add_changes(["r0"])
    c.until(lambda: c.built("quick") == ["r0"], "it builds")
    names = c.rows("SELECT b.name FROM tasks t JOIN builders b ON b.id = t.builder_id ORDER BY b.name")
    assert [row[0] for row in names] == ["new", "unit"]
