"""Cancellers on the real tenure: what is cancelled, by whom, and what makes no sense."""

import pytest
from locum.db import turns
from locum.db.effects import Effects, NewBuildset, Stamp
from locum.db.messages import Message
from locum.master.answering import serving
from locum.master.configuring import hook_fault
from locum.schedulers import FailingBuildsetCanceller, OldBuildCanceller, SourceStampFilter

RULES = [{"builders": ["unit"], "filter": {"branch_re": "main|side"}}]


def old(**arguments):
    return lambda: OldBuildCanceller("old", RULES, **arguments)


def task(b, builders=("unit",), branch="main", changes=(), codebase="", repository=""):
    """A buildset of another scheduler; its tasks' ids."""
    stamp = Stamp.of(codebase, repository, branch, "r", "")
    (number,) = b.db.single(turns.reserve, "buildsets", 1)
    ids = list(b.db.single(turns.reserve, "tasks", len(builders)))
    b.sql(
        "INSERT INTO schedulers (id, kind, name, type, incarnation, term) VALUES (100, 'scheduler', 'q', 'X', 'owner', 1)"
        " ON CONFLICT DO NOTHING"
    )
    b.db.write(turns.add_stamps, [stamp])
    new = NewBuildset(
        number, "q", "r", "{}", (stamp,), tuple((i, b.builder_ids[n], 0) for i, n in zip(ids, builders, strict=True)),
        tuple(changes),
    )  # fmt: skip
    assert not b.db.write(turns.commit, "owner", [Effects(100, 1, buildsets=[new])]).refused
    return ids


def results(b, *ids):
    rows = dict(b.sql("SELECT id, result FROM tasks"))
    return [rows[i] for i in ids]


def test_a_newer_change_cancels_older_tasks_of_its_branch_and_builder(bench):
    b = bench(old())
    first = b.change(branch="main", comments="1")
    (mine,), (other_branch,), (other_builder,) = (
        task(b, changes=[first]),
        task(b, branch="side", changes=[first]),
        task(b, ["lint"], changes=[first]),
    )
    (elsewhere,) = task(b, repository="git://other", changes=[first])
    assert results(b, mine) == [None]
    second = b.change(branch="main")
    assert results(b, mine, other_branch, other_builder, elsewhere) == ["cancelled", None, None, None]
    line = b.sql("SELECT status_line FROM tasks WHERE id = :i", i=mine)[0][0]
    assert line == f"old: change {second} of the same branch is newer"
    (newest,) = task(b, changes=[second])
    b.change(branch="other")
    assert results(b, newest) == [None]


def test_it_leaves_alone_what_its_filters_do_not_name(bench):
    b = bench(old(), builders=("unit", "lint"))
    first = b.change(branch="topic")
    unit, lint = task(b, branch="topic", changes=[first]), task(b, ["lint"], branch="main", changes=[first])
    b.change(branch="topic")
    b.change(branch="main")
    assert results(b, *unit, *lint) == [None, None]
    wider = bench(lambda: OldBuildCanceller("old", [{"builders": ["unit", "lint"]}]))
    first = wider.change(branch="topic")
    found = task(wider, ["unit", "lint"], branch="topic", changes=[first])
    wider.change(branch="topic")
    assert results(wider, *found) == ["cancelled", "cancelled"]


def test_it_goes_on_after_a_failover_with_the_changes_that_came_meanwhile(bench):
    b = bench(old())
    first = b.change(branch="side")
    (mine,) = task(b, branch="side", changes=[first])
    b.die()
    b.change(branch="side")
    assert results(b, mine) == [None]
    b.start()
    assert results(b, mine) == ["cancelled"]


def test_what_counts_as_a_branch_may_be_said_by_a_function(bench):
    b = bench(lambda: OldBuildCanceller("old", [(["unit"], SourceStampFilter())], branch_key=lambda s: s["branch"][:3]))
    first = b.change(branch="abc1")
    (same,), (other,) = task(b, branch="abc1", changes=[first]), task(b, branch="xyz", changes=[first])
    b.change(branch="abc2")
    assert results(b, same, other) == ["cancelled", None]


def test_codebases_are_kept_apart_and_any_codebase_counts(bench):
    b = bench(old())
    first = b.change(branch="main", codebase="app")
    (app,), (lib,) = task(b, codebase="app", changes=[first]), task(b, codebase="lib", changes=[first])
    b.change(branch="main", codebase="app")
    assert results(b, app, lib) == ["cancelled", None]


def test_a_failed_task_cancels_the_listed_others_of_its_buildset(bench):
    rules = [{"builders": ["unit"], "builders_to_cancel": ["lint"], "filter": {"branch_eq": "main"}}]
    b = bench(lambda: FailingBuildsetCanceller("fail", rules), builders=("unit", "lint", "docs"))
    unit, lint, docs = task(b, ["unit", "lint", "docs"])
    side, side_lint = task(b, ["unit", "lint"], branch="side")
    (other,) = task(b, ["lint"])
    for one in (unit, side):
        b.sql("UPDATE tasks SET state = 'failed', result = 'failure' WHERE id = :i", i=one)
    failed(b)
    assert results(b, lint, docs, side_lint, other) == ["cancelled", None, None, None]
    assert b.sql("SELECT status_line FROM tasks WHERE id = :i", i=lint)[0][0] == f"fail: task {unit} of unit failed"


def failed(b):
    """The master looks for failed tasks."""
    from locum.db import cancelling
    from locum.schedulers.interface import FailedTask

    rows = b.db.read(cancelling.failed)
    b.tenure.failed_tasks([FailedTask(r.id, r.builder, r.buildset_id, r.result) for r in rows])
    b.settle()


def test_without_a_list_all_others_are_cancelled_and_a_failover_or_a_repetition_changes_nothing(bench):
    b = bench(lambda: FailingBuildsetCanceller("fail", [(["unit"], None, None)]), builders=("unit", "lint", "docs"))
    unit, lint, docs = task(b, ["unit", "lint", "docs"])
    b.sql("UPDATE tasks SET state = 'failed', result = 'exception' WHERE id = :i", i=unit)
    b.fail_over()
    failed(b)
    failed(b)
    assert results(b, lint, docs) == ["cancelled", "cancelled"]
    turns = b.row.turns
    failed(b)
    assert b.row.turns == turns


def test_a_failure_of_its_database_question_is_tried_again(bench):
    class Choosy(FailingBuildsetCanceller):
        tripping = True

        async def gotTaskFailed(self, failed):
            if self.tripping:
                raise ValueError("no")
            await super().gotTaskFailed(failed)

    b = bench(lambda: Choosy("fail", [(["unit"], None, None)]))
    unit, lint = task(b, ["unit", "lint"])
    b.sql("UPDATE tasks SET state = 'failed', result = 'failure' WHERE id = :i", i=unit)
    failed(b)
    assert f"failed-task:{unit}" in b.failures
    Choosy.tripping = False
    b.advance(2)
    failed(b)
    assert results(b, lint) == ["cancelled"] and b.failures == {}


def test_a_canceller_requests_nothing_when_forced(bench):
    b = bench(old())
    answer = []
    serve = serving(Message(1, b.id, "k", "force", {}, 0, "ann"))

    async def served():
        answer.append(await serve(b.scheduler))

    b.ask(served)
    assert "requests no work" in answer[0]["error"] and b.built == []


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ([], "filters: expected at least one"),
        ("unit", "filters: expected a list"),
        ([{"builders": []}], "filters[0].builders: expected a list"),
        ([{"builders": ["a"], "filter": {"branch": "x"}}], "filters[0].filter: branch: unknown condition"),
        ([{"builders": ["a"], "filter": 3}], "filters[0].filter: expected a mapping"),
        ([{"builders": ["a"], "bilders_to_cancel": ["b"]}], "filters[0].bilders_to_cancel: unknown key"),
        ([{"builders": ["a"], "builders_to_cancel": "b"}], "filters[0].builders_to_cancel: expected a list"),
        ([3], "filters[0]: expected a mapping"),
    ],
    ids=str,
)
def test_filters_that_make_no_sense_are_refused_by_place(filters, said):
    with pytest.raises(ValueError) as refused:
        FailingBuildsetCanceller("fail", filters)
    assert str(refused.value).startswith(said)


def test_unknown_builders_are_faults():
    both = [{"builders": ["unit", "x"], "builders_to_cancel": ["y"]}]
    found = list(FailingBuildsetCanceller("fail", both).faultsAmong({}, {"unit"}))
    assert found == [
        ("filters[0].builders", "there is no builder 'x'"),
        ("filters[0].builders_to_cancel", "there is no builder 'y'"),
    ]
    assert hook_fault(FailingBuildsetCanceller) is None
