"""Subclasses written for Buildbot, with nothing but their imports replaced, on the real turns (docs/from-buildbot.md)."""

from datetime import UTC, datetime

import pytest
from locum.schedulers.compat import mq
from locum.schedulers.testing import SchedulerHarness
from locum.tests.support.written_for_buildbot import imported

of_changes, of_times, of_messages, of_people = map(imported, ("of_changes", "of_times", "of_messages", "of_people"))
TWO = ["unit", "lint"]


@pytest.fixture
def harness():
    made = []

    def make(*factories, **options):
        made.append(SchedulerHarness(*factories, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def kill_at_commit(h, number, committed):
    """The master is killed when its so-many-th turn from now is to be committed: before that, or after it."""
    left = [number]

    def commit(work):
        left[0] -= 1
        if left[0]:
            return work()
        h.rehearsal.commit = lambda work: work()
        if committed:
            work()
        h.rehearsal.kill()
        return None

    h.rehearsal.commit = commit


# -- schedulers of changes


def test_a_change_chooses_among_the_builders(harness):
    h = harness(lambda: of_changes.PullRequestScheduler(name="pr", builderNames=TWO, stable=["unit"]))
    h.change(branch="a", properties={"builderfilter": "LI"})
    h.change(branch="b")
    assert [b.builders for b in h.buildsets] == [("lint",), ("unit", "lint")]


def test_choosing_no_builder_at_all_is_an_error_and_no_empty_buildset(harness):
    h = harness(lambda: of_changes.PullRequestScheduler(name="pr", builderNames=TWO))
    with h.expect_failure() as raised:
        h.change(properties={"builderfilter": "nothing"})
    assert "no builder at all" in str(raised[0]) and h.buildsets == []


def test_a_filter_may_be_a_method_of_the_scheduler(harness):
    h = harness(lambda: of_changes.PlatformScheduler("mac", "main", builderNames=["unit"]))
    for branch, file in (("main", "platform/mac/a.c"), ("main", "platform/gtk/a.c"), ("other", "platform/mac/a.c")):
        h.change(branch=branch, files=[file])
    assert [b.changes for b in h.buildsets] == [(1,)] and h.buildsets[0].scheduler == "mac"


def test_codebases_may_follow_what_a_change_says(harness):
    codebases = {"app": {"repository": "a"}, "lib": {"repository": "l", "branch": "stable"}}
    h = harness(lambda: of_changes.PinnedScheduler("pin", ["unit"], branch="main", codebases=codebases))
    h.change(branch="main", codebase="app", revision="1", comments="x\nRequires-lib: topic\n")
    h.change(branch="main", codebase="app", revision="2")
    h.change(branch="main", codebase="app", revision="3", properties={"base_branch": "v2"})
    assert [[s.branch for s in b.sourcestamps if s.codebase == "lib"] for b in h.buildsets] == [
        ["topic"],
        ["stable"],
        ["v2"],
    ]


def test_properties_may_be_set_before_each_buildset(harness, tmp_path):
    cache = tmp_path / "image.cache"
    h = harness(lambda: of_changes.ImageScheduler("img", str(cache), builderNames=["unit"], branch="main"))
    h.change(branch="main")
    cache.write_text("r42\n")
    h.change(branch="main")
    assert [b.properties["image"] for b in h.buildsets] == ["none", "r42"]
    assert h.buildsets[0].sources == {"image": "Scheduler", "scheduler": "Scheduler"}


def test_timers_in_memory_become_durable_ones_after_a_failover(harness):
    make = lambda: of_changes.AtMostScheduler("most", 3, builderNames=["unit"], branch="main", treeStableTimer=60)  # noqa: E731
    h = harness(make)
    for revision in "abc":
        h.change(branch="main", revision=revision)
    assert [b.changes for b in h.buildsets] == [(1, 2, 3)]  # as many as it waits for
    h.change(branch="main")
    h.advance(59)
    assert len(h.buildsets) == 1
    h.advance(2)
    assert [b.changes for b in h.buildsets] == [(1, 2, 3), (4,)]  # by its own timer
    h.change(branch="main")
    h.advance(30)
    h.fail_over()  # which loses what is in memory
    assert h.pending == {5: True}
    h.advance(61)
    assert [b.changes for b in h.buildsets][2:] == [(5,)] and not h.pending


@pytest.mark.parametrize("committed", [False, True])
def test_a_timer_in_memory_makes_one_turn_of_what_it_calls(harness, committed):
    make = lambda: of_changes.AtMostScheduler("most", 3, builderNames=["unit"], branch="main", treeStableTimer=60)  # noqa: E731
    h = harness(make)
    h.change(branch="main")
    kill_at_commit(h, 1, committed)
    h.advance(60)
    assert not h.active and (len(h.buildsets), h.pending) == ((1, {}) if committed else (0, {1: True}))
    h.take_over()
    h.advance(61)
    assert [b.changes for b in h.buildsets] == [(1,)] and h.pending == {}


def test_timers_may_have_names_of_several_parts(harness):
    h = harness(lambda: of_changes.ProjectScheduler("per", builderNames=["unit"], treeStableTimer=60))
    for project, branch in (("a", "x"), ("b", "x"), ("a", "y")):
        h.change(project=project, branch=branch)
    h.advance(60)
    assert sorted(b.changes for b in h.buildsets) == [(1, 3), (2,)]


def test_each_codebase_has_a_stamp_and_properties_keep_their_source(harness):
    h = harness(
        lambda: of_changes.EveryCodebaseScheduler("each", ["unit"], treeStableTimer=10, codebases=["app", "lib", "doc"])
    )
    h.change(codebase="app", revision="1", branch="main", repository="r", project="p")
    h.advance(10)
    (built,) = h.buildsets
    (stamp,) = built.sourcestamps
    assert (stamp.codebase, stamp.revision, stamp.branch, stamp.repository, stamp.project) == (
        "app",
        "1",
        "main",
        "r",
        "p",
    )
    assert (built.properties["virtual_builder_name"], built.sources["virtual_builder_name"]) == ("app", "spawner")


def test_what_is_important_may_be_said_by_the_class(harness):
    h = harness(lambda: of_changes.DocsScheduler("main", ["unit"]))
    h.change(branch="main", files=["doc/a"])
    assert h.timers == {}
    h.change(branch="main", files=["doc/a", "src/b"])
    h.advance(60)
    assert [b.changes for b in h.buildsets] == [(1, 2)]


def test_a_scheduler_from_scratch_keeps_state_and_sees_properties_with_their_methods(harness):
    h = harness(lambda: of_changes.HotfixScheduler("hot", ["unit"], branch="main"))
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    h.change(branch="main", revision="1", properties={"event": "push"}, when=when)
    h.change(branch="main", revision="2", properties={"event": "tag"})
    h.fail_over()
    h.change(branch="main", revision="3", properties={"event": "push"})
    assert [(b.revision, b.properties["count"]) for b in h.buildsets] == [("1", 1), ("3", 2)]
    assert h.buildsets[0].properties["when"] == int(when.timestamp())  # seconds, as there


def test_builders_and_properties_may_be_worked_out_from_a_change(harness):
    h = harness(of_changes.build_by_files, builders=["unit", "docs"])
    h.change(branch="main", files=["a.rst", "b.c"], properties={"owner": "ann", "size": 3})
    h.change(files=["b.c"])
    assert [(b.builders, b.properties["label"], b.properties["big"]) for b in h.buildsets] == [
        (("docs", "unit"), "ann on main", 3),
        (("unit",), "nobody on ", 0),
    ]


# -- schedulers of times


def test_a_nightly_build_may_be_left_out_by_its_own_code(harness):
    h = harness(lambda: of_times.WhenWantedNightly(name="n", builderNames=["unit"], hour=3, minute=0, branch="main"))
    h.advance("1d")
    assert h.buildsets == []
    h.result_of(lambda: h.scheduler.setState("wanted", True))
    h.advance("2d")
    (built,) = h.buildsets
    assert built.due_at.isoformat() == "2026-01-02T03:00:00+00:00" and built.sourcestamps[0].branch == "main"


def test_a_periodic_scheduler_asks_what_waits_and_tops_it_up(harness):
    h = harness(
        lambda: of_times.TopUpPeriodic("top", most=2, builderNames=TWO, periodicBuildTimer=60), builders=[*TWO, "else"]
    )
    assert sorted(b.builders for b in h.buildsets) == [("lint",), ("lint",), ("unit",), ("unit",)]
    assert h.buildsets[0].sources["topped"] == "TopUp" and h.buildsets[0].sourcestamps[0].branch == "main"
    h.finish(h.buildsets[0])
    h.advance(60)
    assert len(h.buildsets) == 5


# -- schedulers that listen


def feeders(*names):
    base = imported("of_changes").AnyBranchScheduler
    return [lambda name=name: base(name=name, builderNames=[name]) for name in names]


def test_one_that_waits_for_several_builders_goes_on_after_a_failover(harness):
    make = lambda: of_messages.AggregatingScheduler("all", ["unit"], ["a", "b"])  # noqa: E731
    h = harness(make, *feeders("a", "b"), builders=["a", "b", "unit"])
    h.change()
    a, b = h["a"].buildsets[0], h["b"].buildsets[0]
    h.finish(a)
    assert h.state["left"] == ["b"] and h.buildsets == []
    h.kill()
    h.finish(b)  # while nobody listens
    h.take_over()
    assert [built.reason for built in h.buildsets] == ["all of a, b"] and h.state["left"] == ["a", "b"]
    h.fail_over()
    h.advance(60)
    assert len(h.buildsets) == 1


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_a_kill_between_leaves_nothing_half_done(harness, number, committed):
    """The first turn notes that there is a message, the second answers it: a buildset, and what is kept of it."""
    make = lambda: of_messages.AggregatingScheduler("all", ["unit"], ["a", "b"])  # noqa: E731
    h = harness(make, *feeders("a", "b"), builders=["a", "b", "unit"])
    h.change()
    h.finish(h["a"].buildsets[0])
    assert h.state["left"] == ["b"]
    kill_at_commit(h, number, committed)
    h.finish(h["b"].buildsets[0])
    assert not h.active
    assert (len(h.buildsets), h.state["left"]) == ((1, ["a", "b"]) if number == 2 and committed else (0, ["b"]))
    h.take_over()
    h.advance(60)
    assert (len(h.buildsets), h.state["left"], h.timers) == (1, ["a", "b"], {})


def test_what_failed_is_asked_for_again_with_its_stamps(harness):
    h = harness(lambda: of_messages.RetryFailedScheduler("again", ["a"]), *feeders("a"))
    h.change(revision="r1", branch="main")
    first = h["a"].buildsets[0]
    h.finish(first, "failure")
    (again,) = h.buildsets
    assert (again.revision, again.sourcestamps[0].branch, again.properties["again"]) == ("r1", "main", first.id)
    assert again.external_id == str(first.id)
    h.finish(again, "failure")
    assert len(h.buildsets) == 1


def test_news_that_are_old_bring_nothing_twice(harness):
    h = harness(*feeders("a"), lambda: of_messages.ChangeLog("log", ["a"]))
    h.change()
    built = h["a"].buildsets[0]
    old = h.result_of(lambda: h["log"].instance.master.records.news())
    h.finish(built)
    before = h["log"].state
    h.result_of(lambda: h["log"].instance.setState("kept", 1))  # something to wait for
    h["log"].instance.master.mq._offer(old)
    h.advance(10)
    assert {**h["log"].state, "kept": None} == {**before, "kept": None}


def test_many_messages_at_once_all_come(harness, monkeypatch):
    monkeypatch.setattr(mq, "_AT_ONCE", 3)
    h = harness(lambda: of_messages.ChangeLog("log", ["a"]))
    h.kill()
    for _ in range(10):
        h.change()
    h.take_over()
    assert [h.state[f"changes.{number}.new"] for number in range(1, 11)] == [1] * 10


def test_every_message_comes_once_and_what_came_before_is_not_for_it(harness):
    h = harness(*feeders("a"), lambda: of_messages.ChangeLog("log", ["a"]))
    h.change()
    built = h["a"].buildsets[0]
    h.finish(built)
    task = built.tasks[0].id
    kept = {key: value for key, value in h["log"].state.items() if key != "mq"}
    assert kept == {
        "changes.1.new": 1,
        f"buildrequests.{task}.new": 1,
        f"buildrequests.{task}.complete": 1,
        f"builds.{task}.finished": 1,
    }
    h.fail_over()
    h.advance(100)
    assert {key: value for key, value in h["log"].state.items() if key != "mq"} == kept
    h.disable("log")
    h.change()
    h.enable("log")
    h.advance(10)
    assert "changes.2.new" not in h["log"].state
    h.change()
    assert h["log"].state["changes.3.new"] == 1


def test_a_callback_that_fails_is_tried_again_by_itself_and_set_aside_at_last(harness):
    h = harness(lambda: of_messages.ChangeLog("log", ["a"], fail=["changes.1.new"]))
    with h.expect_failure(RuntimeError):
        h.change()
    h.change()
    assert h.state["changes.2.new"] == 1 and "changes.1.new" not in h.state
    with h.expect_failure(RuntimeError):
        h.advance("2d")
    (failed,) = h.failures
    assert failed.cause == "timer:mq:changes.1.new" and "changes.1.new" not in h.state


# -- schedulers that somebody sets off


def test_a_trigger_is_checked_and_its_outcome_heard(harness):
    h = harness(lambda: of_people.ReleaseTriggerable("rel", ["unit"], properties={"who": "us"}))
    refused = None
    with h.expect_failure(ValueError):
        refused = h.trigger()
    assert "release should be set" in h.request(refused).error
    request = h.trigger(set_props={"release": "7"}, sourcestamps=[{"codebase": "", "revision": "r"}])
    built = request.buildset
    assert built.properties == {"who": "us", "release": "7", "tag": "v7", "scheduler": "rel"}
    assert (built.sources["tag"], built.sources["release"], built.revision) == ("Release", "Trigger", "r")
    h.finish(built, "failure")
    assert h.state["outcome"] == 2


def test_a_form_with_hooks_of_its_own(harness):
    h = harness(lambda: of_people.NamedForceScheduler("force", TWO))
    assert "write your name" in h.force(form={"issue": "#7"}).error
    assert "there is no revision yet" in h.force(owner="ann", form={"issue": "#7"}).error
    h.change(revision="r9")
    assert "is not an issue" in h.force(owner="ann", form={"issue": "seven"}).error
    assert "required" in h.force(owner="ann").error
    built = h.force(owner="ann", form={"issue": "#7"}).buildset
    assert (built.properties["issue"], built.properties["owner"], built.revision) == (7, "ann", "r9")
    assert (built.builders, built.sourcestamps[0].branch) == (("unit",), "main")
    assert h.force(owner="ann", form={"issue": "7"}, builderNames=["lint"]).buildset.builders == ("lint",)


def test_a_form_s_older_arguments_make_its_one_codebase(harness):
    h = harness(lambda: of_people.OldForceScheduler("v1", TWO))
    built = h.force(owner="ann").buildset
    assert built.sourcestamps[0].branch == "v1" and built.builders == ("unit", "lint")


# -- arguments by checkConfig and reconfigService


def test_services_take_their_arguments_by_methods(harness):
    h = harness(lambda: of_people.ServiceScheduler(name="svc", builderNames=["unit"], every=2, properties={"a": 1}))
    for revision in "abc":
        h.change(revision=revision)
    assert [(b.changes, b.properties["a"]) for b in h.buildsets] == [((1, 2), 1)]
    h.fail_over()
    h.change(revision="d")
    assert [b.changes for b in h.buildsets] == [(1, 2), (3, 4)]


def test_services_on_a_standard_scheduler(harness):
    h = harness(
        lambda: of_people.ServicedBranchScheduler(name="svc", builderNames=["unit"], branch="main", team="core")
    )
    h.change(branch="main")
    assert h.buildsets[0].properties["team"] == "core"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: of_people.ServiceScheduler(name="s", builderNames=["unit"], every=0),
            "every: expected 1 or more, got 0",
        ),
        (
            lambda: of_people.ServicedBranchScheduler(name="s", builderNames=["unit"], branch="main"),
            "team: it is required",
        ),
        (
            lambda: of_people.ServicedBranchScheduler(name="s", builderNames=["unit"], team="a"),
            "branch: it is required",
        ),
        (lambda: of_people.ServiceScheduler(name="", builderNames=["unit"]), "name: expected a non-empty text"),
    ],
)
def test_what_is_wrong_with_arguments_is_said_when_it_is_made(make, said):
    with pytest.raises(ValueError, match=said):
        make()
