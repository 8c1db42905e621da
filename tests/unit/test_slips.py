"""What authors of schedulers forget: found by looking at their classes, or by the turn that it happens in."""

import threading
from pathlib import Path

import pytest
from locum.master.try_userpass import Try_Userpass, http_site
from locum.schedulers import BaseScheduler, Periodic
from locum.schedulers.hooks import hook_fault
from locum.schedulers.slips import slip
from locum.schedulers.try_jobs import LARGEST_JOB
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred, succeed
from twisted.internet.testing import StringTransport

from .test_configuring import HEAD, faults, folder, scheduler  # noqa: F401 - fixtures


class Misspelled(BaseScheduler):
    def gotChanges(self, change, important):
        pass


class Underscored(BaseScheduler):
    def got_timer(self, key, due):
        pass


class Uncompared(BaseScheduler):
    compareAttrs = ("minutes",)


class NoInit(BaseScheduler):
    def __init__(self, name, builderNames):
        self.name = name


class NoActivate(BaseScheduler):
    async def activate(self):
        await self.startConsumingChanges()


class NoDeactivate(Periodic):
    async def deactivate(self):
        self.active = False


class NoStart(BaseScheduler):
    def startService(self):
        self.started = True


class Unawaited(BaseScheduler):
    async def gotChange(self, change, important):
        self.look(change)

    async def look(self, change):
        pass


class UnawaitedInPlain(BaseScheduler):
    def gotChange(self, change, important):
        if important:
            self.look(change)

    async def look(self, change):
        pass


class UnawaitedUpCall(Periodic):
    async def activate(self):
        super().activate()


class UnawaitedAdding(BaseScheduler):
    async def gotTimer(self, key, due):
        self.addBuildsetForSourceStampsWithDefaults(reason="now")


class Yielding(BaseScheduler):
    async def gotTimer(self, key, due):
        yield self.setState("due", 1)


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Misspelled, "Misspelled.gotChanges is called by nobody; did you mean 'gotChange'?"),
        (Underscored, "Underscored.got_timer is called by nobody; did you mean 'gotTimer'?"),
        (Uncompared, "Uncompared.compareAttrs is read by nobody; did you mean 'compare_attrs'?"),
        (NoInit, "NoInit.__init__ never calls the one that it overrides; call 'super().__init__(name, builderNames"),
        (NoActivate, "NoActivate.activate never calls the one that it overrides; begin it with 'await super().activate()'"),
        (NoDeactivate, "NoDeactivate.deactivate never calls the one that it overrides; end it with"),
        (NoStart, "NoStart.startService never calls the one that it overrides; begin it with 'super().startService()'"),
        (Unawaited, "self.look(...) is not awaited, so it never runs; write 'await self.look(...)'"),
        (UnawaitedInPlain, "is not awaited, so it never runs; make gotChange async, and write 'await self.look(...)'"),
        (UnawaitedUpCall, "super().activate(...) is not awaited, so nobody would learn that it failed"),
        (UnawaitedAdding, "self.addBuildsetForSourceStampsWithDefaults(...) is not awaited, so nobody would learn"),
        (Yielding, "Yielding.gotTimer has a 'yield', so nothing can await it; write 'await' in its place"),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else "",
)  # fmt: skip
def test_what_can_only_be_a_slip_is_said_with_its_cure(cls, said):
    found = hook_fault(cls) or slip(cls)
    assert found is not None and said in found


def test_a_line_is_that_of_the_file():
    line = Path(__file__).read_text().splitlines().index("        self.look(change)") + 1
    assert f"gotChange, line {line}:" in slip(Unawaited)


class Deliberate(BaseScheduler):
    """Whatever looks like a slip, and is none."""

    def __init__(self, name, *args, **kwargs):
        BaseScheduler.__init__(self, name, *args, **kwargs)

    def activate(self):
        up_call = super().activate()

        async def both():
            await up_call
            self.gotChanges()

        return both()

    @inlineCallbacks
    def deactivate(self):
        yield super().deactivate()

    def gotChanges(self):
        """A helper of its own: something calls it."""
        Deferred.fromCoroutine(self.look())
        self.plain()

    def _gotChange2(self):
        pass

    def plain(self):
        return self.addBuildsetForChanges(changeids=[])

    def gotTimer(self, key, due):
        return self.look()

    async def look(self):
        waiting = self.plain()
        await waiting


def test_what_may_be_meant_is_left_alone():
    assert hook_fault(Deliberate) is None and slip(Deliberate) is None


def test_the_check_and_a_start_refuse_a_class_with_a_slip(faults):  # noqa: F811
    source = """
    from locum.schedulers import BaseScheduler

    class Slipped(BaseScheduler):
        def gotChanges(self, change, important): pass
    """
    (fault,) = faults("plugins: [./slipped_one.py]\n" + scheduler("", "slipped_one.Slipped"), slipped_one=source)
    assert fault.startswith("master.yaml:5:") and "did you mean 'gotChange'?" in fault


def test_a_constructor_that_uses_its_master_is_told_where_that_belongs(faults):  # noqa: F811
    source = """
    from locum.schedulers import BaseScheduler

    class Early(BaseScheduler):
        def __init__(self, name, builderNames, **kwargs):
            super().__init__(name, builderNames, **kwargs)
            self.setState("count", 0)
    """
    (fault,) = faults("plugins: [./early_one.py]\n" + scheduler("", "early_one.Early"), early_one=source)
    assert "its constructor asks its master for something" in fault and "do it in activate" in fault


@pytest.mark.parametrize("body", ["raise LookupError('among')", "yield 'hour', 1 / 0", "return 5", "return ['x']"])
def test_a_faultsamong_that_fails_is_a_fault_beside_the_others(faults, body):  # noqa: F811
    source = f"""
    from locum.schedulers import Nightly

    class Among(Nightly):
        def faultsAmong(self, others, builders):
            {body}
    """
    text = "plugins: [./among_one.py]\n" + scheduler("hour: 3", "among_one.Among")
    text += "  - { type: Dependent, name: d, upstream: nobody, builderNames: [unit] }\n"
    found = faults(text, among_one=source)
    assert len(found) == 2 and "there is no scheduler 'nobody'" in found[1], found
    assert "schedulers[0].type: Among.faultsAmong failed: " in found[0]


# -- in a turn --------------------------------------------------------------------------------------------------------


def reacting(react):
    """A scheduler whose ``gotChange`` is ``react(self, change)``."""

    class Reacting(BaseScheduler):
        async def activate(self):
            await super().activate()
            await self.startConsumingChanges()

        def gotChange(self, change, important):
            return react(self, change)

    return lambda: Reacting("s", ["unit"])


def failure_of_a_change(bench, react):
    b = bench(reacting(react))
    number = b.change()
    assert b.built == []
    return b.failures[f"change:{number}"][2]


def test_the_line_is_that_of_the_class_itself_wherever_in_its_file_it_stands(tmp_path, monkeypatch):
    (tmp_path / "placed.py").write_text(
        "from locum.schedulers import BaseScheduler\n"
        "try:\n"
        "    import nothing_of_this_name\n"
        "except ImportError:\n"
        "    class Inner(BaseScheduler):\n"
        "        async def activate(self):\n"
        "            super().activate()\n"
        "class Outer:\n"
        "    class Inner(BaseScheduler):\n"
        "        async def deactivate(self):\n"
        "            super().deactivate()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import placed

    assert "activate, line 7: super().activate(...) is not awaited" in slip(placed.Inner)
    assert "deactivate, line 11: super().deactivate(...) is not awaited" in slip(placed.Outer.Inner)


def test_a_buildset_that_failed_unheard_fails_the_turn(bench):
    def react(scheduler, change):
        scheduler.addBuildsetForChanges(changeids=[change.number], builderNames=["typo"])

    said = failure_of_a_change(bench, react)
    assert "although addBuildsetForChanges failed (scheduler 's': builderNames gave unknown builder 'typo'" in said
    assert "write 'await self.addBuildsetForChanges(...)'" in said


def test_a_buildset_that_nobody_waits_for_fails_the_turn_and_is_never_made(bench):
    def react(scheduler, change):
        scheduler.addBuildsetForSourceStamps(sourcestamps=[1], reason="late")  # asks the database

    assert "addBuildsetForSourceStamps has not ended yet" in failure_of_a_change(bench, react)


def test_a_failure_that_was_heard_is_the_authors_business(bench):
    async def react(scheduler, change):
        try:
            await scheduler.addBuildsetForChanges(changeids=[change.number], builderNames=["typo"])
        except Exception:
            failed = scheduler.addBuildsetForChanges(changeids=[change.number], builderNames=["typo"])
            failed.addErrback(lambda failure: None)
            await scheduler.addBuildsetForChanges(changeids=[change.number], reason="the other way")

    b = bench(reacting(react))
    b.change()
    assert [built.reason for built in b.built] == ["the other way"] and not b.failures


@pytest.mark.parametrize(
    ("react", "said"),
    [
        (lambda s, c: [s.setState("a", 1), s.setState("b", 2)], "returned a list of answers that nobody waits for"),
        (lambda s, c: (s.setState(key, 1) for key in "ab"), "returned a generator, of which nothing runs"),
        (lambda s, c: [coroutine()], "returned a list of answers that nobody waits for"),
        (lambda s, c: succeed([succeed(1)]), "returned a list of answers"),
        (lambda s, c: s.setState("n", s.getState("n", 0)), "Object of type Deferred is not JSON serializable; is an 'await' missing?"),
        (lambda s, c: s.setState("by", {1: "a"}), "the key 1 of a mapping is no text"),
        (lambda s, c: s.setState("by", [{"in": {None: 1}}]), "the key None of a mapping is no text"),
        (lambda s, c: threaded(s), "uses its master from another thread"),
    ],
)  # fmt: skip
def test_what_a_turn_cannot_mean_fails_it_with_a_sentence(bench, react, said):
    assert said in failure_of_a_change(bench, react)


async def coroutine():
    """Never awaited."""


def threaded(scheduler):
    """Stands for a thread of the reactor's pool: really another one, which is over when this returns."""
    found = []
    thread = threading.Thread(target=lambda: maybeDeferred(scheduler.setState, "a", 1).addBoth(found.append))
    thread.start()
    thread.join()
    found[0].raiseException()


def test_a_hook_that_waits_for_a_turn_of_its_own_is_told_so_when_its_time_is_over(bench):
    async def react(scheduler, change):
        async with scheduler.turn():
            pass

    b = bench(reacting(react), turn_timeout_s=5)
    number = b.change()
    b.advance(6)
    assert "a hook is a turn already" in b.failures[f"change:{number}"][2]


# -- try jobs over HTTP -----------------------------------------------------------------------------------------------


def sent(body_size, head=b""):
    """What the site has answered to a body of that size, and whether it hung up."""
    site = http_site(Try_Userpass("try", ["unit"], port=8031, userpass={"ann": "secret"}))
    site.timeOut = None  # no clock is needed
    channel, transport = site.buildProtocol(None), StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(b"POST / HTTP/1.1\r\nHost: x\r\n" + (head or b"Content-Length: %d\r\n" % body_size) + b"\r\n")
    chunk = bytes(1 << 20)
    for _ in range(body_size // len(chunk)):
        channel.dataReceived((b"%x\r\n" % len(chunk) if head else b"") + chunk + (b"\r\n" if head else b""))
    return transport.value(), transport.disconnecting


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: chunked\r\n"], ids=["of a length", "chunked"])
def test_a_body_larger_than_any_job_is_cut_off_as_it_comes(head):
    answer, hung_up = sent(LARGEST_JOB + (2 << 20), head)
    assert answer.startswith(b"HTTP/1.1 413 ") and answer.count(b"HTTP/1.1") == 1 and b"larger than 20 MB" in answer
    assert hung_up


def test_a_body_of_a_jobs_size_is_taken_and_a_stranger_refused():
    answer, _ = sent(1 << 20)
    assert answer.startswith(b"HTTP/1.1 401 ")
