"""Hostile YAML is refused quickly, with a normal fault, and nothing else ever comes out of the reader."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from locum.config import ConfigError, MasterConfig, load, parse

MB = 1 << 20
# Each takes well under a second where nothing else runs; the bound leaves room for a busy machine.
BOUND_S = 5.0


def refused(data: bytes) -> str:
    """The faults of ``data``, which must come soon; measured in processor time."""
    before = time.process_time()
    with pytest.raises(ConfigError) as error:
        parse(data, "m.yaml", {}, Path("/nowhere"))
    assert time.process_time() - before < BOUND_S
    assert all(len(fault.what) < 300 for fault in error.value.faults)
    return str(error.value)


def bomb(levels: int) -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"a: \0", "m.yaml:1:4: a control character"),
        (b"log:\n  file: \x1b[31m", "m.yaml:2:9: a control character"),
        (bytes(range(256)) * 100, "not UTF-8"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "a control character"),
        ("log: {}\nä: ".encode() + b"\xff", "m.yaml:2:5: not UTF-8"),
        ("log: {}".encode("utf-16"), "not UTF-8"),
        (bomb(30), "aliases counted in full"),
        (b"- &a x\n" + b"- *a\n" * 1_000_000, "aliases counted in full"),
        (b"a: &a [*a]", "contains itself"),
        (b"a: &a {b: {c: *a}}", "contains itself"),
        (b"a: *b", "unknown anchor 'b'"),
        (b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [*a%d]\n" % (i, i, i - 1) for i in range(1, 5000)), "deeper than"),
        (b"".join(b"- &a%d x\n" % i for i in range(20_000)), "10,000 anchors"),
        (b"[" * 1_000_000, "nested deeper than 50"),
        (b"{a: " * 1_000_000, "nested deeper than 50"),
        (b"- " * 1_000_000, "nested deeper than 50"),
        ("".join(" " * i + "a:\n" for i in range(2000)).encode(), "nested deeper than 50"),
        (b"[" + b"[]," * 4_000_000, "more than 200,000 values"),
        (b"- a\n" * 3_000_000, "more than 200,000 values"),
        (b"".join(b"k%d: 1\n" % i for i in range(1_000_000)), "more than 10,000 keys in one mapping"),
        (b"{? [a] : b}", "a key must be text"),
        (b"? {a: b}\n: c", "a key must be text"),
        (b"a: &a x\n*a : b", "a key must be text"),
        (b"&x a: b", "a key cannot have a tag or an anchor"),
        (b"? " + b"x" * MB, "too long"),
        (b'"a\\nb": c', "control characters"),
        (b"a: !!python/object/apply:os.system [id]", "are not accepted"),
        (b"a: !!str x", "are not accepted"),
        (b"a: !mine x", "are not accepted"),
        (b"!!map {}", "are not accepted"),
        (b"%TAG ! x\n" * 100_000, "%TAG directives are not accepted"),
        (b"a: b\n...\n" + b"%TAG !a! x\n" * 100_000, "%TAG directives are not accepted"),
        (b"log: {}\n---\nlog: {}", "m.yaml:2:1: a second YAML document"),
        (b"a: [b", "not valid YAML"),
        (b"a: b: c", "m.yaml:1:5: not valid YAML"),
        (b"a: b: c", "put quotes around text that holds ': '"),
        (b"a: @b", "put quotes around text that starts with"),
        (b"\ta: b", "indent with spaces, not with tabs"),
        (b"cluster: {lease: ${L}}", 'put quotes around "${...}"'),
        (b"cluster: {lease: " + b"9" * MB + b"}", "too large"),
        (b"cluster: {lease: '" + b"9" * MB + b"h'}", "expected a duration"),
        (b"cluster: {lease: 1" + b"9" * MB + b".0}", "too large"),
        (b"tasks: {log_limit: '" + b"9" * MB + b"'}", "expected a size"),
        (b"tasks: {drain: '" + b"1 " * MB + b"'}", "expected a duration"),
        (b"log: {file: '" + b"${a:-}" * 1_000_000 + b"'}", "more than 1000 variables"),
        (b"log: {file: '" + b"${" * 4_000_000 + b"'}", "more than 1000 variables"),
        (b"log: {level: '" + b"http://" * 2_000_000 + b"'}", "expected debug"),
        (b"log: {level: '" + b"password=" * 1_000_000 + b"'}", "expected debug"),
        (b"database: {url: 'x" + b"://@" * 3_000_000 + b"'}", "longer than"),
        (b"builders: [{name: a, steps: [{shell: '" + b"%(prop" * 2_000_000 + b"'}]}]", "longer than"),
        (b"builders: [{name: a, steps: [{shell: '" + b"%(prop" * 15_000 + b"'}]}]", "could run as a command"),
        (b"cluster: {timezone: ../../../etc/passwd}", "unknown time zone"),
        (b"cluster: {timezone: /etc/passwd}", "unknown time zone"),
        (b'cluster: {timezone: "a\\0b"}', "NUL"),
        (b"schedulers:\n" + b"- {}\n" * 50_000, "too many faults"),
        (b"a: '" + b"x" * (17 * MB) + b"'", "larger than 16 MB"),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else "",
)
def test_hostile_yaml_is_refused_quickly(data, what):
    assert what in refused(data)


def test_one_fault_behind_many_aliases_is_said_once():
    text = refused(b"x: &x {type: 3, name: a b, a: 017}\nschedulers: [" + b"*x," * 20_000 + b"]")
    assert len(text.splitlines()) < 10


def test_thousands_of_unknown_builders_are_found_quickly():
    builders = "".join(f"- {{name: builder{i}, steps: [git: {{}}]}}\n" for i in range(3000))
    schedulers = "".join(f"- {{type: P, name: n{i}, builderNames: [bilder{i}]}}\n" for i in range(3000))
    lines = refused(f"builders:\n{builders}schedulers:\n{schedulers}".encode()).splitlines()
    assert len(lines) == 3000
    assert lines[0].endswith("unknown builder 'bilder0'; did you mean 'builder0'?")


def test_variables_cannot_blow_the_configuration_up():
    environ = {"A": "x" * 100_000}
    text = "schedulers:\n" + "".join(f"- {{type: P, name: n{i}, a: '{'${A}' * 10}'}}\n" for i in range(50))
    with pytest.raises(ConfigError, match="variables make the configuration larger than 16 MB"):
        parse(text.encode(), "m.yaml", environ, Path("/nowhere"))


def test_a_file_of_100_mb_is_refused_without_being_read(tmp_path):
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(100 * MB)
    with pytest.raises(ConfigError, match="larger than 16 MB"):
        load(large, {})


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, what in (
        ("no.yaml", "No such file"),
        (".", "not a file"),
        ("pipe", "not a file"),
        ("a\0b", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=what):
            load(f"{tmp_path}/{path}", {})


WORDS = st.sampled_from(
    [
        *["master:", "cluster:", "database:", "plugins:", "builders:", "schedulers:", "tasks:", "log:", "name:", "steps:", "shell:", "git:", "type:", "lease:", "url:", "env:", "secret:", "timezone:", "builderNames:", "<<:", "*a", "&a", "${A}", "${", "$${", "%(prop:x)s", "!!x", "---", "...", "yes", "1:30", "017", "1_0", ".inf", "1e5", "-", "[", "]", "{", "}", ",", ":", "?", "|", ">", "'", '"', "#", "~", "null", "unit", "a", "b", "Europe/Berlin", "10s", "-1", "\\0"],
        "\n", "\n  ", "\n- ", "\n  - ", " ", ": ", ", ", "\t", "\r\n", "\x85", "\u2028",
    ]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.binary()
    | st.text().map(lambda t: t.encode("utf-8", "surrogatepass"))
    | st.lists(WORDS).map(lambda w: "".join(w).encode())
)
def test_random_input_gives_a_configuration_or_a_config_error(data):
    try:
        config = parse(data, "m.yaml", {"A": "x"}, Path("/nowhere"))
    except ConfigError as error:
        assert error.faults and str(error)
    else:
        assert isinstance(config, MasterConfig)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["${A}", "unit", "10s"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=5)
            | st.sampled_from(
                ["name", "type", "steps", "shell", "git", "url", "lease", "env", "secret", "command", "properties"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
SECTION = st.sampled_from(
    ["master", "database", "cluster", "plugins", "change_sources", "builders", "schedulers", "tasks", "log", "x"]
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(SECTION, VALUES | st.lists(VALUES, max_size=3), max_size=4))
def test_random_values_in_the_right_places_give_nothing_but_a_config_error(tree):
    import yaml

    try:
        parse(
            yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "replace"), "m.yaml", {"A": "x"}, Path("/nowhere")
        )
    except ConfigError as error:
        assert error.faults
