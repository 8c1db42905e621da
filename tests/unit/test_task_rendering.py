"""Properties in arguments and in the environment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from locum.master.tasks.rendering import UnknownProperty, as_text, environment, first_unfit, render, render_command


@pytest.mark.parametrize(
    "text, made",
    [
        ("plain", "plain"),
        ("%(prop:a)s", "A"),
        ("<%(prop:a)s%(prop:n)s>", "<A1>"),
        ("%(prop:x:-dflt)s", "dflt"),
        ("%(prop:x:-)s", ""),
        ("%(prop:a:-dflt)s", "A"),
        ("%(prop:empty:-dflt)s", ""),
        ("100%% of %s and %(other)s", "100% of %s and %(other)s"),
        ("%%(prop:a)s", "%(prop:a)s"),
        ("%(prop:nested)s", "%(prop:a)s"),
        ("%(prop:dotted.name-x)s", "d"),
    ],
)
def test_references_are_replaced_once(text, made):
    values = {"a": "A", "n": 1, "empty": "", "nested": "%(prop:a)s", "dotted.name-x": "d"}
    assert render(text, values) == made


def test_an_unknown_property_is_named():
    with pytest.raises(UnknownProperty, match="property 'gone'"):
        render("%(prop:gone)s", {})


@given(st.text())
def test_a_value_stays_one_argument_whatever_it_holds(value):
    assert render_command(("run", "%(prop:v)s", "last"), {"v": value}) == ["run", value, "last"]
    assert render_command("echo %(prop:v)s", {"v": value}) == ["/bin/sh", "-c", "echo %(prop:v)s"]


@pytest.mark.parametrize(
    "value, text",
    [
        (None, ""),
        (True, "true"),
        (3, "3"),
        (1.5, "1.5"),
        ("ä", "ä"),
        (["ä", 1], '["ä", 1]'),
        ({"k": None}, '{"k": null}'),
    ],
)
def test_values_as_text(value, text):
    assert as_text(value) == text


def test_what_cannot_be_passed_is_left_out_of_the_environment_with_a_note():
    made, notes = environment(
        {"ok-name.x": 1, "nul": "\0", "long": "x" * 200_000, "half": "\ud800", "a b": 1, "a_b": 2, "ü": "u"}
    )
    assert made == {"LOCUM_PROP_OK_NAME_X": "1", "LOCUM_PROP_A_B": "1", "LOCUM_PROP__": "u"}
    assert [note.split(": ")[0] for note in notes] == [
        f'property "{name}" is not in the environment' for name in ("a_b", "half", "long", "nul")
    ]


def test_all_properties_together_are_bounded():
    made, notes = environment({f"p{n:03}": "x" * 100_000 for n in range(30)})
    assert len(made) == 10
    assert len(notes) == 20


def test_unfit_arguments_are_told_by_their_place():
    assert first_unfit(["a", "b"]) == ""
    assert first_unfit(["a", "\0"]) == "argument 1 cannot be passed to a command: it holds a NUL"
