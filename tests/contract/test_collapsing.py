"""Collapsing unstarted requests of one builder: decided where they are claimed, whoever claims."""

import threading

import pytest
from locum.db import buildsets, changes, tasks
from locum.db.builders import register_builders
from locum.db.effects import Stamp
from locum.tests.support.cluster_rows import builder, buildset, execute, join

from .scene import a_change


@pytest.fixture
def unit(db):
    """A builder that collapses; runners ``me`` and ``other``."""
    join(db, "me")
    join(db, "other")
    return db.write(register_builders, [("unit", None, "fail", "auto", True)])["unit"]


def request(db, unit, revision, branch="main", number=True, **keys):
    """A task for a change of that revision."""
    numbers = [db.write(changes.add, [a_change(revision)])[revision]] if number else []
    stamp = Stamp.of("", "git://x", branch, revision, "", keys.pop("patch", None))
    set_, (task,) = buildset(db, [unit], stamps=[stamp], changes=numbers, **keys)
    execute(db, "UPDATE tasks SET submitted_at = (SELECT count(*) FROM tasks) WHERE id = :t", t=task)
    return set_, task


def claimed(db, unit, most=10, who="me"):
    return [task.id for task in db.write(tasks.claim, who, [unit], most)]


def outcome(db, *ids):
    rows = {
        r.id: (r.state, r.result, r.status_line)
        for r in execute(db, "SELECT id, state, result, status_line FROM tasks")
    }
    return [rows[i] for i in ids]


def test_only_the_newest_of_a_branch_runs_and_the_older_ones_end_as_skipped(db, unit):
    (set1, first), (_, side), (_, second), (_, third) = (
        request(db, unit, "a"),
        request(db, unit, "s", "side"),
        request(db, unit, "b"),
        request(db, unit, "c"),
    )
    assert claimed(db, unit, 1) == [third], "in the place of the oldest"
    gone = ("cancelled", "skipped", f"collapsed into task {third}")
    assert outcome(db, first, second) == [gone, gone]
    assert db.read(buildsets.results_of, [set1]) == {set1: "skipped"}
    assert len(db.read(buildsets.finished_after, 0)) == 2
    assert claimed(db, unit) == [side]
    _, late = request(db, unit, "d")
    assert claimed(db, unit) == [late], "what runs already is left alone"
    assert outcome(db, third)[0][0] == "executing"


def test_a_builder_that_was_not_told_to_collapses_nothing(db, unit):
    plain = builder(db, "plain")
    first, second = request(db, plain, "a")[1], request(db, plain, "b")[1]
    mixed = request(db, unit, "c")[1], request(db, unit, "d")[1]
    found = [task.id for task in db.write(tasks.claim, "me", [plain, unit], 10)]
    assert sorted(found) == sorted([first, second, mixed[1]])
    assert outcome(db, mixed[0])[0][1] == "skipped"


@pytest.mark.parametrize(
    "other",
    [
        {"branch": "side"},
        {"patch": '{"body": "x"}'},
        {"properties": {"target": "prod"}},
        {"number": False},
    ],
    ids=str,
)
def test_what_is_of_another_kind_is_carried_out_too(db, unit, other):
    one = request(db, unit, "a")[1]
    another = request(db, unit, "b", **other)[1]
    assert sorted(claimed(db, unit)) == sorted([one, another])


def test_without_changes_only_the_same_revision_is_the_same_work(db, unit):
    ids = [request(db, unit, revision, number=False)[1] for revision in ("a", "b", "a")]
    assert sorted(claimed(db, unit)) == sorted(ids[1:])
    assert outcome(db, ids[0])[0][1] == "skipped"


def test_what_somebody_waits_for_is_not_collapsed(db, unit):
    waited, task = request(db, unit, "a")
    execute(db, "UPDATE buildsets SET waited_for = true WHERE id = :i", i=waited)
    newer = request(db, unit, "b")[1]
    assert sorted(claimed(db, unit)) == sorted([task, newer])


def test_what_has_been_started_once_is_not_collapsed(db, unit):
    first = request(db, unit, "a")[1]
    assert claimed(db, unit) == [first]
    db.write(tasks.record, "me", [tasks.TaskRequeued(first, 1)])
    newer = request(db, unit, "b")[1]
    assert sorted(claimed(db, unit)) == sorted([first, newer])


def test_a_limit_counts_what_runs_and_not_what_collapses(db, unit):
    db.write(register_builders, [("unit", 1, "fail", "auto", True)])
    request(db, unit, "a")
    newest = request(db, unit, "b")[1]
    assert claimed(db, unit) == [newest]
    request(db, unit, "c")
    assert claimed(db, unit) == []


def test_two_that_claim_together_run_each_kind_once(db, unit):
    for number in range(20):
        request(db, unit, f"r{number}", branch=f"b{number % 4}")
    found = []
    threads = [
        threading.Thread(target=lambda who=who: found.extend(claimed(db, unit, 4, who))) for who in ("me", "other")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(set(found)) == 4
    assert [r[0] for r in execute(db, "SELECT count(*) FROM tasks WHERE result = 'skipped'")] == [16]
    assert [r[0] for r in execute(db, "SELECT count(*) FROM tasks WHERE state = 'queued'")] == [0]
