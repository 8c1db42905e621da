"""The torture chamber's checker, on changes, ticks, tasks and the end: it sees every way in which these can be wrong."""

import dataclasses
import json

import pytest
from locum.tests.torture import checker, checker_reading
from locum.tests.torture import checker_rows as rows
from locum.tests.torture.checker_expected import Rule, wants
from locum.tests.torture.checker_story import (
    ENTRIES,
    OTHER,
    PERIOD,
    STOPPING,
    T0,
    Story,
    also,
    altered,
    at,
    retold,
    right,
    told,
    with_rows,
    without,
)
from locum.tests.torture.history import (
    ChangeAnswered,
    ChangeAsked,
    Configured,
    Events,
    FaultBegan,
    Folder,
    Leftovers,
    MasterEnded,
    OrderAnswered,
    OrderAsked,
    Resources,
    Seen,
)

ID = {name: number for number, name in enumerate(ENTRIES, 1)}


@pytest.fixture(scope="module")
def good():
    return right()


def broken(h):
    """{invariant: all that it said}"""
    found = {}
    for one in checker.judged(h):
        found[one.invariant] = f"{found.get(one.invariant, '')}{one.what}\n"
    return found


def of(name):
    return lambda row: row.scheduler_id == ID[name]


def number(n):
    return lambda row: row.number == n


def same(row):
    return lambda other: other == row


def set_state(h, name, key, value):
    return altered(
        h, "scheduler_state", lambda s: s.scheduler_id == ID[name] and s.key == key, value_json=json.dumps(value)
    )


# -- changes that are kept


def test_an_acknowledged_change_that_is_lost_or_has_another_number(good):
    assert "was acknowledged, and is lost" in broken(without(good, "changes", number(5)))["every_change_is_kept_once"]
    wrong = retold(good, ChangeAnswered, lambda e: e.request_id == "ann-5", number=4)
    assert "told to be number 4, and is 5" in broken(wrong)["every_change_is_kept_once"]


def test_a_change_that_is_there_twice_or_unasked(good):
    twice = also(good, "changes", dataclasses.replace(good.changes[5], number=6))
    assert "is there 2 times" in broken(twice)["every_change_is_kept_once"]
    unasked = also(good, "changes", dataclasses.replace(good.changes[5], number=6, request_id="x", branch="z"))
    assert "nobody asked for it" in broken(unasked)["every_change_is_kept_once"]


def test_a_change_that_was_not_acknowledged_may_be_there_or_not(good):
    maybe = told(good, ChangeAsked(62, "bob-1", "bob", {}))
    assert broken(maybe) == {}
    there = also(maybe, "changes", rows.Change(6, "bob-1", at(62), "z", None, "[]"))
    there = altered(there, "counters", lambda c: c.name == "changes", value=6)
    assert broken(there) == {}


def test_numbers_with_a_gap_out_of_order_or_beyond_the_counter(good):
    gap = altered(good, "changes", number(5), number=7)
    assert "after change 4 comes 7" in broken(gap)["changes_are_numbered_in_order"]
    swapped = altered(altered(good, "changes", number(1), request_id="ann-2"), "changes", number(2), request_id="ann-1")
    assert "though ann had 2 before" in broken(swapped)["changes_are_numbered_in_order"]
    behind = altered(good, "counters", lambda c: c.name == "changes", value=4)
    assert "its counter says 4" in broken(behind)["changes_are_numbered_in_order"]


# -- changes that make buildsets

ONCE = "every_change_makes_its_buildset_once"


@pytest.mark.parametrize("name", ["quick", "stable", "count", "gather", "toggle"])
def test_a_change_that_is_lost_or_doubled(good, name):
    first, second = good.buildsets[ID[name]][:2]
    lost = without(good, "buildset_changes", lambda r: r.buildset_id == first.id)
    assert f"{name}: change 1 (ann-1, branch main) is lost" in broken(lost)[ONCE]
    doubled = also(good, "buildset_changes", rows.BuildsetChange(second.id, 1))
    assert "change 1 (ann-1, branch main) is in 2 buildsets" in broken(doubled)[ONCE]


def test_a_change_that_is_not_for_it_or_from_before_it_began(good):
    first = good.buildsets[ID["quick"]][0]
    other = altered(good, "buildset_changes", lambda r: r.buildset_id == first.id, change_number=3)
    assert "change 3 (ann-3, branch other) is not for it" in broken(other)[ONCE]
    late = altered(good, "schedulers", lambda s: s.name == "quick", change_start=1)
    assert "came before it began to consume" in broken(late)[ONCE]
    never = altered(good, "schedulers", lambda s: s.name == "quick", change_start=None)
    assert "came before it began to consume" in broken(never)[ONCE]


def test_a_change_that_is_served_and_skipped(good):
    last = good.buildsets[ID["toggle"]][-2]
    wrong = also(good, "buildset_changes", rows.BuildsetChange(last.id, 4))
    assert "and on record as skipped" in broken(wrong)[ONCE]


def test_a_change_that_nobody_came_to(good):
    wrong = altered(good, "schedulers", lambda s: s.name == "quick", change_cursor=4)
    wrong = without(wrong, "buildset_changes", same(rows.BuildsetChange(good.buildsets[1][-1].id, 5)))
    assert "was not served until the end; its cursor is at 4" in broken(wrong)[ONCE]
    late = altered(wrong, "changes", number(5), received_at=at(STOPPING - 1))
    assert ONCE not in broken(late)
    disabled = altered(wrong, "schedulers", lambda s: s.name == "quick", enabled=False)
    assert ONCE not in broken(disabled)


def test_changes_that_wait_or_have_failed_are_not_lost(good):
    def unbuilt(h, name, n):
        ids = [b.id for b in h.buildsets[ID[name]]]
        return without(h, "buildset_changes", lambda r: r.buildset_id in ids and r.change_number == n)

    classified = also(unbuilt(good, "stable", 5), "classifications", rows.Classification(ID["stable"], 5, True))
    assert ONCE not in broken(classified)
    assert "changes [5] wait, and no timer is set" in broken(classified)["what_waits_has_an_alarm"]
    unimportant = altered(classified, "classifications", of("stable"), important=False)
    armed = also(classified, "timers", rows.Timer(ID["stable"], "stable", at(STOPPING + 1)))
    assert "what_waits_has_an_alarm" not in broken(unimportant) | broken(armed)

    in_state = set_state(unbuilt(good, "gather", 5), "gather", "waiting", [5])
    assert ONCE not in broken(in_state)
    assert "wait in its state, and no timer is set" in broken(in_state)["what_waits_has_an_alarm"]

    failed = also(
        unbuilt(good, "quick", 5), "failures", rows.Failure(ID["quick"], "change:5", 1, at(80), "RuntimeError")
    )
    assert ONCE not in broken(failed)
    assert "change:5 is waiting for another try" in broken(failed)["nothing_is_left_to_do"]


def test_what_two_files_say_differently_is_expected_of_neither(good):
    entry = {"name": "quick", "builderNames": ["unit"], "type": "SingleBranchScheduler", "branch": "other"}
    both = told(good, Configured(20, "m2", 1, {"quick": entry}, {}))
    lost = without(both, "buildset_changes", lambda r: r.buildset_id == good.buildsets[1][1].id)
    assert ONCE not in broken(lost)


def test_buildsets_out_of_the_order_of_changes(good):
    first, second = good.buildsets[ID["quick"]][:2]
    wrong = altered(good, "buildsets", lambda b: b.id in (first.id, second.id), turn=lambda b: 5 - b.turn)
    assert "has change 1, 2 was in" in broken(wrong)["buildsets_follow_the_order_of_changes"]


def test_two_changes_in_one_buildset_of_a_scheduler_that_waits_for_nothing(good):
    first, second = good.buildsets[ID["quick"]][:2]
    wrong = altered(good, "buildset_changes", lambda r: r.buildset_id == second.id, buildset_id=first.id)
    assert "has changes [1, 2]" in broken(wrong)["at_once_means_one_change_each"]


def test_skipped_ranges_that_overlap_miscount_or_come_from_nowhere(good):
    name = "skipped_ranges_are_of_a_disabling"
    (skip,) = good.skipped(ID["toggle"], "changes")
    assert "4 was on record before" in broken(also(good, "skips", dataclasses.replace(skip, id=99, first=4)))[name]
    assert "7 are counted" in broken(altered(good, "skips", same(skip), count=7))[name]
    assert "nobody enabled it then" in broken(altered(good, "skips", same(skip), at=at(20)))[name]


# -- buildsets that follow others, and forces


def test_a_finished_buildset_that_is_lost_doubled_invented_or_out_of_order(good):
    name = "every_finished_buildset_is_followed_once"
    first, second = good.buildsets[ID["after"]][:2]
    lost = without(good, "buildsets", same(second))
    assert "is lost" in broken(lost)[name]
    doubled = altered(good, "buildsets", same(second), external_id=first.external_id)
    assert "2 buildsets after-" in broken(doubled)[name]
    invented = altered(good, "buildsets", same(second), external_id="after-999")
    assert "which has not completed" in broken(invented)[name]
    swapped = altered(
        altered(good, "buildsets", same(first), turn=1000), "schedulers", lambda s: s.name == "after", turns=1000
    )
    assert "after number" in broken(swapped)[name]
    place = next(b for b in good.rows.buildsets if f"after-{b.id}" == second.external_id).finished_number
    skip = rows.Skip(98, ID["after"], "finished", place, place, 1, "disabled", at(50), None, None)
    assert name not in broken(also(lost, "skips", skip))


def test_a_force_that_is_doubled_or_lost(good):
    (forced,) = (b for b in good.rows.buildsets if b.reason == "force-1")
    twice = also(good, "buildsets", dataclasses.replace(forced, id=998))
    assert "force force-1 made the buildsets" in broken(twice)["every_force_once"]
    lost = without(good, "buildsets", same(forced))
    assert "was answered with buildset" in broken(lost)["every_force_once"]
    unknown = told(
        good, OrderAsked(66, "o9", "force", "quick", {"key": "k"}), OrderAnswered(67, "o9", "unknown", "", {})
    )
    assert broken(unknown) == {}
    silent = with_rows(lost, messages=good.rows.messages)
    silent = dataclasses.replace(silent, truth=Events(tuple(e for e in good.truth.all if getattr(e, "id", "") != "o3")))
    assert "message force-1 was answered" in broken(silent)["every_force_once"]


# -- ticks

TICKS = "every_tick_is_accounted_for"


@pytest.mark.parametrize("name", ["all", "one", "none"])
def test_a_tick_that_is_lost_or_doubled_or_never_was(good, name):
    ticks = [b for b in good.buildsets[ID[name]] if b.due_at is not None]
    lost = without(good, "buildsets", same(ticks[2]))
    assert "was due, and there is neither a buildset nor a recorded skip" in broken(lost)[TICKS]
    doubled = also(good, "buildsets", dataclasses.replace(ticks[2], id=997))
    assert "has 2 buildsets" in broken(doubled)[TICKS]
    invented = altered(good, "buildsets", same(ticks[2]), due_at=ticks[2].due_at + 3)
    assert "which was never due" in broken(invented)[TICKS] + str(checker.judged(invented))
    beyond = also(good, "buildsets", dataclasses.replace(ticks[-1], id=996, due_at=ticks[-1].due_at + PERIOD * 10**6))
    assert "which was never due" in broken(beyond)[TICKS]


def test_a_tick_that_is_served_and_skipped_or_skipped_twice(good):
    (skip,) = good.skipped(ID["one"], "ticks")
    served = altered(good, "skips", same(skip), last=skip.last + PERIOD * 10**6, count=2)
    assert "has 1 buildsets, and 2 records in all" in broken(served)[TICKS]
    twice = also(good, "skips", dataclasses.replace(skip, id=77))
    assert "has 0 buildsets, and 2 records in all" in broken(twice)[TICKS]
    assert "neither a buildset nor" in broken(without(good, "skips", same(skip)))[TICKS]


def test_a_skip_that_miscounts_or_is_of_no_due_time(good):
    (skip,) = good.skipped(ID["one"], "ticks")
    name = "skips_count_what_they_skip"
    assert "5 times skipped" in broken(altered(good, "skips", same(skip), count=5))[name]
    off = altered(good, "skips", same(skip), first=skip.first + 7, last=skip.last + 7)
    assert "which was never due" in broken(off)[name]
    long = altered(good, "skips", same(skip), last=skip.last + 7)
    assert "but there are" in broken(long)[name]


def test_skips_for_reasons_that_the_policy_does_not_give(good):
    name = "skips_are_as_the_policy_says"
    (one,), (none,) = good.skipped(ID["one"], "ticks"), good.skipped(ID["none"], "ticks")
    for skip, reason, words in (
        (one, none.reason, "its policy is another"),
        (none, one.reason, "its policy is another"),
        (one, "catch_up_limit: only the newest 100 of ...", "its policy is another"),
        (one, "missed: older than grace", "its policy has no grace"),
        (one, "it was disabled", "nobody enabled it after that"),
        (one, "the rule was changed before it could be served", "its rule never changed"),
        (one, "because", "no reason known"),
    ):
        assert words in broken(altered(good, "skips", same(skip), reason=reason))[name], reason
    assert "no newer one was served with that" in broken(altered(good, "skips", same(one), turn=one.turn - 1))[name]
    alone = altered(good, "skips", same(none), turn=none.turn - 1)
    assert f"it came due when {OTHER} had it" in broken(alone)[name]


def test_a_skip_by_one_who_took_over_after_it_was_due_is_right(good):
    (none,) = good.skipped(ID["none"], "ticks")
    later = altered(good, "ownership", lambda o: o.scheduler_id == ID["none"] and o.term == 2, since=at(43))
    alone = altered(later, "skips", same(none), turn=none.turn - 1)
    assert "skips_are_as_the_policy_says" not in broken(alone)


def limited(limit, served, grace=None):
    """A Periodic whose first five ticks were due together: all but the newest ``served`` are skipped."""
    story = Story()
    entry = {"name": "p", "type": "Periodic", "builderNames": ["unit"], "periodicBuildTimer": 1, "catch_up": "all"}
    story.tell(Configured(-1, "m1", 0, {"p": entry | ({"grace": grace} if grace else {"catch_up_limit": limit})}, {}))
    story.add("masters", rows.Master("i", "m1", "stopped", 1, at(99), at(0), at(99), ""))
    story.add("builders", rows.Builder(1, "unit", None, "fail"))
    s = story.scheduler("p")
    story.owner(s, "i", 1)
    turn = story.turn(s)
    reason = "missed: older than grace" if grace else f"catch_up_limit: only the newest {limit} of the times"
    story.skip(s, "ticks", at(2), at(6 - served), 5 - served, reason, 6.5, turn)
    for n in range(served):
        story.buildset(s, 6.5, due_at=at(7 - served + n), turn=turn)
    story.state(s, "ticks", {"rule": ["periodic", 10**6], "anchor": at(2), "examined": at(6.5)})
    story.owner(s, None, 9, "it was stopped")
    return story.histories()


def test_the_limit_of_catching_up():
    assert broken(limited(2, 2)) == {}
    assert "only 1 were served with that" in broken(limited(2, 1))["skips_are_as_the_policy_says"]
    assert "none was served with that" in broken(limited(2, 0))["skips_are_as_the_policy_says"]


def test_the_grace_of_catching_up():
    assert broken(limited(None, 3, grace=2)) == {}
    assert "it was not older than that" in broken(limited(None, 3, grace=60))["skips_are_as_the_policy_says"]


def changed_rule():
    """Every 10 s from 2 on, and from 25 on every 7 s; what was due at 22 was cut off."""
    story = Story()
    story.add("masters", rows.Master("i", "m1", "stopped", 1, at(99), at(0), at(99), ""))
    story.add("builders", rows.Builder(1, "unit", None, "fail"))
    s = story.scheduler("p")
    story.owner(s, "i", 1)
    for due in (2, 12):
        story.buildset(s, due + 0.1, due_at=at(due))
    story.skip(s, "ticks", at(22), at(22), 1, "the rule was changed before it could be served", 25, story.turn(s))
    for due in (32, 39):
        story.buildset(s, due + 0.1, due_at=at(due))
    story.state(s, "former_rules", [{"rule": ["periodic", 10**7], "anchor": at(2), "until": at(25)}])
    story.state(s, "ticks", {"rule": ["periodic", 7 * 10**6], "anchor": at(25), "examined": at(40)})
    story.owner(s, None, 41, "it was stopped")
    return story.histories()


def test_a_rule_that_was_changed_is_accounted_for_up_to_then_and_from_then_on():
    h = changed_rule()
    assert broken(h) == {}
    for due in (12, 32):
        lost = without(h, "buildsets", lambda b, due=due: b.due_at == at(due))
        assert "was due, and there is neither" in broken(lost)[TICKS]
    old = altered(h, "buildsets", lambda b: b.due_at == at(39), due_at=at(42))
    assert "was due, and there is neither" in broken(old)[TICKS]


def test_rules_by_the_calendar_are_known():
    minutely = Rule(["nightly", "* * * * *", "UTC"], at(0))
    assert minutely.due(at(0), at(180)) == [at(60), at(120), at(180)]
    daily = Rule(["nightly", {"hour": 3, "minute": 30}, "UTC"], at(0))
    assert [(t - at(0)) % 86_400_000_000 for t in daily.due(at(0), at(3 * 86_400))] == [
        (3 * 60 + 30 - 8 * 60) % 1440 * 60_000_000
    ] * 3


def test_a_chain_of_own_alarms_that_is_broken_or_ends(good):
    name = "own_timers_fire_once_each"
    beats = good.buildsets[ID["beat"]]
    assert "it fired at" in broken(without(good, "buildsets", same(beats[3])))[name]
    doubled = altered(good, "buildsets", same(beats[3]), external_id=beats[2].external_id)
    assert "it fired at" in broken(doubled)[name]
    ended = without(good, "buildsets", lambda b: b.scheduler_id == ID["beat"] and b.submitted_at > at(60))
    assert "and then never again" in broken(ended)[name]


def test_a_rule_that_nobody_looked_at_until_the_end(good):
    old = {"rule": ["periodic", PERIOD * 10**6], "anchor": at(2), "examined": at(60)}
    wrong = set_state(good, "all", "ticks", old)
    assert "nobody looked at them until the end" in broken(wrong)["all_rules_go_on_to_the_end"]


# -- tasks


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "executing", "result": "success"},
        {"state": "stopping", "result": None},
        {"state": "executed", "result": "failure"},
        {"state": "failed", "result": "success"},
        {"state": "executed", "attempt": 0},
        {"state": "executed", "finished_at": None},
    ],
)
def test_a_task_in_a_state_or_with_a_result_that_is_not_allowed(good, fields):
    assert "task 1 is" in broken(altered(good, "tasks", lambda t: t.id == 1, **fields))["tasks_end_as_allowed"]


def test_a_task_that_never_ended(good):
    open_ = altered(good, "tasks", lambda t: t.id == 1, state="executing", result=None)
    assert "after it was asked" in broken(open_)["tasks_end_in_time"]
    late = altered(open_, "tasks", lambda t: t.id == 1, submitted_at=at(STOPPING - 1))
    given_back = altered(open_, "tasks", lambda t: t.id == 1, state="queued")
    assert "tasks_end_in_time" not in broken(late) | broken(given_back)


def test_commands_that_ran_too_often_never_for_nobody_or_elsewhere(good):
    name = "commands_run_once_for_each_attempt"

    def lines(*lines):
        return broken(dataclasses.replace(good, lines=lines)).get(name)

    twice = (*good.lines, good.lines[0])
    assert "ran 2 times in 1 attempts" in lines(*twice)
    assert "its command never ran" in lines(*good.lines[1:])
    assert "for task 12345, which is not there" in lines(*good.lines, f"12345 unit {at(20)}000")
    assert "ran as other" in lines(*good.lines, f"1 other {at(20)}000")
    assert "is 'half'" in lines(*good.lines, "half")


def test_a_task_that_was_repeated_although_it_must_not_be(good):
    name = "a_lost_task_is_repeated_only_if_it_may"
    again = altered(good, "tasks", lambda t: t.id == 1, attempt=2)
    assert name not in broken(again), "its first claim had no answer"
    twice = dataclasses.replace(again, lines=(*good.lines, good.lines[0]))
    step = next(s for s in good.rows.steps if s.task_id == 1)
    for wrong in (twice, also(again, "steps", dataclasses.replace(step, attempt=2))):
        assert "task 1 ran 2 times, though its builder says on_lost: fail" in broken(wrong)[name]
        assert name not in broken(altered(wrong, "builders", lambda b: True, on_lost="requeue"))
    assert "of attempt 4" in broken(altered(good, "steps", lambda s: s.task_id == 1, attempt=4))[name]


def test_more_tasks_at_once_than_allowed(good):
    few = altered(good, "builders", lambda b: True, max_parallel=1)
    assert "ran at once, and 1 may" in broken(few)["no_more_at_once_than_allowed"]


def test_a_buildset_that_is_not_as_its_tasks_are(good):
    name = "buildsets_complete_with_their_tasks"
    one = good.rows.buildsets[0]
    assert "counts 1 tasks" in broken(altered(good, "buildsets", same(one), tasks_left=1))[name]
    assert "tasks left" in broken(altered(good, "buildsets", same(one), completed_at=None))[name]
    assert "tasks left" in broken(altered(good, "buildsets", same(one), result=None))[name]
    failed = altered(good, "tasks", lambda t: t.id == one.id, state="failed", result="failure")
    assert "ended with success, its worst task with failure" in broken(failed)[name]
    assert "counts 0 tasks" in broken(altered(good, "tasks", lambda t: t.id == 1, state="queued", result=None))[name]


def test_a_buildset_without_a_task_for_one_of_its_builders(good):
    assert "has tasks of []" in broken(without(good, "tasks", lambda t: t.id == 1))["buildsets_ask_for_their_builders"]


def test_finished_buildsets_whose_numbers_have_a_gap_or_are_missing(good):
    name = "finished_buildsets_are_numbered_in_order"
    one = good.rows.buildsets[0]
    assert "have a gap" in broken(altered(good, "buildsets", same(one), finished_number=500))[name]
    assert "number None" in str(
        [b.what for b in checker.judged(altered(good, "buildsets", same(one), finished_number=None))]
    )
    assert "its counter says 3" in broken(altered(good, "counters", lambda c: c.name == "finished", value=3))[name]


# -- the end


def last_look(**fields):
    return lambda e: {**e.schedulers, "quick": {**e.schedulers["quick"], **fields}}


def test_a_scheduler_that_nobody_has_in_the_end(good):
    end = lambda e: e.at > T0 + STOPPING - 1  # noqa: E731
    for fields, words in (
        ({"incarnation": None}, "held by nobody"),
        ({"incarnation": "inc-1"}, "who was not up"),
        ({"enabled": False}, "is disabled"),
    ):
        wrong = retold(good, Seen, end, schedulers=last_look(**fields))
        assert words in broken(wrong)["everything_is_owned"], fields
    gone = retold(good, Seen, end, schedulers=lambda e: {k: v for k, v in e.schedulers.items() if k != "quick"})
    assert "has no row" in broken(gone)["everything_is_owned"]


def test_who_is_disabled_by_an_order_or_in_quarantine_after_a_block_need_not_be_owned(good):
    end = lambda e: e.at > T0 + STOPPING - 1  # noqa: E731
    wrong = retold(good, Seen, end, schedulers=last_look(enabled=False, incarnation=None))
    ordered = told(wrong, OrderAsked(60, "o8", "disable", "quick", {}))
    assert "everything_is_owned" not in broken(ordered)
    why = altered(wrong, "schedulers", lambda s: s.name == "quick", disabled_why="quarantined: it blocked")
    assert "everything_is_owned" in broken(why)
    block = FaultBegan(T0 + 20.0, 2, "block", "m1", {})
    assert "everything_is_owned" not in broken(dataclasses.replace(why, faults=Events((*why.faults.all, block))))


def test_something_that_is_left_to_do(good):
    name = "nothing_is_left_to_do"
    assert "timer tick was due 10.0 s" in broken(altered(good, "timers", of("all"), due=at(STOPPING - 10)))[name]
    assert (
        "has no answer" in broken(altered(good, "messages", lambda m: True, answered_at=None, answer_json=None))[name]
    )
    aside = rows.Failure(1, "timer:tick", 10, None, "RuntimeError")
    assert "timer:tick is set aside after 10" in broken(also(good, "failures", aside))[name]


@pytest.mark.parametrize("what", ["threads", "files", "children", "connections"])
def test_a_master_that_uses_ever_more(good, what):
    wrong = retold(good, Resources, lambda e: e.phase == "quiet" and e.master == "m2", **{what: 100})
    assert f"{what} before the load, and 100 after" in broken(wrong)["nothing_leaks"]


def test_something_that_outlives_the_masters(good):
    for fields, words in (
        ({"processes": ["77 sleep"]}, "a process outlived"),
        ({"sessions": ["locum:x idle"]}, "a session outlived"),
        ({"files": ["tmpx7"]}, "a file is left that nobody expects: tmpx7"),
    ):
        assert words in broken(retold(good, Leftovers, lambda e: True, **fields))["nothing_leaks"]


def test_a_master_that_does_not_end_as_it_should(good):
    name = "masters_end_in_order"
    assert "ended with 1 when" in broken(retold(good, MasterEnded, lambda e: e.pid == 12, exit_code=1))[name]
    assert (
        "is up, when all have ended"
        in broken(altered(good, "masters", lambda m: m.incarnation == OTHER, state="up"))[name]
    )
    wrong = altered(good, "schedulers", lambda s: s.name == "quick", incarnation=OTHER)
    assert "is still held by m2" in broken(wrong)[name]


def test_a_log_that_tells_of_a_defect(good, tmp_path):
    (tmp_path / "m1.log").write_text("all well\nUnhandled Error\nTraceback\n  File\n")
    read = checker.histories(Folder(tmp_path), "sqlite", good.rows)
    assert "m1.log:2: Unhandled Error" in broken(dataclasses.replace(good, logs=read.logs))["logs_tell_of_no_defect"]


# -- reading, and what entries mean


def test_rows_that_were_kept_are_read_again(good, tmp_path):
    checker_reading.save(good.rows, tmp_path / "rows.json")
    assert checker_reading.load(tmp_path / "rows.json") == good.rows


@pytest.mark.parametrize(
    ("entry", "change", "answer"),
    [
        ({"type": "SingleBranchScheduler", "branch": "main"}, {}, True),
        ({"type": "SingleBranchScheduler", "branch": "other"}, {}, None),
        ({"type": "SingleBranchScheduler", "branch": "main", "categories": ["docs"]}, {}, None),
        ({"type": "AnyBranchScheduler"}, {}, True),
        ({"type": "AnyBranchScheduler", "branches": ["a", "main"]}, {}, True),
        ({"type": "AnyBranchScheduler", "branches": ["a"]}, {}, None),
        ({"type": "AnyBranchScheduler", "categories": ["code"]}, {}, True),
        ({"type": "SingleBranchScheduler", "change_filter": {"category": "code", "branch": ["main"]}}, {}, True),
        ({"type": "SingleBranchScheduler", "change_filter": {"branch_re": "m.*", "files_re": "doc/"}}, {}, None),
        ({"type": "SingleBranchScheduler", "change_filter": {"branch_re": "m.*", "files_re": "src/"}}, {}, True),
        ({"type": "plugin.Important", "branch": "main"}, {}, True),
        ({"type": "plugin.Important", "branch": "main"}, {"files_json": '["doc/a"]'}, False),
        ({"type": "plugin.Important", "branch": "main", "onlyImportant": True}, {"files_json": '["doc/a"]'}, None),
        ({"type": "plugin.Counting"}, {"branch": None}, True),
        ({"type": "plugin.Counting", "branch": "two"}, {}, None),
    ],
)
def test_which_changes_an_entry_wants(entry, change, answer):
    given = {
        "number": 1,
        "request_id": "r",
        "received_at": 0,
        "branch": "main",
        "category": "code",
        "files_json": '["src/a"]',
    }
    assert wants(entry, rows.Change(**{**given, **change})) is answer


def test_a_condition_that_the_checker_does_not_know_is_an_error():
    change = rows.Change(1, "r", 0, "main", None, "[]")
    with pytest.raises(ValueError, match="teach it"):
        wants({"type": "SingleBranchScheduler", "change_filter": {"branch_not_eq": "x"}}, change)
