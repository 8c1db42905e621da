"""Changes from the command line: checked whole, all or none, once."""

import io
import json
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from locum.db import changes as kept
from locum.master.changes import COMMENTS_LIMIT, BadChange, validated
from locum.master.commands.main import run


@pytest.fixture
def locum(database_url, capsys, monkeypatch):
    """Runs a command line on a fresh database: (exit code, standard output, standard error)."""

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin), isatty=lambda: False))
        code = run(["--database", database_url, *arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return SimpleNamespace(code=code, out=said.out, err=said.err, json=lambda: json.loads(said.out))

    return call


def test_a_change_with_all_its_fields_is_kept_as_given(locum):
    fields = {
        "who": "Ann <ann@example.org>",
        "branch": "main",
        "revision": "abc",
        "repository": "https://git.example.org/app.git",
        "codebase": "app",
        "project": "p",
        "category": "c",
        "comments": "fröhlich\nzwei",
        "revlink": "https://example.org/abc",
        "committer": "bob",
    }
    options = [part for name, value in fields.items() for part in (f"--{name}", value)]
    more = [
        "--file",
        "a.c",
        "--file",
        "b c.h",
        "--property",
        "n=v=w",
        "--property",
        "count:=3",
        "--when",
        "1700000000.5",
    ]
    assert locum("change", "add", *options, *more).out == "change 1\n"
    (change,) = locum("change", "list", "--json").json()
    assert {name: change[name] for name in fields} == fields
    assert change["files"] == ["a.c", "b c.h"] and change["properties"] == {"n": "v=w", "count": 3}
    assert change["when"] == "2023-11-14T22:13:20.500000Z"


def test_who_is_by_default_whoever_gives_the_command(locum):
    locum("change", "add", "--branch", "main")
    assert "@" in locum("change", "list", "--json").json()[0]["who"]


def test_the_comments_may_come_from_standard_input(locum):
    locum("change", "add", "--comments", "-", stdin=b"eins\nzwei\n")
    assert locum("change", "list", "--json").json()[0]["comments"] == "eins\nzwei\n"
    assert "not UTF-8" in locum("change", "add", "--comments", "-", stdin=b"\xff").err


def test_a_repeated_request_id_is_one_change(locum):
    assert locum("change", "add", "--request-id", "push-1").out == "change 1\n"
    assert locum("change", "add", "--request-id", "push-1").out == "change 1 (it was there already)\n"
    assert len(locum("change", "list", "--json").json()) == 1


def test_json_lines_are_added_in_their_order_in_one_transaction(locum, db):
    lines = b"".join(json.dumps({"who": "ann", "revision": f"r{i}"}).encode() + b"\n\n" for i in range(600))
    done = locum("change", "add", "--json", "-", stdin=lines)
    assert (done.code, done.out) == (0, "600 changes added (1 to 600), 0 were there already\n")
    assert [c.revision for c in db.read(kept.after, 0, 1000)] == [f"r{i}" for i in range(600)]


def test_json_lines_may_come_from_a_file(locum, tmp_path):
    (tmp_path / "changes").write_text('{"who": "ann", "when": "2024-05-17T09:30:00+02:00", "files": ["a"]}\n')
    assert locum("change", "add", "--json", str(tmp_path / "changes")).code == 0
    assert locum("change", "list", "--json").json()[0]["when"] == "2024-05-17T07:30:00.000000Z"
    assert "cannot read" in locum("change", "add", "--json", str(tmp_path / "none")).err


WRONG_LINES = {
    b'{"who": "ann", "brnach": "main"}': "did you mean 'branch'",
    b'{"who": "a\\u0000b"}': "who: has a NUL character",
    b'{"who": "ann", "comments": "\\ud800"}': "comments: has half of a surrogate pair",
    b'{"who": "ann", "comments": "\xff"}': "not UTF-8",
    b'{"who": "ann", "who": "bob"}': "stands twice",
    b'{"who": "ann", "files": "a.c"}': "files: expected a list",
    b'{"who": "ann", "files": ["a", 1]}': "files: name 2 expected text",
    b'{"who": "ann", "properties": {"a": NaN}}': "NaN is not JSON",
    b'{"who": "ann", "properties": {"": 1}}': "cannot be a property's name",
    b'{"who": "ann", "properties": {"a": {"b": "\\u0000"}}}': "NUL",
    b'{"who": "ann", "when": "yesterday"}': "when: expected a time",
    b'{"who": "ann", "when": "2024-05-17T09:30:00"}': "no offset",
    b'{"who": "ann", "when": 1e300}': "outside",
    b'{"who": "ann", "when": true}': "when: expected a time",
    b'{"who": "  "}': "who: is empty",
    b'{"branch": "main"}': "who: is missing",
    b'{"who": 7}': "who: expected text, got a number",
    b"[1]": "expected a JSON object",
    b"{": "not JSON",
    b"[" * 100_000: "nested too deeply",
    b'{"who": "ann", "when": ' + b"9" * 5000 + b"}": "not JSON",
    b'{"who": "ann", "author": "bob"}': "give one of them",
}


@pytest.mark.parametrize(("line", "says"), WRONG_LINES.items(), ids=WRONG_LINES.values())
def test_a_wrong_line_is_named_and_nothing_of_the_input_is_added(locum, line, says):
    done = locum("change", "add", "--json", "-", stdin=b'{"who": "ann"}\n' + line + b"\n")
    assert done.code == 1
    assert "line 2: " in done.err and says in done.err
    assert locum("change", "list", "--json").json() == []


def test_all_faults_of_all_lines_are_told_at_once(locum):
    done = locum("change", "add", "--json", "-", stdin=b'{"who": 1, "branch": 2}\n{"x": 1}\n')
    assert done.err.count("line 1: ") == 2 and "line 2: 'x': unknown field" in done.err


def test_comments_of_ten_megabytes_are_refused_with_the_limit(locum):
    line = json.dumps({"who": "ann", "comments": "x" * 10_000_000}).encode()
    done = locum("change", "add", "--json", "-", stdin=line)
    assert done.code == 1 and str(COMMENTS_LIMIT) in done.err
    assert "longer than" in locum("change", "add", "--json", "-", stdin=b"x" * 40_000_000).err
    assert locum("change", "add", "--comments", "x" * (COMMENTS_LIMIT + 1)).code == 1
    assert locum("change", "add", "--comments", "x" * COMMENTS_LIMIT).code == 0


def test_more_lines_than_fit_one_transaction_are_refused_whole(locum):
    done = locum("change", "add", "--json", "-", stdin=b'{"who": "ann"}\n' * 10_001)
    assert (done.code, "line 10001" in done.err) == (1, True)
    assert locum("change", "list", "--json").json() == []


def test_a_property_named_like_a_dunder_is_only_a_name(locum):
    locum("change", "add", "--property", "__class__=x", "--property", "__proto__:=[1]")
    assert locum("change", "list", "--json").json()[0]["properties"] == {"__class__": "x", "__proto__": [1]}


@pytest.mark.parametrize("text", ["novalue", "=x", "a:={", "a:=NaN"])
def test_a_property_that_cannot_be_read_is_refused(locum, text):
    assert locum("change", "add", "--property", text).code in (1, 2)
    assert locum("change", "list", "--json").json() == []


def test_strangers_text_cannot_control_the_terminal(locum):
    locum("change", "add", "--branch", "\x1b[2J\x07main", "--comments", "a\rb")
    out = locum("change", "list").out
    assert "\x1b" not in out and "\x07" not in out and "\r" not in out and "\\x1b[2J" in out


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["who", "author", "branch", "when", "files", "properties", "comments", "request_id"])


@given(st.dictionaries(NAMES | st.text(max_size=4), JSON))
def test_whatever_is_given_is_either_refused_by_name_or_can_be_stored(given_fields):
    try:
        change = validated(given_fields)
    except BadChange as error:
        assert error.faults and all(isinstance(fault, str) for fault in error.faults)
        return
    for text in (change.who, change.comments, change.files_json, change.properties_json, change.request_id):
        assert "\0" not in text
        text.encode()
    json.loads(change.properties_json, parse_constant=pytest.fail)
    assert change.when_at is None or abs(change.when_at) < 2**62
