"""Masters that die, stop, freeze or block, and who goes on where they left off (promises P1-P5, P7, P9)."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from locum.master.committer import AT_ONCE
from locum.tests.support import hostile, truth
from locum.tests.support.cluster import Cluster, branch, periodic, single

Make = Callable[..., Cluster]
HOSTILE = str(Path(hostile.__file__))
ONLY_SCHEDULERS = {"roles": ["schedulers"]}


def counting(name: str, kind: str = "Counting", **keys: object) -> dict[str, object]:
    return {"type": f"hostile.{kind}", "name": name, "builderNames": ["unit"], **keys}


def test_no_change_and_no_tick_is_lost_or_doubled_while_masters_are_killed_stopped_and_frozen(cluster: Make) -> None:
    """P1-P5, with the truth outside: what ``locum change add`` acknowledged, and the even grid."""
    c = cluster(
        master=ONLY_SCHEDULERS,
        plugins=[HOSTILE],
        builders=single(),
        schedulers=[branch("quick"), counting("count"), periodic("tick"), branch("late", treeStableTimer=0.7)],
    )
    names = ("quick", "count", "tick", "late")
    c.start("m1", "m2", "m3")
    c.wait_held(*names)
    with truth.Writers(c) as writers:
        for victim_of, how in (("quick", "kill"), ("count", "stop"), ("tick", "freeze"), ("late", "kill")):
            before = len(writers.acknowledged)
            c.until(lambda n=before: len(writers.acknowledged) > n, "changes keep coming")
            victim = c.until(lambda s=victim_of: c.holder(s), f"{victim_of} is held")
            incarnation = c.incarnation(victim)
            others = {"m1", "m2", "m3"} - {victim}
            if how == "kill":
                c.kill(victim)
            elif how == "stop":
                assert c.stop(victim) == [0]
            else:
                c.freeze(victim)
            c.wait_held(*names, by=others)
            if how == "freeze":
                c.wake(victim, incarnation)
            else:
                c.start(victim)
    wanted = len(writers.acknowledged)
    for name in ("quick", "count", "late"):
        c.until(lambda n=name: len(c.built(n)) >= wanted, f"{name} builds all {wanted}")
        truth.every_change_once(c, name, writers.acknowledged)
    truth.in_order(c, "count")
    c.until(lambda: len(c.buildsets("tick")) > 5, "it ticks on")
    assert truth.every_tick_once(c, "tick") > 5
    truth.terms_only_rise(c)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_killed_or_stopped_master_is_replaced_long_before_its_lease_ends(cluster: Make, how: str) -> None:
    """P9: by the crash hint, or by handing over. The lease is so long that nothing else can be the reason."""
    c = cluster(
        master=ONLY_SCHEDULERS,
        cluster={"lease": "60s", "heartbeat": "1s"},
        builders=single(),
        schedulers=[branch("a"), branch("b"), periodic("tick")],
    )
    c.start("m1", "m2")
    c.until(lambda: all(c.held(s) for s in ("a", "b", "tick")), "all are held")
    victim, other = c.wait_held("tick"), None
    other = ({"m1", "m2"} - {victim}).pop()
    c.until(lambda: all(m.crash_key for m in c.up().values()), "both hold the lock that tells of their death")
    time.sleep(1.5)  # the neighbour itself must have seen that lock held: its own look, at every heartbeat
    began = time.monotonic()
    if how == "kill":
        c.kill(victim)
    else:
        c.signal(victim, signal.SIGTERM)
    c.wait_held("a", "b", "tick", by=[other])
    assert time.monotonic() - began < 20, "not before the lease's end could be near"
    if how == "stop":
        assert c.wait(victim) == 0
    else:
        why = c.value("SELECT ended_why FROM masters WHERE name = :n", n=victim)
        assert why == "its process ended, or gave up its lease"
    truth.every_tick_once(c, "tick")
    truth.terms_only_rise(c)


def test_two_of_three_masters_that_die_together_are_both_noticed_at_once(cluster: Make) -> None:
    """P9: also when the neighbour that watched one of them died with it."""
    c = cluster(
        master=ONLY_SCHEDULERS,
        cluster={"lease": "60s", "heartbeat": "1s"},
        builders=single(),
        schedulers=[branch(f"s{n}") for n in range(9)],
    )
    c.start("m1", "m2", "m3")
    names = [f"s{n}" for n in range(9)]
    c.wait_held(*names)
    c.until(lambda: all(m.crash_key for m in c.up().values()), "all hold the lock that tells of their death")
    time.sleep(1.5)
    began = time.monotonic()
    c.kill("m1", "m2")
    c.wait_held(*names, by=["m3"])
    assert time.monotonic() - began < 20


def test_a_master_frozen_beyond_its_lease_wakes_up_and_changes_nothing(cluster: Make) -> None:
    """P2: what it had begun is not committed under the old term, and it joins again under a new incarnation."""
    c = cluster(
        master=ONLY_SCHEDULERS, plugins=[HOSTILE], builders=single(), schedulers=[counting("count"), periodic("tick")]
    )
    c.start("m1")
    c.wait_held("count", "tick")
    c.start("m2")
    old, term = c.incarnation("m1"), c.term("count")
    c.add_changes([f"r{n}" for n in range(200)])  # it is at work on these
    c.freeze("m1")
    c.add_changes([f"s{n}" for n in range(50)])
    assert c.wait_held("count", "tick", by=["m2"]) == "m2"
    c.until(lambda: len(c.built("count")) == 250, "the other builds all")
    before = c.rows("SELECT count(*), max(id) FROM buildsets WHERE incarnation = :i", i=old)
    lost = c.rows("SELECT state, beats, lease_until, ended_why FROM masters WHERE incarnation = :i", i=old)
    assert lost[0][0] == "lost"
    c.wake("m1", old)
    c.add_changes(["after"])
    c.until(lambda: len(c.built("count")) == 251, "work goes on")
    assert c.rows("SELECT count(*), max(id) FROM buildsets WHERE incarnation = :i", i=old) == before
    assert c.rows("SELECT state, beats, lease_until, ended_why FROM masters WHERE incarnation = :i", i=old) == lost
    assert c.holder("count") == "m2", "a new master takes nothing that is held"
    assert c.term("count") > term
    truth.in_order(c, "count")
    truth.every_tick_once(c, "tick")
    truth.terms_only_rise(c)


def test_a_standby_touches_nothing_and_may_do_nothing(cluster: Make) -> None:
    """P7: on the others only startService runs, and what it tries is refused."""
    c = cluster(master=ONLY_SCHEDULERS, plugins=[HOSTILE], builders=single(), schedulers=[counting("seen", "Witness")])
    c.start("m1")
    c.wait_held("seen")
    c.start("m2")
    c.add_changes([f"r{n}" for n in range(5)])
    c.until(lambda: len(c.built("seen")) == 5, "m1 builds them")

    def traces(master: str) -> list[str]:
        path = c.folder / f"seen.{master}.trace"
        return [line.split(" ", 1)[1] for line in path.read_text().splitlines()] if path.exists() else []

    c.until(lambda: traces("m2").count("refused") >= 4, "m2 has tried")
    assert sorted(set(traces("m2"))) == ["refused", "startService"]
    assert {"activate", "timer", *(f"change r{n}" for n in range(5))} <= set(traces("m1"))
    assert c.stop("m1") == [0]
    c.wait_held("seen", by=["m2"])
    c.add_changes(["last"])
    c.until(lambda: "change last" in traces("m2"), "m2 takes over")
    assert [t for t in traces("m1") if t.startswith(("deactivate", "stopService"))][:1] == ["deactivate"]
    assert c.state("seen", "meddled") is None
    assert "MEDDLED" not in traces("m1") + traces("m2")


def test_a_standby_has_connected_before_it_takes_over(cluster: Make) -> None:
    """A connection costs a server's process milliseconds, which a takeover need not wait for."""
    c = cluster(master=ONLY_SCHEDULERS, builders=single(), schedulers=[branch("quick")], database={"pool_size": 3})
    if c.sqlite:
        pytest.skip("a file has no sessions to look at")
    c.start("m1")
    c.wait_held("quick")
    c.start("m2")
    sessions = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'locum:{c.incarnation('m2')}:pool'"
    commits, beats = AT_ONCE["postgresql"], 1
    c.until(lambda: c.value(sessions) == 3 + commits + beats, "m2 has all of its connections")


def test_masters_share_and_a_person_moves_and_evens_out(cluster: Make) -> None:
    """A new master takes nothing that is held; ``move`` and ``rebalance`` are effective, and nothing is lost."""
    names = [f"s{n}" for n in range(6)]
    c = cluster(
        master=ONLY_SCHEDULERS,
        cluster={"calendar": False},  # else there is one more to share
        builders=single(),
        schedulers=[branch(n) for n in names],
    )
    c.start("m1")
    c.wait_held(*names)
    c.start("m2")
    c.add_changes(["r0"])
    c.until(lambda: all(c.built(n) == ["r0"] for n in names), "m1 builds for all")
    assert {c.holder(n) for n in names} == {"m1"}
    c.until(lambda: all(c.line(n).standby == ("m2",) for n in names), "m2 stands by")  # it is up a moment before
    assert "with m2" in c.quick("scheduler", "move", "s0", "--to", "m2").stdout
    assert c.holder("s0") == "m2"  # effective when it returns
    moved = c.json("rebalance", "--reason", "evening")
    assert len(moved) == 2
    assert sorted(c.holder(n) for n in names) == ["m1"] * 3 + ["m2"] * 3
    c.add_changes(["r1", "r2"])
    for n in names:
        c.until(lambda n=n: len(c.built(n)) >= 3, f"{n} goes on")
        truth.every_change_once(c, n, ["r0", "r1", "r2"])
    shown = c.json("status")
    assert {s["name"]: s["master"] for s in shown["schedulers"]} == {n: c.holder(n) for n in names}
    truth.terms_only_rise(c)


def test_a_disabled_scheduler_obeys_nobody_and_begins_anew_when_enabled(cluster: Make) -> None:
    """P3: what it had not answered when it was disabled, and what came until it was enabled, is recorded as not for it."""
    c = cluster(
        master=ONLY_SCHEDULERS,
        builders=single(),
        schedulers=[branch("quick"), periodic("tick", 0.5), branch("other")],
    )
    c.start("m1", "m2")
    c.wait_held("quick", "tick", "other")
    c.add_changes(["r0"])
    c.until(lambda: c.built("quick") == ["r0"], "it builds")
    for name in ("quick", "tick"):
        c.quick("scheduler", "disable", name, "--reason", "a test")
    ticks, due = len(c.buildsets("tick")), c.line("tick").next_due
    assert due is not None
    c.add_changes(["r1", "r2"])
    refused = c.quick("force", "quick", code=1)
    assert "disabled" in refused.stderr
    c.until(lambda: c.built("other") == ["r0", "r1", "r2"], "another goes on")
    shown = {s["name"]: s for s in c.json("scheduler", "list")}
    assert not shown["quick"]["enabled"] and shown["quick"]["master"] is None
    assert shown["quick"]["disabled_why"] == "a test"
    c.kill("m1")  # a failover does not wake it either
    c.wait_held("other", by=["m2"])
    c.until(lambda: time.time() * 1e6 > due + 600_000, "two ticks fall due")
    assert len(c.buildsets("tick")) == ticks
    for name in ("quick", "tick"):
        c.quick("scheduler", "enable", name)
    c.wait_held("quick", "tick", by=["m2"])
    c.add_changes(["r3"])
    c.until(lambda: len(c.built("quick")) == 2, "it begins anew")
    truth.every_change_once(c, "quick", ["r0", "r3"])
    c.until(lambda: len(c.buildsets("tick")) > ticks + 1, "it ticks again")
    page = c.json("scheduler", "show", "quick")
    assert [(s["what"], s["count"]) for s in page["skips"]] == [("changes", 2)]
    ticked = c.json("scheduler", "show", "tick")
    assert ticked["skips"][0]["reason"] == "it was disabled"
    due = sorted(row[3] for row in c.buildsets("tick"))
    assert sum(s["count"] for s in ticked["skips"]) == (due[-1] - due[0]) // 500_000 + 1 - len(due)
