"""Cancelling inside a turn: what runs or waits ends once, its buildset completes once, and a runner hears of it."""

import pytest
from locum.db import buildsets, cancelling, changes, tasks, turns
from locum.db.effects import Effects, Stamp
from locum.db.task_states import Result, State
from locum.db.tasks import StepStarted, TaskEnded
from locum.tests.support.cluster_rows import builder, buildset, execute, join

from .scene import a_change


@pytest.fixture
def scene(db):
    """Three builders; a runner ``me``."""
    join(db, "me")
    return [builder(db, name) for name in ("unit", "lint", "docs")]


def cancelled(db, tasks_=(), sets=(), why="too old"):
    """A turn of the scheduler that owns row 1 cancels these."""
    effects = Effects(1, 1, cancel_tasks=dict.fromkeys(tasks_, why), cancel_buildsets=dict.fromkeys(sets, why))
    return db.write(turns.commit, "owner", [effects])


def states(db, *ids):
    rows = {
        r.id: (r.state, r.result, r.status_line)
        for r in execute(db, "SELECT id, state, result, status_line FROM tasks")
    }
    return [rows[i] for i in ids]


GONE = ("cancelled", "cancelled", "too old")


def test_queued_and_running_tasks_are_cancelled_and_the_buildset_completes(db, scene):
    number, (first, second, third) = buildset(db, scene)
    (claimed,) = db.write(tasks.claim, "me", scene[:1], 1)
    db.write(tasks.record, "me", [StepStarted(first, 1, 0, "make")])
    assert claimed.id == first
    answer = cancelled(db, [first, second])
    assert answer.completed == () and states(db, first, second)[0] == states(db, first, second)[1] == GONE
    assert states(db, third)[0][0] == "queued"
    assert execute(db, "SELECT state, why FROM steps")[0] == ("failed", "too old")
    assert db.write(tasks.record, "me", [TaskEnded(first, 1, State.EXECUTED, Result.SUCCESS)]).mine == frozenset()
    assert cancelled(db, [third, first]).completed == (number,)
    assert db.read(buildsets.results_of, [number]) == {number: "cancelled"}
    assert [f.id for f in db.read(buildsets.finished_after, 0)] == [number]


def test_a_whole_buildset_is_cancelled_but_for_what_has_ended(db, scene):
    number, (first, second, _) = buildset(db, scene)
    db.write(tasks.claim, "me", scene[:1], 1)
    db.write(tasks.record, "me", [TaskEnded(first, 1, State.EXECUTED, Result.SUCCESS)])
    assert cancelled(db, sets=[number]).completed == (number,)
    assert [s[0] for s in states(db, first, second)] == ["executed", "cancelled"]
    assert cancelled(db, sets=[number]).completed == (), "once"


def test_a_runner_learns_what_is_not_its_own_any_more_but_not_from_a_lost_incarnation(db, scene):
    _, (first, second, _) = buildset(db, scene)
    db.write(tasks.claim, "me", scene[:2], 2)
    cancelled(db, [first])
    assert db.read(tasks.held_alive, "me") == [(second, 1)]
    execute(db, "UPDATE masters SET state = 'lost' WHERE incarnation = 'me'")
    assert db.read(tasks.held_alive, "me") is None


def test_a_refused_turn_cancels_nothing(db, scene):
    _, (first, *_) = buildset(db, scene)
    assert db.write(turns.commit, "owner", [Effects(1, 99, cancel_tasks={first: "no"})]).refused
    assert states(db, first)[0][0] == "queued"


def test_older_than_a_change_is_what_builds_only_older_ones_or_was_asked_for_before(db, scene):
    numbers = [db.write(changes.add, [a_change(r)])[r] for r in ("a", "b")]
    stamp = Stamp.of(branch="main")
    _, (without, *_) = buildset(db, scene[:1], stamps=[stamp])
    _, (old, *_) = buildset(db, scene[:1], changes=numbers[:1])
    _, (mixed, *_) = buildset(db, scene[:1], changes=numbers)
    later = db.write(changes.add, [a_change("c")])["c"]
    _, (after, *_) = buildset(db, scene[:1])
    found = db.read(cancelling.older_than, ["unit", "nobody"], numbers[1])
    assert [t.id for t in found] == [old]
    found = db.read(cancelling.older_than, ["unit"], later)
    assert [t.id for t in found] == [without, old, mixed] and after not in {t.id for t in found}
    assert [s.branch for s in found[0].stamps] == ["main"] and found[0].builder == "unit"
    assert db.read(cancelling.older_than, ["lint"], later) == []


def test_a_failed_task_is_told_as_long_as_others_of_its_buildset_have_not_come_to_rest(db, scene):
    number, (first, second, third) = buildset(db, scene)
    assert db.read(cancelling.failed) == []
    db.write(tasks.claim, "me", scene[:1], 1)
    recorded = db.write(tasks.record, "me", [TaskEnded(first, 1, State.FAILED, Result.FAILURE)])
    assert recorded.failed
    (failed,) = db.read(cancelling.failed)
    assert (failed.id, failed.builder, failed.buildset_id, failed.result) == (first, "unit", number, "failure")
    assert [t.builder for t in db.read(cancelling.unfinished_of, number)] == ["lint", "docs"]
    cancelled(db, [second, third])
    assert db.read(cancelling.failed) == []
