"""Stored schedules in a real cluster: whoever dies, each nominal time is one execution, and what was asked for is done."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from locum.master.schedules import Schedules
from locum.schedulers.recurrence import ScheduleImmed
from locum.tests.support.cluster import Cluster, periodic, single

Make = Callable[..., Cluster]
CALENDAR = "calendar"


def executions(c: Cluster, schedule: int) -> list[Any]:
    """(id, due_at, cause, state, result), oldest first."""
    sql = "SELECT id, due_at, cause, state, result FROM executions WHERE schedule_id = :s ORDER BY id"
    return sorted(c.rows(sql, s=schedule), key=lambda row: (row.due_at is None, row.due_at, row.id))


def test_no_time_of_a_stored_schedule_is_lost_or_doubled_while_its_masters_are_killed_and_frozen(cluster: Make) -> None:
    c = cluster(builders=single(), schedulers=[])
    c.start("m1", "m2", "m3")
    c.wait_held(CALENDAR)
    often = c.json(
        *("schedule", "add", "--builder", "unit", "--every", "1s", "--catch-up", "all", "--catch-up-limit", "10000"),
        *("--overlap", "allow", "--name", "often"),
    )["id"]
    asked = 0
    for how in ("kill", "freeze", "kill"):
        before = len(executions(c, often))
        c.until(lambda n=before: len(executions(c, often)) >= n + 2, "it fires")
        victim = c.wait_held(CALENDAR)
        old = c.incarnation(victim)
        others = {"m1", "m2", "m3"} - {victim}
        if how == "kill":
            c.kill(victim)
        else:
            c.freeze(victim)
        c.quick("schedule", "run-now", "often")  # nobody may be active just now: it is kept
        asked += 1
        c.wait_held(CALENDAR, by=others)
        if how == "kill":
            c.start(victim)
        else:
            c.wake(victim, old)
    c.quick("schedule", "pause", "often")
    c.until(lambda: all(e.state == "finished" for e in executions(c, often)), "all executions finish")
    found = executions(c, often)
    due = [e.due_at for e in found if e.due_at is not None]
    assert len(due) > 6 and [b - a for a, b in pairwise(due)] == [10**6] * (len(due) - 1)
    assert c.value("SELECT count(*) FROM schedule_skips WHERE schedule_id = :s", s=often) == 0
    c.until(lambda: sum(e.cause == "run now" for e in executions(c, often)) == asked, "what was asked for is done")
    ids = {e.id for e in executions(c, often)}
    assert ids == {row.id for row in c.rows("SELECT id FROM buildsets WHERE scheduler = :s", s=CALENDAR)}


def test_a_schedule_made_while_no_master_is_up_is_served_when_one_comes(cluster: Make) -> None:
    c = cluster(builders=single(), schedulers=[])
    c.start("m1")
    c.wait_held(CALENDAR)
    assert c.stop("m1") == [0]
    made = c.json("schedule", "add", "--builder", "unit", "--now", "--metadata", '{"for": "ann"}')["id"]
    assert executions(c, made) == []
    c.start("m1")
    c.until(lambda: [e.result for e in executions(c, made)] == ["success"], "it is served")


def test_immed_waits_for_the_outcome(cluster: Make) -> None:
    c = cluster(builders=[*single(), *single(["bad"], ["false"])], schedulers=[])
    c.start("m1")
    c.wait_held(CALENDAR)
    api = Schedules(c.database, "ann@host")
    assert api.outcome(api.schedule(ScheduleImmed(), ["unit"], wait_s=30)) == "success"
    assert api.outcome(api.schedule(ScheduleImmed(), ["bad"], wait_s=30)) == "failure"


def test_replace_ends_a_command_that_runs_and_starts_the_next(cluster: Make) -> None:
    c = cluster(builders=single(["unit"], ["sleep", "600"]), schedulers=[])
    c.start("m1")
    c.wait_held(CALENDAR)
    made = c.json("schedule", "add", "--builder", "unit", "--every", "3s", "--overlap", "replace")["id"]
    c.until(lambda: sum(e.result == "cancelled" for e in executions(c, made)) >= 2, "old runs are stopped")
    assert c.value("SELECT count(*) FROM schedule_skips WHERE schedule_id = :s", s=made) == 0


def test_a_timed_scheduler_runs_now_and_backfills_wherever_it_is_active(cluster: Make) -> None:
    c = cluster(builders=single(), schedulers=[periodic("often", 0.5)])
    c.start("m1", "m2")
    c.wait_held("often")
    c.until(lambda: len(c.buildsets("often")) > 4, "it ticks")
    answer = c.json("scheduler", "run-now", "often")["answer"]
    (row,) = c.rows("SELECT due_at FROM buildsets WHERE id = :i", i=answer["buildset"])
    assert row.due_at is None
    c.execute("DELETE FROM buildsets WHERE due_at = (SELECT min(due_at) FROM buildsets WHERE due_at IS NOT NULL)")
    answer = c.json("scheduler", "backfill", "often", "2000-01-01", "2099-01-01")["answer"]
    assert len(answer["buildsets"]) == 1
    due = sorted(b.due_at for b in c.buildsets("often") if b.due_at is not None)
    assert {b - a for a, b in pairwise(due)} == {500_000}


def test_the_calendar_can_be_left_out(cluster: Make) -> None:
    c = cluster(builders=single(), schedulers=[periodic("often")], cluster={"calendar": False})
    c.start("m1")
    c.wait_held("often")
    assert [s["name"] for s in c.json("scheduler", "list")] == ["often"]
