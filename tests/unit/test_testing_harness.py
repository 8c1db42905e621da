"""``locum.schedulers.testing``: what authors of schedulers test with does what it says, and says what is wrong."""

import re
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import locum
import pytest
from locum.schedulers import (
    BaseScheduler,
    Dependent,
    FailingBuildsetCanceller,
    Nightly,
    NotActive,
    Periodic,
    SingleBranchScheduler,
    Triggerable,
)
from locum.schedulers.testing import (
    CannotBeMade,
    HarnessError,
    HookFailed,
    HookUnfinished,
    NobodyActive,
    NotAwaited,
    SchedulerHarness,
    ThreadUnfinished,
)
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread


class Counting(BaseScheduler):
    """A buildset for each change, with its number among all; a timer a minute after each."""

    def __init__(self, name="counting", builderNames=("unit",), **kwargs):
        super().__init__(name, list(builderNames), **kwargs)
        self.told = []

    async def activate(self):
        await super().activate()
        await self.startConsumingChanges()

    async def deactivate(self):
        self.told.append("deactivated")
        await super().deactivate()

    async def gotChange(self, change, important):
        count = await self.getState("count", 0) + 1
        await self.setState("count", count)
        await self.addBuildsetForChanges(changeids=[change.number], properties={"count": count})
        await self.setTimer("later", self.now() + timedelta(minutes=1))

    async def gotTimer(self, key, due):
        await self.setState("rang", due.isoformat())


@pytest.fixture
def h():
    with SchedulerHarness(Counting) as harness:
        yield harness


# -- changes, time, buildsets


def test_a_change_has_every_field_and_becomes_a_buildset(h):
    change = h.change(
        who="ann", branch="main", revision="r1", files=["a.py"], comments="text", repository="repo", project="p",
        category="c", properties={"k": 1}, revlink="http://x", committer="bob", when=5,
    )  # fmt: skip
    assert (change.number, change.who, change.branch, change.files, change.when) == (
        1,
        "ann",
        "main",
        ("a.py",),
        5_000_000,
    )
    (made,) = h.buildsets
    assert made.scheduler == "counting" and made.builders == ("unit",) and made.changes == (1,)
    assert (made.branch, made.revision, made.sourcestamps[0].project) == ("main", "r1", "p")
    assert made.properties == {"scheduler": "counting", "count": 1, "k": 1}
    assert made.sources == {"scheduler": "Scheduler", "count": "Force", "k": "Change"} or made.sources["k"] == "Change"
    assert made.at == h.now and made.due_at is None and not made.complete


def test_a_change_that_makes_no_sense_is_refused_by_field(h):
    with pytest.raises(ValueError, match="brunch"):
        h.change(brunch="main")


def test_unimportant_changes_go_with_the_next_important_one_when_the_tree_is_stable():
    def make():
        return SingleBranchScheduler(
            "quick", ["unit"], branch="main", treeStableTimer=60, fileIsImportant=lambda c: "README" not in c.files
        )

    with SchedulerHarness(make) as h:
        h.change(branch="main", files=["README"])
        assert h.pending == {1: False} and h.timers == {}
        h.advance(5)
        h.change(branch="main", files=["a.py"])
        h.change(branch="other", files=["a.py"])
        assert h.timers == {"stable": h.now + timedelta(seconds=60)}
        h.advance(59)
        assert h.buildsets == []
        h.advance(1)
        assert [(b.changes, b.at) for b in h.buildsets] == [((1, 2), h.now)]
        assert h.pending == {}


def test_due_times_are_nominal_and_in_order_whatever_is_advanced_at_once():
    with SchedulerHarness(
        lambda: Nightly("nightly", ["unit"], hour=3, timezone="Europe/Berlin"),
        lambda: Periodic("often", ["unit"], periodicBuildTimer="6h"),
        start="2026-03-28T00:00+01:00",
    ) as h:
        h.advance(timedelta(days=2))
        assert [b.due_at for b in h.buildsets] == [
            datetime(2026, 3, 28, 2, tzinfo=UTC),
            datetime(2026, 3, 29, 1, tzinfo=UTC),  # summer time has begun
        ]
        every = h.all_buildsets
        assert [b.at for b in every] == [b.due_at for b in every] == sorted(b.due_at for b in every)
        assert len(h["often"].buildsets) == 9


def test_months_pass_without_drift():
    with SchedulerHarness(lambda: Periodic("often", ["unit"], periodicBuildTimer="17h")) as h:
        h.advance("170d")
        assert len(h.buildsets) == 241
        assert all(b.at == b.due_at for b in h.buildsets)


def test_time_goes_to_a_moment_and_not_back(h):
    h.advance_to("2026-01-02T00:00:00+00:00")
    assert h.now == datetime(2026, 1, 2, tzinfo=UTC)
    with pytest.raises(ValueError, match="is over"):
        h.advance_to("2026-01-01T00:00:00+00:00")
    with pytest.raises(ValueError, match="zone"):
        h.advance_to("2026-01-03")
    with pytest.raises(ValueError, match="back"):
        h.advance(-1)


# -- masters come and go


def test_a_takeover_finds_state_and_timers_but_no_attributes(h):
    h.change()
    first = h.scheduler
    h.kill()
    assert not h.active and first.told == []
    with pytest.raises(NobodyActive, match="counting"):
        h.scheduler  # noqa: B018
    h.change()
    h.take_over()
    assert h.scheduler is not first and h.scheduler.told == []
    assert h.state["count"] == 2 and [b.changes for b in h.buildsets] == [(1,), (2,)]
    h.advance("1m")
    assert h.state["rang"] == "2026-01-01T00:01:00+00:00" and h.timers == {}


def test_what_a_killed_master_had_in_hand_is_lost_and_comes_again():
    gates = []

    class Slow(Counting):
        async def gotChange(self, change, important):
            await super().gotChange(change, important)
            gates.append(Deferred())
            await gates[-1]

    with SchedulerHarness(Slow) as h:
        with h.expect_unfinished():
            h.change()
            h.kill()
            assert h.buildsets == [] and h.state == {}
            h.take_over()
        assert len(gates) == 2
        gates[0].callback(None)  # the dead one's
        h.result_of(lambda: gates[1].callback(None))
        assert [b.properties["count"] for b in h.buildsets] == [1]


def test_a_dead_instance_can_do_nothing(h):
    dead = h.scheduler
    h.fail_over()
    with pytest.raises(NotActive):
        h.result_of(lambda: dead.setState("count", 99))
    assert h.state == {}


def test_a_clean_hand_over_deactivates(h):
    first, term = h.scheduler, h["counting"].term
    h.hand_over()
    assert first.told == ["deactivated"] and h.scheduler is not first and h["counting"].term > term
    second = h.scheduler
    h.stop()
    assert second.told == ["deactivated"] and not h.active


def test_a_lapse_deactivates_and_drops_what_is_not_committed():
    gate = Deferred()

    class Slow(Counting):
        async def gotChange(self, change, important):
            await super().gotChange(change, important)
            if not gate.called:
                await gate

    with SchedulerHarness(Slow) as h:
        first = h.scheduler
        with h.expect_unfinished():
            h.change()
            h.lapse()
        assert first.told == ["deactivated"] and h.buildsets == []
        gate.callback(None)
        h.take_over()
        assert [b.changes for b in h.buildsets] == [(1,)]


def test_two_masters_at_once_are_refused(h):
    with pytest.raises(HarnessError, match="kill"):
        h.take_over()


@pytest.mark.parametrize("fate", ["fail_next_commit", "lose_next_answer"])
def test_a_commit_that_goes_wrong_builds_once(h, fate):
    h.change()
    first = h.scheduler
    getattr(h, fate)()
    h.change()
    assert h.scheduler is not first
    assert [b.changes for b in h.buildsets] == [(1,), (2,)] and h.state["count"] == 2
    assert any("test" in line for line in h.log)


def test_a_lost_answer_was_committed_and_a_refused_commit_was_not(h):
    seen = []

    class Watching(Counting):
        async def activate(self):
            await super().activate()
            seen.append((await self.getState("count", 0), len(h2.buildsets) if seen else 0))

    with SchedulerHarness(Watching) as h2:
        h2.fail_next_commit()
        h2.change()
        h2.lose_next_answer()
        h2.change()
    assert seen == [(0, 0), (0, 0), (2, 2)]


@pytest.mark.parametrize(("committed", "before"), [(False, []), (True, [(1,)])])
def test_a_master_dies_around_its_commit(h, committed, before):
    h.kill_at_next_commit(committed=committed)
    h.change()
    assert not h.active and [b.changes for b in h.buildsets] == before
    h.take_over()
    assert [b.changes for b in h.buildsets] == [(1,)] and h.state["count"] == 1


def test_a_reconfiguration_keeps_state_and_takes_the_new_factory():
    with SchedulerHarness(lambda: Periodic("p", ["unit"], periodicBuildTimer="1h")) as h:
        h.advance("90m")
        h.reconfigure(lambda: Periodic("p", ["unit"], periodicBuildTimer="10m"))
        h.advance("10m")
        assert [b.due_at.minute for b in h.buildsets] == [0, 0, 40]
        with pytest.raises(HarnessError, match="there are p"):
            h.reconfigure(lambda: Periodic("q", ["unit"], periodicBuildTimer="10m"))


def test_disabled_schedulers_do_nothing_and_skips_say_so():
    with SchedulerHarness(lambda: Periodic("p", ["unit"], periodicBuildTimer="1h")) as h:
        h.disable()
        assert not h.active and not h["p"].enabled
        h.advance("3h")
        h.enable()
        assert h.active and len(h.buildsets) == 1
        (skip,) = h.skips
        assert (skip.count, skip.reason) == (3, "it was disabled") and skip.first == datetime(2026, 1, 1, 1, tzinfo=UTC)


# -- requests and outcomes


def test_force_answers_with_the_buildset_also_when_nobody_was_active(h):
    asked = h.force(branch="main", reason="please")
    assert asked.error is None and asked.buildset.reason == "please" and asked.buildset.branch == "main"
    h.kill()
    asked = h.force()
    assert asked.answer is None and asked.buildset is None
    h.take_over()
    assert h.request(asked).buildset.scheduler == "counting"


def test_a_request_that_is_refused_says_why(h):
    asked = h.trigger()
    assert asked.buildset is None and "only Triggerable" in asked.error


def test_upstream_trigger_and_dependent_in_one_harness():
    with SchedulerHarness(
        lambda: Triggerable("up", ["compile", "lint"]),
        lambda: Dependent("down", "up", ["deploy"]),
        lambda: FailingBuildsetCanceller("stop", filters=[{"builders": ["lint"], "builders_to_cancel": ["compile"]}]),
    ) as h:
        first = h.trigger(sourcestamps=[{"revision": "r1"}]).buildset
        h.finish(first, "success", builder="lint")
        assert not h.buildset(first.id).complete
        h.finish(first, "warnings")
        assert h.buildset(first.id).result == "warnings"
        (below,) = h["down"].buildsets
        assert below.revision == "r1" and below.builders == ("deploy",)
        second = h.trigger().buildset
        h.finish(second.id, "failure", builder="lint")
        assert {t.builder: t.result for t in h.buildset(second.id).tasks} == {"compile": "cancelled", "lint": "failure"}
        assert len(h["down"].buildsets) == 1
        with pytest.raises(HarnessError, match="no task"):
            h.finish(second)


def test_run_now_moves_no_grid():
    with SchedulerHarness(lambda: Nightly("n", ["unit"], hour=3)) as h:
        assert h.run_now().buildset.due_at is None
        h.advance("1d")
        assert [b.due_at and b.due_at.hour for b in h.buildsets] == [None, 3]


def test_what_outlives_finishing_while_nobody_is_up(h):
    h.change()
    h.kill()
    h.finish(h.buildsets[0])
    assert h.buildsets[0].result == "success"


# -- what goes wrong in schedulers


class Broken(Counting):
    mended = False

    async def gotChange(self, change, important):
        await super().gotChange(change, important)
        if not type(self).mended:
            raise LookupError("no such thing")


@pytest.fixture
def broken():
    Broken.mended = False
    with SchedulerHarness(Broken) as harness:
        yield harness


def test_a_hook_that_raises_fails_the_test_with_its_own_error(broken):
    with pytest.raises(
        HookFailed, match=r"change:1 of 'counting' failed: LookupError: no such thing.*expect_failure"
    ) as told:
        broken.change()
    assert isinstance(told.value.__cause__, LookupError)
    assert told.value.__cause__.__traceback__ is not None


def test_an_expected_failure_leaves_nothing_behind_and_is_tried_again(broken):
    first = broken.scheduler
    with broken.expect_failure(LookupError) as raised:
        broken.change()
    assert [str(e) for e in raised] == ["'no such thing'"] or len(raised) == 1
    assert broken.buildsets == [] and broken.state == {} and broken.scheduler is not first
    (failed,) = broken.failures
    assert (failed.cause, failed.attempts, failed.set_aside) == ("change:1", 1, False)
    assert failed.retry_at == broken.now + timedelta(seconds=1)
    Broken.mended = True
    broken.advance(1.1)
    assert broken.failures == [] and broken.state["count"] == 1


def test_a_cause_that_goes_on_failing_is_set_aside_and_can_be_retried(broken):
    with broken.expect_failure():
        broken.change()
        broken.advance("8h")
    (failed,) = broken.failures
    assert failed.set_aside and failed.attempts == 10 and "no such thing" in failed.error
    Broken.mended = True
    broken.change()
    assert broken.state["count"] == 1
    broken.retry(failed.cause)
    broken.advance(1)
    assert broken.failures == [] and [b.changes for b in broken.buildsets] == [(2,), (1,)]


def test_a_failure_that_was_expected_must_come(h):
    with pytest.raises(HarnessError, match="no scheduler's code raised KeyError"), h.expect_failure(KeyError):
        h.change()


def test_another_failure_than_the_expected_is_told(broken):
    with pytest.raises(HookFailed, match="LookupError"), broken.expect_failure(ZeroDivisionError):
        broken.change()


def test_activation_and_deactivation_that_raise_are_told():
    class BadStart(Counting):
        def startActivity(self):
            raise OSError("cannot begin")

    with pytest.raises(HookFailed, match="activate of 'counting' failed: OSError: cannot begin"):
        SchedulerHarness(BadStart)

    class BadEnd(Counting):
        def stopActivity(self):
            raise OSError("cannot end")

    with SchedulerHarness(BadEnd) as harness:
        with pytest.raises(HookFailed, match="deactivate of 'counting' failed: OSError: cannot end"):
            harness.stop()
        harness.take_over()
        with harness.expect_failure(OSError):
            harness.hand_over()
        assert harness.active
        with harness.expect_failure(OSError):
            harness.close()


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("await self.setState('a', {1, 2})", "state 'a'"),
        ("await self.setTimer('a', 5)", "time zone"),
        ("await self.addBuildsetForChanges(changeids=[99])", "there is no change"),
        ("await self.addBuildsetForChanges(changeids=[1], builderNames=['nowhere'])", "unknown builder 'nowhere'"),
        ("await self.master.set_timer('a\\0b', 5)", "NUL"),
    ],
)
def test_what_makes_no_sense_is_told(body, what):
    space = {}
    exec(f"async def gotChange(self, change, important):\n    {body}", space)
    cls = type("Odd", (Counting,), {"gotChange": space["gotChange"]})
    with SchedulerHarness(lambda: cls()) as h, pytest.raises(HookFailed, match=what):
        h.change()


def test_a_forgotten_await_is_told():
    class Forgetful(Counting):
        async def gotChange(self, change, important):
            self.helper()

        async def helper(self):
            await self.setState("never", 1)

    with SchedulerHarness(Forgetful) as h, pytest.raises(NotAwaited, match=r"helper.*was never awaited.*await"):
        h.change()


def test_a_hook_that_waits_for_nothing_is_told_at_once_and_fails_after_turn_timeout():
    class Hanging(Counting):
        async def gotChange(self, change, important):
            await Deferred()

    with SchedulerHarness(Hanging) as h:
        with pytest.raises(HookUnfinished, match=r"'counting': its hook for change:1 has not come to its end.*60 s"):
            h.change()
        with h.expect_failure() as raised:
            h.advance(60)
        assert "turn_timeout" in str(raised[0])


# -- reactors and threads


class Polling(BaseScheduler):
    """Asks in a thread, every ten seconds, with Twisted's own means."""

    ask = staticmethod(lambda: "")

    def startActivity(self):
        self.loop = LoopingCall(self.poll)
        self.loop.start(10, now=False).addErrback(lambda failure: failure.trap(NotActive))

    def stopActivity(self):
        self.loop.stop()

    async def poll_once(self):
        answer = await deferToThread(type(self).ask)
        async with self.turn():
            await self.setState("answers", [*await self.getState("answers", []), [answer, self.now().second]])

    def poll(self):
        return Deferred.fromCoroutine(self.poll_once())


def test_the_reactors_calls_follow_the_harness_and_threads_are_real():
    Polling.ask = staticmethod(lambda: threading.current_thread() is threading.main_thread())
    with SchedulerHarness(lambda: Polling("poll", ["unit"])) as h:
        h.advance(25)
        assert h.state["answers"] == [[False, 10], [False, 20]]
        h.kill()
        h.advance(60)
        assert len(h.state["answers"]) == 2  # a dead process plans nothing
        h.take_over()
        h.advance(10)
        h.hand_over()
        assert len(h.state["answers"]) == 3
    assert "callLater" not in vars(reactor) and "getThreadPool" not in vars(reactor)


def test_a_scheduler_may_be_the_first_to_ask_for_a_reactor(tmp_path):
    (tmp_path / "first.py").write_text(FIRST)
    done = subprocess.run(
        [sys.executable, "first.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "{'answer': 5}\n"), done.stdout + done.stderr


def test_a_thread_that_raises_raises_in_the_scheduler():
    def ask():
        raise OSError("no answer")

    Polling.ask = staticmethod(ask)
    with SchedulerHarness(lambda: Polling("poll", ["unit"])) as h:
        with pytest.raises(OSError, match="no answer"):
            h.result_of(lambda: h.scheduler.poll_once())
        h.scheduler.loop.stop()
        h.scheduler.loop.start(10)


def test_a_thread_that_does_not_end_is_named():
    gate = threading.Event()

    def wait_for_the_world():
        gate.wait(10)

    Polling.ask = staticmethod(wait_for_the_world)
    try:
        harness = SchedulerHarness(lambda: Polling("poll", ["unit"]), thread_timeout_s=0.05)
        with harness, pytest.raises(ThreadUnfinished, match=r"wait_for_the_world.*within 0.05 s"):
            harness.advance(10)
    finally:
        gate.set()


def test_code_that_asks_to_be_called_at_once_for_ever_is_told():
    class Spinning(Counting):
        async def gotChange(self, change, important):
            self.again()

        def again(self):
            reactor.callLater(0, self.again)

    with SchedulerHarness(Spinning) as h, pytest.raises(Exception, match="again and again"):
        h.change()


# -- what a factory may not do


def test_factories_that_make_no_sense_are_refused_with_a_sentence():
    def raising():
        raise ValueError("n: expected a whole number")

    shared = Counting()

    class WrongSignature(Counting):
        def gotChange(self, change):
            pass

    class ForgotAttribute(Counting):
        compare_attrs = ("nothing",)

    for factory, what in {
        raising: "the factory raised ValueError: n: expected a whole number",
        shared: "expected a function that makes a scheduler",
        (lambda: None): "does it say 'return'",
        WrongSignature: r"gotChange.*it is called as",
        ForgotAttribute: "nothing",
        (lambda: Dependent("d", "nobody", ["unit"])): "there is no scheduler 'nobody'",
    }.items():
        with pytest.raises(CannotBeMade, match=what):
            SchedulerHarness(factory)
    with pytest.raises(CannotBeMade, match="at least one"):
        SchedulerHarness()
    with pytest.raises(CannotBeMade, match="one name"):
        SchedulerHarness(Counting, Counting)
    with SchedulerHarness(lambda: shared) as h, pytest.raises(CannotBeMade, match="the same scheduler again"):
        h.fail_over()
    names = iter("abc")
    with (
        SchedulerHarness(lambda: Counting(next(names))) as h,
        pytest.raises(CannotBeMade, match="'a' first and 'b' now"),
    ):
        h.fail_over()


def test_builders_may_be_said_and_others_are_unknown():
    harness = SchedulerHarness(lambda: Counting(builderNames=["unit"]), builders=["lint"])
    with harness, pytest.raises(HookFailed, match="unknown builder 'unit'"):
        harness.change()


def test_a_closed_harness_deactivates_once_and_then_does_nothing():
    harness = SchedulerHarness(Counting)
    one = harness.scheduler
    harness.close()
    harness.close()
    assert one.told == ["deactivated"]
    with pytest.raises(HarnessError, match="closed"):
        harness.advance(1)


# -- how it fits in


def test_nothing_of_the_product_brings_the_harness_with_it():
    root = Path(locum.__file__).parent
    for room in ("config", "db", "schedulers", "master"):
        for path in (root / room).rglob("*.py"):
            if path.parent.name != "testing":
                assert not re.search(r"^\s*from \.[\w.]*testing", path.read_text(), re.MULTILINE), path


FIRST = """
import sys
from locum.schedulers import BaseScheduler
from locum.schedulers.testing import SchedulerHarness
from twisted.internet.threads import deferToThread

class Asking(BaseScheduler):
    async def startActivity(self):
        await self.setState("answer", await deferToThread(lambda: 5))

assert "twisted.internet.reactor" not in sys.modules
with SchedulerHarness(lambda: Asking("asking", ["unit"])) as harness:
    print(harness.state)
"""

TRIAL = """
from locum.schedulers import SingleBranchScheduler
from locum.schedulers.testing import SchedulerHarness
from twisted.internet import defer, reactor, task
from twisted.trial.unittest import SynchronousTestCase, TestCase


def quick():
    return SingleBranchScheduler("quick", ["unit"], branch="main", treeStableTimer=60)


class Synchronous(SynchronousTestCase):
    def test_one(self):
        with SchedulerHarness(quick) as h:
            h.change(branch="main")
            h.advance("1m")
            self.assertEqual([b.changes for b in h.buildsets], [(1,)])


class Turning(TestCase):
    timeout = 5

    def setUp(self):
        self.h = SchedulerHarness(quick)
        self.addCleanup(self.h.close)

    @defer.inlineCallbacks
    def test_inside_of_a_reactor_that_turns(self):
        self.h.change(branch="main")
        yield task.deferLater(reactor, 0.01, lambda: None)
        self.h.advance("30d")
        yield task.deferLater(reactor, 0.01, lambda: None)
        self.assertEqual(len(self.h.buildsets), 1)
"""


def test_the_examples_in_the_docs_pass():
    page = (Path(locum.__file__).parent / "docs" / "writing-schedulers.md").read_text()
    ran = 0
    for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        if "SchedulerHarness" in block:
            space = {"__name__": "example"}
            exec(compile(block, "writing-schedulers.md", "exec"), space)
            for name, test in list(space.items()):
                if name.startswith("test_"):
                    test()
                    ran += 1
    assert ran >= 3


def test_it_works_in_trial(tmp_path):
    (tmp_path / "test_in_trial.py").write_text(TRIAL)
    done = subprocess.run(
        [sys.executable, "-m", "twisted.trial", "test_in_trial"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "PASSED (successes=2)" in done.stdout, done.stdout + done.stderr


def test_a_deactivation_that_raises_at_the_end_is_told_unless_the_test_has_failed_already():
    class BadEnd(Counting):
        def stopActivity(self):
            raise OSError("cannot end")

    with pytest.raises(HookFailed, match="cannot end"), SchedulerHarness(BadEnd):
        pass
    with pytest.raises(ZeroDivisionError), SchedulerHarness(BadEnd):
        1 / 0  # noqa: B018


def test_a_start_service_that_raises_is_told_and_leaves_the_harness_usable():
    class BadService(Counting):
        broken = False

        def startService(self):
            super().startService()
            if type(self).broken:
                raise OSError("no file")

    with SchedulerHarness(BadService) as h:
        h.kill()
        BadService.broken = True
        with pytest.raises(HookFailed, match="startService of 'counting' failed: OSError: no file"):
            h.take_over()
        BadService.broken = False
        h.take_over()
        assert h.active
