"""What a good file means: defaults, variables, scalars, steps, positions and the digest."""

import time
from pathlib import Path

import pytest
from locum.config import (
    ClusterSection,
    ConfigError,
    DatabaseSection,
    LogSection,
    MasterSection,
    Place,
    TasksSection,
    json_schema,
    load,
    parse,
)

EXAMPLE = """\
# master.yaml: the same file on every master
database:
  url: sqlite:///locum.sqlite
cluster: { lease: 10s, heartbeat: 2s, timezone: UTC }
plugins: [./my_schedulers.py, my.module]
change_sources:
  - { type: GitPoller, name: app, repository: https://git.example.org/app.git, branches: [main], poll_interval: 60s }
builders:
  - name: unit
    steps:
      - git: {}
      - shell: [make, test]
        timeout: 20m
schedulers:
  - { type: SingleBranchScheduler, name: quick, branch: main, treeStableTimer: 30, builderNames: [unit] }
  - { type: Nightly, name: nightly, hour: 3, minute: 0, timezone: Europe/Berlin, builderNames: [unit] }
  - { type: my_schedulers.Cooldown, name: cool, builderNames: [unit], minutes: 10 }
"""


def read(text, folder=Path("/nowhere"), **environ):
    return parse(text.encode(), "master.yaml", environ, folder)


def arguments(text, **environ):
    return (
        read(f"schedulers:\n- {{type: P, name: a}}\n- type: P\n  name: b\n  x: {text}\n", **environ)
        .schedulers[1]
        .arguments["x"]
    )


def test_the_example_of_the_documentation_is_read_whole(tmp_path):
    (tmp_path / "my_schedulers.py").write_text("")
    (tmp_path / "master.yaml").write_text(EXAMPLE)
    config = load(tmp_path / "master.yaml", {})
    assert config.file == str(tmp_path / "master.yaml")
    assert config.base_dir == tmp_path
    assert [(p.target, p.is_file, p.path) for p in config.plugins] == [
        ("./my_schedulers.py", True, tmp_path / "my_schedulers.py"),
        ("my.module", False, None),
    ]
    quick, nightly, cool = config.schedulers
    assert (quick.type, quick.name, quick.path) == ("SingleBranchScheduler", "quick", "schedulers[0]")
    assert quick.arguments == {"name": "quick", "branch": "main", "treeStableTimer": 30, "builderNames": ["unit"]}
    assert nightly.arguments["timezone"] == "Europe/Berlin"
    assert cool.type == "my_schedulers.Cooldown"
    assert config.change_sources[0].arguments["poll_interval"] == "60s"
    git, shell = config.builders[0].steps
    assert (git.kind, git.name, git.clean, git.timeout) == ("git", "git", True, 1200.0)
    assert (shell.kind, shell.name, shell.command, shell.timeout) == ("shell", "make test", ("make", "test"), 1200.0)


def test_a_file_with_no_more_than_a_comment_behind_its_sections_has_the_defaults():
    config = read("cluster:\nschedulers:\nplugins: []\ntasks: {}\n")
    assert config.cluster == ClusterSection(10.0, 2.0, 1.0, "UTC", "auto", 60.0)
    assert config.database == DatabaseSection("sqlite:///locum.sqlite", "auto", 4, 30.0)
    assert config.tasks == TasksSection(4, 300.0, 600.0, 10 * 1024 * 1024)
    assert config.log == LogSection("human", "info", None)
    assert config.master == MasterSection(None, ("schedulers", "tasks"), None)
    assert config.schedulers == config.builders == config.plugins == config.change_sources == ()


def test_the_margin_is_a_tenth_of_the_lease_and_at_most_a_second():
    assert read("cluster: {lease: 3s, heartbeat: 1s}").cluster.margin == pytest.approx(0.3)
    assert read("cluster: {lease: 60s}").cluster.margin == 1.0
    assert read("cluster: {lease: 60s, margin: 5s}").cluster.margin == 5.0


def test_off_needs_no_quotes():
    assert read("cluster: {crash_hint: off}").cluster.crash_hint == "off"
    assert read("cluster: {crash_hint: 'off'}").cluster.crash_hint == "off"


@pytest.mark.parametrize(
    ("written", "size"), [("2048", 2048), ("10MB", 10_000_000), ("1 GiB", 2**30), ("500kb", 500_000), ("'4096'", None)]
)
def test_sizes_are_bytes_or_have_a_unit(written, size):
    if size is None:
        with pytest.raises(ConfigError):
            read(f"tasks: {{log_limit: {written}}}")
    else:
        assert read(f"tasks: {{log_limit: {written}}}").tasks.log_limit == size


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("'5'", "5"),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("'yes'", "yes"),
        ("y", "y"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01 10:00:00", "2024-01-01 10:00:00"),
        ("12:30", "12:30"),
        ("1:30:00", "1:30:00"),
        ("1e3", "1e3"),
        ("=", "="),
        ("[a, {b: 1}]", ["a", {"b": 1}]),
        ("{}", {}),
        ("|\n    a\n    b", "a\nb\n"),
        ("'${A}'", "5"),
        ("${A}", 5),
        ("${A}0", 50),
        ("v${A}", "v5"),
        ("${B:-7}", 7),
        ("'${B:-7}'", "7"),
        ("${EMPTY:-7}", 7),
        ("'${EMPTY}'", ""),
        ("${EMPTY}", None),
        ("${B:-}", None),
        ("$${A}", "${A}"),
        ("'$$${A} $A ${A}'", "$${A} $A 5"),
        ("${NESTED}", "${A}"),
        ("'${B:-a b:c}'", "a b:c"),
    ],
)
def test_a_scalar_means_what_it_looks_like(written, value):
    got = arguments(written, A="5", EMPTY="", NESTED="${A}")
    assert got == value and type(got) is type(value)


def test_variables_in_numbers_work_with_and_without_quotes():
    assert read("cluster:\n  lease: ${L:-20}").cluster.lease == 20.0
    assert read('cluster: {lease: "${L:-20s}"}').cluster.lease == 20.0
    assert read('tasks: {max_running: "${N}"}', N="7").tasks.max_running == 7


def test_keys_are_not_interpolated():
    assert arguments("{'${A}': 1}") == {"${A}": 1}


def test_anchors_and_merge_keys_work_within_bounds():
    text = "tasks: &t {drain: 5s}\nschedulers:\n- &d {type: P, name: a, x: [1]}\n- {<<: *d, name: b}\n- {<<: [*d, *t], name: c}\n"
    config = read(text)
    assert [entry.arguments for entry in config.schedulers] == [
        {"name": "a", "x": [1]},
        {"name": "b", "x": [1]},
        {"name": "c", "x": [1], "drain": "5s"},
    ]


@pytest.mark.parametrize(
    "text",
    [
        "{shell: [make, test], timeout: 5m, env: {A: b}, workdir: src, name: Tests}",
        "{shell: {command: [make, test], timeout: 5m, env: {A: b}, workdir: src, name: Tests}}",
        "{shell: {command: [make, test], timeout: 5m}, env: {A: b}, workdir: src, name: Tests}",
    ],
)
def test_a_steps_keys_stand_beside_it_or_inside(text):
    (step,) = read(f"builders: [{{name: b, steps: [{text}]}}]").builders[0].steps
    assert (step.command, step.timeout, step.env, step.workdir, step.name) == (
        ("make", "test"),
        300.0,
        {"A": "b"},
        "src",
        "Tests",
    )


def test_a_string_is_a_shell_line_and_null_is_no_time_limit():
    (step,) = (
        read("builders: [{name: b, steps: [{shell: 'make \"$LOCUM_PROP_BRANCH\" %(refname)', timeout: null}]}]")
        .builders[0]
        .steps
    )
    assert step.command == 'make "$LOCUM_PROP_BRANCH" %(refname)'
    assert step.timeout is None


def test_properties_and_other_programs_formats_may_stand_in_argument_lists():
    words = "[git, --format=%(refname), '%(prop:branch)s', '%(prop:a.b-c)s x %(prop:d)s', '100%', '']"
    (step,) = read(f"builders: [{{name: b, steps: [shell: {words}]}}]").builders[0].steps
    assert len(step.command) == 6


def test_builders_have_defaults_and_take_all_their_keys():
    text = """
builders:
  - {name: a, steps: [git: ]}
  - name: b
    steps: [git: {repository: ../x, branch: main, codebase: lib, depth: 1, clean: false, workdir: lib}]
    properties: {n: 1, l: [a], t: 12:30}
    max_parallel: 2
    on_lost: requeue
    archive: manual
    env: {A: b, E: ''}
    description: Two
"""
    a, b = read(text).builders
    assert (a.properties, a.max_parallel, a.on_lost, a.archive, a.env, a.description) == (
        {},
        None,
        "fail",
        "auto",
        {},
        "",
    )
    assert (b.properties, b.max_parallel, b.on_lost) == ({"n": 1, "l": ["a"], "t": "12:30"}, 2, "requeue")
    assert (b.archive, b.env, b.description) == ("manual", {"A": "b", "E": ""}, "Two")
    assert (b.steps[0].repository, b.steps[0].codebase, b.steps[0].depth, b.steps[0].clean) == ("../x", "lib", 1, False)
    assert a.place == Place("master.yaml", 3, 5)


def test_an_entry_gives_faults_at_its_keys_and_values():
    text = (
        "schedulers:\n  - type: P\n    name: a\n    change_filter:\n      branch: [x, y]\n    periodicBuildTimer: -1\n"
    )
    entry = read(text).schedulers[0]
    assert str(entry.fault("periodicBuildTimer", "too small", "give more")) == (
        "master.yaml:6:25: schedulers[0].periodicBuildTimer: too small; give more"
    )
    assert str(entry.fault("periodicBuildTimer", "unknown key", at_key=True)).startswith("master.yaml:6:5:")
    assert str(entry.fault("change_filter.branch[1]", "what")).startswith(
        "master.yaml:5:19: schedulers[0].change_filter.branch[1]:"
    )
    assert str(entry.fault("missing", "what")) == "master.yaml:2:5: schedulers[0].missing: what"
    assert str(entry.fault("", "what")) == "master.yaml:2:5: schedulers[0]: what"


def test_builder_names_that_only_the_class_understands_are_left_to_it():
    text = "schedulers: [{type: P, name: a, builderNames: {pick: x}}, {type: P, name: b, builderNames: }, {type: P, name: c}]"
    assert len(read(text).schedulers) == 3


def test_relative_names_do_not_change_where_the_file_lies(tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "m.yaml").write_text("log: {}")
    monkeypatch.chdir(tmp_path)
    config = load("conf/m.yaml", {})
    assert config.file == "conf/m.yaml"
    assert config.base_dir == tmp_path / "conf"


def test_a_byte_order_mark_and_windows_line_ends_are_accepted():
    config = parse(b"\xef\xbb\xbflog: {level: warn}\r\ntasks:\r\n  drain: 5s\r\n", "m", {}, Path("/nowhere"))
    assert (config.log.level, config.tasks.drain) == ("warn", 5.0)


@pytest.mark.parametrize(
    "change",
    [
        ("lease: 10s", "lease: 11s"),
        ("[make, test]", "[make, tests]"),
        ("minutes: 10", "minutes: 11"),
        ("minutes: 10", "minutes: '10'"),
        ("branches: [main]", "branches: [dev]"),
        (", my.module", ""),
    ],
)
def test_the_digest_changes_with_everything_that_must_be_the_same(change, tmp_path):
    (tmp_path / "my_schedulers.py").write_text("")
    assert read(EXAMPLE, tmp_path).digest != read(EXAMPLE.replace(*change), tmp_path).digest


def test_the_digest_changes_with_a_plugins_contents(tmp_path):
    (tmp_path / "my_schedulers.py").write_text("a = 1")
    before = read(EXAMPLE, tmp_path).digest
    (tmp_path / "my_schedulers.py").write_text("a = 2")
    assert read(EXAMPLE, tmp_path).digest != before


def test_the_digest_does_not_change_with_what_is_a_masters_own(tmp_path):
    (tmp_path / "my_schedulers.py").write_text("")
    own = "\nmaster: {name: m2, roles: [tasks], workdir: /srv}\nlog: {level: debug}\ntasks: {max_running: 9}\n"
    other = "# a comment\n" + EXAMPLE.replace("locum.sqlite", "other.sqlite") + own
    assert read(EXAMPLE, tmp_path).digest == parse(other.encode(), "other.yaml", {}, tmp_path).digest


def test_ten_thousand_schedulers_are_read_in_a_moment():
    line = "- {{ type: Periodic, name: p{}, periodicBuildTimer: 1h, builderNames: [unit] }}\n"
    text = "builders: [{name: unit, steps: [git: {}]}]\nschedulers:\n" + "".join(line.format(i) for i in range(10_000))
    before = time.process_time()
    config = read(text)
    assert time.process_time() - before < 4.0  # half a second where nothing else runs
    assert str(config.schedulers[9999].fault("builderNames[0]", "x")).startswith("master.yaml:10002:")


def test_the_schema_knows_every_key_and_refuses_others():
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    cluster = schema["properties"]["cluster"]["anyOf"][0]
    assert set(cluster["properties"]) == set(ClusterSection.__dataclass_fields__)
    assert cluster["additionalProperties"] is False
    assert cluster["properties"]["lease"]["default"] == 10.0
    builder = schema["properties"]["builders"]["anyOf"][0]["items"]
    assert builder["required"] == ["name", "steps"]
    steps = builder["properties"]["steps"]["items"]["oneOf"]
    assert [step["required"] for step in steps] == [["git"], ["shell"], ["trigger"]]
    assert "command" in steps[1]["properties"] and "command" not in steps[0]["properties"]
    assert schema["properties"]["schedulers"]["anyOf"][0]["items"]["required"] == ["type", "name"]
    assert json_schema() == schema


def test_every_schema_entry_is_plain_json():
    import json

    text = json.dumps(json_schema(), allow_nan=False)
    assert '"$ref": "#/$defs/secret"' in text
