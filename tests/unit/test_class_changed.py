"""A name in the file gets another class: what the former one had set and collected is built, or is on record."""

import pytest
from locum.schedulers import AnyBranchScheduler, BaseScheduler, Nightly, Periodic, SingleBranchScheduler, Triggerable
from locum.schedulers.testing import HookFailed, SchedulerHarness


def one_branch():
    return SingleBranchScheduler("s", ["unit"], change_filter={"branch_re": ".*"}, treeStableTimer=60)


def every_branch():
    return AnyBranchScheduler("s", ["unit"], treeStableTimer=60)


def nightly():
    return Nightly("s", ["unit"], hour=3)


def test_changes_that_waited_together_are_built_branch_by_branch():
    with SchedulerHarness(one_branch) as harness:
        harness.change(branch="main")
        harness.change(branch="other")
        harness.reconfigure(every_branch)
        harness.advance("61s")
        assert [(made.branch, made.changes) for made in harness.buildsets] == [("main", (1,)), ("other", (2,))]
        assert harness.timers == {} and harness.pending == {}


def test_changes_that_waited_apart_are_built_together():
    with SchedulerHarness(every_branch) as harness:
        harness.change(branch="main")
        harness.change(branch="other")
        harness.reconfigure(one_branch)
        harness.advance("61s")
        assert [made.changes for made in harness.buildsets] == [(1, 2)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (every_branch, nightly),
        (nightly, every_branch),
        (nightly, lambda: Triggerable("s", ["unit"])),
        (one_branch, lambda: Periodic("s", ["unit"], periodicBuildTimer="30h")),
    ],
)
def test_an_alarm_of_the_former_class_is_a_recorded_skip_and_no_failure(before, after):
    with SchedulerHarness(before) as harness:
        harness.change()
        foreign = set(harness.timers)
        harness.reconfigure(after)
        harness.advance("4h")
        assert harness.failures == [] and not foreign & set(harness.timers) - {"tick"}
        assert all("was of another class" in skip.reason for skip in harness.skips)


def test_who_sets_a_timer_without_the_hook_for_it_is_told_at_once():
    class Forgetful(BaseScheduler):
        async def activate(self):
            await super().activate()
            await self.setTimer("look", self.now())

    with pytest.raises(HookFailed, match="Forgetful sets timers, but does not define gotTimer"):
        SchedulerHarness(lambda: Forgetful("f", ["unit"]))
