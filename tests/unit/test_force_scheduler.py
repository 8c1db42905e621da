"""ForceScheduler and its fields: what a form takes, what it refuses, and what becomes of it."""

import json

import pytest
from locum.db.messages import Message
from locum.master.answering import serving
from locum.schedulers import ForceScheduler, SingleBranchScheduler
from locum.schedulers.parameters import (
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
    parameter,
)


def forced(b, **body):
    """The answer to the message of ``locum force``."""
    answer = []
    given = {"owner": "ann@host", "reason": "", "properties": {}, "builderNames": None, "priority": None, **body}
    serve = serving(Message(1, b.id, "k", "force", given, 0, "ann"))

    async def served():
        answer.append(await serve(b.scheduler))

    b.ask(served)
    json.dumps(answer[0])
    return answer[0]


def force(**arguments):
    return lambda: ForceScheduler("now", ["unit", "lint"], **arguments)


def values(built):
    return {name: value for name, (value, _) in built.properties.items()}


def test_an_empty_form_makes_a_buildset_of_the_defaults(bench):
    b = bench(force())
    answer = forced(b)
    (built,) = b.built
    assert answer["buildset"] == built.id and set(answer["tasks"]) == {"unit", "lint"}
    assert built.reason == "A build was forced by 'ann@host': force build"
    assert built.properties == {
        "owner": ("ann@host", "Force Build Form"),
        "reason": (built.reason, "Force Build Form"),
        "scheduler": ("now", "Scheduler"),
    }
    assert built.stamps == [{"codebase": "", "repository": "", "branch": None, "revision": None, "project": ""}]


def test_what_the_command_gives_fills_in_the_form(bench):
    b = bench(force(reasonString="%(owner)s says %(reason)s", username=UserNameParameter(need_email=True)))
    forced(b, branch="main", revision="r", repository="git://x", project="p", reason="why", priority=3)
    (built,) = b.built
    assert built.stamps == [
        {"codebase": "", "repository": "git://x", "branch": "main", "revision": "r", "project": "p"}
    ]
    assert (built.reason, built.priority) == ("ann@host says why", 3)


def test_every_kind_of_field_becomes_a_property(bench):
    fields = [
        FixedParameter("fixed", default="always"),
        StringParameter("line"),
        TextParameter("text"),
        IntParameter("count"),
        BooleanParameter("flag"),
        ChoiceStringParameter("one", choices=["a", "b"]),
        ChoiceStringParameter("many", choices=["a", "b", "c"], multiple=True),
        WorkerChoiceParameter(),
        FileParameter("file"),
        NestedParameter(
            "box", fields=[StringParameter("x"), NestedParameter("in", fields=[IntParameter("n", default=4)])]
        ),
        NestedParameter("", fields=[StringParameter("flat"), AnyPropertyParameter("any")]),
    ]
    b = bench(force(properties=fields))
    form = {
        **{"line": ["l"], "text": ["t\nt"], "count": ["12"], "flag": ["yes"], "one": ["b"], "many": ["a", "c"]},
        **{"runner": ["m1"], "file": ["content"], "box_x": ["deep"], "flat": ["f"]},
        **{"any_name": ["extra"], "any_value": ["v"]},
    }
    answer = forced(b, form=form)
    assert "error" not in answer
    found = values(b.built[0])
    assert {name: found[name] for name in found if name not in ("owner", "reason", "scheduler")} == {
        "fixed": "always", "line": "l", "text": "t\nt", "count": 12, "flag": True, "one": "b", "many": ["a", "c"],
        "runner": "m1", "file": "content", "box": {"x": "deep", "in": {"n": 4}}, "flat": "f", "extra": "v",
    }  # fmt: skip


def test_all_errors_of_a_form_are_said_at_once_by_field(bench):
    fields = [
        StringParameter("ticket", regex="[A-Z]+-[0-9]+$", required=True),
        StringParameter("missing", required=True),
        StringParameter("long", maxsize=3),
        IntParameter("count"),
        BooleanParameter("flag"),
        FixedParameter("fixed", default="x"),
        ChoiceStringParameter("one", choices=["alpha", "beta"]),
        FileParameter("file", maxsize=4),
        NestedParameter("box", fields=[IntParameter("n")]),
        StringParameter("single"),
        AnyPropertyParameter("any"),
    ]
    b = bench(force(properties=fields, username=UserNameParameter()))
    form = {
        **{"ticket": ["ops"], "long": ["1234"], "count": ["many"], "flag": ["maybe"], "fixed": ["y"], "one": ["alfa"]},
        **{"file": ["12345"], "box_n": ["x"], "single": ["a", "b"], "lnog": ["?"], "any_name": ["a b"]},
    }
    answer = forced(b, form=form, owner="ann", builderNames=["unit", "deploy"], priority="high")
    assert set(answer["errors"]) == {
        *("ticket", "missing", "long", "count", "flag", "fixed", "one", "file", "box_n", "single", "lnog", "any_name"),
        *("builderNames", "username", "priority"),
    }
    said = answer["errors"]
    assert said["missing"] == "it is required"
    assert "did you mean 'alpha'" in said["one"] and "did you mean 'long'" in said["lnog"]
    assert "at most 3" in said["long"] and "does not match" in said["ticket"] and "'deploy'" in said["builderNames"]
    assert b.built == [] and b.failures == {}
    assert b.tenure is not None and b.scheduler is b.made[-1], "a person's slip costs the scheduler nothing"


def test_a_required_field_that_is_empty_is_refused_and_one_with_a_default_is_not(bench):
    b = bench(force(properties=[StringParameter("a", required=True, default="d"), StringParameter("b", required=True)]))
    assert set(forced(b, form={"a": [""], "b": [""]})["errors"]) == {"a", "b"}
    assert "error" not in forced(b, form={"b": ["x"]})
    assert values(b.built[0])["a"] == "d"


def test_only_some_of_its_builders_may_be_asked_for(bench):
    b = bench(force())
    forced(b, builderNames=["lint"])
    assert b.built[0].builders == ["lint"]


def test_a_name_in_any_property_cannot_pass_for_the_owner(bench):
    b = bench(force(properties=[AnyPropertyParameter("any")]))
    forced(b, form={"any_name": ["owner"], "any_value": ["root"]})
    assert values(b.built[0])["owner"] == "ann@host"


def test_codebases_may_have_fields_of_their_own_and_a_patch(bench):
    codebases = [
        CodebaseParameter(
            "app", branch=ChoiceStringParameter("branch", choices=["main", "old"]), patch=PatchParameter()
        ),
        CodebaseParameter("lib", repository="git://lib", branch="stable", revision=None),
        "docs",
    ]
    b = bench(force(codebases=codebases))
    form = {"app_branch": ["old"], "app_patch_body": ["--- a"], "app_patch_level": ["2"], "lib_revision": ["l1"]}
    assert "error" not in forced(b, form=form, codebase="docs", branch="d")
    stamps = {s["codebase"]: (s["repository"], s["branch"], s["revision"]) for s in b.built[0].stamps}
    assert stamps == {"app": ("", "old", None), "lib": ("git://lib", "stable", "l1"), "docs": ("", "d", None)}
    (patch,) = b.sql("SELECT patch_json FROM sourcestamps WHERE patch_json IS NOT NULL")
    assert json.loads(patch[0]) == {"body": "--- a", "level": 2, "author": "", "comment": "", "subdir": ""}
    assert set(forced(b, form={"app_branch": ["x"]})["errors"]) == {"app_branch"}


def test_other_schedulers_have_no_form_but_can_be_forced(bench):
    b = bench(lambda: SingleBranchScheduler("quick", ["unit"], branch="main"))
    assert "has no form" in forced(b, form={"x": ["1"]})["error"]
    assert "buildset" in forced(b)


def test_the_yaml_s_mappings_make_the_same_form():
    written = force(
        username={"type": "UserNameParameter", "name": "who", "need_email": False},
        codebases=[{"codebase": "app", "branch": {"type": "ChoiceString", "choices": ["main"]}}],
        properties=[
            {"type": "Nested", "name": "box", "columns": 2, "fields": [{"type": "Int", "name": "n", "default": 3}]},
            {"type": "ChoiceString", "name": "c", "choices": ["a"], "autopopulate": {"a": {"n": 1}}, "tooltip": "t"},
        ],
    )()
    made = force(
        username=UserNameParameter("who", need_email=False),
        codebases=[CodebaseParameter("app", branch=ChoiceStringParameter("branch", choices=["main"]))],
        properties=[
            NestedParameter("box", columns=2, fields=[IntParameter("n", default=3)]),
            ChoiceStringParameter("c", choices=["a"], autopopulate={"a": {"n": 1}}, tooltip="t"),
        ],
    )()
    assert written.form == made.form
    assert made.fieldNames == [
        *("who", "reason", "priority", "app_branch", "app_revision", "app_repository", "app_project", "box_n", "c")
    ]
    spec = made.spec()
    json.dumps(spec)
    assert spec["buttonName"] == "now" and spec["fields"][-1]["autopopulate"] == {"a": {"n": 1}}
    assert written.form != force()().form


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"properties": [{"type": "Strnig", "name": "x"}]},
            "properties[0].type: unknown kind of parameter 'Strnig'; did you",
        ),
        ({"properties": [{"name": "x"}]}, "properties[0].type: unknown kind"),
        ({"properties": [{"type": "String"}]}, "properties[0].name: it is required"),
        ({"properties": [{"type": "String", "name": "x", "sze": 3}]}, "properties[0].sze: unknown key"),
        ({"properties": [{"type": "String", "name": "x", "regex": "("}]}, "properties[0].regex: bad regular"),
        ({"properties": [{"type": "Int", "name": "a b"}]}, "properties[0].name: expected letters"),
        ({"properties": [{"type": "ChoiceString", "name": "x"}]}, "properties[0].choices: expected at least one"),
        (
            {"properties": [{"type": "ChoiceString", "name": "x", "choices": ["a"], "default": "b"}]},
            "properties[0].default:",
        ),
        ({"properties": [{"type": "Nested", "name": "x", "fields": []}]}, "properties[0].fields: expected a list"),
        ({"properties": [{"type": "Nested", "name": "x", "layout": "y", "fields": [1]}]}, "properties[0].layout:"),
        ({"properties": [{"type": "Nested", "name": "x", "fields": [{"type": "X"}]}]}, "properties[0].fields[0].type:"),
        ({"properties": [{"type": "Boolean", "name": "x", "default": "y"}]}, "properties[0].default: expected true"),
        ({"properties": [{"type": "String", "name": "reason"}]}, "properties: the form has two fields named 'reason'"),
        ({"properties": {"a": 1}}, "properties: expected a list"),
        ({"codebases": []}, "codebases: expected at least one"),
        ({"codebases": "app"}, "codebases: expected a list"),
        (
            {"codebases": [{"codebase": "a", "branch": {"type": "String", "name": "b"}}]},
            "codebases[0].branch: its field must",
        ),
        ({"reasonString": "%(x)s"}, "reasonString: expected text"),
        ({"reasonString": "100%"}, "reasonString: expected text"),
        ({"username": 3}, "username: expected a mapping"),
    ],
    ids=str,
)
def test_forms_that_make_no_sense_are_refused_by_place(arguments, said):
    with pytest.raises(ValueError) as refused:
        force(**arguments)()
    assert str(refused.value).startswith(said), refused.value


def test_a_field_may_be_given_as_number_or_flag():
    errors = {}
    assert parameter({"type": "Int", "name": "n"}, "x").taken({"n": [3]}, errors) == 3
    assert parameter({"type": "Boolean", "name": "n"}, "x").taken({"n": [True]}, errors) is True
    assert parameter({"type": "String", "name": "n"}, "x").taken({"n": [3]}, errors) == "3"
    assert errors == {}
    parameter({"type": "String", "name": "n"}, "x").taken({"n": [None]}, errors)
    assert "expected text" in errors["n"]
