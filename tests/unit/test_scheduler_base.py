"""What BaseScheduler promises whoever writes a scheduler, on the real tenure and committer."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from locum.db import buildsets, orders
from locum.master.causes import RETRY_AFTER_S
from locum.schedulers import BaseScheduler, ChangeFilter, NotActive, SchedulerFault
from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks, succeed


class Quick(BaseScheduler):
    """Consumes changes, and does with each what a test says: ``react(self, change)``."""

    react = staticmethod(lambda self, change: None)
    seen: list

    def __init__(self, name="quick", builderNames=("unit",), consuming=None, **kwargs):
        super().__init__(name, builderNames, **kwargs)
        self.consuming = consuming or {}
        self.seen = []

    async def activate(self):
        await super().activate()
        await self.startConsumingChanges(**self.consuming)

    def gotChange(self, change, important):
        self.seen.append((change.number, important))
        return self.react(self, change)


def reacting(react, **arguments):
    """A scheduler that answers each change so."""

    class Reacting(Quick):
        pass

    Reacting.react = staticmethod(react)
    return lambda: Reacting(**arguments)


def on_change(bench, react, **arguments):
    """A bench whose scheduler has just had one change."""
    b = bench(reacting(react, **arguments))
    b.change(revision="r1")
    return b


# -- arguments


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": ""}, "name: expected a non-empty text"),
        ({"name": 5}, "name: expected a non-empty text"),
        ({"name": "a\0b"}, "name: expected a non-empty text"),
        ({"builderNames": "unit"}, "builderNames: expected a list"),
        ({"builderNames": []}, "builderNames: expected at least one"),
        ({"builderNames": [3]}, "builderNames: expected names"),
        ({"builderNames": {"unit": 1}}, "builderNames: expected a list"),
        ({"builderNames": ["unit", "unit"]}, "builderNames: a builder is named twice"),
        ({"codebases": "app"}, "codebases: expected a list"),
        ({"codebases": []}, "codebases: expected at least one"),
        ({"codebases": [["app"]]}, "codebases: expected names"),
        ({"codebases": {"app": {"brunch": "x"}}}, "codebases: 'app': unknown key 'brunch'"),
        ({"codebases": {"app": 5}}, "codebases: 'app': expected a mapping"),
        ({"priority": "high"}, "priority: expected a whole number"),
        ({"priority": True}, "priority: expected a whole number"),
        ({"priority": 2**40}, "priority: expected a whole number"),
        ({"properties": ["a"]}, "properties: expected a mapping"),
        ({"properties": {"": 1}}, "properties: expected non-empty texts"),
        ({"properties": {"a": {1, 2}}}, "property 'a': expected a JSON value"),
        ({"properties": {"a": float("nan")}}, "property 'a': expected a JSON value"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_by_name(arguments, said):
    with pytest.raises((ValueError, TypeError)) as refused:
        BaseScheduler(**{"name": "s", "builderNames": ["unit"], **arguments})
    assert str(refused.value).startswith(said)


def test_codebases_may_be_names_alone():
    assert BaseScheduler("s", ["unit"], codebases=["a", "b"]).codebases == {"a": {}, "b": {}}
    assert BaseScheduler("s", ["unit"]).codebases == {"": {}}


def test_what_a_caller_does_with_its_own_lists_later_changes_nothing():
    names, properties = ["unit"], {"a": 1}
    scheduler = BaseScheduler("s", names, properties)
    names.append("other")
    properties["b"] = 2
    assert scheduler.listBuilderNames() == ["unit"] and scheduler.properties == {"a": 1}


# -- which changes come


def test_each_change_comes_once_in_order_with_its_importance(bench):
    important = lambda change: change.comments != "no"  # noqa: E731
    b = bench(reacting(lambda self, change: None, consuming={"fileIsImportant": important}))
    scheduler = b.scheduler
    first, second = b.change(), b.change(comments="no")
    assert scheduler.seen == [(first, True), (second, False)]


def test_what_the_filter_refuses_and_unimportant_ones_where_only_important_count_do_not_come(bench):
    consuming = {
        "change_filter": ChangeFilter(branch="main"),
        "fileIsImportant": lambda change: change.comments != "no",
        "onlyImportant": True,
    }
    b = bench(reacting(lambda self, change: None, consuming=consuming))
    b.change(branch="other")
    b.change(branch="main", comments="no")
    number = b.change(branch="main")
    assert b.scheduler.seen == [(number, True)]
    assert b.row.turns == 2  # a filter that says no costs no turn


@pytest.mark.parametrize("consuming", [{"change_filter": {"branch": "main"}}, {"fileIsImportant": "yes"}])
def test_consuming_with_something_else_than_a_filter_or_function_is_refused(bench, consuming):
    b = bench(reacting(lambda self, change: None, consuming=consuming))
    assert b.tenure is None


def test_a_scheduler_that_consumes_without_gotchange_says_so(bench):
    class Silent(BaseScheduler):
        def startActivity(self):
            return self.startConsumingChanges()

    b = bench(lambda: Silent("s", ["unit"]))
    number = b.change()
    assert "does not define gotChange" in b.failures[f"change:{number}"][2]


# -- state


def test_state_is_what_the_last_writer_of_a_committed_turn_set_and_goes_with_the_scheduler(bench):
    async def react(self, change):
        await self.setState("n", 1)
        await self.setState("n", {"deep": [1, 2]})
        self.read = await self.getState("n")

    b = on_change(bench, react)
    assert b.scheduler.read == {"deep": [1, 2]} == b.state["n"]
    b.fail_over()
    assert b.ask(lambda: b.scheduler.getState("n")) == {"deep": [1, 2]}


def test_state_that_was_never_set_is_a_key_error_or_the_default(bench):
    b = bench(Quick)
    with pytest.raises(KeyError):
        b.ask(lambda: b.scheduler.getState("n"))
    assert b.ask(lambda: b.scheduler.getState("n", None)) is None
    assert b.ask(lambda: b.scheduler.getState("n", 7)) == 7


def test_what_getstate_gives_is_a_copy(bench):
    async def react(self, change):
        kept = {"list": [1]}
        await self.setState("n", kept)
        kept["list"].append(2)
        (await self.getState("n"))["list"].append(3)
        self.read = await self.getState("n")

    assert on_change(bench, react).scheduler.read == {"list": [1]}


@pytest.mark.parametrize("value", [{1, 2}, object(), float("inf"), b"bytes", datetime(2026, 1, 1)])
def test_state_that_is_not_json_is_refused(bench, value):
    b = bench(Quick)
    with pytest.raises(TypeError, match="expected a JSON value"):
        b.ask(lambda: b.scheduler.setState("n", value))
    with pytest.raises(TypeError, match="expected a text as key"):
        b.ask(lambda: b.scheduler.setState("a\0b", 1))
    assert b.state == {}


def test_a_state_that_every_takeover_would_have_to_read_has_a_limit(bench):
    b = bench(Quick)
    with pytest.raises(ValueError, match=r"state 'n': 16,777,218 characters of JSON; a value may have 16,777,216"):
        b.ask(lambda: b.scheduler.setState("n", "x" * (16 * 1024 * 1024)))
    assert b.state == {}


def test_state_keeps_every_text_that_json_knows(bench):
    b = bench(Quick)
    odd = ["\0", "\ud800", "'; DROP TABLE", "😀", ":x", "%s"]
    b.ask(lambda: b.scheduler.setState("n", odd))
    b.fail_over()
    assert b.ask(lambda: b.scheduler.getState("n")) == odd


def test_nothing_of_a_turn_that_failed_is_ever_seen(bench):
    async def react(self, change):
        await self.setState("n", 1)
        await self.setTimer("t", self.now() + timedelta(seconds=5))
        await self.addBuildsetForChanges(changeids=[change.number])
        await self.classifyChanges({change.number: True})
        raise ValueError("after all that")

    b = on_change(bench, react)
    assert (b.state, b.timers, b.classified, b.built) == ({}, {}, {}, [])
    assert b.ask(lambda: b.scheduler.getState("n", "nothing")) == "nothing"


# -- timers


class Alarmed(Quick):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.rung = []

    def gotTimer(self, key, due):
        self.rung.append((key, due, self.now()))


def test_a_timer_fires_once_at_its_due_time_with_its_due_time(bench):
    b = bench(Alarmed)
    due = b.now() + timedelta(seconds=30, microseconds=123456)
    b.ask(lambda: b.scheduler.setTimer("t", due))
    assert b.scheduler.getPendingBuildTimes() == [due]
    b.advance(29)
    assert b.scheduler.rung == []
    b.advance(60)
    ((key, given, at),) = b.scheduler.rung
    assert (key, given) == ("t", due) and timedelta(0) <= at - due < timedelta(seconds=0.1)
    assert b.timers == {} and b.scheduler.getPendingBuildTimes() == []


def test_setting_a_timer_again_moves_it_and_cancelling_takes_it_back(bench):
    b = bench(Alarmed)
    for seconds in (10, 20):
        b.ask(lambda s=seconds: b.scheduler.setTimer("moved", b.now() + timedelta(seconds=s)))
    b.ask(lambda: b.scheduler.setTimer("gone", b.now() + timedelta(seconds=5)))
    b.ask(lambda: b.scheduler.cancelTimer("gone"))
    b.ask(lambda: b.scheduler.cancelTimer("never was"))
    b.advance(15)
    assert b.scheduler.rung == []
    b.advance(10)
    assert [key for key, _, _ in b.scheduler.rung] == ["moved"]


def test_a_timer_that_fell_due_while_nobody_was_active_fires_at_the_takeover(bench):
    b = bench(Alarmed)
    due = b.now() + timedelta(seconds=5)
    b.ask(lambda: b.scheduler.setTimer("t", due))
    b.die()
    b.advance(60)
    b.start()
    assert [(key, given) for key, given, _ in b.scheduler.rung] == [("t", due)]


def test_a_timer_set_again_in_its_own_turn_goes_on(bench):
    class Ticking(Alarmed):
        async def gotTimer(self, key, due):
            self.rung.append(due)
            await self.setTimer(key, due + timedelta(seconds=10))

    b = bench(Ticking)
    start = b.now()
    b.ask(lambda: b.scheduler.setTimer("t", start + timedelta(seconds=10)))
    b.advance(35)
    assert b.scheduler.rung == [start + timedelta(seconds=s) for s in (10, 20, 30)]
    assert b.timers == {"t": 40.0}


def test_a_timer_due_in_the_past_fires_at_once_and_many_of_them_in_one_reaction(bench):
    class Hasty(Alarmed):
        async def gotTimer(self, key, due):
            self.rung.append(due)
            if len(self.rung) < 5:
                await self.setTimer(key, due + timedelta(seconds=1))

    b = bench(Hasty)
    b.ask(lambda: b.scheduler.setTimer("t", b.now() - timedelta(seconds=60)))
    assert len(b.scheduler.rung) == 5 and b.timers == {}


@pytest.mark.parametrize("due", [datetime(2026, 1, 1), 5, "2026-01-01T00:00:00Z", None])
def test_a_due_time_without_a_zone_or_of_another_type_is_refused(bench, due):
    b = bench(Alarmed)
    with pytest.raises(TypeError, match="time zone"):
        b.ask(lambda: b.scheduler.setTimer("t", due))


# -- pending changes


def test_classifications_can_be_asked_for_by_branch_repository_project_and_codebase(bench):
    b = bench(lambda: Quick(codebases=["x", "y"]))
    places = [
        {"branch": "main", "codebase": "x"},
        {"branch": None, "codebase": "x", "repository": "r"},
        {"branch": "main", "codebase": "y", "project": "p"},
    ]
    numbers = [b.change(**place) for place in places]
    s = b.scheduler
    b.ask(lambda: s.classifyChanges(dict(zip(numbers, (True, False, True), strict=True))))
    one, two, three = numbers
    assert b.ask(s.getChangeClassifications) == {one: True, two: False, three: True}
    assert b.ask(lambda: s.getChangeClassifications(branch="main")) == {one: True, three: True}
    assert b.ask(lambda: s.getChangeClassifications(branch=None)) == {two: False}
    assert b.ask(lambda: s.getChangeClassifications(codebase="x", branch="main")) == {one: True}
    assert b.ask(lambda: s.getChangeClassifications(repository="r")) == {two: False}
    assert b.ask(lambda: s.getChangeClassifications(project="p")) == {three: True}
    b.fail_over()
    assert b.ask(b.scheduler.getChangeClassifications) == {one: True, two: False, three: True}


def test_flushing_takes_the_given_ones_those_below_a_number_or_all(bench):
    b = bench(Quick)
    numbers = [b.change() for _ in range(5)]
    s = b.scheduler
    b.ask(lambda: s.classifyChanges(dict.fromkeys(numbers, True)))
    b.ask(lambda: s.flushChangeClassifications([numbers[0], 999]))
    assert sorted(b.classified) == numbers[1:]
    b.ask(lambda: s.flushChangeClassifications(less_than=numbers[2]))
    assert sorted(b.classified) == numbers[2:]
    b.ask(s.flushChangeClassifications)
    assert b.classified == {}


def test_classifying_again_changes_the_importance_within_the_same_turn_too(bench):
    async def react(self, change):
        await self.classifyChanges({change.number: False})
        await self.classifyChanges({change.number: True})
        self.read = await self.getChangeClassifications()

    b = on_change(bench, react)
    assert b.scheduler.read == b.classified == {1: True}


# -- asking for work

WAYS = {
    "defaults": lambda s, **kw: s.addBuildsetForSourceStampsWithDefaults("r", **kw),
    "changes": lambda s, **kw: s.addBuildsetForChanges(reason="r", changeids=[1], **kw),
    "stamps": lambda s, **kw: s.addBuildsetForSourceStamps(
        reason="r", sourcestamps=[{"codebase": "", "branch": "b"}], **kw
    ),
}
each_way = pytest.mark.parametrize("add", WAYS.values(), ids=WAYS)


@each_way
def test_every_way_answers_ids_of_the_buildset_and_of_each_builders_task(bench, add):
    b = bench(lambda: Quick(builderNames=["unit", "lint"]))
    b.change()
    bsid, brids = b.ask(lambda: add(b.scheduler))
    (built,) = b.built
    assert built.id == bsid and built.builders == ["unit", "lint"]
    tasks = b.sql("SELECT id, builder_id FROM tasks WHERE buildset_id = :b", b=bsid)
    assert brids == {t.builder_id: t.id for t in tasks} and set(brids) == set(b.builder_ids.values())


@each_way
def test_every_way_honours_priority_number_or_function_own_or_passed(bench, add):
    asked = []

    def level(builders, changes):
        asked.append((builders, {c: [x.number for x in found] for c, found in changes.items()}))
        return 5

    b = bench(lambda: Quick(priority=level))
    b.change()
    b.ask(lambda: add(b.scheduler))
    b.ask(lambda: add(b.scheduler, priority=9))
    b.ask(lambda: add(b.scheduler, priority=lambda builders, changes: -3))
    assert [x.priority for x in b.built] == [5, 9, -3]
    assert asked[0][0] == ["unit"] and list(asked[0][1]) == [""]


@each_way
def test_every_way_takes_other_builders_and_a_function_of_properties_and_changes(bench, add):
    def names(properties, changes):
        assert properties["scheduler"] == "quick"
        return [properties["pick"]]

    b = bench(lambda: Quick(builderNames=names))
    b.change()
    b.ask(lambda: add(b.scheduler, properties={"pick": "lint"}))
    b.ask(lambda: add(b.scheduler, builderNames=["unit"]))
    assert [x.builders for x in b.built] == [["lint"], ["unit"]]
    assert b.scheduler.listBuilderNames() == []


@each_way
@pytest.mark.parametrize("names", [["nobody"], [], "unit", None, [["unit"]]])
def test_an_unknown_builder_is_an_error_never_an_empty_buildset(bench, add, names):
    """Defect 16: an unknown builder gave an empty buildset marked successful."""
    b = bench(lambda: Quick(builderNames=lambda properties, changes: names))
    b.change()
    with pytest.raises(SchedulerFault, match="builderNames gave"):
        b.ask(lambda: add(b.scheduler))
    assert b.built == []


@each_way
def test_property_precedence_is_scheduler_then_change_then_the_caller(bench, add):
    """Defect 20: scheduler properties overrode the trigger's."""
    b = bench(lambda: Quick(properties={"a": "scheduler", "b": "scheduler", "c": "scheduler"}))
    b.change(properties={"b": "change", "c": "change"})
    passed = {"c": "caller", "d": ("caller", "Force Form")}
    b.ask(lambda: add(b.scheduler, properties=passed))
    found = b.built[0].properties
    from_change = add is WAYS["changes"]
    assert found["a"] == ("scheduler", "Scheduler")
    assert found["b"] == (("change", "Change") if from_change else ("scheduler", "Scheduler"))
    assert found["c"] == ("caller", "Request")
    assert found["d"] == ("caller", "Force Form")
    assert found["scheduler"] == ("quick", "Scheduler")
    assert passed == {"c": "caller", "d": ("caller", "Force Form")} and b.scheduler.properties["c"] == "scheduler"


def test_later_changes_properties_win_over_earlier_ones(bench):
    b = bench(Quick)
    for value in ("old", "new"):
        b.change(properties={"p": value})
    b.ask(lambda: b.scheduler.addBuildsetForChanges(changeids=[2, 1]))
    assert b.built[0].properties["p"] == ("new", "Change")


@each_way
def test_values_that_no_database_keeps_fail_visibly(bench, add):
    b = bench(Quick)
    b.change()
    with pytest.raises(TypeError, match="property 'p'"):
        b.ask(lambda: add(b.scheduler, properties={"p": object()}))
    with pytest.raises(SchedulerFault, match="priority gave"):
        b.ask(lambda: add(b.scheduler, priority="high"))
    with pytest.raises(TypeError, match="unknown arguments: nonsense"):
        b.ask(lambda: add(b.scheduler, nonsense=1))
    assert b.built == []


@pytest.mark.parametrize("reason", ["a\0b", "\ud800", 5])
def test_a_reason_that_is_no_text_is_refused(bench, reason):
    b = bench(Quick)
    with pytest.raises(SchedulerFault, match="reason: expected a text"):
        b.ask(lambda: b.scheduler.addBuildsetForSourceStampsWithDefaults(reason))


@each_way
def test_every_way_keeps_its_parent_and_whether_somebody_waits(bench, add):
    b = bench(Quick)
    b.change()
    b.ask(lambda: add(b.scheduler, waited_for=True, parent_buildid=7, parent_relationship="Triggered from"))
    (row,) = b.sql("SELECT waited_for, parent_json FROM buildsets")
    assert row.waited_for and "Triggered from" in row.parent_json


def test_two_partial_stamps_of_one_codebase_are_an_error(bench):
    b = bench(Quick)
    with pytest.raises(SchedulerFault, match="two source stamps for codebase ''"):
        b.ask(
            lambda: b.scheduler.addBuildsetForSourceStampsWithDefaults(
                "r", sourcestamps=[{"branch": "a"}, {"codebase": "", "branch": "b"}]
            )
        )
    with pytest.raises(SchedulerFault, match="unknown key 'brunch'"):
        b.ask(lambda: b.scheduler.addBuildsetForSourceStampsWithDefaults("r", sourcestamps=[{"brunch": "a"}]))
    with pytest.raises(SchedulerFault, match="a source stamp is a mapping"):
        b.ask(lambda: b.scheduler.addBuildsetForSourceStampsWithDefaults("r", sourcestamps=["a"]))


def test_defaults_are_weaker_than_getcodebasedict_than_the_passed_stamp_and_other_codebases_stay_whole(bench):
    class Knowing(Quick):
        @inlineCallbacks
        def getCodebaseDict(self, codebase):
            yield succeed(None)
            return {"branch": "known", "revision": "known"}

    b = bench(lambda: Knowing(codebases={"app": {"repository": "default", "branch": "default"}}))
    b.ask(
        lambda: b.scheduler.addBuildsetForSourceStampsWithDefaults(
            "r", sourcestamps=[{"codebase": "app", "revision": "passed"}, {"codebase": "z", "branch": "whole"}]
        )
    )
    assert [tuple(s.values()) for s in b.built[0].stamps] == [
        ("app", "default", "known", "passed", ""),
        ("z", "", "whole", None, ""),
    ]


def test_for_changes_each_codebase_has_the_stamp_of_its_newest_change_or_its_defaults(bench):
    b = bench(lambda: Quick(codebases={"app": {"repository": "d"}, "lib": {"repository": "d", "branch": "stable"}}))
    for revision in ("a1", "a2"):
        b.change(codebase="app", branch="main", revision=revision, repository="git", project="p")
    b.ask(lambda: b.scheduler.addBuildsetForChanges(changeids=[2, 1]))
    assert b.built[0].changes == [1, 2]
    assert [tuple(s.values()) for s in b.built[0].stamps] == [
        ("app", "git", "main", "a2", "p"),
        ("lib", "d", "stable", None, ""),
    ]


def test_changes_that_do_not_exist_are_an_error(bench):
    b = bench(Quick)
    with pytest.raises(SchedulerFault, match="there is no change"):
        b.ask(lambda: b.scheduler.addBuildsetForChanges(changeids=[404]))


def test_a_stamp_may_be_the_id_of_one(bench):
    b = bench(Quick)
    b.ask(lambda: b.scheduler.addBuildsetForSourceStamps(sourcestamps=[{"branch": "b", "patch": {"diff": "+x"}}]))
    (stamp,) = b.sql("SELECT id FROM sourcestamps")
    b.ask(lambda: b.scheduler.addBuildsetForSourceStamps(sourcestamps=[stamp.id]))
    assert b.built[0].stamps == b.built[1].stamps
    assert len(b.sql("SELECT id FROM sourcestamps")) == 1
    with pytest.raises(SchedulerFault, match="there is no source stamp 99"):
        b.ask(lambda: b.scheduler.addBuildsetForSourceStamps(sourcestamps=[99]))


# -- finished buildsets


def test_each_completed_buildset_comes_once_in_order_of_completion_across_failovers(bench):
    got = []

    class Downstream(BaseScheduler):
        def startActivity(self):
            return self.startConsumingBuildsets(lambda buildset: buildset.result == "success")

        def gotBuildsetComplete(self, buildset):
            got.append(buildset.id)

    b = bench(lambda: Downstream("down", ["unit"]))
    ids = [b.ask(lambda: b.scheduler.addBuildsetForSourceStampsWithDefaults("r"))[0] for _ in range(4)]
    b.finish(ids[2])
    b.finish(ids[0], "failure")
    b.die()
    b.finish(ids[3])
    b.start()
    b.finish(ids[1])
    b.fail_over()
    assert got == [ids[2], ids[3], ids[1]]


# -- hooks of every kind


def plain(self, change):
    return self.setState("seen", change.number)  # a Deferred, given back


async def coroutine(self, change):
    await self.setState("seen", change.number)


def later(self, change):
    done = Deferred()
    self.master._tenure.tools.reactor.callLater(3, done.callback, None)
    return done.addCallback(lambda _: self.setState("seen", change.number))


@inlineCallbacks
def inline(self, change):
    yield self.getChangeClassifications()
    yield self.setState("seen", change.number)


def rubbish(self, change):
    self.setState("seen", change.number)
    return ["anything", 5]


@pytest.mark.parametrize("react", [plain, coroutine, later, inline, rubbish])
def test_hooks_may_be_plain_async_a_deferred_or_inline_callbacks(bench, react):
    b = on_change(bench, react)
    b.advance(4)
    assert b.state == {"seen": 1} and b.failures == {}


class WithInlineCallbacks(BaseScheduler):
    @inlineCallbacks
    def activate(self):
        yield super().activate()
        yield self.startConsumingChanges()

    @inlineCallbacks
    def deactivate(self):
        yield super().deactivate()


class WithCallbacks(BaseScheduler):
    def activate(self):
        return super().activate().addCallback(lambda _: self.startConsumingChanges())

    def deactivate(self):
        return super().deactivate()


class WithActivity(BaseScheduler):
    async def startActivity(self):
        await self.startConsumingChanges()


@pytest.mark.parametrize("cls", [WithInlineCallbacks, WithCallbacks, WithActivity])
def test_activate_may_be_of_any_kind_too(bench, cls):
    seen = []
    cls.gotChange = lambda self, change, important: seen.append(change.number)
    b = bench(lambda: cls("s", ["unit"]))
    number = b.change()
    assert b.scheduler.active and seen == [number]
    b.disable()
    assert not any(made.active for made in b.made)


def test_an_activate_that_forgets_its_up_call_is_found_and_said(bench):
    class Forgetful(BaseScheduler):
        async def activate(self):
            await self.startConsumingChanges()

    b = bench(lambda: Forgetful("s", ["unit"]))
    assert b.tenure is None
    (row,) = b.sql("SELECT why FROM ownership WHERE term = 2")
    assert "Forgetful.activate never called BaseScheduler's" in row.why and "super().activate()" in row.why


def test_a_scheduler_that_cannot_be_activated_is_released_with_a_growing_pause(bench):
    class Failing(BaseScheduler):
        def startActivity(self):
            attempts.append(round(self.master.now() / 1e6))
            raise ValueError("no")

    attempts = []
    b = bench(lambda: Failing("s", ["unit"]))
    assert b.row.incarnation is None
    b.advance(100)
    pauses = [later - earlier for earlier, later in pairwise(attempts)]
    assert len(pauses) >= 3 and pauses == sorted(pauses) and pauses[0] >= 2 and pauses[-1] > 2 * pauses[0]


# -- failures of user code


class Flaky(Quick):
    """Fails as long as ``Flaky.broken`` says."""

    broken = True

    async def gotChange(self, change, important):
        self.dirty = True
        self.seen.append(change.number)
        if type(self).broken:
            raise ValueError("not yet")
        await self.setState("done", change.number)


@pytest.fixture
def flaky(bench):
    Flaky.broken = True
    return bench(Flaky)


def test_after_a_failed_turn_a_fresh_instance_goes_on_under_the_same_term(flaky):
    before, term = flaky.scheduler, flaky.row.term
    flaky.change()
    after = flaky.scheduler
    assert after is not before and not before.active and after.active
    assert flaky.row.term == term and not hasattr(after, "dirty")
    with pytest.raises(NotActive):
        flaky.ask(lambda: before.setState("x", 1))


def test_a_failed_cause_is_tried_again_with_a_growing_delay_and_its_stream_waits(flaky):
    first, second = flaky.change(), flaky.change()
    tries = []
    for _ in range(4):
        tries.append(flaky.failures[f"change:{first}"][1])
        flaky.to(tries[-1] + 0.05)
    assert [round(b - a) for a, b in pairwise(tries)] == [round(s) for s in RETRY_AFTER_S[1:4]]
    assert list(flaky.failures) == [f"change:{first}"]
    Flaky.broken = False
    flaky.advance(700)
    assert flaky.scheduler.seen[-2:] == [first, second] and flaky.failures == {}


def test_other_streams_go_on_while_a_cause_awaits_its_retry(flaky):
    rung = []
    Flaky.gotTimer = lambda self, key, due: rung.append(key)
    flaky.change()
    flaky.ask(lambda: flaky.scheduler.setTimer("t", flaky.now() + timedelta(seconds=0.5)))
    flaky.advance(0.6)
    assert rung == ["t"]


def test_at_last_a_cause_is_set_aside_listed_and_the_scheduler_goes_on(flaky):
    first = flaky.change()
    flaky.advance(sum(RETRY_AFTER_S) + 100)
    attempts, retry_at, error = flaky.failures[f"change:{first}"]
    assert (attempts, retry_at) == (len(RETRY_AFTER_S) + 1, None) and "ValueError: not yet" in error
    Flaky.broken = False
    second = flaky.change()
    assert flaky.state == {"done": second}
    flaky.fail_over()
    assert list(flaky.failures) == [f"change:{first}"]


def test_a_cause_that_was_set_aside_can_be_retried(flaky):
    first = flaky.change()
    flaky.advance(sum(RETRY_AFTER_S) + 100)
    Flaky.broken = False
    flaky.change()
    flaky.db.write(orders.retry_failure, "quick", f"change:{first}", "ann")
    flaky.look()
    flaky.advance(1)
    assert flaky.state == {"done": first} and flaky.failures == {}


def test_the_count_of_attempts_survives_a_failover(flaky):
    number = flaky.change()
    flaky.advance(1.5)
    assert flaky.failures[f"change:{number}"][0] == 2
    flaky.fail_over()
    flaky.advance(5.5)
    assert flaky.failures[f"change:{number}"][0] == 3


def test_a_timer_that_failed_stays_and_is_tried_again(bench):
    tries = []

    class Stumbling(Quick):
        async def gotTimer(self, key, due):
            tries.append(due)
            await self.cancelTimer("other")
            if len(tries) < 3:
                raise ValueError("not yet")

    b = bench(Stumbling)
    due = b.now() + timedelta(seconds=5)
    b.ask(lambda: b.scheduler.setTimer("t", due))
    b.ask(lambda: b.scheduler.setTimer("other", due + timedelta(days=1)))
    b.advance(5)
    assert b.timers["t"] == 5.0 and "other" in b.timers
    b.change()  # whatever else happens meanwhile
    b.advance(60)
    assert tries == [due] * 3
    assert b.timers == {} and b.failures == {}


def test_a_turn_that_waits_for_a_slow_database_does_not_run_out_of_time(bench):
    async def react(self, change):
        await self.setState("stamp", (await self.master.stamp(1)).branch)

    b = bench(reacting(react), turn_timeout_s=20.0)
    slow = Deferred()
    at_once = b.remote.single
    b.remote.single = lambda function, *args: slow if function is buildsets.stamp else at_once(function, *args)
    b.change()
    b.advance(50)
    assert b.failures == {} and b.state == {}
    slow.callback(buildsets.StampRow(1, "", "", "main", None, "", None))
    b.settle()
    assert b.state == {"stamp": "main"} and b.failures == {}


@pytest.mark.parametrize("cause", ["change", "timer"])
def test_a_turn_that_takes_too_long_has_failed_and_nothing_of_it_remains(bench, cause):
    held = []

    class Endless(Quick):
        async def gotChange(self, change, important):
            await self.setState("n", 1)
            held.append(self)
            await Deferred(lambda _: None)

        async def gotTimer(self, key, due):
            await self.gotChange(None, True)

    b = bench(Endless, turn_timeout_s=20.0)
    if cause == "change":
        b.change()
    else:
        b.ask(lambda: b.scheduler.setTimer("t", b.now()))
    b.advance(19)
    assert b.failures == {}
    b.advance(1.5)
    ((_, _, error),) = b.failures.values()
    assert "turn_timeout, 20 s" in error and b.state == {}
    with pytest.raises(NotActive):
        b.ask(lambda: held[0].setState("n", 2))


def test_a_turn_that_swallows_its_cancellation_is_given_up_all_the_same(bench):
    class Stubborn(Quick):
        async def gotChange(self, change, important):
            while True:
                try:
                    await Deferred()
                except Exception:
                    pass

    b = bench(Stubborn, turn_timeout_s=20.0)
    b.change()
    b.advance(20.5)
    assert len(b.failures) == 1 and b.scheduler is b.made[-1]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_hook_that_calls_exit_or_raises_what_is_no_exception_is_a_failed_turn(bench, kind, error):
    def leave(self, change):
        raise error(1)

    async def leave_async(self, change):
        raise error(1)

    b = on_change(bench, leave if kind == "plain" else leave_async)
    assert error.__name__ in b.failures["change:1"][2] and b.tenure is not None


def test_a_deactivate_that_never_ends_is_abandoned_after_five_seconds(bench):
    class Lingering(Quick):
        async def deactivate(self):
            await super().deactivate()
            while True:
                try:
                    await Deferred()
                except Exception:
                    pass

    b = bench(Lingering)
    old = b.scheduler
    old_term = b.row.term
    b.disable()
    b.advance(6)
    assert not old.active
    b.enable()
    assert b.scheduler is not old and b.row.term > old_term


def test_the_seat_of_a_scheduler_whose_every_hook_fails_is_not_kept(bench):
    class Hopeless(BaseScheduler):
        def startActivity(self):
            raise ValueError("in")

        def stopActivity(self):
            raise ValueError("out")

        def startService(self):
            super().startService()

    b = bench(lambda: Hopeless("s", ["unit"]))
    assert b.tenure is None and b.row.incarnation is None


# -- turns of its own


def test_background_code_has_turns_of_its_own_that_commit_as_one(bench):
    b = bench(Quick)

    async def work():
        async with b.scheduler.turn():
            await b.scheduler.setState("a", 1)
            assert b.state == {}
            await b.scheduler.setState("b", 2)
            await b.scheduler.addBuildsetForSourceStampsWithDefaults("background")
        return dict(b.state)

    assert b.ask(work) == {"a": 1, "b": 2} == b.state  # the block ends when it is committed
    assert len(b.built) == 1


def test_a_background_turn_that_raises_leaves_nothing_behind(bench):
    b = bench(Quick)

    async def work():
        async with b.scheduler.turn():
            await b.scheduler.setState("a", 1)
            raise LookupError("oh")

    with pytest.raises(LookupError):
        b.ask(work)
    assert b.state == {} and b.ask(lambda: b.scheduler.getState("a", None)) is None


def test_after_a_background_turn_that_raised_a_fresh_instance_follows_and_later_ones_after_a_growing_pause(bench):
    class Failing(Quick):
        def startActivity(self):
            ensureDeferred(self._work()).addErrback(lambda failure: None)

        async def _work(self):
            async with self.turn():
                raise LookupError("oh")

    b = bench(lambda: Failing("s", ["unit"]))
    term, made = b.row.term, len(b.made)
    assert made == 3  # checked, failed, and waiting for its pause to end
    b.advance(0.9)
    assert len(b.made) == made
    b.advance(0.2)
    assert len(b.made) == made + 1
    b.advance(4.5)
    assert len(b.made) == made + 1
    b.advance(1)
    assert len(b.made) == made + 2
    assert b.row.term == term


def test_an_effect_outside_of_any_turn_is_one_of_its_own_and_answers_after_its_commit(bench):
    b = bench(Quick)
    answered = []
    b.scheduler.setState("a", 1).addCallback(lambda _: answered.append(b.state))
    assert answered == []
    b.settle()
    assert answered == [{"a": 1}]


def test_turns_come_one_at_a_time(bench):
    running, most = [], []

    async def react(self, change):
        running.append(change.number)
        most.append(len(running))
        pause = Deferred()
        b.clock.callLater(1, pause.callback, None)
        await pause
        running.pop()

    b = bench(reacting(react))
    for _ in range(3):
        b.change()
    b.advance(5)
    assert most == [1, 1, 1]


def test_the_next_turn_sees_what_the_last_did_committed_or_not_yet(bench):
    async def react(self, change):
        await self.setState("n", await self.getState("n", 0) + 1)

    b = bench(reacting(react))
    b.die()
    for _ in range(50):
        b.change()
    b.start()
    assert b.state == {"n": 50}
    assert b.row.turns == 52  # two activations


def test_what_does_not_commit_takes_all_that_was_built_on_it_with_it(bench):
    async def react(self, change):
        await self.setState("n", await self.getState("n", 0) + 1)
        await self.addBuildsetForChanges(changeids=[change.number])

    b = bench(reacting(react))
    b.change()
    b.database_away()
    b.change()
    b.change()
    assert b.state == {"n": 1}
    b.database_back()
    assert b.state == {"n": 3}
    assert [x.changes for x in b.built] == [[1], [2], [3]]


# -- inactive


def test_an_instance_that_is_not_active_can_do_nothing_outside_itself(bench):
    b = bench(Alarmed)
    old = b.scheduler
    b.die()
    for call in (
        lambda: old.setState("a", 1),
        lambda: old.getState("a", 1),
        lambda: old.setTimer("t", datetime.now(UTC)),
        lambda: old.addBuildsetForSourceStampsWithDefaults("r"),
        lambda: old.startConsumingChanges(),
        lambda: old.classifyChanges({1: True}),
        lambda: old.getChangeClassifications(),
    ):
        with pytest.raises(NotActive):
            b.ask(call)
    assert not old.active and old.getPendingBuildTimes() == []


def test_effects_after_the_end_of_a_turn_that_was_refused_raise(bench):
    kept = []

    async def react(self, change):
        kept.append(self)
        pause = Deferred()
        b.clock.callLater(10, pause.callback, None)
        await pause
        try:
            await self.setState("late", 1)
        except NotActive as error:
            kept.append(error)
            raise

    b = bench(reacting(react))
    b.change()
    b.disable()
    b.advance(20)
    assert isinstance(kept[1], NotActive) and b.state == {}


def test_a_paused_master_that_wakes_can_commit_nothing(bench):
    """Defect 3: a paused master and its successor both went on firing."""

    async def react(self, change):
        await self.addBuildsetForChanges(changeids=[change.number])

    b = bench(reacting(react))
    frozen, tools = b.tenure, b.tenure.tools
    b.sql("UPDATE schedulers SET incarnation = 'other', term = term + 1")
    ended = []
    frozen._ended = lambda tenure, why: ended.append(why)
    b.change()
    assert b.built == [] and "its term is over" in ended[0]
    assert tools.committer is not None


def test_away_from_any_master_a_scheduler_can_be_looked_at():
    scheduler = BaseScheduler("s", ["unit"])
    assert (scheduler.active, scheduler.enabled, scheduler.getPendingBuildTimes()) == (False, True, [])
    assert repr(scheduler) == "<BaseScheduler 's'>"
    with pytest.raises(NotActive, match="'s' is not active here"):
        scheduler.setTimer("t", datetime.now(UTC))


def test_blocking_code_is_noted_while_it_runs_before_and_after_an_await(bench):
    noted = []

    async def react(self, change):
        tools = self.master._tenure.tools
        noted.append(tools.running is self.master._tenure)
        pause = Deferred()
        b.clock.callLater(1, pause.callback, None)
        await pause
        noted.append(tools.running is self.master._tenure)

    b = bench(reacting(react))
    b.change()
    assert b.tenure.tools.running is None
    b.advance(2)
    assert noted == [True, True] and b.tenure.tools.running is None
