"""Each kind of field of a ForceScheduler's form, and each of its options: what it does to the value that is given."""

import pytest
from locum.schedulers import ForceScheduler
from locum.schedulers.parameters import (
    LONGEST_FILE,
    AnyPropertyParameter,
    BooleanParameter,
    ChoiceStringParameter,
    CodebaseParameter,
    FileParameter,
    FixedParameter,
    IntParameter,
    NestedParameter,
    PatchParameter,
    StringParameter,
    TextParameter,
    UserNameParameter,
    WorkerChoiceParameter,
)

TEXTS = ("a b", "", "0", "line\nline")
TAKES_TEXT = {
    StringParameter: "12",
    TextParameter: "12",
    IntParameter: 12,
    ChoiceStringParameter: "12",
    WorkerChoiceParameter: "12",
    FileParameter: "12",
}
"""What each makes of the text 12."""


def made(cls, **options):
    """A field of a kind that takes the text 12."""
    if cls is ChoiceStringParameter:
        options.setdefault("choices", ["12", "1", "2"])
    return cls("field", **options)


def given(field, /, *values, **form):
    """(its value, what is wrong) for the values of the field, or for a whole form."""
    errors = {}
    value = field.taken(form or {field.fullName: list(values)}, errors)
    return value, errors


def refused(field, /, *values, **form):
    """What is wrong, by field; nothing is taken."""
    errors = given(field, *values, **form)[1]
    assert errors, "it is taken"
    return errors


# -- what every field has


@pytest.mark.parametrize("cls", TAKES_TEXT)
def test_a_field_takes_its_value_by_its_name(cls):
    field = made(cls)
    assert given(field, other=["x"], field=["12"]) == (TAKES_TEXT[cls], {})
    for odd in ("a b", "1st", 3):
        with pytest.raises(ValueError, match=r"^name: expected letters"):
            cls(odd, **({"choices": ["12"]} if cls is ChoiceStringParameter else {}))


@pytest.mark.parametrize("cls", TAKES_TEXT)
def test_a_default_takes_the_place_of_what_is_not_given(cls):
    default = 7 if cls is IntParameter else "2"
    field = made(cls, default=default)
    assert given(field, other=["x"]) == (default, {})
    assert given(field, "12") == (TAKES_TEXT[cls], {})


@pytest.mark.parametrize("cls", [*TAKES_TEXT, UserNameParameter])
@pytest.mark.parametrize("form", [{"other": ["x"]}, {"field": [""]}], ids=["missing", "empty"])
def test_a_required_field_must_be_given_and_not_be_empty(cls, form):
    options = {"strict": False} if "Choice" in cls.__name__ else {"default": ""}
    assert refused(cls("field", required=True, **options), **form) == {"field": "it is required"}
    assert given(cls("field", **options), **form) == ("", {})


@pytest.mark.parametrize("cls", TAKES_TEXT)
def test_a_regex_is_matched_from_the_start(cls):
    field = made(cls, regex="1[0-9]$")
    assert given(field, "12") == (TAKES_TEXT[cls], {})
    assert "does not match '1[0-9]$'" in refused(field, "2")["field"]


@pytest.mark.parametrize("cls", TAKES_TEXT)
def test_a_text_longer_than_maxsize_is_refused(cls):
    assert given(made(cls, maxsize=2), "12") == (TAKES_TEXT[cls], {})
    short = {"choices": ["1", "12"]} if cls is ChoiceStringParameter else {}
    assert "2 characters, at most 1" in refused(made(cls, maxsize=1, **short), "12")["field"]


@pytest.mark.parametrize("cls", TAKES_TEXT)
def test_with_multiple_a_field_takes_a_list(cls):
    one = TAKES_TEXT[cls]
    assert given(made(cls, multiple=True, **({} if "Choice" in cls.__name__ else {"default": []})), "12", "12") == (
        [one, one],
        {},
    )
    assert refused(made(cls), "12", "12") == {"field": "expected one value, got 2"}


# -- one kind after another


def test_a_fixed_field_is_its_default_whatever_is_given():
    field = FixedParameter("field", default="always")
    assert given(field, other=["x"]) == given(field, "always") == ("always", {})
    assert refused(field, "else") == {"field": "it is always 'always'"}


@pytest.mark.parametrize("text", TEXTS)
def test_a_line_and_a_text_are_taken_as_they_are(text):
    for field in (StringParameter("field"), TextParameter("field")):
        assert given(field, field=[text], other=["x"]) == (text, {})


def test_a_number_is_taken_in_digits_and_nothing_stands_for_the_default():
    assert [given(IntParameter("field", default=4), text)[0] for text in ("12", "-3", " 5 ", "")] == [12, -3, 5, 4]
    assert given(IntParameter("field"), other=["x"]) == (0, {})
    for text in ("many", "1.5", "0x1"):
        assert "expected a whole number" in refused(IntParameter("field"), text)["field"]


def test_a_flag_is_taken_in_words_and_its_default_is_a_flag():
    field = BooleanParameter("field", default=True)
    assert given(field, other=["x"]) == (True, {}) and given(BooleanParameter("field"), other=["x"]) == (False, {})
    assert {text: given(field, text)[0] for text in ("true", "Yes", "on", "1", "false", "no", "off", "0", "")} == {
        **dict.fromkeys(("true", "Yes", "on", "1"), True),
        **dict.fromkeys(("false", "no", "off", "0", ""), False),
    }
    assert "expected true or false" in refused(field, "maybe")["field"]
    with pytest.raises(ValueError, match=r"^default: expected true or false"):
        BooleanParameter("field", default="yes")


def test_a_user_name_has_an_address_in_it_unless_that_is_not_needed():
    field = UserNameParameter()
    assert field.fullName == "username"
    assert given(field, "Ann <ann@example.org>") == ("Ann <ann@example.org>", {})
    assert "with an address" in refused(field, "ann")["username"]
    assert given(UserNameParameter("who", need_email=False), who=["ann"]) == ("ann", {})


def test_a_choice_is_one_of_its_choices_if_it_is_strict_and_the_first_without_a_default():
    field = ChoiceStringParameter("field", choices=["alpha", "beta"])
    assert given(field, "beta") == ("beta", {}) and given(field, other=["x"]) == ("alpha", {})
    assert "is not one of alpha, beta; did you mean 'alpha'?" in refused(field, "alfa")["field"]
    assert given(ChoiceStringParameter("field", choices=["alpha"], strict=False), "alfa") == ("alfa", {})
    assert given(ChoiceStringParameter("field", choices=["alpha", "beta"], default="beta"), other=["x"])[0] == "beta"
    many = ChoiceStringParameter("field", choices=["alpha", "beta"], multiple=True)
    assert given(many, other=["x"]) == ([], {}) and given(many, "beta", "alpha") == (["beta", "alpha"], {})
    assert "'c' is not one" in refused(many, "alpha", "c")["field"]


def test_a_worker_is_the_name_of_a_master_whether_it_is_listed_or_not():
    assert WorkerChoiceParameter().fullName == "runner"
    assert given(WorkerChoiceParameter("field", choices=["m1"]), "m9") == ("m9", {})
    assert (
        "'m9' is not one of m1" in refused(WorkerChoiceParameter("field", choices=["m1"], strict=True), "m9")["field"]
    )


def test_a_file_has_a_longest_size_of_its_own():
    field = FileParameter("field")
    assert given(field, "x" * 1000) == ("x" * 1000, {}) and field.maxsize == LONGEST_FILE
    assert "it is too long" in refused(field, "x" * (LONGEST_FILE + 1))["field"]
    assert "at most 3" in refused(FileParameter("field", maxsize=3), "1234")["field"]


def test_a_group_with_a_name_is_a_mapping_and_one_without_stands_beside_the_others(bench):
    fields = [IntParameter("n"), {"type": "String", "name": "s"}]
    named, nameless = NestedParameter("box", fields=fields), NestedParameter(fields=[StringParameter("flat")])
    assert [one.fullName for group in (named, nameless) for one in group.fields()] == ["box_n", "box_s", "flat"]
    assert given(named, box_n=["3"], box_s=["x"]) == ({"n": 3, "s": "x"}, {})
    assert set(refused(named, box_n=["x"])) == {"box_n"}
    b = bench(lambda: ForceScheduler("now", ["unit"], properties=[named, nameless]))
    b.ask(lambda: b.scheduler.force("ann", values={"box_n": "3", "flat": "f"}))
    found = b.built[0].properties
    assert (found["box"][0], found["flat"][0]) == ({"n": 3, "s": ""}, "f")


def test_any_property_is_the_name_and_value_that_are_given():
    field = AnyPropertyParameter("any")
    assert given(field, any_name=["extra"], any_value=["v"]) == ({"extra": "v"}, {})
    assert given(field, any_value=["v"]) == ({}, {})
    assert refused(field, any_name=["a b"]) == {"any_name": "'a b' is not a property's name"}


def test_a_patch_is_all_its_parts_or_nothing_without_a_body():
    form = {"body": "--- a", "level": "2", "author": "ann", "comment": "why", "subdir": "src"}
    assert given(PatchParameter(), **{f"patch_{name}": [value] for name, value in form.items()}) == (
        {**form, "level": 2},
        {},
    )
    assert given(PatchParameter("diff"), diff_body=["x"])[0] == {
        **{"body": "x", "level": 1, "author": "", "comment": "", "subdir": ""}
    }
    assert given(PatchParameter(), patch_level=["2"]) == (None, {})
    shorter = PatchParameter(fields=[TextParameter("body", maxsize=3)])
    assert given(shorter, patch_body=["abc"])[0] == {"body": "abc"}
    assert set(refused(shorter, patch_body=["abcd"])) == {"patch_body"}


def test_a_codebase_is_a_partial_stamp_whose_fields_may_be_fixed_or_fields_of_their_own():
    parts = ("branch", "revision", "repository", "project")
    assert [one.fullName for one in CodebaseParameter("app").fields()] == [f"app_{part}" for part in parts]
    free = CodebaseParameter("app")
    assert given(free, **{f"app_{part}": [part] for part in parts})[0] == {"codebase": "app", **{p: p for p in parts}}
    assert given(free, app_branch=[""])[0] == {"codebase": "app"}, "what is empty is left to the defaults"
    for part in parts:
        fixed = CodebaseParameter("app", **{part: "it"})
        assert given(fixed, other=["x"])[0] == {"codebase": "app", part: "it"}
        assert set(refused(fixed, **{f"app_{part}": ["else"]})) == {f"app_{part}"}
        own = CodebaseParameter("app", **{part: {"type": "ChoiceString", "choices": ["a", "b"]}})
        assert given(own, other=["x"])[0] == {"codebase": "app", part: "a"}
        assert set(refused(own, **{f"app_{part}": ["c"]})) == {f"app_{part}"}


def test_a_codebase_may_be_named_anew_and_have_a_patch():
    field = CodebaseParameter("app", name="it", patch=PatchParameter("diff"))
    assert [one.fullName for one in field.fields()][-1] == "it_diff_subdir"
    value, errors = given(field, it_branch=["b"], it_diff_body=["--- a"])
    assert (value["codebase"], value["branch"], value["patch"]["body"], errors) == ("app", "b", "--- a", {})
    assert "patch" not in given(field, it_branch=["b"])[0]
    with pytest.raises(ValueError, match=r"^patch: expected a PatchParameter"):
        CodebaseParameter("app", patch=StringParameter("patch"))


# -- the form's own fields


def test_a_form_may_have_its_own_user_reason_and_priority_and_its_names_on_the_page(bench):
    def make():
        return ForceScheduler(
            *("now", ["unit"]),
            username=StringParameter("who"),
            reason=StringParameter("why", required=True),
            priority=IntParameter("urgency"),
            buttonName="Go",
            label="Release",
        )

    b = bench(make)
    assert b.scheduler.fieldNames[:3] == ["who", "why", "urgency"]
    errors = {}
    b.scheduler.reason.taken({}, errors)
    assert errors == {"why": "it is required"}
    spec = b.scheduler.spec()
    assert (spec["buttonName"], spec["label"]) == ("Go", "Release")
    assert ForceScheduler("now", ["unit"]).spec()["label"] == "now"
    own = bench(
        lambda: ForceScheduler("now", ["unit"], priority=IntParameter("urgency"), reason=StringParameter("why"))
    )
    own.ask(lambda: own.scheduler.force("ann", values={"urgency": "4", "why": "it is time"}))
    assert own.built[0].priority == 4 and own.built[0].reason == "A build was forced by 'ann': it is time"
