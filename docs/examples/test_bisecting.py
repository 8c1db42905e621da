"""Run it with pytest in this folder: the harness has the master, the database and the time."""

import pytest
from bisecting import Bisecting
from locum.schedulers import SingleBranchScheduler
from locum.schedulers.testing import Buildset, CannotBeMade, SchedulerHarness


def whodunit(tell: str = "notify") -> Bisecting:
    return Bisecting("whodunit", ["unit"], upstream="quick", tell=[tell])


def quick() -> SingleBranchScheduler:
    return SingleBranchScheduler("quick", ["unit"], branch="main", treeStableTimer="5m")


def bisecting() -> SchedulerHarness:
    return SchedulerHarness(whodunit, quick, builders=["unit", "notify", "mail"])


def broken(harness: SchedulerHarness, count: int) -> None:
    """So many changes are built together, and the build fails."""
    first = len(harness["quick"].buildsets) + 1
    for number in range(first, first + count):
        harness.change(who=f"author {number}", branch="main", revision=f"r{number}")
    harness.advance("5m")
    harness.finish(harness["quick"].buildsets[-1], "failure")


def go_on(harness: SchedulerHarness, guilty: int) -> Buildset:
    """The next build that bisects ends as it must if that change broke it."""
    probe = next(one for one in harness.buildsets if not one.complete and "unit" in one.builders)
    harness.finish(probe, "failure" if probe.changes[0] >= guilty else "success")
    return probe


@pytest.mark.parametrize("guilty", range(1, 8))
def test_the_guilty_change_is_found_whichever_it_is(guilty: int) -> None:
    with bisecting() as harness:
        broken(harness, 7)
        probes = 0
        while harness.state["hunts"]:
            assert (probe := go_on(harness, guilty)).revision == f"r{probe.changes[0]}"
            probes += 1
        told = harness.buildsets[-1]
        assert told.builders == ("notify",) and told.properties["suspects"] == [guilty]
        assert told.properties["author"] == f"author {guilty}" and told.revision == f"r{guilty}"
        assert probes <= 3
        harness.finish(told)
        assert len(harness.buildsets) == probes + 1


def test_a_single_change_needs_no_search_and_a_tree_that_was_red_starts_none() -> None:
    with bisecting() as harness:
        broken(harness, 1)
        assert [one.builders for one in harness.buildsets] == [("notify",)]
        broken(harness, 3)
        assert len(harness.buildsets) == 1


def test_a_build_that_tells_nothing_leaves_the_suspects() -> None:
    with bisecting() as harness:
        broken(harness, 4)
        harness.finish(harness.buildsets[0], "cancelled")
        assert harness.buildsets[1].properties["suspects"] == [1, 2, 3, 4] and harness.state["hunts"] == {}


def test_a_takeover_in_the_middle_of_a_search() -> None:
    with bisecting() as harness:
        broken(harness, 4)
        harness.kill()
        go_on(harness, 3)
        harness.take_over()
        harness.fail_over()
        go_on(harness, 3)
        assert harness.buildsets[-1].properties["suspects"] == [3]
        assert len(harness.buildsets) == 3


def test_a_failed_commit_searches_once() -> None:
    for fate in ("fail_next_commit", "lose_next_answer"):
        with bisecting() as harness:
            broken(harness, 4)
            for _ in range(2):
                getattr(harness, fate)()
                go_on(harness, 1)
            assert [one.properties.get("suspects") for one in harness.buildsets] == [None, None, [1]]


def test_a_reconfiguration_in_the_middle_of_a_search_tells_whom_it_says_now() -> None:
    with bisecting() as harness:
        broken(harness, 2)
        harness.reconfigure(lambda: whodunit(tell="mail"))
        go_on(harness, 2)
        assert harness.buildsets[-1].builders == ("mail",) and harness.buildsets[-1].properties["suspects"] == [2]


def test_a_build_that_ended_while_it_was_disabled_counts() -> None:
    with bisecting() as harness:
        broken(harness, 2)
        harness.disable()
        go_on(harness, 1)
        harness.enable()
        assert harness.buildsets[-1].properties["suspects"] == [1]


def test_an_upstream_or_a_builder_that_is_not_there_is_told() -> None:
    with pytest.raises(CannotBeMade, match="there is no scheduler 'quick'"):
        SchedulerHarness(whodunit)
    with pytest.raises(CannotBeMade, match="there is no builder 'nobody'"):
        SchedulerHarness(lambda: whodunit("nobody"), quick)
