"""Schedulers that others set off: Dependent, Triggerable, NightlyTriggerable."""

import json

import pytest
from locum.db.messages import Message
from locum.master.answering import serving
from locum.schedulers import Dependent, NightlyTriggerable, SingleBranchScheduler, Triggerable
from locum.schedulers.triggerable import NOTHING_HANDED_OVER

DAY = 86_400


def upstream_buildset(b, scheduler="up", *, revision="r1", patch=None, properties=None, changes=()):
    """A buildset as another scheduler, or another master, leaves it."""
    import json

    from locum.db import turns
    from locum.db.effects import Stamp

    stamp = Stamp.of("", "git://app", "main", revision, "p", None if patch is None else json.dumps(patch))
    b.db.write(turns.add_stamps, [stamp])
    (number,) = b.db.single(turns.reserve, "buildsets", 1)
    b.sql(
        "INSERT INTO buildsets (id, scheduler, reason, submitted_at, external_id, properties_json, tasks_left)"
        " VALUES (:i, :s, 'r', 1, 'job', :p, 1)",
        i=number,
        s=scheduler,
        p=json.dumps({name: [value, "X"] for name, value in (properties or {}).items()}),
    )
    b.sql(
        "INSERT INTO buildset_sourcestamps SELECT :i, id FROM sourcestamps WHERE content = :c",
        i=number,
        c=stamp.content,
    )
    for change in changes:
        b.sql("INSERT INTO buildset_changes VALUES (:i, :n)", i=number, n=change)
    return number


def dependent(**arguments):
    return lambda: Dependent("down", "up", ["unit"], **arguments)


def own(b, name="down"):
    return [
        built for built in b.built if b.sql("SELECT scheduler FROM buildsets WHERE id = :i", i=built.id)[0][0] == name
    ]


# -- Dependent


@pytest.mark.parametrize(
    ("result", "builds"),
    [
        ("success", True),
        ("warnings", True),
        ("failure", False),
        ("exception", False),
        ("cancelled", False),
        ("skipped", False),
    ],
)
def test_only_success_and_warnings_go_on(bench, result, builds):
    b = bench(dependent())
    b.finish(upstream_buildset(b), result)
    assert len(own(b)) == builds


def test_it_builds_the_same_stamps_and_changes(bench):
    b = bench(dependent(properties={"who": "me"}))
    number = b.change(properties={"ticket": 7})
    b.finish(upstream_buildset(b, revision="r9", changes=[number], properties={"scheduler": "up", "a": 1}))
    (built,) = own(b)
    assert built.stamps == [
        {"codebase": "", "repository": "git://app", "branch": "main", "revision": "r9", "project": "p"}
    ]
    assert built.changes == [number]
    assert built.properties == {"who": ("me", "Scheduler"), "ticket": (7, "Change"), "scheduler": ("down", "Scheduler")}
    assert built.reason == "The Dependent scheduler named 'down' triggered this build"
    assert b.sql("SELECT external_id FROM buildsets WHERE id = :i", i=built.id)[0][0] == "job"


def test_a_patch_goes_on_too(bench):
    b = bench(dependent())
    first = upstream_buildset(b, patch={"level": 1, "body": "x"})
    b.finish(first)
    (built,) = own(b)
    stamps = b.sql(
        "SELECT sourcestamp_id FROM buildset_sourcestamps WHERE buildset_id IN (:a, :b)", a=first, b=built.id
    )
    assert len({s[0] for s in stamps}) == 1


@pytest.mark.parametrize(
    ("wanted", "passed"), [(None, {}), (["a"], {"a": 1}), (True, {"a": 1, "b": 2}), (False, {})], ids=str
)
def test_properties_go_on_if_that_is_asked_for(bench, wanted, passed):
    b = bench(dependent(passProperties=wanted, properties={"a": "own"}))
    b.finish(upstream_buildset(b, properties={"a": 1, "b": 2, "scheduler": "up"}))
    found = {name: value for name, (value, _) in own(b)[0].properties.items()}
    assert found == {"a": "own", "scheduler": "down", **passed}


def test_other_schedulers_buildsets_are_not_for_it(bench):
    b = bench(dependent())
    b.finish(upstream_buildset(b, "other"))
    assert own(b) == []


def test_what_completes_while_nobody_is_active_is_served_once(bench):
    b = bench(dependent())
    before, later = upstream_buildset(b, revision="a"), upstream_buildset(b, revision="b")
    b.die()
    b.finish(later)
    third = upstream_buildset(b, revision="c")
    b.finish(third)
    b.start()
    b.fail_over()
    b.finish(before)
    b.fail_over()
    assert [x.stamps[0]["revision"] for x in own(b)] == ["b", "c", "a"]


def test_a_commit_that_failed_makes_neither_none_nor_two(bench):
    b = bench(dependent())
    number = upstream_buildset(b)
    b.database_away()
    b.finish(number)
    assert own(b) == []
    b.database_back()
    b.advance(10)
    assert len(own(b)) == 1


def test_an_upstream_may_be_the_scheduler_itself():
    up = SingleBranchScheduler("up", ["unit"], branch="main")
    assert Dependent("down", up, ["unit"]).upstream_name == "up"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"upstream": 3}, "upstream: expected a scheduler's name"),
        ({"upstream": ""}, "upstream: expected a scheduler's name"),
        ({"upstream": "up", "passProperties": "a"}, "passProperties: expected a list"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_by_name(arguments, said):
    with pytest.raises(ValueError, match=said):
        Dependent("down", builderNames=["unit"], **arguments)


def test_missing_upstreams_and_circles_are_faults():
    chain = {"a": "b", "b": "c", "c": "a", "d": "a", "e": "nobody", "f": "e", "g": "g"}
    made = {name: Dependent(name, upstream, ["unit"]) for name, upstream in chain.items()}
    found = {name: [what for _, what in scheduler.faultsAmong(made, {"unit"})] for name, scheduler in made.items()}
    assert "a -> b -> c -> a" in found["a"][0] and "c -> a -> b -> c" in found["c"][0] and "g -> g" in found["g"][0]
    assert found["d"] == found["f"] == []
    assert found["e"] == ["there is no scheduler 'nobody'"]


# -- Triggerable


def asked(b, **body):
    """What the message of a trigger step is answered."""
    import json

    given = {
        "waited_for": False, "sourcestamps": None, "set_props": None, "parent_buildid": 5,
        "parent_relationship": "Triggered from", "priority": None, **body,
    }  # fmt: skip
    (number,) = b.db.single(_reserve, "messages")
    b.sql(
        "INSERT INTO messages (id, scheduler_id, key, kind, body_json, made_at) VALUES (:i, :s, :k, 'trigger', '{}', 1)",
        i=number, s=b.id, k=f"k{number}",
    )  # fmt: skip
    b.message(number, serving(Message(number, b.id, "k", "trigger", given, 0, "task 5")))
    return json.loads(b.sql("SELECT answer_json FROM messages WHERE id = :i", i=number)[0][0])


def _reserve(conn, counter):
    from locum.db import turns

    return turns.reserve(conn, counter, 1)


def test_a_trigger_makes_a_buildset_with_its_stamps_and_properties(bench):
    """Defect 20: scheduler properties overrode the trigger's."""
    codebases = {"app": {"repository": "git://app", "branch": "main"}, "lib": {"revision": "l1"}}
    b = bench(lambda: Triggerable("deploy", ["unit", "lint"], codebases=codebases, properties={"a": 1, "b": 2}))
    stamps = [{"codebase": "app", "revision": "r7", "branch": None}, {"codebase": "more", "branch": "x"}]
    answer = asked(b, sourcestamps=stamps, set_props={"b": 3}, priority=4, waited_for=True)
    (built,) = b.built
    assert answer["buildset"] == built.id and set(answer["tasks"]) == {"unit", "lint"}
    assert {s["codebase"]: (s["repository"], s["branch"], s["revision"]) for s in built.stamps} == {
        "app": ("git://app", None, "r7"),
        "lib": ("", None, "l1"),
        "more": ("", "x", None),
    }
    assert built.properties == {"a": (1, "Scheduler"), "b": (3, "Trigger"), "scheduler": ("deploy", "Scheduler")}
    assert built.priority == 4 and built.reason.startswith("The Triggerable scheduler named 'deploy'")
    row = b.sql("SELECT waited_for, parent_json FROM buildsets")[0]
    assert row[0] and '"parent_buildid": 5' in row[1]


def test_two_stamps_of_one_codebase_are_refused_at_once_by_both_kinds(bench):
    for make in (
        lambda: Triggerable("t", ["unit"]),
        lambda: NightlyTriggerable("t", ["unit"], hour=3),
    ):
        b = bench(make)
        answer = asked(b, sourcestamps=[{"codebase": ""}, {"codebase": ""}])
        assert "two source stamps" in answer["error"] and b.built == []


def test_the_signature_is_the_same_for_both_kinds():
    """Defect 14: a trigger's signature differed between two kinds."""
    import inspect

    one, other = (list(inspect.signature(cls.trigger).parameters) for cls in (Triggerable, NightlyTriggerable))
    assert (
        one
        == other
        == [*("self", "waited_for", "sourcestamps", "set_props", "parent_buildid", "parent_relationship", "priority")]
    )


@pytest.mark.parametrize("make", [Triggerable, NightlyTriggerable])
def test_every_argument_of_a_trigger_reaches_the_buildset(bench, make):
    b = bench(lambda: make("t", ["unit"]))
    asked(
        b,
        waited_for=True,
        sourcestamps=[{"codebase": "", "revision": "r7"}],
        set_props={"a": 1},
        parent_buildid=77,
        parent_relationship="because of",
        priority=4,
    )
    b.advance(3600)
    (built,) = b.built
    assert (built.stamps[0]["revision"], built.properties["a"], built.priority) == ("r7", (1, "Trigger"), 4)
    (row,) = b.sql("SELECT waited_for, parent_json FROM buildsets")
    parent = json.loads(row.parent_json)
    assert bool(row.waited_for) and (parent["parent_buildid"], parent["parent_relationship"]) == (77, "because of")
    asked(b)
    b.advance(3600)
    assert not b.sql("SELECT waited_for FROM buildsets ORDER BY id")[1].waited_for


def test_what_cannot_be_triggered_says_so(bench):
    b = bench(lambda: SingleBranchScheduler("quick", ["unit"], branch="main"))
    assert "only Triggerable and NightlyTriggerable" in asked(b)["error"]


# -- NightlyTriggerable


def test_a_nightly_triggerable_fires_the_last_trigger_at_its_time_and_only_once(bench):
    b = bench(lambda: NightlyTriggerable("night", ["unit"], hour=3, properties={"a": 1}))
    b.advance(DAY)
    assert b.built == [] and b.skips[0][2:] == (1, NOTHING_HANDED_OVER)
    asked(b, sourcestamps=[{"codebase": "", "revision": "old"}])
    answer = asked(b, sourcestamps=[{"codebase": "", "revision": "new"}], set_props={"a": 2}, priority=3)
    assert answer == {"buildset": None, "tasks": {}} and b.built == []
    b.fail_over()
    b.advance(DAY)
    (built,) = b.built
    assert (built.stamps[0]["revision"], built.properties["a"], built.priority) == ("new", (2, "Trigger"), 3)
    assert built.due.hour == 3
    b.advance(DAY)
    assert len(b.built) == 1 and sum(s[2] for s in b.skips) == 2


def test_a_nightly_triggerable_takes_nothing_of_changes():
    with pytest.raises(TypeError, match="onlyIfChanged"):
        NightlyTriggerable("night", ["unit"], hour=3, onlyIfChanged=True)
