"""The names that code written for Buildbot imports, and what it reaches through its master."""

import importlib
import pkgutil
import re
from datetime import UTC, datetime
from importlib.metadata import EntryPoint

import pytest
from locum.master.commands.main import run
from locum.schedulers import compat
from locum.schedulers.changes import Change
from locum.schedulers.compat import util
from locum.schedulers.compat.changes import filter
from locum.schedulers.compat.changes.changes import Change as OldChange
from locum.schedulers.compat.data.resultspec import Filter, ResultSpec
from locum.schedulers.compat.process import results
from locum.schedulers.compat.process.properties import Interpolate, Properties, Property, WithProperties, renderer
from locum.schedulers.compat.schedulers import base, basic, trysched
from locum.schedulers.compat.util import identifiers
from locum.schedulers.hooks import begin
from locum.schedulers.interface import SchedulerFault, StampFields
from locum.schedulers.rendering import Props, rendered
from locum.schedulers.testing import SchedulerHarness
from locum.tests.support.written_for_buildbot import FOLDER
from twisted.internet import defer
from twisted.internet.task import Clock

MODULES = sorted(found.name for found in pkgutil.walk_packages(compat.__path__, f"{compat.__name__}."))


# -- modules


@pytest.mark.parametrize("name", MODULES)
def test_every_module_can_be_imported_with_all_that_it_offers(name):
    module = importlib.import_module(name)
    assert all(getattr(module, one) is not None for one in getattr(module, "__all__", ()))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("from locum.schedulers.compat.steps.shell import ShellCommand", "under 'builders:'"),
        ("import locum.schedulers.compat.steps.shell", "under 'builders:'"),
        ("from locum.schedulers.compat import steps", "under 'builders:'"),
        ("from locum.schedulers.compat.plugins import worker", "there are no workers"),
        ("from locum.schedulers.compat.plugins import reporters", "with its id as the key"),
        ("from locum.schedulers.compat.process.buildstep import BuildStep", "under 'builders:'"),
        ("from locum.schedulers.compat.config import BuilderConfig", "under 'builders:'"),
        ("from locum.schedulers.compat.changes.gitpoller import GitPoller", "under 'change_sources:'"),
        ("from locum.schedulers.compat.plugins.changes import GitPoller", "under 'change_sources:'"),
        ("from locum.schedulers.compat.sourcestamp import SourceStamp", "is a mapping with codebase"),
        ("from locum.schedulers.compat.schedulers.manager import SchedulerManager", "docs/from-buildbot.md"),
        ("from locum.schedulers.compat.util import sautils", "buildbot.util.sautils has no counterpart"),
        ("from locum.schedulers.compat.schedulers.base import Nothing", "buildbot.schedulers.base.Nothing has no"),
    ],
)
def test_what_is_not_there_says_what_to_use_instead(line, said):
    with pytest.raises(ImportError, match=re.escape(said)):
        exec(line)


def test_asking_a_module_for_what_python_itself_looks_for_is_no_import():
    assert not hasattr(util, "__wrapped__") and not hasattr(compat, "__file_that_is_not__")


def test_try_schedulers_are_found_as_every_class_is(monkeypatch):
    point = EntryPoint("Try_Jobdir", "locum.master.try_jobdir:Try_Jobdir", "locum.schedulers")
    monkeypatch.setattr(trysched, "entry_points", lambda group, name: [point] if name == point.name else [])
    assert trysched.Try_Jobdir.__name__ == "Try_Jobdir"
    with pytest.raises(ImportError, match="type: Try_Userpass"):
        trysched.Try_Userpass  # noqa: B018


@pytest.mark.parametrize("name", sorted(base.PRIVATE))
def test_overriding_what_nobody_calls_is_refused(name):
    with pytest.raises(TypeError, match=f"Odd.{name} would never be called here"):
        type("Odd", (basic.SingleBranchScheduler,), {name: lambda self: None})


def test_configuring_methods_may_not_wait():
    class Waiting(base.BaseScheduler):
        async def reconfigService(self, *args, **kwargs):
            await super().reconfigService(*args, **kwargs)
            await defer.Deferred()

    with pytest.raises(TypeError, match=r"Waiting\.reconfigService waits for something"):
        Waiting(name="w", builderNames=["unit"])


def test_check_knows_the_arguments_that_methods_take(tmp_path, capsys):
    text = (FOLDER / "of_people.py").read_text()
    (tmp_path / "my.py").write_text(
        re.sub(r"^(from|import) buildbot\b", r"\1 locum.schedulers.compat", text, flags=re.M)
    )

    def checked(keys):
        entry = f"plugins: [./my.py]\nbuilders: [{{name: unit, steps: [{{shell: [make]}}]}}]\nschedulers:\n  - {{name: s, builderNames: [unit], {keys}}}\n"
        (tmp_path / "master.yaml").write_text(entry)
        capsys.readouterr()
        return run(["check", "--config", str(tmp_path / "master.yaml")]), capsys.readouterr().err

    assert checked("type: my.ServiceScheduler, every: 3, priority: 2") == (0, "")
    assert "every: expected 1 or more, got 0" in checked("type: my.ServiceScheduler, every: 0")[1]
    assert "unknown key; did you mean 'every'?" in checked("type: my.ServiceScheduler, evry: 3")[1]
    assert checked("type: my.ServicedBranchScheduler, branch: main, team: a")[0] == 0
    assert "team: it is required" in checked("type: my.ServicedBranchScheduler, branch: main")[1]


def test_small_things_of_util_do_what_their_names_say():
    assert util.makeList(None) == [] and util.makeList("a") == ["a"] and util.makeList(("a", "b")) == ["a", "b"]
    assert util.none_or_str(None) is None and util.none_or_str(3) == "3"
    assert util.string2boolean("Yes") is True and util.string2boolean("0") is False
    assert util.naturalSort(["b10", "b9", "a", "b"]) == ["a", "b", "b9", "b10"]
    with pytest.raises(KeyError):
        util.string2boolean("maybe")


def test_the_filter_of_a_constructors_arguments_is_made_as_there():
    made = filter.ChangeFilter.fromSchedulerConstructorArgs
    given = filter.ChangeFilter(branch="x")
    assert made() is None and made(given) is given
    assert made(branch="main", categories=["c"]) == filter.ChangeFilter(branch="main", category=["c"])
    assert made(branch=None) == filter.ChangeFilter(branch=None)
    with pytest.raises(ValueError, match="not both"):
        made(given, branch="x")


def test_a_trigger_of_ones_own_is_asked_with_properties_and_may_answer_with_a_pair():
    class Asked(base.BaseScheduler):
        @defer.inlineCallbacks
        def trigger(self, waited_for, sourcestamps=None, set_props=None, parent_buildid=None, parent_relationship=None):
            props = Properties()
            props.updateFromProperties(self.properties)
            props.updateFromProperties(set_props)
            ids = yield self.addBuildsetForSourceStampsWithDefaults("asked", sourcestamps, properties=props)
            return defer.succeed(ids), defer.Deferred()

    with SchedulerHarness(lambda: Asked("asked", ["unit"], properties={"a": 1})) as harness:
        assert harness.trigger(sourcestamps=[{"codebase": "", "revision": "r"}], set_props={"b": 2}).buildset
        (made,) = harness.buildsets
        assert made.revision == "r" and made.properties == {"a": 1, "b": 2, "scheduler": "asked"}


def test_the_filter_may_be_made_by_a_method_of_ones_own():
    class Own(basic.BaseBasicScheduler):
        def getChangeFilter(self, branch, branches, change_filter, categories):
            assert change_filter is None and categories is None
            return filter.ChangeFilter(branch=branch) if branch is not util.NotABranch else None

        def getTimerNameForChange(self, change):
            return "only"

        def getChangeClassificationsForTimer(self, sched_id, timer_name):
            return self.master.db.schedulers.getChangeClassifications(sched_id)

    for given, expected in (({"branch": "main"}, (1, 3)), ({}, (1, 2, 3))):
        with SchedulerHarness(lambda given=given: Own("own", ["unit"], treeStableTimer=10, **given)) as harness:
            for branch in ("main", "dev", "main"):
                harness.change(branch=branch)
            harness.fail_over()
            harness.advance(11)
            assert [made.changes for made in harness.buildsets] == [expected]


def test_renderables_and_priorities_find_dictionaries():
    @renderer
    def builders(props):
        assert props.changes[0]["branch"] == "rel" and props.changes[0]["files"] == props.files == ["a.c"]
        return [stamp["branch"] for stamp in props.sourcestamps]

    def priority(names, changes):
        return len(names) + sum(len(one["files"]) for one in changes[""])

    def of_releases():
        return basic.AnyBranchScheduler("s", builders, priority=priority)

    with SchedulerHarness(of_releases, builders=["rel"]) as harness:
        harness.change(branch="rel", files=["a.c"])
        (made,) = harness.buildsets
        assert made.builders == ("rel",) and made.priority == 2


# -- properties and renderables


def test_properties_keep_their_sources():
    made = Properties(a=1)
    made.setProperty("b", [2], "Mine", runtime=True)
    made.update({"c": 3}, "Yours")
    other = Properties.fromDict({"d": (4, "Theirs"), "e": 5}, "Ours")
    made.updateFromProperties(other)
    assert (made["b"], made.get("b"), made.getProperty("x", 7), made.getProperty("x")) == ([2], [2], 7, None)
    assert made.asDict() == {
        "a": (1, "TEST"),
        "b": ([2], "Mine"),
        "c": (3, "Yours"),
        "d": (4, "Theirs"),
        "e": (5, "Ours"),
    }
    assert made.asList()[0] == ("a", 1, "TEST") and made.getPropertySource("c") == "Yours" and len(made) == 5
    assert "a" in made and made.hasProperty("a") and not made.has_key("x") and dict(other) == {"d": 4, "e": 5}
    assert made.getProperties() is made and made != other == Properties.fromDict(other.asDict())


PROPS = Props(
    {"a": "x", "empty": "", "none": None, "n": 3},
    (Change(1, "ann", files=("f", "g")), Change(2, "bob", files=("g",))),
    (StampFields("", "repo", "main", "r1"), StampFields("lib", branch=None)),
)


@pytest.mark.parametrize(
    ("value", "is_"),
    [
        (Interpolate("%(prop:a)s-%(prop:n)s 100%%"), "x-3 100%"),
        (Interpolate("%(prop:gone)s|%(prop:none)s"), "|"),
        (Interpolate("%(prop:gone:-d)s %(prop:empty:-d)s %(prop:empty:~d)s %(prop:a:+d)s%(prop:gone:+d)s"), "d  d d"),
        (Interpolate("%(prop:a:?|yes|no)s %(prop:gone:?|yes|no)s"), "yes no"),
        (Interpolate("%(src::branch)s@%(src::revision)s %(src:lib:branch:-trunk)s"), "main@r1 trunk"),
        (Interpolate("%(kw:who)s", who=Property("a")), "x"),
        (Interpolate("%s and %s", Property("a"), "y"), "x and y"),
        (Property("gone", "d"), "d"),
        (Property("empty", "d"), "d"),
        (Property("empty", "d", defaultWhenFalse=False), ""),
        (WithProperties("%s-%s", "a", "gone"), "x-"),
        (WithProperties("%(a)s %(gone:-d)s %(late)s", late=lambda props: props.getProperty("n")), "x d 3"),
        (util.renderer(lambda props: props.files), ["f", "g"]),
    ],
)
def test_renderables_are_worked_out(value, is_):
    assert begin(rendered(value, PROPS)).result == is_


@pytest.mark.parametrize("text", ["%(src:none:branch)s", "%(src::colour)s", "%(kw:gone)s"])
def test_what_cannot_be_worked_out_is_an_error(text):
    failure = begin(rendered(Interpolate(text), PROPS))
    failure.addErrback(lambda one: one.trap(SchedulerFault))
    assert failure.result is SchedulerFault


def test_interpolate_refuses_what_it_does_not_know():
    for arguments in (("%(secret:x)s",), ("%s", 1)):
        with pytest.raises(ValueError, match="Interpolate"):
            Interpolate(*arguments, **({"k": 1} if len(arguments) == 2 else {}))


# -- small things


def test_results_are_numbers():
    assert (results.SUCCESS, results.WARNINGS, results.FAILURE, results.EXCEPTION, results.CANCELLED) == (0, 1, 2, 4, 6)
    assert results.worst_status(results.SUCCESS, results.FAILURE) == results.FAILURE
    assert [results.statusToString(n) for n in (0, None, 9)] == ["success", "not finished", "Invalid status 9"]
    assert results.number_of("cancelled") == 6 and results.number_of(None) is None


def test_identifiers():
    assert identifiers.isIdentifier(5, "ab-_1") and not identifiers.isIdentifier(5, "1a")
    assert not identifiers.isIdentifier(2, "abc") and identifiers.ident_re.match("mac-build")
    assert [identifiers.forceIdentifier(4, text) for text in ("ok", "a b!c", "9x")] == ["ok", "a_b_", "_9x"]
    assert [identifiers.incrementIdentifier(5, text) for text in ("a", "a_2", "abcdef")] == ["a_2", "a_3", "abc_2"]
    with pytest.raises(ValueError, match="no room"):
        identifiers.incrementIdentifier(1, "a")


def test_times_texts_and_comparing():
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    assert util.epoch2datetime(moment.timestamp()) == moment and util.datetime2epoch(moment) == moment.timestamp()
    assert util.epoch2datetime(None) is None is util.datetime2epoch(None)
    assert (util.bytes2unicode(b"a"), util.bytes2unicode(None), util.unicode2bytes("a")) == ("a", None, b"a")
    assert util.flatten([1, [2, (3, [4])]]) == [1, 2, 3, 4] and util.now(Clock()) == 0.0

    class Point(util.ComparableMixin):
        compare_attrs = ("x",)

        def __init__(self, x):
            self.x = x

    assert Point(1) == Point(1) != Point(2) and hash(Point(1)) == hash(Point(1))


def test_rows_are_chosen_ordered_and_cut():
    rows = [{"n": n, "t": t} for n, t in ((1, ["a"]), (2, ["b"]), (3, ["a", "b"]))]
    spec = ResultSpec([Filter("t", "contains", ["a"])], ["n"], ["-n"], 1, 1)
    assert spec.apply(rows) == [{"n": 1}]
    kept = {
        op: [r["n"] for r in ResultSpec([Filter("n", op, [2])]).apply(rows)]
        for op in ("eq", "ne", "lt", "le", "gt", "ge")
    }
    assert kept == {"eq": [2], "ne": [1, 3], "lt": [1], "le": [1, 2], "gt": [3], "ge": [2, 3]}
    with pytest.raises(ValueError, match="unknown operator"):
        Filter("n", "like", [])
    with pytest.raises(KeyError, match="no field 'm'"):
        ResultSpec([Filter("m", "eq", [1])]).apply(rows)


# -- the master


@pytest.fixture
def asked():
    """(harness, ask): what a Deferred of the scheduler's master gives."""
    other = lambda: basic.AnyBranchScheduler("other", ["lint"])  # noqa: E731
    with SchedulerHarness(lambda: basic.AnyBranchScheduler("mine", ["unit"], properties={"p": 1}), other) as harness:
        yield harness, lambda call: harness.result_of(lambda: call(harness.scheduler.master))


def test_data_has_the_paths_that_schedulers_ask(asked):
    harness, ask = asked
    harness.change(revision="r1", branch="main", properties={"q": 2}, files=["f"])
    built = harness.buildsets[0]
    task, unit = built.tasks[0].id, ask(lambda m: m.data.get(("builders", "unit")))["builderid"]
    harness.finish(built, "failure")
    get = lambda *path, **options: ask(lambda m: m.data.get(path, **options))  # noqa: E731
    assert sorted(b["name"] for b in get("builders")) == ["lint", "unit"]
    assert (
        get("builders", unit)["name"] == get("builders", str(unit))["name"] == "unit" and get("builders", "no") is None
    )
    assert [r["buildrequestid"] for r in get("builders", unit, "buildrequests")] == [task] and get(
        "builders", 99, "builds"
    ) == []
    request = get("buildrequests", task)
    assert (request["complete"], request["results"], request["buildsetid"], request["builderid"]) == (
        True,
        2,
        built.id,
        unit,
    )
    assert len(get("buildrequests")) == 2 and get("buildrequests", 10**9) is None
    build = get("builds", task)
    assert (build["buildrequestid"], build["results"], build["builderid"]) == (task, 2, unit)
    assert (
        [b["buildid"] for b in get("buildrequests", task, "builds")] == [task] == [b["buildid"] for b in get("builds")]
    )
    assert [b["buildid"] for b in get("builders", unit, "builds")] == [task]
    assert get("builds", task, "properties")["p"] == (1, "Scheduler") and get("builds", 10**9, "properties") is None
    assert [c["changeid"] for c in get("builds", task, "changes")] == [1]
    buildset = get("buildsets", built.id)
    assert (buildset["complete"], buildset["results"], buildset["sourcestamps"][0]["revision"]) == (True, 2, "r1")
    assert get("buildsets", built.id, "properties")["q"] == (2, "Change") and get("buildsets", 10**9) is None
    assert [r["buildrequestid"] for r in get("buildsets", built.id, "buildrequests")] == [task]
    assert get("buildsets", 10**9, "properties") is None and len(get("buildsets")) == 2
    change = get("changes", 1)
    assert (change["author"], change["files"], change["properties"]) == ("somebody", ["f"], {"q": (2, "Change")})
    assert get("changes") == [change] and get("changes", 9) is None
    stamp = get("sourcestamps", buildset["sourcestamps"][0]["ssid"])
    assert (stamp["revision"], stamp["branch"]) == ("r1", "main") and get("sourcestamps", 10**9) is None
    assert get("sourcestamps", change["sourcestamp"]["ssid"])["revision"] == "r1" and get("sourcestamps", -9) is None
    assert [c["changeid"] for c in get("sourcestamps", stamp["ssid"], "changes")] == [1]
    assert {s["name"] for s in get("schedulers")} == {"mine", "other"} and get("schedulers", 10**9) is None
    assert get("schedulers", ask(lambda m: m.db.schedulers.findSchedulerId("other")))["name"] == "other"
    assert get("builders", filters=[Filter("name", "eq", ["lint"])], fields=["name"]) == [{"name": "lint"}]
    with pytest.raises(KeyError, match=r"there is no path .*workers.* here; there are builders"):
        get("workers")


def test_db_has_what_schedulers_use(asked):
    harness, ask = asked
    number = harness.scheduler.serviceid
    assert number == harness.scheduler.schedulerid == harness.scheduler.objectid
    assert ask(lambda m: m.db.changes.getLatestChangeid()) is None
    harness.change(revision="r1", branch="main")
    harness.change(revision="r2", branch="dev")
    assert ask(lambda m: m.db.changes.getLatestChangeid()) == 2 == ask(lambda m: m.db.changes.getChangesCount())
    chdict = ask(lambda m: m.db.changes.getChange(2))
    assert (chdict["changeid"], chdict["revision"], chdict["when_timestamp"].tzinfo) == (2, "r2", UTC)
    assert ask(lambda m: m.db.changes.getChange(3)) is None
    assert [c["changeid"] for c in ask(lambda m: m.db.changes.getRecentChanges(1))] == [2]
    assert [c["changeid"] for c in ask(lambda m: m.db.changes.getChanges())] == [1, 2]
    assert ask(lambda m: m.db.changes.getChangeFromSSid(chdict["sourcestampid"]))["changeid"] == 2
    change = ask(lambda m: OldChange.fromChdict(m, chdict))
    assert (change.number, change.branch, change["author"], change.get("x", 5)) == (2, "dev", "somebody", 5)
    ask(lambda m: m.db.schedulers.classifyChanges(number, {1: True, 2: False}))
    assert ask(lambda m: m.db.schedulers.getChangeClassifications(number)) == {1: True, 2: False}
    assert ask(lambda m: m.db.schedulers.getChangeClassifications(number, branch="dev")) == {2: False}
    ask(lambda m: m.db.schedulers.flushChangeClassifications(number, less_than=2))
    assert harness.pending == {2: False}
    with pytest.raises(SchedulerFault, match=r"use self\.serviceid"):
        ask(lambda m: m.db.schedulers.getChangeClassifications(number + 1))
    assert ask(lambda m: m.db.schedulers.getScheduler(number))["name"] == "mine"
    assert len(ask(lambda m: m.db.schedulers.getSchedulers(active=True))) == 2
    unit = ask(lambda m: m.db.builders.findBuilderId("unit"))
    assert (
        ask(lambda m: m.db.builders.getBuilder(unit))["name"] == "unit"
        and len(ask(lambda m: m.db.builders.getBuilders())) == 2
    )
    built = harness.buildsets[0]
    assert ask(lambda m: m.db.buildsets.getBuildset(built.id))["results"] == -1
    assert ask(lambda m: m.db.buildsets.getBuildsetProperties(built.id))["p"] == (1, "Scheduler")
    assert len(ask(lambda m: m.db.buildsets.getBuildsets(complete=False))) == 4
    waiting = ask(lambda m: m.db.buildrequests.getBuildRequests(builderid=unit, complete=False, claimed=False))
    assert waiting and {one["buildername"] for one in waiting} == {"unit"}
    assert ask(lambda m: m.db.buildrequests.getBuildRequests(bsid=built.id, branch="nowhere")) == []
    (task,) = (task.id for task in built.tasks if task.builder == "unit")
    (request,) = ask(lambda m: m.db.buildrequests.getBuildRequests(bsid=built.id, builderid=unit, branch=built.branch))
    assert (
        request["buildrequestid"] == task == ask(lambda m: m.db.buildrequests.getBuildRequest(task))["buildrequestid"]
    )
    assert ask(lambda m: m.db.buildrequests.getBuildRequests(complete=True)) == []
    (stamp,) = ask(lambda m: m.db.buildsets.getBuildset(built.id))["sourcestamps"]
    assert ask(lambda m: m.db.sourcestamps.getSourceStamp(stamp))["branch"] == built.branch
    assert ask(lambda m: m.db.sourcestamps.getSourceStamp(10**6)) is None


def test_state_of_other_names_is_kept_apart_and_survives(asked):
    harness, ask = asked
    own = ask(lambda m: m.db.state.getObjectId("mine", "AnyBranchScheduler"))
    shared = ask(lambda m: m.db.state.getObjectId("shared", "Thing"))
    assert own == harness.scheduler.serviceid != shared == ask(lambda m: m.db.state.getObjectId("shared", "Thing"))
    ask(lambda m: m.db.state.setState(own, "k", 1))
    assert ask(lambda m: m.db.state.atomicCreateState(shared, "k", lambda: [2])) == [2]
    harness.fail_over()
    assert harness.state["k"] == 1 and ask(lambda m: m.db.state.getState(shared, "k")) == [2]
    assert ask(lambda m: m.db.state.atomicCreateState(shared, "k", lambda: [3])) == [2]
    assert ask(lambda m: m.db.state.getState(shared, "gone", "d")) == "d"
    with pytest.raises(KeyError):
        ask(lambda m: m.db.state.getState(shared, "gone"))


def test_updates_join_the_turn(asked):
    harness, ask = asked
    unit = ask(lambda m: m.data.updates.findBuilderId("unit"))

    async def both(master, fail):
        async with harness.scheduler.turn():
            bsid, brids = await master.data.updates.addBuildset(
                waited_for=False,
                builderids=[unit],
                reason="r",
                properties={"x": (1, "Me")},
                sourcestamps=[],
                priority=4,
            )
            await master.data.updates.addChange(
                author="ann", revision="r9", when_timestamp=5, files=["f"], properties=Properties(y=2), src="git"
            )
            if fail:
                raise RuntimeError("after all that")
            return bsid, brids

    with pytest.raises(RuntimeError):
        ask(lambda m: defer.ensureDeferred(both(m, True)))
    harness.advance(60)
    assert harness.all_buildsets == []
    bsid, brids = ask(lambda m: defer.ensureDeferred(both(m, False)))
    built = harness.buildset(bsid)
    assert (built.builders, built.priority, built.properties["x"], built.sources["x"]) == (("unit",), 4, 1, "Me")
    assert list(brids) == [unit]
    harness.advance(1)
    assert ask(lambda m: m.db.changes.getChange(1))["properties"] == {"y": (2, "Change")}
    for given in ([], [10**6]):
        with pytest.raises(SchedulerFault, match="builder"):
            ask(lambda m, given=given: m.data.updates.addBuildset(waited_for=False, builderids=given))


@pytest.mark.parametrize(
    ("reach", "said"),
    [
        (lambda m: m.botmaster, "buildbot.master.botmaster has no counterpart"),
        (lambda m: m.db.workers, "buildbot.master.db.workers has no counterpart"),
        (lambda m: m.db.changes.addChange, "buildbot.master.db.changes.addChange has no counterpart"),
        (lambda m: m.data.updates.newWorker, "buildbot.master.data.updates.newWorker has no counterpart"),
    ],
)
def test_what_a_master_does_not_have_says_so(asked, reach, said):
    with pytest.raises(AttributeError, match=said):
        reach(asked[0].scheduler.master)


@pytest.mark.parametrize(
    "given", [("workers", None, "new"), ("buildrequests", None, "claimed"), ("changes",), ("buildsets", "5", "old")]
)
def test_messages_that_nobody_sends_cannot_be_consumed(asked, given):
    with pytest.raises(ValueError, match=r"there are \('changes', None, 'new'\)"):
        asked[1](lambda m: m.mq.startConsuming(print, given))


def test_the_master_s_reactor_and_the_scheduler_s_are_one(asked):
    harness, _ = asked
    heard = []
    harness.scheduler._reactor.callLater(5, heard.append, 1)
    assert harness.scheduler._reactor is harness.scheduler.master.reactor and harness.scheduler.isActive()
    harness.advance(5)
    assert heard == [1] and harness.scheduler.master.masterid == 1 and harness.scheduler.master.name == "locum"
