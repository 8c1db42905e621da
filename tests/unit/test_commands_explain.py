"""``locum explain``: every reason, on what real schedulers, turns and commands have left in a real database."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from locum.db import cancelling, changes, messages, orders, tasks
from locum.master.changes import validated
from locum.master.schedules import Schedules
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
from locum.schedulers.calendar import CALENDAR
from locum.schedulers.recurrence import ScheduleCron, ScheduleInterval

from ..contract.scene import joined, registered
from .test_commands_next import cluster, database_url, on_both, told  # noqa: F401 - fixtures


def ago(**span):
    return (datetime.now(UTC) - timedelta(**span)).replace(microsecond=0)


def single(**arguments):
    return lambda: SingleBranchScheduler("quick", ["unit"], **({"branch": "main"} | arguments))


@pytest.fixture
def verdict(told):  # noqa: F811
    """``verdict(number)``: what the only scheduler made of a change: (verdict, text, how)."""

    def of(number):
        said = told("explain", f"change:{number}", "--json")
        assert said.code == 0, said
        (one,) = said.json()["schedulers"]
        plain = told("explain", str(number)).out
        assert re.split(r",? 20\d\d-", one["text"])[0] in plain and (one["how"] == "recorded") == (
            f"[{one['how']}]" not in plain
        )
        return one["verdict"], one["text"], one["how"]

    return of


# -- changes: each reason ---------------------------------------------------------------------------------------------


@on_both
def test_a_change_that_started_something_tells_buildsets_and_tasks(cluster, told, verdict):  # noqa: F811
    b = cluster(single())
    number = b.change(branch="main", revision="abc")
    assert verdict(number) == ("started", "buildset 1 (unfinished)", "recorded")
    (one,) = told("explain", str(number), "--json").json()["schedulers"]
    (made,) = one["buildsets"]
    assert made["cause"] == {"kind": "change", "change": number} and made["term"] == 1
    assert "no master with the role 'tasks' is up" in made["tasks"][0]["text"]
    joined(b.db, "t1")
    said = told("explain", str(number)).out
    assert "made by scheduler 'quick' on master m1, in turn 2 under term 1" in said and "because change 1 came" in said
    assert "waits since" in said and "0 go before it, 0 of its builder run" in said and "role 'tasks'" not in said


def test_outcomes_tell_why_a_task_was_cancelled(cluster, told):  # noqa: F811
    b = cluster(single())
    number = b.change(branch="main")

    def cancel(conn):
        tasks.complete(conn, cancelling.cancel(conn, {}, {1: "quick: change 2 of the same branch is newer"}))

    b.db.write(cancel)
    said = told("explain", str(number)).out
    assert "buildset 1 (cancelled)" in said and "cancelled, " in said and "change 2 of the same branch is newer" in said


def test_outcomes_tell_into_which_task_one_was_collapsed(cluster, told):  # noqa: F811
    b = cluster(single())
    b.sql("UPDATE builders SET collapses = true")
    first, second = b.change(branch="main"), b.change(branch="main")
    joined(b.db, "t1")
    b.db.write(tasks.claim, "t1", b.builder_ids.values(), 5)
    assert "skipped, " in told("explain", str(first)).out and "collapsed into task 2" in told("explain", str(first)).out
    assert "executing on t1 since" in told("explain", str(second)).out


@pytest.mark.parametrize(
    ("make", "change", "said"),
    [
        (single(), {"branch": "dev"}, "its filter has branch='main', and the change has branch 'dev'"),
        (single(), {"branch": None}, "and the change has branch None"),
        (single(), {"branch": "main", "codebase": "lib"}, "its codebases are '', and the change is of 'lib'"),
        (single(categories=["a"]), {"branch": "main", "category": "b"}, "its filter has category=['a'], and the change has category 'b'"),
        (
            lambda: Nightly("n", ["unit"], hour=3, onlyIfChanged=True, branch="main"),
            *({"branch": "dev"}, "its filter has branch='main'"),
        ),
    ],
)  # fmt: skip
def test_a_change_that_the_filter_refused(cluster, verdict, make, change, said):  # noqa: F811
    b = cluster(make)
    number = b.change(**change)
    found = verdict(number)
    assert (found[0], found[2]) == ("refused", "recomputed") and said in found[1]
    assert "the position on record is" in found[1]  # not written yet: it is told all the same
    b.stop()
    assert "the position on record is" not in verdict(number)[1] and verdict(number)[0] == "refused"


def test_a_filter_is_told_as_it_was_when_the_change_came(cluster, verdict):  # noqa: F811
    b = cluster(single(branch="dev"))
    number = b.change(branch="main")
    b.reconfigure(single(branch="main"))
    later = b.change(branch="dev")
    b.stop()
    assert "branch='dev', and the change has branch 'main'" in verdict(number)[1]
    assert "branch='main', and the change has branch 'dev'" in verdict(later)[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"fileIsImportant": lambda change: False}, "so fileIsImportant refused it or said that it is unimportant"),
        (
            {"branch": None, "change_filter": ChangeFilter(filter_fn=lambda change: False, branch="main")},
            "so filter_fn refused it or said",
        ),
        (
            {"fileIsImportant": lambda change: False, "onlyImportant": True, "treeStableTimer": 60},
            "so fileIsImportant refused it or said that it is unimportant",
        ),
    ],
)
def test_a_change_that_code_refused_says_which_code_it_can_have_been(cluster, verdict, arguments, said):  # noqa: F811
    if "change_filter" in arguments:
        b = cluster(lambda: SingleBranchScheduler("quick", ["unit"], change_filter=arguments["change_filter"]))
    else:
        b = cluster(single(**arguments))
    number = b.change(branch="main")
    b.stop()
    found = verdict(number)
    assert (found[0], found[2]) == ("refused by its code", "recomputed") and said in found[1], found


@on_both
def test_a_change_waits_for_the_tree_stable_timer(cluster, verdict):  # noqa: F811
    b = cluster(single(treeStableTimer=600, fileIsImportant=lambda change: change.who == "ann"))
    unimportant = b.change(branch="main", who="bob")
    assert verdict(unimportant)[:2] == (
        *("waits for importance", "unimportant: it waits for an important change to come with"),
    )
    important = b.change(branch="main")
    assert verdict(important)[1].startswith("important; it waits for the tree-stable timer, ")
    assert verdict(unimportant)[1].startswith("unimportant; it waits for the tree-stable timer, ")
    b.advance(601)
    assert verdict(unimportant)[0] == verdict(important)[0] == "started"


def test_a_change_waits_for_the_next_time(cluster, verdict):  # noqa: F811
    important = lambda change: change.who == "ann"  # noqa: E731
    b = cluster(lambda: Nightly("n", ["unit"], hour=3, onlyIfChanged=True, fileIsImportant=important))
    number = b.change(who="bob")
    found = verdict(number)
    assert found[0] == "pending" and "unimportant; it waits for the next time, " in found[1]
    assert found[1].endswith("with onlyIfChanged, unimportant ones alone start nothing")
    other = b.change()
    assert "important; it waits for the next time" in verdict(other)[1]
    assert "start nothing" not in verdict(number)[1]


@on_both
def test_a_change_that_came_while_it_was_disabled_or_before_it_was_there(cluster, verdict, told):  # noqa: F811
    b = cluster(lambda: BaseScheduler("idle", ["unit"]))
    before = b.change(branch="main")
    b.close()
    c = cluster(single())
    c.disable("too noisy")
    during = c.change(branch="main")
    found = {one["scheduler"]: one for one in told("explain", str(during), "--json").json()["schedulers"]}
    assert found["quick"]["verdict"] == "disabled now" and "disabled (too noisy)" in found["quick"]["text"]
    c.enable()
    found = {one["scheduler"]: one for one in told("explain", str(during), "--json").json()["schedulers"]}
    assert (
        found["quick"]["verdict"] == "was disabled"
        and f"changes {during} to {during} came before" in found["quick"]["text"]
    )
    assert verdict(before)[:2] == ("before it began", f"it consumes changes from {before + 1} on")


class Flaky(SingleBranchScheduler):
    broken = True

    async def gotChange(self, change, important):
        if Flaky.broken:
            raise ValueError("it does not work")
        await super().gotChange(change, important)


@on_both
def test_a_change_that_failed_is_retried_set_aside_or_given_up_and_the_next_waits_behind_it(cluster, verdict):  # noqa: F811
    Flaky.broken = True
    b = cluster(lambda: Flaky("quick", ["unit"], branch="main"))
    first, second = b.change(branch="main"), b.change(branch="main")
    found = verdict(first)
    assert found[0] == "waiting for a retry" and "failed 1 times" in found[1] and "it does not work" in found[1]
    assert verdict(second)[0] == "behind a failure" and f"behind change:{first}" in verdict(second)[1]
    b.advance(86_400 * 2)
    assert verdict(first)[0] == "set aside" and f"--retry change:{first}" in verdict(first)[1]
    b.db.write(orders.discard_failure, "quick", f"change:{first}", "ann@host")
    assert verdict(first)[0] == "discarded" and "ann@host gave it up" in verdict(first)[1]


def test_a_change_that_nobody_has_read(cluster, verdict):  # noqa: F811
    b = cluster(single())
    given = validated({"who": "ann", "request_id": "unheard", "branch": "main"})
    number = b.db.write(changes.add, [given])["unheard"]
    assert verdict(number)[0] == "not read yet" and "master m1 holds it" in verdict(number)[1]
    b.die()
    assert verdict(number)[0] == "nobody holds it"


class Own(BaseScheduler):
    async def activate(self):
        await super().activate()
        await self.startConsumingChanges()

    async def gotChange(self, change, important):
        if change.branch == "main":
            await self.addBuildsetForSourceStamps(sourcestamps=[{"branch": "main"}], reason="unnamed")


@on_both
def test_what_an_authors_code_did_is_told_by_the_cause_of_its_buildsets(cluster, verdict):  # noqa: F811
    b = cluster(lambda: Own("own", ["unit"]))
    main, other = b.change(branch="main"), b.change(branch="dev")
    b.stop()
    assert verdict(main)[0] == "started"
    assert verdict(other) == (
        *("handled by its own code", "the code of Own has answered it, and asked for no buildset in that turn", "recorded"),
    )  # fmt: skip


def test_one_that_cancels_starts_nothing(cluster, verdict):  # noqa: F811
    b = cluster(lambda: OldBuildCanceller("old", [{"builders": ["unit"]}]))
    number = b.change(branch="main")
    b.stop()
    assert verdict(number)[0] == "cancels older tasks"


@on_both
def test_one_that_was_never_active_is_not_known(cluster, told):  # noqa: F811
    b = cluster(lambda: Periodic("often", ["unit"], periodicBuildTimer=600))
    number = b.change()
    said = told("explain", str(number), "--json").json()
    assert said["schedulers"] == [] and said["not_consuming"] == 1
    registered(b.db, "fresh")
    (one,) = told("explain", str(number), "--json").json()["schedulers"]
    assert (one["scheduler"], one["verdict"], one["how"]) == ("fresh", "not known", "not recorded")


def test_a_scheduler_that_is_gone_is_told_by_its_name(cluster, verdict):  # noqa: F811
    b = cluster(single())
    number = b.change(branch="main")
    b.die()
    b.sql("DELETE FROM schedulers")
    assert verdict(number)[0] == "started"


def test_what_ought_to_be_there_and_is_not_is_not_explained_away(cluster, verdict):  # noqa: F811
    b = cluster(single())
    number = b.change(branch="main")
    b.sql("DELETE FROM buildset_changes")
    assert verdict(number)[0] == "not known" and verdict(number)[2] == "not recorded"


def test_many_schedulers_are_bounded_and_one_can_be_named(cluster, told):  # noqa: F811
    b = cluster(single())
    number = b.change(branch="main")
    registered(b.db, *(f"s{n}" for n in range(70)))
    said = told("explain", str(number), "--json").json()
    assert len(said["schedulers"]) == 50 and said["left_out"] == 21 and said["schedulers"][0]["scheduler"] == "quick"
    assert len(told("explain", str(number), "--all", "--json").json()["schedulers"]) == 71
    one = told("explain", str(number), "--scheduler", "quick", "--json").json()
    assert len(one["schedulers"]) == 1 and one["held_by"]["master"] == "m1"
    assert "when it came, master m1 held it under term 1" in told("explain", str(number), "--scheduler", "quick").out


# -- times ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tick(told):  # noqa: F811
    """``tick(name, when)``: the reasons of a time: [(reason, text)]."""

    def of(name, when):
        said = told("explain", f"{name}@{when.isoformat()}", "--json")
        assert said.code == 0, said
        return [(one["reason"], one["text"]) for one in said.json()["reasons"]]

    return of


BEGAN = ago(hours=12).replace(minute=0, second=0)


def at(hours):
    return BEGAN + timedelta(hours=hours)


@pytest.fixture
def past(cluster):  # noqa: F811
    """``past(make)``: a bench that begins twelve hours ago, on a whole hour."""
    return lambda make, **options: cluster(make, at=BEGAN.isoformat(), **options)


def hourly(**arguments):
    return lambda: Periodic("often", ["unit"], **({"periodicBuildTimer": "1h"} | arguments))


def test_a_time_that_was_served_tells_by_whom_and_how_late(past, tick, told):  # noqa: F811
    b = past(hourly())
    b.to(3600)
    ((reason, text),) = tick("often", at(1))
    assert reason == "served" and "in turn 3 under term 1" in text and "on master m1" in text
    said = told("explain", f"tick:often@{at(1).isoformat()}").out
    assert "Every hour from" in said and "waits since" in said


def test_times_that_came_due_together(past, tick):
    b = past(hourly())
    b.die()
    b.to(3.5 * 3600)
    b.start()
    assert [reason for reason, _ in tick("often", at(3))] == ["served"]
    ((reason, text),) = tick("often", at(1))
    assert reason == "skipped" and "catch_up one: only the newest" in text and "with 2 times" in text
    assert "under term 2 on m2" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"catch_up": "none"}, "catch_up none: it came due while nobody could act"),
        ({"grace": "10m"}, "missed: older than grace"),
    ],
)
def test_a_time_that_was_too_late(past, tick, arguments, said):
    b = past(hourly(**arguments))
    b.die()
    b.to(1.5 * 3600)
    b.start()
    assert said in tick("often", at(1))[0][1]


@on_both
def test_a_time_at_which_nothing_had_changed(past, tick):
    b = past(lambda: Periodic("often", ["unit"], periodicBuildTimer="1h", onlyIfChanged=True))
    b.to(3600)
    assert "onlyIfChanged: nothing important has changed" in tick("often", at(1))[0][1]
    coming = tick("often", at(24 * 9))
    assert ("onlyIfChanged", "no important change waits: unless one comes, it is skipped") in coming
    b.change()
    assert ("onlyIfChanged", "1 important changes wait for it") in tick("often", at(24 * 9))


def test_a_time_whose_run_before_was_unfinished(past, tick):
    b = past(hourly(overlap="skip"))
    b.to(3600)
    assert "overlap skip: the run before it was unfinished" in tick("often", at(1))[0][1]
    b.reconfigure(hourly(overlap="queue"))
    b.to(2 * 3600)
    assert tick("often", at(2)) == [("waits", "overlap queue: it waits for buildset 1 to end")]
    b.finish(1)
    ((reason, text),) = tick("often", at(2))
    assert (reason == "served" and "because buildset" not in text) or "had completed" in text


def test_a_time_while_it_was_disabled(past, tick):
    b = past(hourly())
    b.disable("noisy")
    assert tick("often", at(1)) == [
        ("disabled now", "the scheduler is disabled: noisy; times until it is enabled again are skipped")
    ]
    b.to(1.5 * 3600)
    b.enable()
    ((reason, text),) = tick("often", at(1))
    assert reason == "skipped" and "it was disabled" in text


def test_a_time_that_nobody_served_yet(past, tick):
    b = past(hourly())
    b.die()
    ((reason, text),) = tick("often", at(1))
    assert reason == "nobody holds it" and text.startswith("it is late: nobody holds") and "catch_up one" in text
    ((reason, text),) = tick("often", at(24 * 9))
    assert reason == "nobody holds it" and text.startswith("it is to come")


def test_a_time_that_is_late_or_to_come(past, tick):
    past(hourly())
    assert tick("often", at(1))[0][0] == "late" and "master m1 has not served it yet" in tick("often", at(1))[0][1]
    assert tick("often", at(24 * 9))[0][0] == "to come"


def test_a_time_that_is_none(past, tick):
    past(hourly())
    ((reason, text),) = tick("often", at(1) + timedelta(minutes=5))
    assert reason == "not a time" and str(at(1).replace(tzinfo=None)) in text


def test_a_time_is_found_by_the_second_that_people_are_shown(cluster, tick):  # noqa: F811
    b = cluster(hourly(), at=(BEGAN + timedelta(milliseconds=400)).isoformat())
    b.to(3600)
    assert tick("often", at(1))[0][0] == "served"
    assert tick("often", at(1) + timedelta(milliseconds=100))[0][0] == "not a time"
    assert tick("often", at(1) - timedelta(seconds=1))[0][0] == "not a time"


def test_a_time_of_a_rule_that_was_changed_since(past, tick, told):  # noqa: F811
    b = past(hourly())
    b.to(1.5 * 3600)
    b.reconfigure(hourly(periodicBuildTimer="40m"))
    assert tick("often", at(1))[0][0] == "served"
    said = told("explain", f"often@{at(1).isoformat()}").out
    assert "Every hour from" in said
    assert tick("often", at(1.5))[0][0] == "not a time"
    assert "Every 40 minutes" in told("explain", f"often@{at(1.5 + 2 / 3).isoformat()}").out


def test_a_time_before_its_rule_began(past, tick):
    past(lambda: Nightly("nightly", ["unit"], minute=0))
    assert tick("nightly", at(-5))[0][0] == "before it began"


class FlakyTimed(Periodic):
    async def fire(self, nominal):
        raise ValueError("no fire")


def test_a_time_whose_serving_failed(past, tick):
    past(lambda: FlakyTimed("often", ["unit"], periodicBuildTimer="1h"))
    ((reason, text),) = tick("often", at(0))
    assert reason == "waiting for a retry" and "no fire" in text


class QuietTimed(Periodic):
    async def fire(self, nominal):
        pass


def test_a_time_that_an_authors_code_passed_over_is_not_known(past, tick):
    b = past(lambda: QuietTimed("often", ["unit"], periodicBuildTimer="1h"))
    b.to(3600)
    assert tick("often", at(1)) == [
        ("not known", "it has been dealt with, and its own code left neither a buildset nor a skip")
    ]


def test_a_jittered_time_is_late_only_after_its_start(past, tick):
    past(hourly(jitter="30m"))
    assert "delayed by its jitter to" in tick("often", at(24 * 9))[0][1]


@on_both
def test_who_held_it_then_and_what_people_did(past, told):  # noqa: F811
    b = past(hourly())
    b.to(3600)
    b.disable("noisy")
    said = told("explain", f"often@{at(1).isoformat()}", "--json").json()
    assert [entry["action"] for entry in said["audit"]] == ["disable"] and said["audit"][0]["who"] == "ann@host"
    assert "held_by" in said


def test_a_local_time_is_of_the_zone_that_was_asked_for(past, told):  # noqa: F811
    b = past(lambda: Nightly("nightly", ["unit"], minute=0))
    b.to(3600)
    tokyo = at(1) + timedelta(hours=9)
    said = told("explain", f"nightly@{tokyo:%Y-%m-%dT%H:%M}", "--timezone", "Asia/Tokyo", "--json").json()
    assert said["reasons"][0]["reason"] == "served"
    assert "+09:00" in told("explain", f"nightly@{tokyo:%Y-%m-%dT%H:%M}", "--timezone", "Asia/Tokyo").out


# -- buildsets --------------------------------------------------------------------------------------------------------


@pytest.fixture
def origin(told):  # noqa: F811
    """``origin(number)``: the cause of a buildset, and all that is said."""

    def of(number):
        said = told("explain", f"buildset:{number}", "--json")
        assert said.code == 0, said
        return said.json()["cause"], told("explain", f"buildset:{number}").out

    return of


@on_both
def test_a_buildset_of_a_change_and_one_of_that(cluster, origin):  # noqa: F811
    b = cluster(single())
    number = b.change(branch="main", revision="abc")
    cause, said = origin(1)
    assert cause == {"kind": "change", "change": number}
    assert "change 1 by ann, branch main, revision abc" in said and "master m1 held it under term 1" in said
    b.stop()
    c = cluster(lambda: Dependent("package", "quick", ["unit"]))
    c.finish(1)
    cause, said = origin(int(c.sql("SELECT max(id) FROM buildsets")[0][0]))
    assert cause == {"kind": "finished", "buildset": 1, "scheduler": "quick"}
    assert "it was made because buildset 1 of scheduler 'quick' had completed: success" in said


@on_both
def test_a_buildset_that_somebody_asked_for(cluster, origin):  # noqa: F811
    b = cluster(lambda: Triggerable("deploy", ["unit"]))
    body = {"waited_for": True, "parent_buildid": 7, "parent_relationship": "Triggered from"}
    sent = b.db.write(messages.send, "deploy", "k", "trigger", body, "task 7")
    b.message(sent.id, lambda scheduler: serve(scheduler, body))
    cause, said = origin(1)
    assert (cause["kind"], cause["message"], cause["made_by"]) == ("trigger", sent.id, "task 7")
    assert "because of a trigger of task 7, asked by task 7" in said and "task 7 asked for it and waits for it" in said
    b.sql("DELETE FROM messages")
    assert "which is not kept any more" in origin(1)[1]


async def serve(scheduler, body):
    await scheduler.trigger(**body)


def test_a_buildset_of_a_persons_force(cluster, origin):  # noqa: F811
    b = cluster(single())
    sent = b.db.write(messages.send, "quick", "k", "force", {"reason": "please", "owner": "ann"}, "ann@host")

    async def forced(scheduler):
        await scheduler.addBuildsetForSourceStampsWithDefaults(reason="please")

    b.message(sent.id, forced)
    cause, said = origin(1)
    assert cause["kind"] == "force" and cause["body"]["owner"] == "ann"
    assert "because of 'force' ('please'), asked by ann@host" in said


def test_a_buildset_of_a_time_and_of_background_code(cluster, origin):  # noqa: F811
    b = cluster(lambda: Periodic("often", ["unit"], periodicBuildTimer=600))
    cause, said = origin(1)
    assert cause["kind"] == "timer" and cause["due_at"] and re.search(r"for its time .*, \d.* after it", said)
    b.ask(lambda: b.scheduler.addBuildsetForSourceStampsWithDefaults(reason="own"))
    assert "background code of the scheduler itself" in origin(2)[1]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (single(treeStableTimer=60), "because its tree-stable timer fired"),
        (
            lambda: AnyBranchScheduler("quick", ["unit"], treeStableTimer=60),
            "because its tree-stable timer of branch 'main' fired",
        ),
    ],
)
def test_a_buildset_of_a_tree_stable_timer_is_told_as_next_tells_of_it(cluster, origin, make, said):  # noqa: F811
    b = cluster(make)
    b.change(branch="main")
    b.advance(120)
    assert said in origin(1)[1]


def test_a_buildset_that_there_is_not(told, db):  # noqa: F811
    assert told("explain", "buildset:9").code == 1


# -- schedulers -------------------------------------------------------------------------------------------------------


@pytest.fixture
def reasons(told):  # noqa: F811
    """``reasons(name)``: why a scheduler does nothing: {reason: texts}."""

    def of(name):
        said = told("explain", f"scheduler:{name}", "--json")
        assert said.code == 0, said
        found = {}
        for one in said.json().get("reasons", ()):
            found.setdefault(one["reason"], []).append(one["text"])
        return found

    return of


def test_a_scheduler_that_is_disabled_tells_by_whom_and_why(cluster, reasons, told):  # noqa: F811
    b = cluster(single())
    b.disable("too noisy")
    (text,) = reasons("quick")["disabled"]
    assert "by ann@host" in text and "too noisy" in text
    assert "ann@host: disable: too noisy" in told("explain", "quick").out


def test_a_scheduler_that_nobody_holds(cluster, reasons):  # noqa: F811
    b = cluster(single())
    b.die()
    found = reasons("quick")
    assert found["standing by"] == ["no master that is up has it in its configuration"] and found["nobody holds it"]


@on_both
def test_a_scheduler_that_cannot_be_activated_tells_why_and_when_it_is_tried_again(cluster, reasons):  # noqa: F811
    class Failing(BaseScheduler):
        def startActivity(self):
            raise ValueError("no key")

    cluster(lambda: Failing("failing", ["unit"]))
    found = reasons("failing")
    assert "no key" in found["nobody holds it"][0] and "master m1 could not activate it" in found["activation fails"][0]
    assert found["never active"]


def test_a_scheduler_whose_master_is_in_trouble(cluster, reasons):  # noqa: F811
    b = cluster(single())
    b.sql("UPDATE masters SET running = 'quick', lease_until = 0")
    found = reasons("quick")
    assert "the lease of m1 has ended" in found["lease ended"][0] and found["its code runs"]


@on_both
def test_a_scheduler_with_failures_and_requests(cluster, reasons):  # noqa: F811
    Flaky.broken = True
    b = cluster(lambda: Flaky("quick", ["unit"], branch="main"))
    b.change(branch="main")
    b.db.write(messages.send, "quick", "k", "force", {"reason": "now"}, "bob@host")
    found = reasons("quick")
    assert "later ones of its kind wait behind it" in found["waiting for a retry"][0]
    assert "'force' ('now'), asked by bob@host" in found["request waits"][0]
    b.advance(86_400 * 2)
    assert "was set aside after 10 tries" in reasons("quick")["set aside"][0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (single(), "it waits for a change of codebase '' that fits (branch='main')"),
        (lambda: Nightly("s", ["unit"], hour=3), "At 03:00 every day, UTC: its next time is "),
        (lambda: Nightly("s", ["unit"], hour=3, onlyIfChanged=True), "unless an important change comes, its next time will be skipped"),
        (lambda: NightlyTriggerable("s", ["unit"], hour=3), "nothing has been triggered since its last time"),
        (lambda: Dependent("s", "up", ["unit"]), "scheduler 'up', which is not registered"),
        (lambda: Triggerable("s", ["unit"]), "a Triggerable acts when it is asked"),
        (lambda: Periodic("s", ["unit"], periodicBuildTimer=600, overlap="skip"), "buildset 1 has not ended; 0 times wait"),
    ],
)  # fmt: skip
def test_what_a_scheduler_waits_for(cluster, reasons, make, said):  # noqa: F811
    cluster(make)
    assert any(said in text for text in reasons(make().name)["waits"]), reasons(make().name)


def test_a_condition_that_stands_in_two_arguments_is_said_once(cluster, reasons, verdict):  # noqa: F811
    both = {"branch": "main", "change_filter": ChangeFilter(branch="main")}
    b = cluster(lambda: Periodic("often", ["unit"], periodicBuildTimer=600, onlyIfChanged=True, **both))
    assert any(text.endswith("that fits (branch='main')") for text in reasons("often")["waits"])
    number = b.change(branch="other")
    assert verdict(number)[1].count("its filter has branch=") == 1


def test_what_is_on_a_schedulers_list(cluster, reasons):  # noqa: F811
    b = cluster(single(treeStableTimer=600, fileIsImportant=lambda change: change.who == "ann"))
    b.change(branch="main", who="bob")
    assert "1 unimportant change waits for an important one" in reasons("quick")["waits"]
    b.change(branch="main")
    assert any("2 changes (1 important) wait for the tree-stable timer" in text for text in reasons("quick")["waits"])


def test_an_upstream_that_is_disabled(cluster, reasons):  # noqa: F811
    b = cluster(single())
    b.disable()
    cluster(lambda: Dependent("package", "quick", ["unit"]))
    assert any(text.endswith("there is none yet; that scheduler is disabled") for text in reasons("package")["waits"])


# -- stored schedules -------------------------------------------------------------------------------------------------


@pytest.fixture
def api(database_url, cluster):  # noqa: F811
    cluster(lambda: BaseScheduler("quick", ["unit"]))
    made = Schedules.connect(database_url, "ann@host")
    yield made
    made.close()


@on_both
def test_times_of_a_stored_schedule(api, tick, told):  # noqa: F811
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    number = api.schedule(ScheduleInterval(soon, None, 1, "hours"), ["unit"], name="hourly")
    ((reason, text),) = tick("hourly", soon)
    assert reason == "nobody holds it" and "which serves it, is not there yet" in text
    assert tick(str(number), soon + timedelta(minutes=1))[0][0] == "not a time"
    api.pause(number, "holidays")
    ((reason, text),) = tick("schedule:hourly", soon)
    assert reason == "paused" and "holidays" in text and "catch_up one" in text
    assert told("explain", "hourly", "--json").json()["reasons"][0]["reason"] == "paused"


def test_a_stored_schedule_that_is_over(api, told, db):  # noqa: F811
    number = api.schedule(ScheduleCron("0 3 * * *"), ["unit"])
    from ..contract.scene import execute

    execute(db, "UPDATE schedules SET ended_at = 1, next_due = NULL")
    assert "it will never fire again" in told("explain", f"schedule:{number}").out


@on_both
def test_a_served_and_a_skipped_time_of_a_stored_schedule(tick, origin, told, db, database_url, tmp_path):  # noqa: F811
    from locum.schedulers.calendar import Calendar

    from .test_commands_next import Bench

    b = Bench(tmp_path / "x", lambda: Calendar(CALENDAR), at=datetime.now(UTC).isoformat(), url=database_url)
    made = Schedules.connect(database_url, "ann@host")
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    number = made.schedule(ScheduleInterval(soon, None, 1, "hours"), ["unit"], name="hourly", overlap="skip")
    made.close()
    try:
        b.start()
        assert tick("hourly", soon)[0][0] == "to come"
        b.advance(3 * 3600)
        ((reason, text),) = tick("hourly", soon)
        assert reason == "started" and "execution 1 (due): started" in text
        assert "overlap skip: the run before it was unfinished" in tick("hourly", soon + timedelta(hours=1))[0][1]
        cause, said = origin(1)
        assert cause["schedule"] == number and "for the time " in said and "of schedule 1 ('hourly')" in said
        assert "execution 1 is started" in told("explain", "schedule:hourly").out
    finally:
        b.close()


# -- forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["change:x"], 2, "expected a number, such as change:17"),
        (["17"], 1, "there is no change 17; the newest is 1"),
        (["buildset:17"], 1, "there is no buildset 17"),
        (["quikc"], 1, "did you mean 'quick'?; give change:NUMBER, buildset:NUMBER"),
        (["quick@soon"], 2, "expected a time such as 2026-03-01T02:00"),
        (["nobody@2026-11-01T03:00"], 1, "there is no scheduler named 'nobody'"),
        (["quick@2026-11-01T03:00"], 1, "is a SingleBranchScheduler, which has no times of its own"),
        (["schedule:nobody"], 1, "there is no schedule 'nobody'"),
        (["quick", "--scheduler", "quick"], 2, "--scheduler goes with a change only"),
        (["1", "--timezone", "Nowhere"], 2, "--timezone: unknown time zone"),
        (["2"], 1, "there is no change 2, but a buildset 2; say buildset:2"),
    ],
)
def test_what_is_not_clear_is_refused_with_what_would_be(cluster, told, words, code, said):  # noqa: F811
    b = cluster(single())
    b.change(branch="main")
    b.ask(lambda: b.scheduler.addBuildsetForSourceStampsWithDefaults(reason="another"))
    found = told("explain", *words)
    assert (found.code, found.out) == (code, "") and said in found.err, found


@on_both
def test_a_name_that_is_two_things_must_be_said_in_full(cluster, told, database_url):  # noqa: F811
    cluster(single())
    api = Schedules.connect(database_url, "ann@host")
    api.schedule(ScheduleCron("0 3 * * *"), ["unit"], name="quick")
    api.close()
    assert "say scheduler:quick or schedule:quick" in told("explain", "quick").err
    assert "say scheduler:quick@" in told("explain", "quick@2026-11-01T03:00").err
    assert told("explain", "scheduler:quick").code == 0 == told("explain", "schedule:quick").code
