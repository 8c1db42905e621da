"""Tasks in the database: who gets which, and whose word counts."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from locum.db import members, task_views, tasks
from locum.db.builders import register_builders
from locum.db.database import Database
from locum.db.effects import Stamp
from locum.db.task_states import Result, State
from locum.db.tasks import Chunk, PropertiesSet, StepEnded, StepStarted, TaskEnded, TaskRequeued
from locum.tests.support.cluster_rows import builder, buildset, end, execute, join


def state_of(db: Database, task: int) -> Any:
    return execute(db, "SELECT state, result, attempt, incarnation, status_line FROM tasks WHERE id = :t", t=task)[0]


def buildset_row(db: Database, number: int) -> Any:
    sql = "SELECT tasks_left, result, completed_at, finished_number FROM buildsets WHERE id = :b"
    return execute(db, sql, b=number)[0]


def claim(db: Database, incarnation: str, *builders: int, most: int = 10) -> list[tasks.ClaimedTask]:
    return db.write(tasks.claim, incarnation, builders, most)


def finish(db: Database, incarnation: str, task: int, attempt: int, result: Result = Result.SUCCESS) -> tasks.Recorded:
    state = State.EXECUTED if result is Result.SUCCESS else State.FAILED
    return db.write(tasks.record, incarnation, [TaskEnded(task, attempt, state, result)])


# -- builders -----------------------------------------------------------------------------------------------------


def test_registering_builders_gives_each_name_one_lasting_id(db):
    first = db.write(register_builders, [("unit", None, "fail", "auto"), ("lint", 2, "requeue", "manual")])
    again = db.write(register_builders, [("lint", 3, "fail", "auto"), ("unit", None, "fail", "auto")])
    assert first == again
    rows = execute(db, "SELECT name, max_parallel, on_lost, archive FROM builders ORDER BY name")
    assert [tuple(r) for r in rows] == [("lint", 3, "fail", "auto"), ("unit", None, "fail", "auto")]
    assert db.write(register_builders, []) == {}


# -- claiming -----------------------------------------------------------------------------------------------------


def test_a_claimed_task_comes_with_all_that_a_runner_needs(db):
    me, unit = join(db, "me"), builder(db, "unit")
    stamps = [Stamp.of("lib", "/lib", "main", "l1"), Stamp.of("app", "/app", None, None, "proj")]
    number, (task,) = buildset(db, [unit], properties={"a": 1, "b": ["x", "y"]}, stamps=stamps, changes=[7, 5])
    (claimed,) = claim(db, me, unit)
    assert claimed == tasks.ClaimedTask(
        id=task,
        attempt=1,
        builder_id=unit,
        builder="unit",
        buildset_id=number,
        scheduler="quick",
        reason="a test",
        priority=0,
        properties={"a": 1, "b": ["x", "y"]},
        sourcestamps=(
            {"codebase": "app", "repository": "/app", "branch": None, "revision": None, "project": "proj"},
            {"codebase": "lib", "repository": "/lib", "branch": "main", "revision": "l1", "project": ""},
        ),
        changes=(5, 7),
    )
    assert tuple(state_of(db, task)) == ("executing", None, 1, "me", "")
    assert claim(db, me, unit) == []


def test_tasks_are_claimed_by_priority_then_age_across_builders(db):
    me, unit, lint = join(db, "me"), builder(db, "unit"), builder(db, "lint")
    _, (old,) = buildset(db, [unit])
    _, (high,) = buildset(db, [lint], priority=5)
    _, (young,) = buildset(db, [lint])
    assert [t.id for t in claim(db, me, unit, lint, most=2)] == [high, old]
    assert [t.id for t in claim(db, me, unit, lint)] == [young]


def test_the_age_of_a_task_is_its_time_not_its_id(db):
    """Each master hands out ids of blocks of its own."""
    me, unit = join(db, "me"), builder(db, "unit")
    ids = [buildset(db, [unit])[1][0] for _ in range(3)]
    late = f"UPDATE tasks SET submitted_at = submitted_at + 1000000 WHERE id = {ids[0]}"
    execute(db, late)
    assert [t.id for t in claim(db, me, unit, most=2)] == ids[1:]


def test_only_the_asked_builders_tasks_are_claimed(db):
    me, unit, lint = join(db, "me"), builder(db, "unit"), builder(db, "lint")
    buildset(db, [unit, lint])
    assert [t.builder for t in claim(db, me, lint)] == ["lint"]
    assert claim(db, me) == []
    assert claim(db, me, unit, most=0) == []


@pytest.mark.parametrize("state", ["stopping", "stopped", "lost"])
def test_an_incarnation_that_is_not_up_claims_nothing(db, state):
    me, unit = join(db, "me"), builder(db, "unit")
    buildset(db, [unit])
    end(db, me, state)
    assert claim(db, me, unit) == []
    assert claim(db, "never heard of", unit) == []


def test_max_parallel_holds_across_runners(db):
    a, b, limited = join(db, "a"), join(db, "b"), builder(db, "limited", 2)
    for _ in range(5):
        buildset(db, [limited])
    first = claim(db, a, limited, most=1)
    second = claim(db, b, limited)
    assert (len(first), len(second)) == (1, 1)
    assert claim(db, a, limited) == []
    finish(db, "a", first[0].id, 1)
    assert len(claim(db, b, limited)) == 1


def test_many_runners_claiming_at_once_share_every_task_once_and_keep_max_parallel(db):
    free, limited = builder(db, "free"), builder(db, "limited", 3)
    for _ in range(20):
        buildset(db, [free, limited])
    runners = [join(db, f"r{n}") for n in range(4)]
    got: dict[str, list[tasks.ClaimedTask]] = {r: [] for r in runners}
    barrier = threading.Barrier(len(runners))

    def run(runner: str) -> None:
        barrier.wait(10)
        for _ in range(8):
            got[runner] += claim(db, runner, free, limited, most=3)

    threads = [threading.Thread(target=run, args=(r,)) for r in runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    ids = [t.id for claimed in got.values() for t in claimed]
    assert len(ids) == len(set(ids))
    assert sum(t.builder == "limited" for claimed in got.values() for t in claimed) == 3
    left = execute(db, "SELECT count(*) FROM tasks WHERE state = 'queued' AND builder_id = :b", b=free)[0][0]
    assert left == 20 - sum(t.builder == "free" for claimed in got.values() for t in claimed)


# -- recording ----------------------------------------------------------------------------------------------------


def test_steps_and_output_are_kept_in_order(db):
    me, unit = join(db, "me"), builder(db, "unit")
    _, (task,) = buildset(db, [unit], properties={"kept": 1})
    claim(db, me, unit)
    written = [
        StepStarted(task, 1, 0, "git"),
        Chunk(task, 1, 0, 0, "one\n"),
        Chunk(task, 1, 0, 1, "zwei ü \U0001f600\n"),
        StepEnded(task, 1, 0, "done", 0, None),
        PropertiesSet(task, 1, {"got_revision": "abc"}),
        StepStarted(task, 1, 1, "make"),
        Chunk(task, 1, 1, 0, "three\n"),
        StepEnded(task, 1, 1, "failed", 2, "exit code 2"),
    ]
    recorded = db.write(tasks.record, me, written)
    assert recorded == tasks.Recorded(frozenset({(task, 1)}), True)
    db.write(tasks.record, me, written)  # the answer had been lost
    shown = db.read(task_views.show, task)
    assert shown is not None
    assert [(s.number, s.name, s.state, s.exit_code, s.why) for s in shown.steps] == [
        (0, "git", "done", 0, None),
        (1, "make", "failed", 2, "exit code 2"),
    ]
    assert shown.properties == {"kept": 1, "got_revision": "abc"}
    assert shown.task.master == "name-me"
    assert all(s.started_at and s.finished_at for s in shown.steps)
    log = db.read(task_views.log_after, task, 1, 0)
    assert [c.text for c in log] == ["one\n", "zwei ü \U0001f600\n", "three\n"]
    assert [c.text for c in db.read(task_views.log_after, task, 1, 0, 0, 1)] == ["zwei ü \U0001f600\n"]


def test_a_buildset_completes_once_with_the_worst_result_and_a_number(db):
    me, unit, lint = join(db, "me"), builder(db, "unit"), builder(db, "lint")
    number, (one, two) = buildset(db, [unit, lint])
    claim(db, me, unit, lint)
    assert finish(db, me, one, 1, Result.FAILURE).completed == ()
    assert tuple(buildset_row(db, number))[:2] == (1, None)
    assert finish(db, me, two, 1).completed == (number,)
    left, result, completed_at, finished = buildset_row(db, number)
    assert (left, result, finished) == (0, "failure", 1)
    assert completed_at > 0
    assert finish(db, me, two, 1, Result.EXCEPTION).mine == frozenset()
    assert state_of(db, two).result == "success"


def test_two_runners_that_end_the_last_two_tasks_at_once_complete_the_buildset_once(db):
    a, b, unit, lint = join(db, "a"), join(db, "b"), builder(db, "unit"), builder(db, "lint")
    for _ in range(10):
        number, (one, two) = buildset(db, [unit, lint])
        claim(db, a, unit)
        claim(db, b, lint)
        barrier, completed = threading.Barrier(2), []

        def run(me: str, task: int, barrier=barrier, completed=completed) -> None:
            barrier.wait(10)
            completed.extend(finish(db, me, task, 1).completed)

        threads = [threading.Thread(target=run, args=pair) for pair in ((a, one), (b, two))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert completed == [number]
    numbers = [r[0] for r in execute(db, "SELECT finished_number FROM buildsets ORDER BY finished_number")]
    assert numbers == list(range(1, 11))


def test_a_step_that_was_left_open_ends_with_its_task(db):
    me, unit = join(db, "me"), builder(db, "unit")
    _, (task,) = buildset(db, [unit])
    claim(db, me, unit)
    db.write(tasks.record, me, [StepStarted(task, 1, 0, "make")])
    db.write(tasks.record, me, [TaskEnded(task, 1, State.FAILED, Result.EXCEPTION, "stopped")])
    shown = db.read(task_views.show, task)
    assert shown is not None
    assert (shown.steps[0].state, shown.steps[0].why, shown.task.status_line) == ("failed", "stopped", "stopped")


def test_a_requeued_task_keeps_its_attempt_and_gives_no_result(db):
    me, unit = join(db, "me"), builder(db, "unit")
    number, (task,) = buildset(db, [unit])
    claim(db, me, unit)
    db.write(tasks.record, me, [TaskRequeued(task, 1, "the master stopped")])
    assert tuple(state_of(db, task)) == ("queued", None, 1, None, "the master stopped")
    assert buildset_row(db, number).tasks_left == 1
    assert claim(db, me, unit)[0].attempt == 2
    assert finish(db, me, task, 1).mine == frozenset()
    assert finish(db, me, task, 2).completed == (number,)


# -- whose word counts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("incarnation, attempt", [("other", 1), ("me", 2), ("me", 0)])
def test_nobody_but_the_runner_of_this_attempt_changes_anything(db, incarnation, attempt):
    me, unit = join(db, "me"), builder(db, "unit")
    join(db, "other")
    _, (task,) = buildset(db, [unit])
    claim(db, me, unit)
    before = db.read(task_views.show, task)
    records = [
        StepStarted(task, attempt, 0, "x"),
        Chunk(task, attempt, 0, 0, "x"),
        StepEnded(task, attempt, 0, "done", 0, None),
        PropertiesSet(task, attempt, {"x": 1}),
        TaskEnded(task, attempt, State.EXECUTED, Result.SUCCESS),
        TaskRequeued(task, attempt),
    ]
    for one in records:
        assert db.write(tasks.record, incarnation, [one]) == tasks.Recorded(frozenset(), True)
    assert db.read(task_views.show, task) == before
    assert db.read(task_views.log_after, task, attempt, 0) == []


def test_a_runner_whose_task_was_given_away_changes_nothing_and_the_others_of_its_records_count(db):
    a, b, unit = join(db, "a"), join(db, "b"), builder(db, "unit", on_lost="requeue")
    _, (task,) = buildset(db, [unit])
    claim(db, a, unit)
    end(db, a)
    assert db.write(tasks.lost, a, 0, "runner lost").requeued == (task,)
    claim(db, b, unit)
    recorded = db.write(
        tasks.record, a, [Chunk(task, 1, 0, 0, "late"), TaskEnded(task, 1, State.FAILED, Result.FAILURE)]
    )
    assert recorded == tasks.Recorded(frozenset(), False)
    assert (state_of(db, task).state, state_of(db, task).attempt) == ("executing", 2)
    assert finish(db, b, task, 2).mine == {(task, 2)}


def test_tasks_move_to_the_next_incarnation_of_the_same_process(db):
    join(db, "first")
    unit = builder(db, "unit")
    _, (task,) = buildset(db, [unit])
    claim(db, "first", unit)
    end(db, "first")
    join(db, "second", old="first")
    assert finish(db, "first", task, 1).mine == frozenset()
    assert finish(db, "second", task, 1).mine == {(task, 1)}


def test_what_was_claimed_without_hearing_of_it_goes_back_into_the_queue(db):
    me, unit = join(db, "me"), builder(db, "unit")
    ids = [buildset(db, [unit])[1][0] for _ in range(3)]
    claim(db, me, unit)
    forgotten = [(ids[0], 1), (ids[2], 1)]
    assert db.write(tasks.requeue_forgotten, me, forgotten) == 2
    assert db.read(tasks.held, me) == [(ids[1], 1)]
    assert [t.attempt for t in claim(db, me, unit)] == [2, 2]
    # Done once more, late: what was claimed meanwhile stays with its runner.
    assert db.write(tasks.requeue_forgotten, me, forgotten) == 0
    assert db.read(tasks.held, me) == [(ids[0], 2), (ids[1], 1), (ids[2], 2)]


def test_a_runner_sees_at_one_look_what_is_its_and_whether_there_is_more(db):
    me, unit, other = join(db, "me"), builder(db, "unit"), builder(db, "other")
    assert db.read(tasks.outlook, me, [unit, other]) == tasks.Outlook(frozenset(), False)
    _, (one,) = buildset(db, [unit])
    _, (another,) = buildset(db, [other])
    assert db.read(tasks.outlook, me, [unit]) == tasks.Outlook(frozenset(), True)
    claim(db, me, unit)
    assert db.read(tasks.outlook, me, [unit]) == tasks.Outlook(frozenset({(one, 1)}), False)
    assert db.read(tasks.outlook, me, [unit, other]) == tasks.Outlook(frozenset({(one, 1)}), True)
    join(db, "you")
    assert db.read(tasks.outlook, "you", [other]) == tasks.Outlook(frozenset(), True)
    assert db.read(tasks.outlook, "you", []) == tasks.Outlook(frozenset(), False)
    assert another != one


# -- lost runners -------------------------------------------------------------------------------------------------


def test_a_lost_runners_tasks_end_as_their_builders_say(db):
    me, fails, again = join(db, "me"), builder(db, "fails"), builder(db, "again", on_lost="requeue")
    number, (one, two) = buildset(db, [fails, again])
    claim(db, me, fails, again)
    end(db, me)
    done = db.write(tasks.lost, me, 0, "runner lost")
    assert (done.failed, done.requeued, done.completed, done.more) == ((one,), (two,), (), False)
    assert tuple(state_of(db, one)) == ("failed", "exception", 1, "me", "runner lost")
    assert tuple(state_of(db, two)) == ("queued", None, 1, None, "runner lost")
    assert buildset_row(db, number).tasks_left == 1


def test_a_runner_that_beat_again_is_not_lost(db):
    me, unit = join(db, "me"), builder(db, "unit")
    _, (task,) = buildset(db, [unit])
    claim(db, me, unit)
    (holder,) = db.read(tasks.holders)
    db.single(members.beat, me, 10_000_000, 0, None)
    assert db.write(tasks.lost, me, holder.beats, "runner lost") == tasks.Lost()
    assert state_of(db, task).state == "executing"


def test_lost_tasks_are_ended_in_bounded_batches_and_once_by_many(db):
    me, unit = join(db, "me"), builder(db, "unit")
    numbers = [buildset(db, [unit])[0] for _ in range(30)]
    claim(db, me, unit, most=30)
    end(db, me)
    ended: list[int] = []

    def run() -> None:
        while True:
            done = db.write(tasks.lost, me, 0, "runner lost", 7)
            ended.extend(done.completed)
            assert len(done.failed) <= 7
            if not done.more:
                return

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(ended) == numbers
    assert db.read(tasks.holders) == []


def test_holders_are_those_with_running_tasks(db):
    me, unit = join(db, "me", members.Process("h", "m", "b", 12, 34)), builder(db, "unit")
    join(db, "idle")
    buildset(db, [unit])
    claim(db, me, unit)
    (holder,) = db.read(tasks.holders)
    assert (holder.incarnation, holder.state, holder.pid, holder.pid_started) == ("me", "up", 12, 34)
    assert 0 <= holder.silent_us < 60_000_000


# -- listings -----------------------------------------------------------------------------------------------------


def test_listings_filter_and_are_bounded(db):
    me, unit, lint = join(db, "me"), builder(db, "unit"), builder(db, "lint")
    number, (one, two) = buildset(db, [unit, lint])
    _, (three,) = buildset(db, [unit])
    claim(db, me, lint)

    def ids(**filters: Any) -> list[int]:
        return [line.id for line in db.read(task_views.listing, **filters)]

    assert ids() == [three, two, one]
    assert ids(most=1) == [three]
    assert ids(buildset=number) == [two, one]
    assert ids(builder="unit") == [three, one]
    assert ids(states=["executing"]) == [two]
    assert ids(states=[]) == []
    assert db.read(task_views.show, 999) is None
