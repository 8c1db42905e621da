"""ForceScheduler and its fields: what a form takes, what it refuses, and what becomes of it."""

import json

import pytest
from locum.db.messages import Message
from locum.master.answering import serving
from locum.schedulers import ForceScheduler, SingleBranchScheduler
from locum.schedulers.compat.schedulers import forcesched
from locum.schedulers.parameters import (
    KINDS,
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


def only_texts(value):
    """What a case is called: a mapping's text would differ from run to run."""
    return value if isinstance(value, str) else ""


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
    ids=only_texts,
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


# -- what cannot be forced as it is written


def refusal(**arguments):
    """What the constructor, and so ``locum check``, says."""
    with pytest.raises(ValueError) as refused:
        force(**arguments)()
    return str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"priority": {"type": "Int", "name": "p", "default": 10**12}},
            "priority.default: expected a whole number from",
        ),
        ({"priority": {"type": "Int", "name": "p", "default": ""}}, "priority.default: expected a whole number from"),
        ({"priority": {"type": "Fixed", "name": "p", "default": "high"}}, "priority.default: expected a whole number"),
        (
            {"priority": {"type": "String", "name": "p"}},
            "priority: expected a field for a whole number, Int or Fixed, got",
        ),
        ({"priority": {"type": "Int", "name": "p", "multiple": True}}, "priority.multiple: one value"),
        ({"username": {"type": "Int", "name": "n"}}, "username: expected a field for text, such as String"),
        ({"username": {}}, "username.type: unknown kind"),
        ({"reason": {"type": "Boolean", "name": "n"}}, "reason: expected a field for text"),
        ({"reason": {"type": "File", "name": "n"}}, "reason: expected a field for text"),
        ({"reason": {"type": "Patch", "name": "n"}}, "reason: expected a field for text"),
        ({"reason": {"type": "String", "name": "n", "multiple": True}}, "reason.multiple: one value"),
        *(
            ({"codebases": [{"codebase": "", key: {"type": kind}}]}, f"codebases[0].{key}: expected a field for text")
            for key in ("branch", "revision", "repository", "project")
            for kind in ("Boolean", "Int")
        ),
        (
            {"codebases": [{"codebase": "", "branch": {"type": "Fixed", "default": 1.2}}]},
            "codebases[0].branch.default: expected text, got 1.2; put it in quotes",
        ),
        ({"codebases": [{"codebase": "", "branch": 1.2}]}, "codebases[0].branch: expected a text (put it in quotes)"),
        ({"codebases": ["app", {"codebase": "app", "name": "b"}]}, "codebases: 'app' is there twice"),
        ({"codebases": ["my app"]}, "codebases[0].name: expected letters"),
        ({"codebases": [3]}, "codebases[0]: expected a name or a CodebaseParameter, got 3"),
        ({"codebases": 3}, "codebases: expected a list of names"),
        ({"codebases": None}, "codebases: expected a list of names"),
        (
            {"codebases": [{"patch": {"type": "Patch", "fields": [{"type": "Int", "name": "level"}]}}]},
            "codebases[0].patch.fields: one named 'body' is missing",
        ),
        (
            {"properties": [{"type": "Patch", "fields": [{"type": "Text", "name": k} for k in ("body", "level")]}]},
            "properties[0].fields.level: expected a field for a whole number",
        ),
    ],
    ids=only_texts,
)
def test_a_form_that_could_not_be_forced_as_it_is_written_is_a_fault(arguments, said):
    assert refusal(**arguments).startswith(said)


def test_fixed_and_chosen_fields_may_stand_where_a_text_or_a_number_is_wanted(bench):
    b = bench(
        force(
            username=FixedParameter("who", default="the team"),
            reason=ChoiceStringParameter("why", choices=["release", "hotfix"]),
            priority=FixedParameter("priority", default=7),
            codebases=[
                CodebaseParameter(
                    "",
                    branch=FixedParameter("branch", default="main"),
                    revision={"type": "Fixed", "default": 17},
                    repository={"type": "WorkerChoice", "choices": ["git://x"]},
                )
            ],
        )
    )
    assert "error" not in forced(b)
    (built,) = b.built
    assert (built.reason, built.priority) == ("A build was forced by 'the team': release", 7)
    stamp = built.stamps[0]
    assert (stamp["branch"], stamp["revision"], stamp["repository"]) == ("main", "17", "git://x")
    assert values(built)["owner"] == "the team"


def test_a_priority_may_be_required_of_everybody_and_may_be_0(bench):
    b = bench(force(priority=IntParameter("priority", required=True, default="")))
    assert forced(b)["errors"] == {"priority": "it is required"}
    assert "error" not in forced(b, priority=0) and b.built[0].priority == 0
    b = bench(force(priority=IntParameter("priority", default=5)))
    forced(b, priority=0)
    assert b.built[0].priority == 0
    said = forced(b, priority=10**12)["errors"]["priority"]
    assert said.startswith("expected a whole number from -2147483647 to 2147483647")


# -- options of fields


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"type": "ChoiceString", "choices": ["a", "b"], "multiple": True, "default": "ab"}, "default: the field 'x'"),
        (
            {"type": "ChoiceString", "choices": ["a", "b"], "multiple": True, "default": ["a", "c"]},
            "default: the field",
        ),
        ({"type": "ChoiceString", "choices": ["a", "b"], "multiple": True, "default": 3}, "default: the field 'x'"),
        ({"type": "ChoiceString", "choices": ["a", "b"], "default": "c"}, "default: the field 'x' would not take it"),
        ({"type": "ChoiceString", "choices": ["a", "b"], "default": ""}, "default: the field 'x' would not take it"),
        ({"type": "Int", "default": "abc"}, "default: the field 'x' would not take it itself: expected a whole number"),
        (
            {"type": "Int", "default": 10**20},
            "default: the field 'x' would not take it itself: expected a whole number",
        ),
        ({"type": "Int", "default": False}, "default: the field 'x' would not take it itself"),
        (
            {"type": "String", "default": "zzz", "regex": "[0-9]+$"},
            "default: the field 'x' would not take it itself: 'zzz'",
        ),
        ({"type": "String", "default": ["a"]}, "default: the field 'x' would not take it itself: expected text"),
        (
            {"type": "String", "default": "four", "maxsize": 3},
            "default: the field 'x' would not take it itself: it is too",
        ),
        ({"type": "String", "multiple": True, "default": ["ok", "no1"], "regex": "[a-z]+$"}, "default: the field 'x'"),
        (
            {"type": "File", "default": "four", "maxsize": 3},
            "default: the field 'x' would not take it itself: it is too",
        ),
        (
            {"type": "UserName", "default": "ann"},
            "default: the field 'x' would not take it itself: expected a name with",
        ),
        ({"type": "Boolean", "default": "no"}, "default: expected true or false"),
        ({"type": "Nested", "default": 1, "fields": [{"type": "Int", "name": "n"}]}, "default: a group has none"),
        ({"type": "AnyProperty", "fields": []}, "fields: unknown key"),
        *(({"type": "String", key: 1}, f"{key}: expected true or false") for key in ("required", "multiple", "hide")),
        ({"type": "ChoiceString", "choices": ["a"], "strict": "no"}, "strict: expected true or false"),
        ({"type": "ChoiceString", "choices": ["a"], "multiple": "no"}, "multiple: expected true or false"),
        ({"type": "UserName", "need_email": 0}, "need_email: expected true or false"),
        *(
            ({"type": kind, key: value}, f"{key}: expected a whole number of")
            for kind, key in (("String", "size"), ("Text", "cols"), ("Text", "rows"), ("String", "maxsize"))
            for value in (0, -1, "10", 2.5, True)
        ),
        ({"type": "String", "size": None}, "size: expected a whole number of"),
        (
            {"type": "Nested", "columns": 0, "fields": [{"type": "Int", "name": "n"}]},
            "columns: expected a whole number",
        ),
        *(({"type": "String", key: 3}, f"{key}: expected text") for key in ("label", "tablabel", "tooltip", "regex")),
        ({"type": "ChoiceString", "choices": None}, "choices: expected a list of texts, got None"),
        ({"type": "ChoiceString", "choices": 3}, "choices: expected a list of texts, got 3"),
        ({"type": "ChoiceString", "choices": "ab"}, "choices: expected a list of texts, got 'ab'"),
        ({"type": "ChoiceString", "choices": ["a", 1]}, "choices: expected texts, got 1; put it in quotes"),
        ({"type": "ChoiceString", "choices": ["a", "b", "a"]}, "choices: 'a' is there twice"),
        ({"type": "Nested", "fields": None}, "fields: expected a list of parameters, got None"),
        ({"type": "Nested", "fields": 3}, "fields: expected a list of parameters, got 3"),
        ({"type": "Patch", "fields": None}, "fields: expected a list of parameters, got None"),
        *(
            ({"type": "String", "autopopulate": value}, "autopopulate: ")
            for value in (3, ["a"], {"a": 1}, {1: {"n": 1}}, {"a": {1: 2}}, {"a": {"n": object()}})
        ),
    ],
    ids=only_texts,
)
def test_options_that_make_no_sense_are_faults_by_place(field, said):
    assert refusal(properties=[{"name": "x", **field}]).startswith(f"properties[0].{said}")
    made = {key: value for key, value in field.items() if key != "type"}
    with pytest.raises((ValueError, TypeError)):
        KINDS[field["type"]](**{"name": "x", **made})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"properties": None}, "properties: expected a list of parameters, got None"),
        ({"properties": 3}, "properties: expected a list of parameters, got 3"),
        ({"properties": [None]}, "properties[0]: expected a mapping"),
        ({"properties": [{"type": "Int", "name": "x", 1: 2}]}, "properties[0]: expected texts as keys, got 1"),
        ({"buttonName": 3}, "buttonName: expected text, got 3"),
        ({"label": ["a"]}, "label: expected text, got"),
        ({"reasonString": 3}, "reasonString: expected text, got 3"),
        ({"properties": [{"type": "String", "name": ""}]}, "properties: the form has a field without a name"),
        *(
            ({"properties": [{"type": "String", "name": name}]}, f"properties: a field named {name!r} would be lost")
            for name in ("owner", "scheduler")
        ),
        (
            {"properties": [{"type": "Nested", "fields": [{"type": "String", "name": "owner"}]}]},
            "properties: a field named 'owner' would be lost",
        ),
        (
            {"reason": {"type": "String", "name": "why"}, "properties": [{"type": "String", "name": "reason"}]},
            "properties: a field named 'reason' would be lost",
        ),
        (
            {"properties": [NestedParameter("box", fields=[StringParameter(name)]) for name in "xy"]},
            "properties: the form has two fields named 'box'",
        ),
        (
            {"properties": [NestedParameter("box", fields=[StringParameter("x")]), StringParameter("box")]},
            "properties: the form has two fields named 'box'",
        ),
        (
            {"properties": [NestedParameter("box", fields=[StringParameter("x")]), StringParameter("box_x")]},
            "properties: the form has two fields named 'box_x'",
        ),
        (
            {"properties": [{"type": "Nested", "name": "a", "fields": [{"type": "String", "name": "n"}] * 2}]},
            "properties[0].fields: there are two fields named 'n'",
        ),
    ],
    ids=only_texts,
)
def test_forms_whose_parts_do_not_go_together_are_faults(arguments, said):
    assert refusal(**arguments).startswith(said)


def test_defaults_that_stand_for_an_empty_field_are_no_faults(bench):
    fields = [
        StringParameter("ticket", regex="[A-Z]+-[0-9]+$"),
        StringParameter("must", regex="[a-z]+$", required=True, default=""),
        StringParameter("none", default=None),
        IntParameter("count", regex="[1-9]"),
        IntParameter("number", default=""),
        IntParameter("needed", default="", required=True),
        ChoiceStringParameter("pick", choices=["a", "b"], default="", required=True),
        ChoiceStringParameter("some", choices=["a", "b"], multiple=True, default=[]),
        UserNameParameter("second"),
        FixedParameter("fixed", default="zzz", regex="[0-9]+$"),
    ]
    b = bench(force(properties=fields))
    assert set(forced(b)["errors"]) == {"must", "needed", "pick"}
    assert "error" not in forced(b, form={"must": ["x"], "needed": ["1"], "pick": ["b"]})
    found = values(b.built[0])
    assert (found["ticket"], found["none"], found["count"], found["some"]) == ("", None, 0, [])


def test_a_default_is_what_the_field_would_make_of_it(bench):
    fields = [
        IntParameter("count", default="5"),
        ChoiceStringParameter("many", choices=["a", "b"], multiple=True, default="b"),
    ]
    b = bench(force(properties=fields))
    forced(b)
    assert (values(b.built[0])["count"], values(b.built[0])["many"]) == (5, ["b"])


def test_a_field_of_ones_own_may_have_a_default_that_is_no_text():
    class Several(forcesched.StringParameter):
        def __init__(self, name, between=",", **kwargs):
            super().__init__(name, **kwargs)
            self.between = between

        def parse_from_arg(self, s):
            return s.split(self.between)

    assert Several("x", default=["a", "b"]).default == ["a", "b"]
    assert Several("x", default="a,b").default == "a,b"


def test_a_subclass_written_for_buildbot_may_hand_on_that_it_has_no_codebases():
    made = forcesched.ForceScheduler("now", ["unit"], codebases=None, properties=None)
    assert made.propertyFields == [] and [field.codebase for field in made.codebaseFields] == [""]


def test_text_that_no_database_can_keep_is_a_slip_of_the_form(bench):
    b = bench(force(properties=[StringParameter("x")]))
    assert set(forced(b, form={"branch": ["\udcff"], "x": ["a\0b"]}, reason="\ud800")["errors"]) == {
        *("branch", "x", "reason")
    }
    assert b.failures == {}


# -- the looks


_LOOKS = {"label": "L", "tablabel": "T", "tooltip": "help", "hide": True, "autopopulate": {"a": {"n": 1}}}
_ASKS = {"regex": "[a-z]*$", "required": True, "multiple": True, "maxsize": 9}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Fixed", {**_LOOKS, "default": "d"}),
        ("String", {**_LOOKS, **_ASKS, "size": 31, "default": "d"}),
        ("Text", {**_LOOKS, **_ASKS, "size": 31, "cols": 41, "rows": 11}),
        ("Int", {**_LOOKS, **_ASKS, "size": 31, "default": 0}),
        ("Boolean", {**_LOOKS, "default": True}),
        ("UserName", {**_LOOKS, **_ASKS, "size": 31, "need_email": False}),
        ("ChoiceString", {**_LOOKS, **_ASKS, "choices": ["b", "a"], "strict": False, "default": ["a"]}),
        ("WorkerChoice", {**_LOOKS, **_ASKS, "choices": ["b", "a"], "strict": True, "default": ["a"]}),
        ("File", {**_LOOKS, **_ASKS}),
        ("Nested", {**_LOOKS, "layout": "tabs", "columns": 3}),
        ("AnyProperty", {**_LOOKS, "layout": "simple", "columns": 3}),
        ("Patch", {**_LOOKS, "layout": "simple", "columns": 3}),
        ("Codebase", {**_LOOKS, "layout": "simple", "columns": 3}),
    ],
)
def test_whoever_shows_the_form_finds_each_option_as_it_was_written(kind, options):
    given = {"type": kind, "name": "x", **options}
    if kind == "Nested":
        given["fields"] = [{"type": "Int", "name": "n", "size": 7, "tooltip": "inner"}]
    found = (force(codebases=[given]) if kind == "Codebase" else force(properties=[given]))().spec()
    json.dumps(found)
    (field,) = [one for one in found["fields"] if one["name"] == "x"]
    assert {key: field[key] for key in options} == options
    assert field["type"] == KINDS[kind].type and field["fullName"] == "x"
    if kind == "Nested":
        (inner,) = field["fields"]
        assert (inner["fullName"], inner["size"], inner["tooltip"], inner["label"]) == ("x_n", 7, "inner", "n")


def test_whoever_shows_the_form_finds_the_button_and_the_fields_in_their_order():
    found = force(buttonName="Go", label="Release now", properties=[StringParameter("x")])().spec()
    assert {key: found[key] for key in ("name", "buttonName", "label")} == {
        **{"name": "now", "buttonName": "Go", "label": "Release now"}
    }
    assert [one["fullName"] for one in found["fields"]] == ["username", "reason", "priority", "", "x"]
    plain = force()().spec()
    assert (plain["buttonName"], plain["label"]) == ("now", "now")
    assert parameter({"type": "String", "name": "x", "label": "L"}, "x").tablabel == "L"


@pytest.mark.parametrize("key", ["buttonName", "label", "reasonString"])
def test_a_form_that_looks_otherwise_is_another_configuration(key):
    assert key in ForceScheduler.compare_attrs
    assert getattr(force(**{key: "new"})(), key) == "new" != getattr(force()(), key)


@pytest.mark.parametrize(
    "option",
    [
        {"label": "L"}, {"tablabel": "T"}, {"tooltip": "t"}, {"hide": True}, {"size": 3}, {"cols": 3}, {"rows": 3},
        {"autopopulate": {"a": {}}}, {"maxsize": 3}, {"required": True}, {"regex": "a"}, {"default": "a"},
    ],
    ids=only_texts,
)  # fmt: skip
def test_fields_that_differ_in_one_option_are_not_the_same(option):
    assert TextParameter("x", **option) != TextParameter("x")


# -- patches


PATCHED = [CodebaseParameter("", patch=PatchParameter())]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("patch_level", "-4", "expected a whole number from 0 to 100, got -4"),
        ("patch_level", "101", "expected a whole number from 0 to 100, got 101"),
        ("patch_level", "x", "expected a whole number"),
        ("patch_subdir", "../..", "expected a folder of the repository"),
        ("patch_subdir", "lib/../../x", "expected a folder of the repository"),
        ("patch_subdir", "/etc", "expected a folder of the repository"),
        ("patch_subdir", "-R", "expected a folder of the repository"),
        ("patch_author", "\ud800", "expected text"),
    ],
)
@pytest.mark.parametrize(
    "where", [{"codebases": PATCHED}, {"properties": [PatchParameter()]}], ids=["codebase", "field"]
)
def test_a_patch_of_a_form_keeps_the_rules_of_try_jobs(bench, where, field, value, said):
    b = bench(force(**where))
    errors = forced(b, form={"patch_body": ["--- a"], field: [value]})["errors"]
    assert list(errors) == [field] and errors[field].startswith(said)
    assert b.built == [] and b.failures == {}
    assert "error" not in forced(
        b, form={"patch_body": ["--- a"], "patch_level": ["0"], "patch_subdir": ["lib/..core"]}
    )


# -- other schedulers


def test_builders_and_codebases_that_are_not_a_scheduler_s_own_are_refused_with_those_that_are(bench):
    b = bench(lambda: SingleBranchScheduler("quick", ["unit"], branch="main", codebases=["app", "lib"]))
    said = forced(b, builderNames=["lint"])["error"]
    assert said == "'lint' is not one of this scheduler's builders, unit"
    said = forced(b, builderNames=["unti"])["error"]
    assert said == "unknown builder: 'unti' is not one of this scheduler's builders, unit; did you mean 'unit'?"
    said = forced(b, codebase="lab", branch="x")["error"]
    assert said == "codebase 'lab' is not one of this scheduler's, 'app', 'lib'; did you mean 'lib'?"
    assert "codebase ''" in forced(b, codebase="")["error"]
    assert b.built == [] and b.failures == {}
    assert "error" not in forced(b, codebase="lib", branch="x", builderNames=["unit"])
    assert {stamp["codebase"]: stamp["branch"] for stamp in b.built[0].stamps} == {"app": None, "lib": "x"}


def test_any_builder_may_be_asked_for_where_they_are_worked_out_for_each_buildset(bench):
    for names in (lambda properties, changes: ["unit"], ["unit", "%(prop:other)s"]):
        b = bench(lambda names=names: SingleBranchScheduler("quick", names, branch="main"))
        assert "error" not in forced(b, builderNames=["lint"])
        assert forced(b, builderNames=["lintt"])["error"] == "unknown builder 'lintt'; did you mean 'lint'?"
    b = bench(lambda: ForceScheduler("now", ["unit", "%(prop:other)s"]))
    assert "error" not in forced(b, builderNames=["lint"])
    assert "unknown builder 'lintt'" in forced(b, builderNames=["lintt"])["errors"]["builderNames"]
    assert b.failures == {}


def test_a_form_too_refuses_a_codebase_that_it_has_not(bench):
    b = bench(force(codebases=["app"]))
    assert forced(b, codebase="ap")["errors"] == {
        "codebase": "codebase 'ap' is not one of this scheduler's, 'app'; did you mean 'app'?"
    }
    assert b.built == []
