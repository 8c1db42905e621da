"""Arguments that are worked out for each buildset."""

import pytest
from locum.schedulers import BaseScheduler, Interpolate, Property, SchedulerFault, SingleBranchScheduler, renderer
from locum.schedulers.rendering import Props, interpolated


def quick(**arguments):
    names = arguments.pop("builderNames", ["unit"])
    return lambda: SingleBranchScheduler("quick", names, change_filter={}, **arguments)


def values(built):
    return {name: value for name, (value, _) in built.properties.items()}


def test_properties_are_rendered_from_the_change_the_stamp_and_the_scheduler(bench):
    given = {
        "label": "%(prop:branch)s@%(prop:revision:-none)s by %(prop:scheduler)s",
        "nested": {"list": ["%(prop:ticket)s", 3, None]},
        "plain": "100% (prop:x) %(x)s",
        "typed": Property("size"),
        "from_plain": Interpolate("%(prop:plain)s!"),
    }
    b = bench(quick(properties=given))
    b.change(branch="main", properties={"ticket": "T-1", "size": 3})
    assert values(b.built[0]) == {
        "label": "main@none by quick",
        "nested": {"list": ["T-1", 3, None]},
        "plain": "100% (prop:x) %(x)s",
        "typed": 3,
        "from_plain": "100% (prop:x) %(x)s!",
        "scheduler": "quick",
        "ticket": "T-1",
        "size": 3,
    }
    assert b.built[0].properties["label"][1] == "Scheduler"


def test_what_comes_from_a_change_is_data_and_never_rendered(bench):
    b = bench(quick(properties={"copy": "<%(prop:evil)s>"}))
    b.change(properties={"evil": "%(prop:scheduler)s"})
    assert values(b.built[0])["copy"] == "<%(prop:scheduler)s>"
    assert values(b.built[0])["evil"] == "%(prop:scheduler)s"


def test_a_property_that_is_missing_fails_the_turn_and_says_what_to_do(bench):
    b = bench(quick(properties={"x": "%(prop:nothing)s"}))
    number = b.change()
    assert b.built == []
    assert "write %(prop:nothing:-DEFAULT)s" in b.failures[f"change:{number}"][2]


@pytest.mark.parametrize(
    ("names", "properties", "expected"),
    [
        (["%(prop:what)s"], {"what": "lint"}, ["lint"]),
        (["unit", "%(prop:what:-lint)s"], {}, ["unit", "lint"]),
        ("%(prop:which)s", {"which": ["unit", "lint"]}, ["unit", "lint"]),
        (Property("which"), {"which": ["lint"]}, ["lint"]),
        (renderer(lambda props: [c.properties["what"] for c in props.changes]), {"what": "unit"}, ["unit"]),
        (lambda props, changes: [props["what"]], {"what": "lint"}, ["lint"]),
    ],
    ids=["text", "default", "whole list", "Property", "renderer", "function"],
)
def test_builder_names_are_worked_out_for_each_buildset(bench, names, properties, expected):
    b = bench(quick(builderNames=names))
    b.change(properties=properties)
    assert b.built[0].builders == expected, b.failures


def test_a_builder_that_nobody_knows_fails_the_turn_visibly(bench):
    """Defect 16: an unknown builder gave an empty buildset marked successful."""
    for names in (["%(prop:what)s"], "%(prop:which)s"):
        b = bench(quick(builderNames=names))
        number = b.change(properties={"what": "nobody", "which": []})
        assert b.built == [] and "builder" in b.failures[f"change:{number}"][2]


def test_names_that_are_worked_out_are_not_listed():
    assert BaseScheduler("s", ["unit", "%(prop:x)s"]).listBuilderNames() == ["unit"]
    assert BaseScheduler("s", "%(prop:x)s").listBuilderNames() == []


@pytest.mark.parametrize(
    ("priority", "expected"),
    [
        ("%(prop:urgency:-2)s", 7),
        ("%(prop:other:-2)s", 2),
        (Property("urgency"), 7),
        (renderer(lambda props: len(props.changes) + 10), 11),
        (lambda builders, changes: len(builders) + len(changes[""]), 2),
    ],
    ids=["text", "default", "Property", "renderer", "function"],
)
def test_the_priority_is_worked_out_for_each_buildset(bench, priority, expected):
    b = bench(quick(priority=priority))
    b.change(properties={"urgency": 7})
    assert b.built[0].priority == expected


def test_a_priority_that_is_no_number_fails_the_turn(bench):
    b = bench(quick(priority="%(prop:urgency)s"))
    number = b.change(properties={"urgency": "high"})
    assert "expected a whole number" in b.failures[f"change:{number}"][2]


def test_a_renderer_may_be_async(bench):
    @renderer
    async def told(props):
        return await props.render(Interpolate("on %(prop:branch)s"))

    b = bench(quick(properties={"where": told}))
    b.change(branch="main")
    assert values(b.built[0])["where"] == "on main"


def test_what_callers_pass_is_not_rendered(bench):
    b = bench(lambda: BaseScheduler("s", ["unit"]))
    b.ask(lambda: b.scheduler.addBuildsetForSourceStampsWithDefaults("r", properties={"x": "%(prop:y)s"}))
    assert values(b.built[0])["x"] == "%(prop:y)s"
    with pytest.raises(SchedulerFault, match="unknown builder '%"):
        b.ask(lambda: b.scheduler.addBuildsetForSourceStampsWithDefaults("r", builderNames=["%(prop:x)s"]))


def test_null_renders_as_the_default():
    props = Props({"none": None, "flag": True})
    assert interpolated("%(prop:none)s|%(prop:none:-d)s|%(prop:flag)s", props) == "|d|true"
