"""Stored schedules: kept, found by when they are due, changed by people at any time, and served by turns exactly once."""

from __future__ import annotations

import pytest
from locum.db import schedules, turns
from locum.db.effects import Effects
from locum.db.errors import BadData
from locum.db.naming import NotFound, Refused
from locum.db.schedule_effects import CalendarEffects, ExecutionMove, NewExecution, ScheduleMove, ScheduleSkip
from locum.db.turns import CauseGone

from .scene import execute, joined, registered, taken


def new(schedule_id: int, **fields: object) -> schedules.NewSchedule:
    given = {
        "id": schedule_id,
        "name": None,
        "rule_json": '{"kind":"cron"}',
        "start_json": "{}",
        "metadata_json": None,
        "catch_up": "one",
        "catch_up_limit": 100,
        "grace_us": None,
        "jitter_us": 0,
        "overlap": "skip",
        "paused": False,
        "since": 1000,
        "examined": 999,
        "next_due": 1000 + schedule_id,
        "made_by": "ann@host",
        **fields,
    }
    return schedules.NewSchedule(**given)  # type: ignore[arg-type]


@pytest.fixture
def calendar(db) -> Effects:
    """Effects of a turn of a scheduler that a master holds."""
    (scheduler_id,) = registered(db, "calendar")
    term = taken(db, joined(db, "m1"), scheduler_id)[scheduler_id]
    return Effects(scheduler_id, term)


def commit(db, calendar: Effects, *, moves=None, new=(), executions=None, skips=()) -> None:
    calendar.calendar = CalendarEffects(moves or {}, list(new), executions or {}, list(skips))
    assert not db.write(turns.commit, "m1", [calendar]).refused


def moved(examined: int, next_due: int | None, *, before: int = 999, version: int = 1, **rest) -> ScheduleMove:
    return ScheduleMove(version, before, examined, next_due, next_due is None, **rest)


def test_those_due_soon_come_in_order_and_the_others_stay_in_the_table(db):
    db.write(schedules.add, [new(1, next_due=50), new(2, next_due=40), new(3, next_due=60), new(4, next_due=None)])
    assert [s.id for s in db.read(schedules.due, 55, 10)] == [2, 1]
    assert [s.id for s in db.read(schedules.due, 55, 1)] == [2]
    assert [s.id for s in db.read(schedules.coming, 10)] == [2, 1, 3]


def test_the_index_finds_those_due_among_many(db):
    db.write(schedules.add, [new(i, next_due=10**9 + i) for i in range(1, 3001)])
    if db.dialect == "sqlite":
        plan = " ".join(
            str(r[-1]) for r in execute(db, "EXPLAIN QUERY PLAN SELECT id FROM schedules WHERE next_due <= 5")
        )
        assert "schedules_by_due" in plan
    else:
        execute(db, "ANALYZE schedules")
        plan = " ".join(str(r[0]) for r in execute(db, "EXPLAIN SELECT id FROM schedules WHERE next_due <= 5"))
        assert "schedules_by_due" in plan


def test_a_schedule_is_found_by_number_or_name(db):
    db.write(schedules.add, [new(7, name="backup", metadata_json='{"a":1}')])
    for which in ("7", "backup"):
        found = db.read(schedules.find, which)
        assert (found.id, found.name, found.made_by, found.metadata_json) == (7, "backup", "ann@host", '{"a":1}')
        assert (found.paused, found.version, found.unfinished) == (False, 1, 0)
    for which in ("8", "back", "", "9" * 30, "a\0b"):
        with pytest.raises(NotFound, match="no schedule"):
            db.read(schedules.find, which)


def test_a_name_is_given_once(db):
    db.write(schedules.add, [new(1, name="backup")])
    with pytest.raises(Refused, match="named 'backup' already"):
        db.write(schedules.add, [new(2), new(3, name="backup")])
    with pytest.raises(Refused, match="named 'twice' already"):
        db.write(schedules.add, [new(2, name="twice"), new(3, name="twice")])
    assert [s.id for s in db.read(schedules.listed, 10)] == [1]


def test_a_turn_moves_a_schedule_on_and_keeps_what_came_of_it(db, calendar):
    db.write(schedules.add, [new(1)])
    commit(
        db,
        calendar,
        moves={1: moved(2000, 3000)},
        new=[NewExecution(10, 1, 1500, "due", True), NewExecution(11, 1, 1600, "due", False)],
        skips=[ScheduleSkip(1, 1100, 1400, 4, "late")],
    )
    (row,) = db.read(schedules.these, [1])
    assert (row.examined, row.next_due, row.ended_at, row.unfinished) == (2000, 3000, None, 2)
    running, waiting = db.read(schedules.unfinished, 1)
    assert (running.id, running.due_at, running.state, waiting.state) == (10, 1500, "started", "waiting")
    assert running.started_at is not None and waiting.started_at is None
    assert db.read(schedules.served, 1, 1500, 1599) == [1500]
    (skip,) = db.read(schedules.skips, 1, 10)
    assert (skip.first, skip.last, skip.count, skip.reason) == (1100, 1400, 4, "late")


def test_an_execution_starts_finishes_or_is_dropped(db, calendar):
    db.write(schedules.add, [new(1)])
    commit(db, calendar, new=[NewExecution(i, 1, i, "due", False) for i in (10, 11)])
    commit(db, calendar, executions={10: ExecutionMove("started"), 11: ExecutionMove("dropped", why="gone")})
    commit(db, calendar, executions={10: ExecutionMove("finished", "success")})
    newest, oldest = db.read(schedules.newest, 1, 10)
    assert (newest.state, newest.why, newest.started_at) == ("dropped", "gone", None)
    assert (oldest.state, oldest.result) == ("finished", "success")
    assert oldest.started_at is not None and oldest.ended_at is not None
    assert db.read(schedules.unfinished) == []
    commit(db, calendar, executions={10: ExecutionMove("finished", "failure")})  # it is over already
    assert db.read(schedules.execution, 10).result == "success"
    with pytest.raises(NotFound):
        db.read(schedules.execution, 99)


def test_a_rule_that_is_over_is_listed_only_when_asked_for(db, calendar):
    db.write(schedules.add, [new(1), new(2)])
    commit(db, calendar, moves={1: moved(2000, None)})
    assert [s.id for s in db.read(schedules.listed, 10)] == [2]
    first, second = db.read(schedules.listed, 10, ended=True)
    assert first.ended_at is not None and second.ended_at is None
    assert [s.id for s in db.read(schedules.listed, 10, 1, ended=True)] == [2]


@pytest.mark.parametrize("happens", ["pause", "remove", "pause and resume"])
def test_a_turn_cannot_serve_what_a_person_has_changed_meanwhile(db, calendar, happens):
    db.write(schedules.add, [new(1)])
    if happens == "remove":
        db.write(lambda conn: (schedules.lock(conn, [1]), schedules.remove(conn, [1])))
    else:
        assert db.write(schedules.pause, 1, "why")
    if happens == "pause and resume":
        assert db.write(schedules.resume, 1, 5000, 6000)
    with pytest.raises(CauseGone) as gone:
        commit(db, calendar, moves={1: moved(2000, 3000)}, new=[NewExecution(10, 1, 1500, "due", True)])
    assert gone.value.scheduler_ids == {calendar.scheduler_id}
    assert db.read(schedules.unfinished) == []


def test_a_turn_cannot_serve_what_another_has_served(db, calendar):
    db.write(schedules.add, [new(1)])
    commit(db, calendar, moves={1: moved(2000, 3000)})
    with pytest.raises(CauseGone):
        commit(db, calendar, moves={1: moved(2000, 3000)})
    commit(db, calendar, moves={1: moved(3000, 4000, before=2000)})


def test_a_nominal_time_is_one_execution_whatever_happens(db, calendar):
    db.write(schedules.add, [new(1), new(2)])
    commit(db, calendar, new=[NewExecution(10, 1, 1500, "due", True), NewExecution(11, 2, 1500, "due", True)])
    with pytest.raises(BadData):
        commit(db, calendar, new=[NewExecution(12, 1, 1500, "backfill", True)])
    commit(db, calendar, new=[NewExecution(i, 1, None, "run now", True) for i in (13, 14)])


def test_a_turn_under_an_old_term_does_nothing(db, calendar):
    db.write(schedules.add, [new(1)])
    late = Effects(calendar.scheduler_id, calendar.term - 1)
    late.calendar = CalendarEffects({1: moved(2000, 3000)}, [NewExecution(10, 1, 1500, "due", True)])
    assert db.write(turns.commit, "m1", [late]).refused == {calendar.scheduler_id}
    assert db.read(schedules.unfinished) == [] and db.read(schedules.these, [1])[0].examined == 999


def test_pausing_takes_it_out_of_what_is_due_and_resuming_puts_it_back(db):
    db.write(schedules.add, [new(1)])
    assert db.write(schedules.pause, 1, "holidays")
    assert not db.write(schedules.pause, 1, "again")
    (row,) = db.read(schedules.these, [1])
    assert (row.paused, row.paused_why, row.next_due, row.version) == (True, "holidays", None, 2)
    assert db.read(schedules.due, 10**15, 10) == []
    assert db.write(schedules.resume, 1, 5000, 6000)
    assert not db.write(schedules.resume, 1, 5000, 6000)
    (row,) = db.read(schedules.these, [1])
    assert (row.paused, row.paused_why, row.next_due, row.since, row.examined) == (False, None, 6000, 5000, 999)


def test_the_calendar_can_pause_one_that_it_cannot_go_on_with(db, calendar):
    db.write(schedules.add, [new(1)])
    commit(db, calendar, moves={1: moved(999, None, paused_why="broken")})
    (row,) = db.read(schedules.these, [1])
    assert (row.paused, row.paused_why, row.next_due) == (True, "broken", None)


def test_locking_one_that_is_not_there_says_so(db):
    db.write(schedules.add, [new(1)])
    with pytest.raises(NotFound, match="no schedule 2"):
        db.write(schedules.lock, [1, 2])


def test_turns_that_follow_one_another_merge(db, calendar):
    db.write(schedules.add, [new(1)])
    calendar.calendar = CalendarEffects({1: moved(2000, 3000)}, [NewExecution(10, 1, 1500, "due", False)])
    later = Effects(calendar.scheduler_id, calendar.term)
    later.calendar = CalendarEffects({1: moved(3000, 4000, before=2000)}, [], {10: ExecutionMove("started")})
    calendar.merge(Effects(calendar.scheduler_id, calendar.term))
    calendar.merge(later)
    assert not db.write(turns.commit, "m1", [calendar]).refused
    (row,) = db.read(schedules.these, [1])
    assert (row.examined, row.next_due) == (3000, 4000)
    assert db.read(schedules.execution, 10).state == "started"


def test_the_due_times_that_a_scheduler_has_served_are_told(db):
    (one,) = registered(db, "often")
    execute(
        db,
        "INSERT INTO buildsets (id, scheduler_id, reason, submitted_at, due_at, properties_json, tasks_left)"
        " VALUES (1, :s, '', 0, 100, '{}', 0), (2, :s, '', 0, 200, '{}', 0), (3, :s, '', 0, NULL, '{}', 0)",
        s=one,
    )
    assert db.read(schedules.ticks_served, one, 100, 199) == [100]
