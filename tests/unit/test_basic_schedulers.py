"""Schedulers that react to changes, on the real tenure and committer."""

import json
from pathlib import Path

import pytest
from locum.schedulers import AnyBranchScheduler, BaseBasicScheduler, BaseScheduler, ChangeFilter, SingleBranchScheduler
from twisted.internet.defer import succeed

CASES = json.loads((Path(__file__).parent / "data/basic_cases.json").read_text())


def single(**arguments):
    arguments.setdefault("branch", "main")
    return lambda: SingleBranchScheduler("quick", ["unit"], **arguments)


class OneBranch(BaseBasicScheduler):
    """The base itself, told a branch as the case files tell it."""

    def __init__(self, name, builderNames, branch=None, **kwargs):
        super().__init__(name, builderNames, change_filter=ChangeFilter(branch=branch), **kwargs)


def made_for(case):
    params = dict(case["params"])
    cls = OneBranch if case["scheduler"].startswith("BaseBasic") else SingleBranchScheduler
    codebases = sorted({s["gotChange"]["codebase"] for s in case["stimuli"]})
    return lambda: cls("test", ["unit"], codebases=codebases, **params)


@pytest.mark.parametrize("case", CASES["tree_stable_timer"], ids=lambda c: c["id"])
def test_known_cases_of_tree_stable_timers(bench, case):
    importance = {s["gotChange"]["number"]: s["important"] for s in case["stimuli"]}
    make = made_for(case)

    def with_importance():
        scheduler = make()
        scheduler.fileIsImportant = lambda change: importance[change.number]
        return scheduler

    b = bench(with_importance)
    moments = [(s["at"], 0, s) for s in case["stimuli"]]
    for kind in ("classification_checkpoints", "builds_checkpoints"):
        moments += [(point["at"], 2, point) for point in case.get(kind, ())]
    for at, _, what in sorted(moments, key=lambda m: m[:2]):
        b.to(at)
        if "gotChange" in what:
            b.change(**what["gotChange"])
        elif "classified" in what:
            assert b.classified == {int(n): important for n, important in what["classified"].items()}
        else:
            # Several checkpoints of one moment lie before and after its change; no buildset is made by a change here.
            assert [{"changeids": x.changes, "at": x.at} for x in b.built] == what["builds"]
    b.advance(60)
    if "expected_builds" in case:
        assert [{"changeids": x.changes, "at": x.at} for x in b.built] == case["expected_builds"]
    if "asserted_buildset_calls" in case:
        ((wanted,),) = [call[0][1:] for call in case["asserted_buildset_calls"]]
        (built,) = b.built
        assert (built.changes, built.reason, built.priority) == (
            wanted["changeids"],
            wanted["reason"],
            wanted["priority"],
        )


@pytest.mark.parametrize("case", CASES["addBuildsetForSourceStampsWithDefaults"], ids=["both", "one"])
def test_known_cases_of_partial_stamps(bench, case):
    b = bench(lambda: BaseScheduler("test", ["unit"], codebases=case["codebases"]))
    passed = case["sourcestamps"]
    b.ask(lambda: b.scheduler.addBuildsetForSourceStampsWithDefaults("because", sourcestamps=passed))
    (built,) = b.built
    by_codebase = lambda stamp: stamp["codebase"]  # noqa: E731
    assert sorted(built.stamps, key=by_codebase) == sorted(case["expected"], key=by_codebase)


# -- one branch


def test_an_important_change_is_a_buildset_at_once_with_its_stamp(bench):
    b = bench(single())
    number = b.change(branch="main", revision="r1", repository="git://x", project="p")
    (built,) = b.built
    assert built.changes == [number]
    assert built.stamps == [
        {"codebase": "", "repository": "git://x", "branch": "main", "revision": "r1", "project": "p"}
    ]
    assert built.reason == "The SingleBranchScheduler scheduler named 'quick' triggered this build"


def test_changes_of_other_branches_and_before_the_first_activation_are_not_for_it(bench):
    b = bench(single())
    b.change(branch="other")
    b.change(branch=None)
    assert b.built == []


def test_no_branch_is_the_default_branch(bench):
    b = bench(single(branch=None))
    b.change(branch="main")
    number = b.change(branch=None)
    assert [x.changes for x in b.built] == [[number]]


def test_without_a_timer_unimportant_changes_are_ignored(bench):
    b = bench(single(fileIsImportant=lambda change: change.files != ("README",)))
    b.change(branch="main", files=["README"])
    number = b.change(branch="main", files=["a.c"])
    assert [x.changes for x in b.built] == [[number]]


def test_with_only_important_an_unimportant_change_is_in_no_buildset(bench):
    important = lambda change: change.comments != "no"  # noqa: E731
    b = bench(single(treeStableTimer=10, onlyImportant=True, fileIsImportant=important))
    first = b.change(branch="main")
    b.advance(5)
    b.change(branch="main", comments="no")
    b.advance(5.1)
    assert [x.changes for x in b.built] == [[first]]  # nor did it restart the timer


def test_an_unimportant_change_starts_no_timer_but_restarts_a_running_one(bench):
    important = lambda change: change.comments != "no"  # noqa: E731
    b = bench(single(treeStableTimer=10, fileIsImportant=important))
    first = b.change(branch="main", comments="no")
    assert b.timers == {}
    b.advance(20)
    second = b.change(branch="main")
    b.advance(6)
    third = b.change(branch="main", comments="no")
    b.advance(6)
    assert b.built == []
    b.advance(4)
    assert [(x.changes, x.at) for x in b.built] == [([first, second, third], 36.0)]


def test_a_tree_stable_timer_survives_a_crash_and_keeps_its_due_time(bench):
    b = bench(single(treeStableTimer=10))
    number = b.change(branch="main")
    b.advance(4)
    b.fail_over()
    assert b.timers == {"stable": 10.0}
    b.advance(6)
    assert [(x.changes, x.at) for x in b.built] == [([number], 10.0)]


def test_an_overdue_tree_stable_timer_waits_for_the_changes_that_came_before_the_takeover(bench):
    b = bench(single(treeStableTimer=10))
    first = b.change(branch="main")
    b.die()
    b.advance(5)
    second = b.change(branch="main")
    b.advance(20)
    b.start()
    assert b.built == []  # the second one restarted the timer before it could fire
    b.advance(10.1)
    assert [x.changes for x in b.built] == [[first, second]]


def test_changes_that_came_while_nobody_was_active_are_built_once_each(bench):
    b = bench(single())
    b.die()
    numbers = [b.change(branch="main", revision=str(n)) for n in range(5)]
    b.start()
    b.fail_over()
    assert [x.changes for x in b.built] == [[n] for n in numbers]


def test_pending_changes_are_flushed_with_their_buildset_so_a_crash_builds_none_twice(bench):
    """Defect 7: a crash before pending changes were flushed built them twice."""
    b = bench(single(treeStableTimer=10))
    number = b.change(branch="main")
    b.advance(10)
    assert b.classified == {} and [x.changes for x in b.built] == [[number]]
    b.fail_over()
    b.advance(60)
    assert len(b.built) == 1


def test_a_disabled_scheduler_keeps_its_tree_stable_timer_and_fires_after_enabling(bench):
    b = bench(single(treeStableTimer=10))
    number = b.change(branch="main")
    b.disable()
    b.advance(100)
    b.change(branch="main")
    assert b.built == [] and b.timers == {"stable": 10.0}
    b.enable()
    assert [(x.changes, x.at) for x in b.built] == [([number], 100.0)]


def test_with_absolute_stamps_a_codebase_without_a_change_gets_the_last_revision_seen_of_it(bench):
    codebases = {"app": {"repository": "git://app", "branch": "main"}, "lib": {"repository": "git://lib"}}
    b = bench(single(codebases=codebases, createAbsoluteSourceStamps=True))
    b.change(branch="main", codebase="lib", repository="git://lib", revision="l1")
    b.fail_over()
    b.change(branch="main", codebase="app", repository="git://app", revision="a1")
    assert [(s["codebase"], s["revision"]) for s in b.built[-1].stamps] == [("app", "a1"), ("lib", "l1")]


def test_changes_of_a_codebase_that_it_does_not_have_never_reach_it(bench):
    seen = []

    class Seeing(SingleBranchScheduler):
        def gotChange(self, change, important):
            seen.append(change.codebase)

    b = bench(lambda: Seeing("quick", ["unit"], branch="main", codebases=["app"]))
    b.change(branch="main", codebase="other")
    b.change(branch="main", codebase="app")
    assert seen == ["app"]
    assert b.failures == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "branch: it is required unless change_filter is given"),
        ({"branch": "main", "change_filter": ChangeFilter()}, "change_filter: give either it or branch"),
        ({"branch": "main", "treeStableTimer": 0}, "treeStableTimer: expected a positive duration"),
        ({"branch": "main", "treeStableTimer": "soon"}, "treeStableTimer:"),
        ({"branch": "main", "categories": "a"}, "categories: expected a list"),
        ({"branch": "main", "fileIsImportant": "x"}, "fileIsImportant: expected a function"),
        ({"change_filter": 5}, "change_filter: expected a mapping"),
        ({"change_filter": {"brunch": "x"}}, "change_filter:"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_by_name(arguments, said):
    with pytest.raises(ValueError) as refused:
        SingleBranchScheduler("quick", ["unit"], **arguments)
    assert str(refused.value).startswith(said)


# -- any branch


def any_branch(**arguments):
    return lambda: AnyBranchScheduler("any", ["unit"], **arguments)


def test_one_branchs_timer_never_drops_another_branchs_changes(bench):
    """Defect 17: one branch's timer dropped another branch's changes."""
    b = bench(any_branch(treeStableTimer=10))
    first = b.change(branch="a")
    b.advance(6)
    second = b.change(branch="b")
    b.advance(4)
    assert [(x.changes, x.at) for x in b.built] == [([first], 10.0)]
    assert b.classified == {second: True}
    b.advance(6)
    assert [(x.changes, x.at) for x in b.built[1:]] == [([second], 16.0)]


def test_each_codebase_project_repository_and_branch_has_a_timer_of_its_own(bench):
    b = bench(any_branch(treeStableTimer=10, codebases=["x", "y"]))
    groups = []
    for codebase, project, repository, branch in [
        ("x", "", "", "a"),
        ("y", "", "", "a"),
        ("x", "p", "", "a"),
        ("x", "", "r", "a"),
        ("x", "", "", None),
    ]:
        where = {"codebase": codebase, "project": project, "repository": repository, "branch": branch}
        groups.append([b.change(**where), b.change(**where)])
    b.advance(10)
    assert sorted(x.changes for x in b.built) == groups


def test_a_failing_buildset_of_one_branch_leaves_the_others_alone(bench):
    class Choosy(AnyBranchScheduler):
        def addBuildsetForChanges(self, **arguments):
            if self.tripping and 1 in arguments["changeids"]:
                raise ValueError("no")
            return super().addBuildsetForChanges(**arguments)

    Choosy.tripping = True
    b = bench(lambda: Choosy("any", ["unit"], treeStableTimer=10))
    first, second = b.change(branch="a"), b.change(branch="b")
    b.advance(10.5)
    assert [x.changes for x in b.built] == [[second]] and b.classified == {first: True}
    Choosy.tripping = False
    b.advance(20)
    assert [x.changes for x in b.built] == [[second], [first]]
    assert b.failures == {}


def test_any_branch_may_be_given_the_branches_that_it_follows(bench):
    b = bench(any_branch(branches=["a", None]))
    for branch in ("a", "b", None):
        b.change(branch=branch)
    assert [x.stamps[0]["branch"] for x in b.built] == ["a", None]


@pytest.mark.parametrize(
    "make",
    [lambda: SingleBranchScheduler("c", ["unit"], branch="main", categories=["code", "test"]),
     lambda: AnyBranchScheduler("c", ["unit"], categories=["code", "test"])],
    ids=["single", "any"],
)  # fmt: skip
def test_only_changes_of_the_given_categories_count(bench, make):
    b = bench(make)
    numbers = [b.change(branch="main", category=category) for category in ("code", "docs", None, "test")]
    assert [x.changes for x in b.built] == [[numbers[0]], [numbers[3]]]


@pytest.mark.parametrize("kind", [SingleBranchScheduler, AnyBranchScheduler])
@pytest.mark.parametrize("given", [{"project": "p"}, ChangeFilter(project="p")], ids=["mapping", "filter"])
def test_only_changes_that_the_filter_lets_through_count(bench, kind, given):
    b = bench(lambda: kind("c", ["unit"], change_filter=given))
    b.change(branch="main", project="q")
    wanted = b.change(branch="main", project="p")
    assert [x.changes for x in b.built] == [[wanted]]


@pytest.mark.parametrize(("only", "changes"), [(False, [1, 2]), (True, [2])], ids=["all", "only important"])
def test_any_branch_knows_what_is_important_too(bench, only, changes):
    make = any_branch(treeStableTimer=10, onlyImportant=only, fileIsImportant=lambda change: change.comments != "no")
    b = bench(make)
    b.change(branch="a", comments="no")
    b.advance(11)
    assert b.built == []
    b.change(branch="a")
    b.advance(11)
    assert [x.changes for x in b.built] == [changes]


# -- importance and filters that fail


@pytest.mark.parametrize("fault", [ValueError("oh"), SystemExit(3)])
def test_a_file_is_important_that_raises_is_a_failed_turn_not_a_silent_no(bench, fault):
    broken = [True]

    def important(change):
        if broken[0]:
            raise fault
        return True

    b = bench(single(fileIsImportant=important))
    number = b.change(branch="main")
    assert b.built == []
    assert type(fault).__name__ in b.failures[f"change:{number}"][2]
    broken[0] = False
    b.advance(2)
    assert [x.changes for x in b.built] == [[number]] and b.failures == {}


def test_a_filter_function_that_raises_is_a_failed_turn_and_later_changes_wait_their_turn(bench):
    broken = [True]

    def fits(change):
        if broken[0] and change.revision == "1":
            raise LookupError("what is this")
        return True

    b = bench(lambda: SingleBranchScheduler("quick", ["unit"], change_filter=ChangeFilter(filter_fn=fits)))
    numbers = [b.change(revision=str(n)) for n in (1, 2)]
    assert b.built == [] and list(b.failures) == [f"change:{numbers[0]}"]
    broken[0] = False
    b.advance(2)
    assert [x.changes for x in b.built] == [[n] for n in numbers]


@pytest.mark.parametrize(
    ("important", "said"),
    [
        (lambda change: succeed(True), "at once, not <Deferred"),
        (lambda change: change.who.isalpha, "is a call's '()' missing?"),
        (lambda change: (file for file in change.files), "True or False, not <generator"),
    ],
)
def test_a_file_is_important_that_gives_no_answer_is_a_failed_turn(bench, important, said):
    b = bench(single(fileIsImportant=important))
    number = b.change(branch="main")
    assert said in b.failures[f"change:{number}"][2] and b.built == []


async def later(change):
    return True


@pytest.mark.parametrize(
    ("important", "said"),
    [
        (later, "at once; write it without 'async'"),
        (lambda: True, "called with a change and nothing else"),
        (lambda change, more: True, "called with a change and nothing else"),
        ("yes", "expected a function"),
    ],
)
def test_a_file_is_important_that_could_never_answer_is_refused_at_once(important, said):
    with pytest.raises(ValueError, match=r"^fileIsImportant: ") as caught:
        single(fileIsImportant=important)()
    assert said in str(caught.value)
