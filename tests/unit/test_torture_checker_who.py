"""The torture chamber's checker, on owners, terms and state: it passes what is right, and sees every way to be wrong."""

import dataclasses
import json

import pytest
from locum.tests.torture import checker
from locum.tests.torture import checker_rows as rows
from locum.tests.torture.checker_story import (
    ENTRIES,
    FIRST,
    KILLED,
    OTHER,
    STOPPING,
    T0,
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
    Configured,
    Events,
    FaultBegan,
    FaultEnded,
    MasterEnded,
    OrderAnswered,
    OrderAsked,
    Seen,
)
from locum.tests.torture.invariants_timing import takeovers

QUICK, COUNT, TOGGLE = 1, 3, 10


@pytest.fixture(scope="module")
def good():
    return right()


def broken(h):
    """{invariant: what it said first}"""
    found = {}
    for one in checker.judged(h):
        found.setdefault(one.invariant, str(one))
    return found


def of(scheduler, term=None):
    return lambda row: row.scheduler_id == scheduler and term in (None, row.term)


def test_a_run_in_which_nothing_is_wrong_passes(good):
    assert checker.judged(good) == []


def test_what_is_broken_comes_with_its_moment_and_what_happened_around_it(good):
    wrong = also(good, "buildsets", dataclasses.replace(good.buildsets[TOGGLE][0], id=999, submitted_at=at(45)))
    found = [b for b in checker.judged(wrong) if b.invariant == "disabled_is_disabled"]
    assert found[0].at == T0 + 45
    assert "4.800 s after disabling it was acknowledged" in found[0].what
    assert any("ChangeAsked request_id=ann-4" in line for line in found[0].around)


def test_the_earliest_is_told_first_and_of_each_at_most_twenty(good):
    wrong = with_rows(good, buildset_changes=[], tasks=[])
    found = checker.judged(wrong)
    moments = [b.at for b in found if b.at is not None]
    assert moments == sorted(moments)
    assert sum(b.invariant == "buildsets_complete_with_their_tasks" for b in found) <= 21


def test_how_long_a_killed_masters_schedulers_had_no_owner(good):
    found = takeovers(good)
    assert {t.scheduler for t in found} == set(ENTRIES)
    assert {(t.fault, t.target, round(t.seconds, 3), t.alone) for t in found} == {("kill", "m1", 0.2, True)}


# -- P1: owners and terms


def test_a_term_that_is_missing_or_left_out(good):
    assert "term 2 is not on record, 3 is" in broken(without(good, "ownership", of(QUICK, 2)))["terms_only_rise_by_one"]


def test_a_row_that_is_another_than_the_last_on_record(good):
    for fields in ({"term": 2}, {"incarnation": FIRST}):
        wrong = altered(good, "schedulers", lambda s: s.id == QUICK, **fields)
        assert "terms_only_rise_by_one" in broken(wrong)


def test_a_scheduler_without_any_record(good):
    assert "nothing is on record" in broken(without(good, "ownership", of(QUICK)))["terms_only_rise_by_one"]


def test_a_term_that_began_before_the_one_before_it(good):
    wrong = altered(good, "ownership", of(QUICK, 2), since=at(0.5))
    assert "0.500 s before term 1" in broken(wrong)["history_goes_forward"]


def test_turns_that_fall_from_term_to_term_or_are_more_than_there_were(good):
    assert "history_goes_forward" in broken(altered(good, "ownership", of(QUICK, 1), turns=50))
    assert "but only" in broken(altered(good, "ownership", of(QUICK, 3), turns=500))["history_goes_forward"]


def test_two_owners_at_once_as_the_former_was_not_over(good):
    alive = altered(good, "masters", lambda m: m.incarnation == FIRST, state="stopped", ended_at=at(STOPPING + 4))
    assert "who had it, was over" in broken(alive)["only_what_is_free_is_taken"]
    up = altered(good, "masters", lambda m: m.incarnation == FIRST, state="up", ended_at=None)
    assert "had it and was not over" in broken(up)["only_what_is_free_is_taken"]


def test_a_person_may_move_it_from_one_that_is_well(good):
    owners = good.owners[QUICK]
    moved = [dataclasses.replace(owners[1], since=at(29.9), why="moved by ann"), *owners[2:]]
    others = [o for o in good.rows.ownership if o.scheduler_id != QUICK]
    assert broken(with_rows(good, ownership=[*others, owners[0], *moved])) == {}


def test_an_owner_that_was_never_there_not_yet_or_not_any_more(good):
    for incarnation, words in (
        ("nobody-knows", "no known incarnation"),
        (FIRST, "after its own end"),
        ("inc-1b", "before it had joined"),
    ):
        wrong = altered(good, "ownership", of(QUICK, 2), incarnation=incarnation)
        assert words in broken(wrong)["only_what_is_free_is_taken"]


def test_a_lease_that_was_taken_before_its_end(good):
    silent = altered(good, "masters", lambda m: m.incarnation == FIRST, ended_why="no heartbeat for 4.0 s")
    assert "1.900 s before its lease ended" in broken(silent)["nobody_is_buried_alive"]
    ended = altered(silent, "masters", lambda m: m.incarnation == FIRST, lease_until=at(KILLED))
    assert "nobody_is_buried_alive" not in broken(ended)


def test_a_living_process_that_is_said_to_have_ended(good):
    wrong = retold(good, MasterEnded, lambda e: e.pid == 11, at=T0 + 60.0)
    assert "said to have ended 29.9 s before it did" in broken(wrong)["nobody_is_buried_alive"]
    cut = dataclasses.replace(
        wrong, faults=Events((*wrong.faults.all, FaultBegan(T0 + 29.0, 2, "pg-terminate", "database", {})))
    )
    assert "nobody_is_buried_alive" not in broken(cut)

    def frozen(master, until):
        began, ended = (
            FaultBegan(T0 + 27.0, 2, "freeze-about", master, {}),
            FaultEnded(T0 + until, 2, "freeze-about", master, {}),
        )
        return broken(dataclasses.replace(wrong, faults=Events((*wrong.faults.all, began, ended))))

    assert "nobody_is_buried_alive" not in frozen("m1", KILLED), "it woke up, and gave up its lease"
    assert "nobody_is_buried_alive" in frozen("m1", KILLED + 2), "it was frozen still"
    assert "nobody_is_buried_alive" in frozen("m2", KILLED), "that was another one"


# -- P2: the fence


def last_of(good, scheduler, before_term_2=True):
    return [b for b in good.buildsets[scheduler] if b.term == 1][-1]


def test_a_buildset_of_a_term_that_had_ended_when_it_was_committed(good):
    late = last_of(good, QUICK)
    wrong = altered(good, "buildsets", lambda b: b.id == late.id, turn=late.turn + 1)
    assert "the term had ended after turn" in broken(wrong)["effects_carry_the_current_term"]


def test_a_buildset_of_a_term_that_began_later(good):
    wrong = altered(good, "ownership", of(QUICK, 2), turns=4)
    assert "the term began only after turn 4" in broken(wrong)["effects_carry_the_current_term"]


def test_a_buildset_by_another_than_the_terms_owner_or_under_none(good):
    one = last_of(good, QUICK)
    for fields, words in (
        ({"incarnation": OTHER}, f"the term was {FIRST}'s, not {OTHER}'s"),
        ({"term": 9}, "there was no such term"),
        ({"term": 3}, "the term was nobody's"),
        ({"term": None}, "does not say under which term"),
        ({"turn": None}, "does not say under which term"),
    ):
        wrong = altered(good, "buildsets", lambda b: b.id == one.id, **fields)
        assert words in broken(wrong)["effects_carry_the_current_term"], fields


def test_a_skip_or_a_state_of_a_term_that_had_ended(good):
    wrong = altered(good, "skips", lambda k: k.turn is not None, term=1)
    assert "skip" in broken(wrong)["effects_carry_the_current_term"]
    wrong = altered(good, "scheduler_state", of(COUNT), term=1)
    assert "state 'count'" in broken(wrong)["effects_carry_the_current_term"]


def test_turns_while_nobody_has_it(good):
    wrong = altered(good, "schedulers", lambda s: s.id == QUICK, turns=lambda s: s.turns + 1)
    assert "1 turns committed under term 3, when nobody had it" in broken(wrong)["nothing_while_nobody_holds_it"]


# -- disabling


def test_an_owner_of_what_is_disabled(good):
    wrong = altered(good, "ownership", of(TOGGLE, 3), incarnation=OTHER)
    assert "although disabled by ann" in broken(wrong)["disabled_is_disabled"]
    wrong = altered(good, "ownership", of(TOGGLE, 4), why="nobody held it")
    assert "disabled by ann, and then: nobody held it" in broken(wrong)["disabled_is_disabled"]


def test_a_turn_while_it_was_disabled(good):
    wrong = altered(good, "ownership", lambda o: o.scheduler_id == TOGGLE and o.term >= 4, turns=lambda o: o.turns + 1)
    assert "when nobody had it (disabled by ann)" in broken(wrong)["nothing_while_nobody_holds_it"]


def test_a_buildset_after_the_disabling_was_acknowledged(good):
    one = good.buildsets[TOGGLE][1]
    wrong = altered(good, "buildsets", lambda b: b.id == one.id, submitted_at=at(40.3))
    assert "0.100 s after disabling it was acknowledged" in broken(wrong)["disabled_is_disabled"]
    before = altered(good, "buildsets", lambda b: b.id == one.id, submitted_at=at(40.05))
    assert "disabled_is_disabled" not in broken(before)


def test_one_that_is_seen_enabled_or_held_or_at_work_while_disabled(good):
    seen = good.truth.of(Seen)[1].schedulers["toggle"]
    for fields in ({"enabled": True}, {"incarnation": OTHER}):
        wrong = told(good, Seen(46, T0 + 46.1, {"toggle": {**seen, **fields}}))
        assert "seen enabled or held" in broken(wrong)["disabled_is_disabled"]
    wrong = told(good, Seen(46, T0 + 46.1, {"toggle": {**seen, "turns": seen["turns"] + 1}}))
    assert "a turn was committed while it was disabled" in broken(wrong)["disabled_is_disabled"]


def test_an_enabling_whose_answer_was_lost_may_come_at_any_time(good):
    one = good.buildsets[TOGGLE][1]
    late = altered(good, "buildsets", lambda b: b.id == one.id, submitted_at=at(45.5))
    open_ = told(late, OrderAsked(39, "o0", "enable", "toggle", {}), OrderAnswered(39.5, "o0", "unknown", "", {}))
    assert "disabled_is_disabled" not in broken(open_)


# -- what somebody saw


def test_an_owner_a_term_or_turns_that_were_seen_and_are_not_on_record(good):
    seen = good.truth.of(Seen)[1].schedulers["quick"]
    for fields, words in (
        ({"incarnation": FIRST}, "which is"),
        ({"term": 77}, "is not on record"),
        ({"turns": 77}, "which is not when they were"),
        ({"turns": 0}, "which is not when they were"),
    ):
        wrong = told(good, Seen(46, T0 + 46.1, {"quick": {**seen, **fields}}))
        assert words in broken(wrong)["what_was_seen_is_on_record"], fields


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ({"term": 2}, {"term": 1}, "term was 2"),
        ({"turns": 5}, {"turns": 4}, "turns was 5"),
        ({"change_cursor": 5}, {"change_cursor": None}, "change_cursor was 5"),
        ({"state": {"count": 3}}, {"state": {"count": 2}}, "the count was 3"),
        (
            {"state": {"ticks": {"anchor": 1, "examined": 9}}},
            {"state": {"ticks": {"anchor": 1, "examined": 8}}},
            "was 9",
        ),
        (
            {"state": {"ticks": {"anchor": 5, "examined": 9}}},
            {"state": {"ticks": {"anchor": 1, "examined": 99}}},
            "was 9",
        ),
        ({"state": {"key": 1}}, {"state": {}}, "state 'key'"),
    ],
)
def test_what_went_back_between_two_looks(before, after, what):
    base = {"enabled": True, "incarnation": None, "term": 2, "turns": 5, "change_cursor": 5, "state": {}}

    def looks(first, second):
        events = Events((Seen(1.0, 1.1, {"x": base | first}), Seen(1.2, 1.3, {"x": base | second})))
        return rows.Histories("sqlite", rows.Rows(), events)

    assert what in broken(looks(before, after))["what_was_seen_never_goes_back"]
    assert broken(looks(after, before)) == {} or what.startswith(("state", "was"))


def test_looks_that_overlap_tell_nothing_of_their_order():
    base = {"enabled": True, "incarnation": None, "turns": 5, "change_cursor": 5, "state": {}}
    events = Events((Seen(1.0, 1.5, {"x": base | {"term": 2}}), Seen(1.2, 1.3, {"x": base | {"term": 1}})))
    assert "what_was_seen_never_goes_back" not in broken(rows.Histories("sqlite", rows.Rows(), events))


# -- P5: state


def test_a_count_that_is_lost_doubled_or_behind(good):
    second = good.buildsets[COUNT][1]
    for reason in ("number 1", "number 3"):
        wrong = altered(good, "buildsets", lambda b: b.id == second.id, reason=reason)
        assert "where number 2 should be" in broken(wrong)["counts_have_no_gap"]
    wrong = altered(good, "scheduler_state", of(COUNT), value_json=json.dumps(3))
    assert "counted 3 in its state, and made 4" in broken(wrong)["counts_have_no_gap"]


# -- in time


def test_another_owner_that_came_too_late(good):
    for fields in ({"since": at(KILLED + 3.5)},):
        wrong = altered(good, "ownership", lambda o: o.term == 2 and o.incarnation == OTHER, **fields)
        assert "no other owner for 3.500 s after kill of m1" in broken(wrong)["others_take_over_in_time"]
    crowded = (*wrong.faults.all, FaultBegan(T0 + 25.0, 2, "pg-kill", "database", {}))
    assert "others_take_over_in_time" not in broken(dataclasses.replace(wrong, faults=Events(crowded)))


def test_nobody_is_late_who_did_not_have_the_scheduler_in_its_file(good):
    late = altered(good, "ownership", lambda o: o.term == 2 and o.incarnation == OTHER, since=at(KILLED + 3.5))

    entries = next(e.schedulers for e in good.truth.of(Configured) if e.master == "m2")

    def told_late(*versions):
        files = [
            Configured(KILLED + when, "m2", n, entries if has else {}, {}) for n, (when, has) in enumerate(versions)
        ]
        return "others_take_over_in_time" in broken(told(late, *files))

    assert told_late(), "both have it"
    assert not told_late((-10, False)) and not told_late((-10, False), (2, True)), "it did not when it mattered"
    assert not told_late((-2, False)), "it was just about to read that"
    assert told_late((-10, False), (-7, True)), "it had it again by then"
    assert told_late((5, False)), "it lost it only afterwards"


@pytest.mark.parametrize("fault", ["freeze-above", "block", "net-cut", "net-cut-to-server"])
def test_a_hung_masters_schedulers_that_nobody_took_in_time(good, fault):
    late = altered(good, "ownership", lambda o: o.term == 2 and o.incarnation == OTHER, since=at(KILLED + 8))
    late = altered(late, "masters", lambda m: m.incarnation == FIRST, ended_at=at(KILLED + 8))

    def lasting(seconds):
        faults = (FaultBegan(T0 + KILLED, 1, fault, "m1", {}), FaultEnded(T0 + KILLED + seconds, 1, fault, "m1", {}))
        return broken(dataclasses.replace(late, faults=Events(faults)))

    assert f"no other owner for 8.000 s after {fault} of m1" in lasting(9)["others_take_over_in_time"]
    assert "others_take_over_in_time" not in lasting(4), "shorter than that it may keep them"


def test_a_tick_that_is_late_or_early(good):
    tick = next(b for b in good.rows.buildsets if b.due_at == at(62))
    late = altered(good, "buildsets", lambda b: b.id == tick.id, submitted_at=at(66))
    assert "4.000 s after it was due" in broken(late)["ticks_are_served_in_time"]
    early = altered(good, "buildsets", lambda b: b.id == tick.id, submitted_at=at(60))
    assert "2.000 s before it was due" in broken(early)["ticks_are_served_in_time"]
    during = next(b for b in good.rows.buildsets if b.due_at == at(32))
    excused = altered(good, "buildsets", lambda b: b.id == during.id, submitted_at=at(36))
    assert "ticks_are_served_in_time" not in broken(excused)
