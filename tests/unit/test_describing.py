"""What the database keeps of what a scheduler is: written when it is activated, and read without its code."""

import json
import re

import pytest
from locum.db import descriptions, messages
from locum.schedulers import (
    AnyBranchScheduler,
    BaseScheduler,
    ChangeFilter,
    Dependent,
    Nightly,
    NightlyTriggerable,
    OldBuildCanceller,
    Periodic,
    SingleBranchScheduler,
    Triggerable,
)
from locum.schedulers.changes import Change
from locum.schedulers.cron import CronRule
from locum.schedulers.describing import description_of, read_description
from locum.schedulers.grid import PeriodicRule


def described(b):
    return read_description(b.db.read(descriptions.newest)[b.id].about)


def single(**arguments):
    return lambda: SingleBranchScheduler("quick", ["unit"], **({"branch": "main"} | arguments))


class OwnChange(SingleBranchScheduler):
    async def gotChange(self, change, important):
        await super().gotChange(change, important)


class OwnRule(Nightly):
    def rule(self, anchor):
        return PeriodicRule(3_600_000_000, anchor)


@pytest.mark.parametrize(
    ("make", "reaction"),
    [
        (single(), "at once"),
        (single(treeStableTimer=30), "stable"),
        (lambda: AnyBranchScheduler("quick", ["unit"], treeStableTimer=30), "stable"),
        (lambda: Nightly("quick", ["unit"], hour=3, onlyIfChanged=True), "collects"),
        (lambda: OldBuildCanceller("quick", [{"builders": ["unit"]}]), "cancels"),
        (lambda: OwnChange("quick", ["unit"], branch="main"), "own"),
    ],
)
def test_what_becomes_of_a_change_is_known_of_our_own_classes_only(bench, make, reaction):
    assert described(bench(make)).judgement.reaction == reaction


@pytest.mark.parametrize(
    "make",
    [
        lambda: Nightly("quick", ["unit"], hour=3),
        lambda: Triggerable("quick", ["unit"]),
        lambda: Dependent("quick", "up", ["unit"]),
        lambda: NightlyTriggerable("quick", ["unit"], hour=3),
    ],
)
def test_one_that_consumes_no_changes_says_so(bench, make):
    assert described(bench(make)).judgement is None


def test_a_filter_judges_from_the_database_as_it_did_in_its_master(bench):
    given = {
        "branch_re": "(main|stable.*)",
        "project": ["a", "b"],
        "category_not_eq": "docs",
        "repository_re": re.compile("git:"),
        "property_eq": {"kind": [1, "x"]},
        "files_re": r".*\.py",
    }
    change_filter = ChangeFilter(**given)
    b = bench(lambda: SingleBranchScheduler("quick", ["unit"], change_filter=change_filter, codebases=["", "lib"]))
    judgement = described(b).judgement
    assert judgement.code == () and not judgement.judges_importance
    good = {
        **{"branch": "stable-1", "project": "b", "category": "code", "repository": "git://x", "codebase": "lib"},
        **{"properties": {"kind": 1}, "files": ("a.txt", "b.py")},
    }
    bad = {
        **{"branch": "dev", "project": "c", "category": "docs", "repository": "http://x", "codebase": "other"},
        **{"properties": {"kind": 2}, "files": ("a.txt",)},
    }
    assert judgement.refusals(Change(1, "ann", **good)) == []
    for name, value in bad.items():
        change = Change(1, "ann", **{**good, name: value})
        (said,) = judgement.refusals(change)
        assert name[:6] in said and (name == "codebase" or not change_filter.filter_change(change)), said


def test_what_only_code_can_tell_is_named(bench):
    ignoring_case = re.compile("MAIN", re.IGNORECASE)
    one = ChangeFilter(filter_fn=lambda change: True, project_fn=lambda project: True, branch_re=ignoring_case)
    b = bench(lambda: SingleBranchScheduler("quick", ["unit"], change_filter=one, fileIsImportant=lambda change: True))
    judgement = described(b).judgement
    assert judgement.code == ("filter_fn", "project_fn", "branch_re") and judgement.judges_importance
    assert judgement.refusals(Change(1, "ann", branch="dev")) == []


def test_a_branch_and_a_filter_of_a_timed_one_both_count(bench):
    one = ChangeFilter(category="code")
    b = bench(lambda: Nightly("quick", ["unit"], hour=3, onlyIfChanged=True, branch="main", change_filter=one))
    judgement = described(b).judgement
    assert judgement.code == ()
    assert len(judgement.refusals(Change(1, "ann", branch="dev", category="docs"))) == 2
    number, other = b.change(branch="main", category="code"), b.change(branch="main", category="docs")
    assert b.classified == {number: True} and other not in b.classified


def test_the_rule_of_a_timed_one_comes_back_as_it_was(bench):
    b = bench(
        lambda: Nightly("quick", ["unit"], cron="30 2 * * *", timezone="Europe/Berlin", jitter="5m", overlap="skip")
    )
    times = described(b).times
    assert times.rule(0) == CronRule.parse("30 2 * * *", "Europe/Berlin")
    assert (times.policy.jitter_us, times.overlap, times.is_ours) == (300_000_000, "skip", True)
    b = bench(lambda: Periodic("quick", ["unit"], periodicBuildTimer=90))
    assert described(b).times.rule(7) == PeriodicRule(90_000_000, 7)


def test_a_rule_of_an_authors_own_is_not_taken_for_the_one_it_overrides(bench):
    assert described(bench(lambda: OwnRule("quick", ["unit"], hour=3))).times.fingerprint is None


def test_it_is_written_again_only_when_it_differs_with_the_cursor_where_it_begins(bench):
    b = bench(single())
    first, second = b.change(branch="main"), b.change(branch="dev")
    b.fail_over()
    b.reconfigure(single())
    assert len(b.sql("SELECT * FROM descriptions")) == 1
    b.reconfigure(single(branch="dev"))
    third = b.change(branch="dev")
    b.reconfigure(single(branch="dev", treeStableTimer=5))
    rows = b.sql("SELECT change_cursor, term FROM descriptions ORDER BY turn")
    assert [row.change_cursor for row in rows] == [None, second, third]
    assert [row.term for row in rows] == sorted({row.term for row in rows})
    at = [b.db.read(descriptions.at_change, n, b.id)[b.id].about for n in (first, second, third, third + 1)]
    branches = [read_description(one).judgement.conditions[0][1] for one in at]
    assert branches == ["main", "main", "dev", "dev"] and [one["changes"]["reaction"] for one in at][-2:] == [
        *("at once", "stable"),
    ]


def test_a_turn_that_did_not_commit_describes_nothing(bench):
    class Failing(Periodic):
        async def activate(self):
            await super().activate()
            raise ValueError("no")

    b = bench(lambda: Failing("quick", ["unit"], periodicBuildTimer=90))
    assert b.sql("SELECT * FROM descriptions") == []


def test_an_author_who_breaks_what_is_described_breaks_nothing(bench):
    class Broken(SingleBranchScheduler):
        async def activate(self):
            await super().activate()
            self.codebases = None

    assert described(bench(lambda: Broken("quick", ["unit"], branch="main"))).judgement is None


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"class": "X", "changes": {}},
        {"class": "X", "changes": 5},
        {"class": "X", "times": {"catch_up": "one"}},
        {
            "class": "X",
            "times": {
                **{"catch_up": "some", "catch_up_limit": 1, "grace_us": None, "jitter_us": 0},
                **{"overlap": "allow", "served": "ours"},
            },
        },
    ],
)
def test_what_this_release_did_not_write_is_said_to_be_unreadable(value):
    with pytest.raises(ValueError, match=r"cannot be read by this release"):
        read_description(value)


def test_every_buildset_knows_the_cause_of_its_turn(bench):
    class Own(BaseScheduler):
        async def activate(self):
            await super().activate()
            await self.startConsumingChanges()
            await self.startConsumingBuildsets()
            await self.ask("activate")

        def ask(self, reason):
            return self.addBuildsetForSourceStamps(sourcestamps=[{"branch": "main"}], reason=reason)

        async def gotChange(self, change, important):
            await self.ask("change")
            await self.setTimer("soon", self.now())

        async def gotTimer(self, key, due):
            await self.ask("timer")

        async def gotBuildsetComplete(self, buildset):
            await self.ask("finished")

        async def background(self):
            await self.ask("background")

    b = bench(lambda: Own("quick", ["unit"]))
    b.change()
    b.finish(b.built[0].id)
    b.ask(b.scheduler.background)
    sent = b.db.write(messages.send, "quick", "k", "force", {}, "ann")

    async def answer(scheduler):
        await scheduler.ask("message")

    b.message(sent.id, answer)
    rows = dict(b.sql("SELECT reason, cause FROM buildsets ORDER BY id"))
    assert rows == {
        **{"activate": "activate", "change": "change:1", "timer": "timer:soon", "finished": "finished:1"},
        **{"background": None, "message": f"message:{sent.id}"},
    }


def test_a_description_is_json_that_sorts_its_keys():
    text = description_of(SingleBranchScheduler("quick", ["unit"], branch="main"), False)
    assert json.loads(text) == {"class": "SingleBranchScheduler"}
