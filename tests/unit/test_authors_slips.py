"""What an author's code hands over by mistake: the turn's error says what was expected and how to mend it."""

import pytest
from locum.schedulers import BaseScheduler
from locum.schedulers.testing import HookFailed, SchedulerHarness


class Slip(BaseScheduler):
    def __init__(self, name, builderNames, does):
        super().__init__(name, builderNames)
        self.does = does

    async def activate(self):
        await super().activate()
        await self.startConsumingChanges()

    async def gotChange(self, change, important):
        await self.does(self, change)


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (lambda s, c: s.addBuildsetForChanges(changeids=[c]), "changeids: expected change numbers, got Change.*; write change.number"),
        (lambda s, c: s.addBuildsetForChanges(changeids=c.number), "changeids: expected a list of change numbers, got 1"),
        (lambda s, c: s.addBuildsetForChanges(changeids="1"), "changeids: expected a list of change numbers, got '1'"),
        (lambda s, c: s.addBuildsetForChanges(changeids=["1"]), "changeids: expected change numbers, got '1'"),
        (lambda s, c: s.classifyChanges([c.number]), r"classifyChanges: expected \{change number: important\}, got \[1\]"),
        (lambda s, c: s.flushChangeClassifications(c.number), "changeids: expected a list of change numbers, got 1"),
        (lambda s, c: s.master.db, "has no 'db' .*replacing 'buildbot.' by 'locum.schedulers.compat.'"),
        (lambda s, c: s.master.cancel(1), "a scheduler's master has no 'cancel'"),
    ],
)  # fmt: skip
def test_what_was_handed_over_is_said_with_what_was_expected(does, said):
    with SchedulerHarness(lambda: Slip("slip", ["unit"], does)) as harness:
        with pytest.raises(HookFailed, match=said):
            harness.change()
        assert harness.buildsets == [] and harness.pending == {}
        harness.stop()
