"""What all schedulers take, tried on each kind: name, builderNames, properties, codebases, priority, and reason."""

import json
from dataclasses import replace

import pytest
from locum.db import turns
from locum.db.effects import Stamp
from locum.db.messages import Message
from locum.master.answering import serving
from locum.master.configuring import STANDARD, parameters
from locum.master.try_jobdir import Try_Jobdir
from locum.master.try_userpass import Try_Userpass
from locum.schedulers import (
    AnyBranchScheduler,
    Dependent,
    ForceScheduler,
    Nightly,
    NightlyTriggerable,
    Periodic,
    SingleBranchScheduler,
    Triggerable,
)
from twisted.internet.testing import MemoryReactorClock

NEEDED = {
    SingleBranchScheduler: {"branch": "main"},
    AnyBranchScheduler: {},
    Periodic: {"periodicBuildTimer": 3600},
    Nightly: {},
    Dependent: {"upstream": "up"},
    Triggerable: {},
    NightlyTriggerable: {},
    ForceScheduler: {},
    Try_Jobdir: {"jobdir": "jobs"},
    Try_Userpass: {},
}
WITH_A_REASON = [cls for cls in NEEDED if "reason" in parameters(cls)[0] and cls is not ForceScheduler]


def message(b, kind, **body):
    """A message for it comes, and is served."""
    b.ask(lambda: serving(Message(1, b.id, "k", kind, body, 0, "ann"))(b.scheduler))


def upstream_succeeds(b):
    """A buildset of the scheduler ``up`` for the codebase ``app`` completes."""
    stamp = Stamp.of("app", "git://app")
    b.db.write(turns.add_stamps, [stamp])
    (number,) = b.db.single(turns.reserve, "buildsets", 1)
    b.sql(
        "INSERT INTO buildsets (id, scheduler, reason, submitted_at, properties_json, tasks_left)"
        " VALUES (:i, 'up', 'r', 1, '{}', 1)",
        i=number,
    )
    b.sql(
        "INSERT INTO buildset_sourcestamps SELECT :i, id FROM sourcestamps WHERE content = :c",
        i=number,
        c=stamp.content,
    )
    b.finish(number)


def set_off(b, cls, folder):
    """Whatever it takes for one buildset; it is the newest one then."""
    if issubclass(cls, (SingleBranchScheduler, AnyBranchScheduler)):
        b.change(branch="main", codebase="other")
        b.change(branch="main", codebase="app", repository="git://app")
    elif cls is Dependent:
        upstream_succeeds(b)
    elif cls in (Triggerable, NightlyTriggerable):
        message(b, "trigger", waited_for=False)
    elif cls is ForceScheduler:
        message(b, "force", owner="ann")
    elif cls is Try_Userpass:
        message(b, "try", codebase="app")
    elif cls is Try_Jobdir:
        b.advance(5)
        (folder / "jobs" / "new" / "1").write_text(json.dumps({"codebase": "app"}))
    b.advance(3600)


def newest(b):
    """Its own newest buildset: the one that it depends on has no properties."""
    return [built for built in b.built if built.properties][-1]


def set_up(bench, cls, folder, **arguments):
    """A bench for one of that kind, and where its files are."""
    benches = []

    def make():
        scheduler = cls(**{"name": "mine", "builderNames": ["unit"], **NEEDED[cls], **arguments})
        if benches:
            scheduler.equip(benches[0].surroundings, folder)
        return scheduler

    if cls is not Try_Jobdir:
        return bench(make)
    b = bench(lambda: SingleBranchScheduler("before", ["unit"], branch="main"))  # its surroundings are not there before
    benches.append(b)
    b.die()
    b.make = make
    return b.start()


def test_every_kind_that_requests_work_is_tried_here():
    assert set(NEEDED) == {cls for cls in STANDARD.values() if getattr(cls, "requests_work", False)}


@pytest.mark.parametrize("cls", NEEDED)
def test_what_all_take_goes_into_the_buildsets_of_each_kind(bench, tmp_path, cls):
    codebases = {"app": {"repository": "git://app"}}
    given = {"codebases": codebases, "properties": {"level": "low"}, "priority": 7}
    if cls is ForceScheduler:  # the fields of its form have these names
        given = {
            "codebases": [{"codebase": "app", "repository": "git://app"}],
            "properties": [{"type": "String", "name": "level", "default": "low"}],
            "priority": {"type": "Int", "name": "priority", "default": 7},
        }
    b = set_up(bench, cls, tmp_path, builderNames=["lint"], **given)
    set_off(b, cls, tmp_path)
    assert b.failures == {}
    built = newest(b)
    assert (built.builders, built.priority) == (["lint"], 7)
    assert built.properties["level"][0] == "low" and built.properties["scheduler"] == ("mine", "Scheduler")
    assert [(stamp["codebase"], stamp["repository"]) for stamp in built.stamps] == [("app", "git://app")]
    assert b.sql("SELECT scheduler FROM buildsets WHERE id = :i", i=built.id)[0][0] == "mine"


@pytest.mark.parametrize("cls", WITH_A_REASON)
def test_the_reason_of_each_kind_is_the_one_given(bench, tmp_path, cls):
    for given, said in (
        ("because", "because"),
        (None, f"The {cls.__name__} scheduler named 'mine' triggered this build"),
    ):
        b = set_up(bench, cls, tmp_path, codebases={"app": {}}, reason=given)
        set_off(b, cls, tmp_path)
        assert newest(b).reason == said


@pytest.mark.parametrize(("given", "address"), [({}, "127.0.0.1"), ({"interface": "192.0.2.7"}, "192.0.2.7")], ids=str)
def test_a_try_scheduler_listens_on_its_port_and_interface(bench, given, address):
    other = bench(lambda: SingleBranchScheduler("other", ["unit"], branch="main"))
    reactor = MemoryReactorClock()

    def make():
        scheduler = Try_Userpass("try", ["unit"], port=8031, userpass={"ann": "secret"}, **given)
        scheduler.equip(replace(other.surroundings, reactor=reactor), None)
        return scheduler

    bench(make)
    reactor.advance(1)
    assert [(port, interface) for port, _, _, interface in reactor.tcpServers] == [(8031, address)]
