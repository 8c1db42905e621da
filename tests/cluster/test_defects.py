"""The 21 defects of the best-known peer, a test named after each; its sentence is the test's first line."""

from __future__ import annotations

import contextlib
import inspect
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import pytest
from locum.schedulers import Nightly, NightlyTriggerable, Triggerable
from locum.tests.support import hostile, truth
from locum.tests.support.cluster import Cluster, branch, periodic, single

Make = Callable[..., Cluster]
HOSTILE = str(Path(hostile.__file__))
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
"""What does not depend on the database is tried on one of them: each master takes a second to start."""


def hostile_one(kind: str, name: str, **keys: Any) -> dict[str, Any]:
    return {"type": f"hostile.{kind}", "name": name, "builderNames": ["unit"], **keys}


def usual(*schedulers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "master": {"roles": ["schedulers"]},
        "plugins": [HOSTILE],
        "builders": single(),
        "schedulers": list(schedulers),
        **more,
    }


@on_postgresql
def test_01_takeover_after_a_killed_process_or_a_clean_stop_took_minutes(cluster: Make) -> None:
    """Takeover after a killed process took 682-877 s (eight runs), after a clean stop 242 s."""
    c = cluster(**usual(branch("quick")))  # without any hint, too: only the lease
    c.settings["cluster"] = {"lease": "2s", "heartbeat": "500ms", "crash_hint": "off"}
    c.start("m1")
    c.wait_held("quick")
    c.start("m2")
    began = time.monotonic()
    c.kill("m1")
    c.wait_held("quick", by=["m2"])
    assert time.monotonic() - began < 30
    c.start("m3")
    began = time.monotonic()
    c.signal("m2", signal.SIGTERM)
    c.wait_held("quick", by=["m3"])
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("how", "database_url"), [("kill", "sqlite"), ("stop", "postgresql")], indirect=["database_url"]
)
def test_02_every_change_that_came_during_the_hand_over_was_never_built(cluster: Make, how: str) -> None:
    """Every change that came during the hand-over was never built (38-43 of 38-43)."""
    c = cluster(**usual(branch("quick"), branch("stable", treeStableTimer=0.5)))
    c.start("m1")
    c.wait_held("quick", "stable")
    c.add_changes(["before"])
    c.until(lambda: c.built("quick") == ["before"], "it builds")
    if how == "kill":
        c.kill("m1")
    else:
        assert c.stop("m1") == [0]
    during = [f"during-{n}" for n in range(40)]
    for revision in during:
        c.add_changes([revision])
    c.start("m2")
    for name in ("quick", "stable"):
        c.until(lambda n=name: len(c.built(n)) >= 41, f"{name} builds them")
        truth.every_change_once(c, name, ["before", *during])


@on_sqlite
def test_03_a_paused_master_and_its_successor_both_went_on_firing(cluster: Make) -> None:
    """A paused master and its successor both went on firing."""
    c = cluster(**usual(periodic("tick", 0.5)))
    c.start("m1")
    c.wait_held("tick")
    c.start("m2")
    old = c.incarnation("m1")
    c.freeze("m1")
    c.wait_held("tick", by=["m2"])
    count = len(c.buildsets("tick"))
    c.wake("m1", old)
    c.until(lambda: len(c.buildsets("tick")) > count + 4, "it ticks")
    assert {row[5] for row in c.buildsets("tick")[count:]} == {c.incarnation("m2")}
    truth.every_tick_once(c, "tick", 0.5)
    truth.terms_only_rise(c)


@on_postgresql
def test_04_after_a_cold_boot_of_a_whole_cluster_two_masters_were_active_for_ever(cluster: Make) -> None:
    """After a cold boot of a whole cluster two masters were active for ever."""
    names = [f"s{n}" for n in range(12)]
    c = cluster(**usual(*(hostile_one("Witness", n) for n in names)))
    c.start("m1", "m2", "m3")
    c.wait_held(*names)
    c.kill("m1", "m2", "m3")
    c.start("m1", "m2", "m3")  # all at once, with everything as the power cut left it
    c.wait_held(*names)
    c.add_changes(["r0", "r1"])
    for name in names:
        c.until(lambda n=name: len(c.built(n)) >= 2, f"{name} builds")
        truth.every_change_once(c, name, ["r0", "r1"])
        active = [p for p in c.folder.glob(f"{name}.*.trace") for pid in [_last_pid(p)] if _active(p, pid)]
        told = "\n".join(p.name + "\n" + p.read_text() for p in active)
        history = c.rows(
            "SELECT o.* FROM ownership o JOIN schedulers s ON s.id = o.scheduler_id WHERE s.name = :s", s=name
        )
        assert len(active) == 1, f"{name} is active on several:\n{told}\n{history}\n{c.told()}"
    truth.terms_only_rise(c)


def _last_pid(trace: Path) -> str:
    return trace.read_text().splitlines()[-1].split()[0]


def _active(trace: Path, pid: str) -> bool:
    mine = [line for line in trace.read_text().splitlines() if line.startswith(f"{pid} ")]
    return mine.count(f"{pid} activate") > mine.count(f"{pid} deactivate")


@contextlib.contextmanager
def _database_locked(c: Cluster) -> Iterator[None]:
    """Nobody can write."""
    raw: Any
    if c.sqlite:
        raw = sqlite3.connect(c.url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
        raw.execute("BEGIN IMMEDIATE")
    else:
        raw = psycopg2.connect(c.url)
        raw.cursor().execute("LOCK TABLE masters, schedulers IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        raw.rollback()
        raw.close()


@on_sqlite
def test_05_a_database_outage_ended_all_timed_schedulers_silently(cluster: Make) -> None:
    """A 20 s database outage ended all timed schedulers silently."""
    every_minute = {"type": "Nightly", "name": "nightly", "minute": "*", "builderNames": ["unit"]}
    c = cluster(**usual(periodic("tick"), every_minute))
    c.start("m1")
    c.wait_held("tick", "nightly")
    c.until(lambda: len(c.buildsets("tick")) > 1, "it ticks")
    with _database_locked(c):
        c.until(lambda: "is deactivated" in c.log("m1"), "the master stops acting")
    began = time.time() * 1e6
    c.until(lambda: c.buildsets("tick")[-1][3] > began, "it ticks again by itself")
    c.wait_held("tick", "nightly")
    assert c.line("nightly").next_due is not None
    truth.every_tick_once(c, "tick")


@on_sqlite
def test_06_a_crash_between_tick_recorded_and_buildset_added_lost_the_tick(cluster: Make) -> None:
    """A crash between "tick recorded" and "buildset added" lost the tick."""
    c = cluster(**usual(periodic("tick", 0.2)))
    c.start("m1", "m2")
    for victim in ("m1", "m2", "m1"):  # ticks so dense that each kill hits one in the making
        c.wait_held("tick")
        count = len(c.buildsets("tick"))
        c.until(lambda n=count: len(c.buildsets("tick")) > n + 4, "it ticks")
        c.kill(victim)
        c.start(victim)
    count = len(c.buildsets("tick"))
    c.until(lambda: len(c.buildsets("tick")) > count, "it ticks")
    assert truth.every_tick_once(c, "tick", 0.2) > 10


@on_postgresql
def test_07_a_crash_before_pending_changes_were_flushed_built_them_twice(cluster: Make) -> None:
    """A crash before pending changes were flushed built them twice."""
    c = cluster(**usual(branch("stable", treeStableTimer=0.3)))
    c.start("m1", "m2")
    revisions = []
    for round_ in range(3):
        holder = c.wait_held("stable")
        some = [f"r{round_}-{n}" for n in range(20)]
        c.add_changes(some)
        revisions += some
        wanted = len(revisions)
        c.until(
            lambda n=wanted: c.value("SELECT count(*) FROM classifications") + len(c.built("stable")) >= n,
            "it has seen them",
        )
        time.sleep(0.25)  # about when the timer fires; whichever side of it the kill comes, nothing may be built twice
        c.kill(holder)
        c.start(holder)
    c.until(lambda: len(c.built("stable")) >= len(revisions), "all are built")
    truth.every_change_once(c, "stable", revisions)


@pytest.mark.parametrize(
    ("day", "fires_at"),
    [
        ("2026-10-25", "2026-10-25T02:30:00+02:00"),  # 02:30 comes twice: the first time only
        ("2026-03-29", "2026-03-29T03:00:00+02:00"),  # 02:30 does not come: the moment at which the clock jumps over it
    ],
    ids=["autumn", "spring"],
)
def test_08_daily_jobs_fired_twice_in_autumn_and_an_hour_late_in_spring(
    bench: Callable[..., Any], day: str, fires_at: str
) -> None:
    """Daily jobs fired twice in autumn, an hour late in spring."""
    zone = ZoneInfo("Europe/Berlin")
    start = datetime.fromisoformat(day).replace(tzinfo=zone)
    b = bench(lambda: Nightly("daily", ["unit"], hour=2, minute=30, timezone="Europe/Berlin"), at=start.isoformat())
    for hour in range(1, 49):  # that day and the next, with a takeover in each hour, the repeated one too
        b.to(hour * 3600 - 900)
        b.fail_over()
    found = [(built.due.astimezone(zone).isoformat(), built.at) for built in b.built]
    on_time = datetime.fromisoformat(fires_at) - start.astimezone(UTC)
    assert found[0] == (fires_at, on_time.total_seconds())
    (following,) = found[1:]
    assert following[0][11:16] == "02:30" and b.skips == []


@on_postgresql
def test_09_every_reconfiguration_touched_every_scheduler(cluster: Make) -> None:
    """Every reconfiguration touched every scheduler."""
    many = [hostile_one("Witness", f"s{n}", mark="x") for n in range(10)]
    c = cluster(**usual(*many))
    c.start("m1")
    c.wait_held(*(f"s{n}" for n in range(10)))
    before = {n: c.line(f"s{n}") for n in range(10)}
    many[3] = {**many[3], "mark": "y"}
    c.configure("m1", schedulers=many)
    c.quick("reconfig")
    c.wait_held("s3")
    for n in range(10):
        line = c.line(f"s{n}")
        same = (line.term, line.active_since) == (before[n].term, before[n].active_since)
        assert same == (n != 3), f"s{n}"
        assert ("deactivate" in (c.folder / f"s{n}.m1.trace").read_text()) == (n == 3)


@on_sqlite
def test_10_one_stubborn_scheduler_left_a_reconfiguration_half_applied(cluster: Make) -> None:
    """One stubborn scheduler left a reconfiguration half applied."""
    before = [hostile_one("Stubborn", "a", how="deny"), branch("b"), branch("c")]
    after = [hostile_one("Stubborn", "a", how="deny", mark="new"), branch("b", reason="new"), branch("d")]
    c = cluster(**usual(*before))
    c.start("m1")
    c.wait_held("a", "b", "c")
    c.configure("m1", schedulers=after)
    assert "error" not in c.json("reconfig")["masters"]["m1"]
    c.wait_held("a", "b", "d")
    c.add_changes(["r0"])
    c.until(lambda: all(c.built(n) == ["r0"] for n in ("a", "b", "d")), "all of it is in force")
    assert c.held("c") == []
    assert [row[2] for row in c.buildsets("a") + c.buildsets("b")] == ["new", "new"]


@on_postgresql
def test_11_a_reconfiguration_restarted_a_disabled_scheduler(cluster: Make) -> None:
    """A reconfiguration restarted a disabled scheduler."""
    c = cluster(**usual(periodic("tick", 0.5), branch("quick")))
    c.start("m1")
    c.wait_held("tick", "quick")
    c.quick("scheduler", "disable", "tick")
    count = len(c.buildsets("tick"))
    c.configure("m1", schedulers=[periodic("tick", 0.2, reason="changed"), branch("quick", reason="changed")])
    c.quick("reconfig")
    c.wait_held("quick")
    c.add_changes(["r0"])
    c.until(lambda: c.built("quick") == ["r0"], "the other one works")
    time.sleep(0.6)
    line = c.line("tick")
    assert (line.enabled, line.held, len(c.buildsets("tick"))) == (False, False, count)


@on_sqlite
def test_12_a_changed_period_or_hour_was_not_re_armed(cluster: Make) -> None:
    """A changed period or hour was not re-armed."""

    def nightly(hour: int) -> dict[str, Any]:
        return {"type": "Nightly", "name": "nightly", "hour": hour, "minute": 17, "builderNames": ["unit"]}

    c = cluster(**usual(periodic("tick", 3600), nightly(3)))
    c.start("m1")
    c.wait_held("tick", "nightly")
    c.until(lambda: c.line("nightly").next_due and len(c.buildsets("tick")) == 1, "both are armed")
    c.configure("m1", schedulers=[periodic("tick", 0.5), nightly(5)])
    c.quick("reconfig")
    c.until(lambda: len(c.buildsets("tick")) > 3, "it ticks at the new pace")
    due = c.until(lambda: c.line("nightly").next_due, "the other is armed")
    assert datetime.fromtimestamp(due / 1e6, UTC).strftime("%H:%M") == "05:17"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"type": "Nightly", "hour": 25}, "hour"),
        ({"type": "Nightly", "dayOfMonth": 31, "month": 2}, "never"),
        ({"type": "SingleBranchScheduler"}, "branch"),
    ],
)
def test_13_what_could_only_fail_at_run_time_passed_the_check(tmp_path: Path, entry: dict[str, Any], said: str) -> None:
    """hour=25, 31 February or a missing branch passed the check and died at run time, owned but dead."""
    with Cluster(
        tmp_path, f"sqlite:///{tmp_path}/x.sqlite", **usual({**entry, "name": "bad", "builderNames": ["unit"]})
    ) as c:
        c.configure("m1")
        done = c.quick("check", "--config", str(c.file("m1")), code=1)
        assert "m1.yaml:" in done.stderr + done.stdout and "schedulers[0]" in done.stderr + done.stdout
        c.start("m1", wait=False)
        assert c.wait("m1") == 1


@on_sqlite
def test_14_a_triggers_signature_differed_between_two_kinds(cluster: Make) -> None:
    """A trigger's signature differed between two kinds."""
    assert inspect.signature(Triggerable.trigger).parameters == inspect.signature(NightlyTriggerable.trigger).parameters
    both = {"trigger": ["now", "tonight"], "set_properties": {"level": "high"}, "priority": 3}
    c = cluster(
        builders=[*single(), {"name": "asks", "steps": [both]}],
        schedulers=[
            branch("quick", builderNames=["asks"]),
            {"type": "Triggerable", "name": "now", "builderNames": ["unit"]},
            {"type": "NightlyTriggerable", "name": "tonight", "builderNames": ["unit"], "month": 1, "dayOfMonth": 1},
        ],
    )
    c.start("m1")
    c.wait_held("quick", "now", "tonight")
    c.add_changes(["r0"])
    c.until(lambda: _result(c, "quick"), "one step triggers both")
    assert _result(c, "quick") == "success"
    assert c.value("SELECT count(*) FROM buildsets WHERE scheduler = 'now'") == 1
    assert c.value("SELECT count(*) FROM messages WHERE kind = 'trigger' AND answered_at IS NOT NULL") == 2


def _result(c: Cluster, scheduler: str) -> Any:
    """How the newest buildset of that scheduler ended; None: it has none, or it goes on."""
    rows = c.rows("SELECT result FROM buildsets WHERE scheduler = :s ORDER BY id DESC", s=scheduler)
    return rows[0][0] if rows else None


@on_postgresql
def test_15_a_callable_priority_crashed_timed_schedulers(cluster: Make) -> None:
    """A callable priority crashed timed schedulers."""
    c = cluster(
        **usual(hostile_one("Priority", "asks"), hostile_one("TimedPriority", "ticks", periodicBuildTimer=3600))
    )
    c.start("m1")
    c.wait_held("asks", "ticks")
    c.add_changes(["r0"])
    for name in ("asks", "ticks"):
        c.until(lambda n=name: c.buildsets(n), f"{name} asks for work")
        assert (
            c.value(
                "SELECT t.priority FROM tasks t JOIN buildsets b ON b.id = t.buildset_id WHERE b.scheduler = :s", s=name
            )
            == 41
        )


@on_sqlite
def test_16_an_unknown_builder_gave_an_empty_buildset_marked_successful(cluster: Make) -> None:
    """An unknown builder gave an empty buildset marked successful."""
    c = cluster(**usual(hostile_one("Failing", "asks", where="unknownBuilder"), branch("quick")))
    c.start("m1")
    c.wait_held("asks", "quick")
    c.add_changes(["r0"])
    c.until(lambda: c.json("scheduler", "failures", "asks"), "the turn fails visibly")
    assert c.buildsets("asks") == []
    assert "unknown builder" in c.quick("force", "quick", "--builder", "nobody", code=1).stderr


@on_postgresql
def test_17_one_branchs_timer_dropped_another_branchs_changes(cluster: Make) -> None:
    """One branch's timer dropped another branch's changes."""
    entry = {"type": "AnyBranchScheduler", "name": "any", "treeStableTimer": 0.5, "builderNames": ["unit"]}
    c = cluster(**usual(entry))
    c.start("m1")
    c.wait_held("any")
    revisions = []
    for n in range(6):
        c.add_changes([f"a{n}"], branch="a")
        c.add_changes([f"b{n}"], branch="b", repository=f"r{n % 2}")
        revisions += [f"a{n}", f"b{n}"]
        time.sleep(0.12)
    c.until(lambda: len(c.built("any")) >= 12, "all are built")
    truth.every_change_once(c, "any", revisions)
    mixed = c.rows(
        "SELECT bc.buildset_id FROM buildset_changes bc JOIN changes c ON c.number = bc.change_number"
        " GROUP BY bc.buildset_id HAVING count(DISTINCT c.branch || c.repository) > 1"
    )
    assert mixed == []


@on_postgresql
def test_18_a_late_release_removed_the_new_owners_claim(cluster: Make) -> None:
    """A late release removed the new owner's claim."""
    c = cluster(**usual(branch("quick")))
    c.start("m1")
    c.wait_held("quick")
    c.start("m2")
    c.freeze("m1")
    c.signal("m1", signal.SIGTERM)  # its first act on waking is to release what it believes it holds
    c.wait_held("quick", by=["m2"])
    held = c.held("quick")
    c.thaw("m1")
    assert c.wait("m1") == 0
    assert c.held("quick") == held
    c.add_changes(["r0"])
    c.until(lambda: c.built("quick") == ["r0"], "the new owner works")
    assert c.held("quick") == held


def _triggering(**deploy: Any) -> dict[str, Any]:
    """A change sets off ``quick``, whose task triggers ``deploy``."""
    step = {"trigger": ["deploy"], "set_properties": {"level": "high"}}
    return {
        "builders": [*single(), {"name": "asks", "steps": [step]}],
        "schedulers": [
            branch("quick", builderNames=["asks"]),
            {"type": "Triggerable", "name": "deploy", "builderNames": ["unit"], **deploy},
        ],
    }


@pytest.mark.parametrize("how", ["force", "trigger"])
@on_sqlite
def test_19_disabled_schedulers_still_obeyed_force_and_trigger(cluster: Make, how: str) -> None:
    """Disabled schedulers still obeyed force and trigger."""
    c = cluster(**_triggering())
    c.start("m1")
    c.wait_held("quick", "deploy")
    c.quick("scheduler", "disable", "deploy", "--reason", "tired")
    if how == "force":
        assert "disabled" in c.quick("force", "deploy", code=1).stderr
    else:
        c.add_changes(["r0"])
        c.until(lambda: _result(c, "quick"), "the step is told")
        assert _result(c, "quick") == "failure"
        (why,) = c.rows("SELECT why FROM steps WHERE state = 'failed'")
        assert "deploy refused" in why[0] and "disabled (tired)" in why[0]
    assert c.buildsets("deploy") == []
    c.quick("scheduler", "enable", "deploy")
    c.wait_held("deploy")
    if how == "force":
        c.json("force", "deploy", "--reason", "now")
    else:
        c.add_changes(["r1"])
    c.until(lambda: len(c.buildsets("deploy")) == 1, "it obeys again, and what was refused does not come after all")


@pytest.mark.parametrize("how", ["force", "trigger"])
@on_postgresql
def test_20_scheduler_properties_overrode_the_triggers(cluster: Make, how: str) -> None:
    """Scheduler properties overrode the trigger's, or those of a person who forces."""
    c = cluster(**_triggering(properties={"level": "low", "kept": "yes"}))
    c.start("m1")
    c.wait_held("quick", "deploy")
    if how == "force":
        c.quick("force", "deploy", "--property", "level=high")
    else:
        c.add_changes(["r0"], properties={"level": "change"})
    c.until(lambda: c.buildsets("deploy"), "it is asked")
    (found,) = [b for b in c.json("buildset", "list") if b["scheduler"] == "deploy"]
    values = {name: value[0] if isinstance(value, list) else value for name, value in found["properties"].items()}
    assert (values["level"], values["kept"], values["scheduler"]) == ("high", "yes", "deploy")


@on_postgresql  # a SQLite file's tables cannot be locked one by one; test_outages has the file locked
def test_21_a_database_error_while_claiming_at_start_up_blocked_the_start(cluster: Make) -> None:
    """A database error while claiming at start-up blocked the start for 300 s."""
    c = cluster(**usual(branch("quick"), periodic("tick")))
    raw = psycopg2.connect(c.url)
    raw.cursor().execute("LOCK TABLE standby, ownership IN ACCESS EXCLUSIVE MODE")  # joining works, taking does not
    c.start("m1")
    c.until(lambda: "lock timeout" in c.log("m1") or "lock_timeout" in c.log("m1"), "claiming has failed")
    raw.rollback()
    raw.close()
    began = time.monotonic()
    c.wait_held("quick", "tick")
    assert time.monotonic() - began < 30
