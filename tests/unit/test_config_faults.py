"""Every kind of fault: where it is, what is wrong, and how to mend it; all of them at once."""

import pytest
from locum.config import ConfigError, Fault, Place, parse, suggest

BUILDER = "builders: [{name: unit, steps: [git: {}]}]\n"
STEP = "builders: [{{name: b, steps: [{}]}}]"


def faults(text, tmp_path, **environ):
    with pytest.raises(ConfigError) as error:
        parse(text.encode(), "master.yaml", environ, tmp_path)
    return str(error.value).splitlines()


def test_a_fault_says_place_path_what_and_cure():
    fault = Fault(Place("master.yaml", 31, 7), "schedulers[2].corn", "unknown key", "did you mean 'cron'?")
    assert str(fault) == "master.yaml:31:7: schedulers[2].corn: unknown key; did you mean 'cron'?"
    assert str(Fault(Place("m", 1, 1), "", "empty")) == "m:1:1: empty"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        # the whole file
        ("", "1:1: the file is empty; 'locum init' writes one to begin with"),
        ("# only this\n", "1:1: the file is empty; 'locum init' writes one to begin with"),
        ("null", "1:1: the file is empty; 'locum init' writes one to begin with"),
        ("- a", "1:1: expected sections such as 'builders:', got a list"),
        ("hello", "1:1: expected sections such as 'builders:', got 'hello'"),
        # keys
        ("bilders: []", "1:1: bilders: unknown section; did you mean 'builders'?"),
        ("cluster: {lese: 3}", "1:11: cluster.lese: unknown key; did you mean 'lease'?"),
        ("cluster:\n  turnTimeout: 3", "2:3: cluster.turnTimeout: unknown key; did you mean 'turn_timeout'?"),
        ("log:\n  q: 1", "2:3: log.q: unknown key; known: format, level, file"),
        ("log: {}\ncluster: {}\nlog: {}", "3:1: log: this key stands here twice, first in line 1; keep one"),
        ("log:\n  level: info\n  level: warn", "3:3: log.level: this key stands here twice, first in line 2; keep one"),
        ("schedulers: [{type: P, name: a, 1: a}]", '1:33: schedulers[0].1: the key \'1\' is not text to YAML; quote it: "1"'),
        ("schedulers: [{type: P, name: a, on: a}]", '1:33: schedulers[0].on: the key \'on\' is not text to YAML; quote it: "on"'),
        ("log: {<<: 3}", "1:11: log.<<: '<<' needs an alias to a mapping, or a list of them"),
        # sections
        ("cluster: 3", "1:10: cluster: expected a mapping, got 3; write it as 'key: value' lines"),
        ("cluster: [a]", "1:10: cluster: expected a mapping, got a list; write it as 'key: value' lines"),
        ("schedulers: {a: b}", "1:13: schedulers: expected a list, got a mapping; write '- ' before each item"),
        ("builders: unit", "1:11: builders: expected a list, got 'unit'; write '- ' before each item"),
        # durations
        ("cluster: {lease: -10s}", "1:18: cluster.lease: a duration cannot be negative, got '-10s'"),
        (
            "cluster: {lease: soon}",
            "1:18: cluster.lease: expected a duration such as 90s, 5m, 1h30m or 250ms"
            " (units, largest first: w, d, h, m, s, ms), got 'soon'",
        ),
        ("cluster: {lease: }", "1:18: cluster.lease: expected a duration such as 90s or 5m, got nothing"),
        ("cluster: {lease: yes}", "1:18: cluster.lease: expected a duration such as 90s or 5m, got true (written 'yes')"),
        ("cluster: {lease: [10s]}", "1:18: cluster.lease: expected a duration such as 90s or 5m, got a list"),
        ("cluster: {heartbeat: 0}", "1:22: cluster.heartbeat: must be at least 50ms, got 0"),
        ("cluster: {lease: 2h}", "1:18: cluster.lease: must be at most 1h, got '2h'"),
        (
            "cluster: {lease: 4s}",
            "1:18: cluster.lease: 4s is too short: one late heartbeat would cost the lease;"
            " at least 4s400ms (two heartbeats and the margin), or a shorter heartbeat",
        ),
        (
            "cluster: {heartbeat: 6s}",
            "1:22: cluster.lease: 10s is too short: one late heartbeat would cost the lease;"
            " at least 13s (two heartbeats and the margin), or a shorter heartbeat",
        ),
        # words, numbers, sizes, zones
        ("log: {level: wran}", "1:14: log.level: expected debug or info or warn or error, got 'wran'; did you mean 'warn'?"),
        ("master: {roles: []}", "1:17: master.roles: expected a list of roles with at least one item"),
        ("master: {roles: tasks}", "1:17: master.roles: expected a list of roles, got 'tasks'; write it as [a, b] or as '- a' lines"),
        ("master: {roles: [task]}", "1:18: master.roles[0]: expected schedulers or tasks, got 'task'; did you mean 'tasks'?"),
        ("master: {name: 7}", '1:16: master.name: expected a name, got 7; quote it: "7"'),
        ("master: {name: yes}", "1:16: master.name: expected a name, got true (written 'yes'); quote it: \"yes\""),
        ("master: {name: 1.10}", '1:16: master.name: expected a name, got 1.1; quote it: "1.10"'),
        ("master: {name: ''}", "1:16: master.name: expected a name, got empty text"),
        ("master: {name: ~}", "1:16: master.name: expected a name, got nothing"),
        ('master: {name: "a\\tb"}', "1:16: master.name: 'a\\tb' holds control characters"),
        ("master: {name: ' a'}", "1:16: master.name: ' a' begins or ends with a space"),
        (f"master: {{name: {'n' * 201}}}", f"1:16: master.name: '{'n' * 56}... is longer than 200 characters"),
        ("tasks: {max_running: 1.5}", "1:22: tasks.max_running: expected a whole number from 0 to 10,000, got 1.5"),
        ("tasks: {max_running: many}", "1:22: tasks.max_running: expected a whole number from 0 to 10,000, got 'many'"),
        (
            "tasks: {log_limit: 10XB}",
            "1:20: tasks.log_limit: expected a size such as 500kB or 10MiB, from 1,024 to 1,099,511,627,776 bytes, got '10XB'",
        ),
        (
            "cluster: {timezone: Europe/Berln}",
            "1:21: cluster.timezone: unknown time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?",
        ),
        ("cluster: {timezone: localtime}", "1:21: cluster.timezone: unknown time zone 'localtime'"),
        # numbers that surprise
        *(
            (
                f"cluster: {{lease: {number}}}",
                f"1:18: cluster.lease: '{number}': a number that YAML readers understand differently;"
                " write it in plain digits, or quote it if it is text",
            )
            for number in ("017", "08", "1_000", "0o17", "0b11", "1_0.5")
        ),
        ("cluster: {lease: .inf}", "1:18: cluster.lease: '.inf': not a finite number; quote it if it is text"),
        # the database
        ("database: {url: mysql://h/d}", "1:17: database.url: unknown kind of database 'mysql';"
         " write sqlite:///FILE or postgresql://USER@HOST/NAME"),
        ("database: {url: postgresq://h/d}", "1:17: database.url: unknown kind of database 'postgresq'; did you mean 'postgresql'?"),
        ("database: {url: locum.sqlite}", "1:17: database.url: expected a database's URL; write sqlite:///FILE or postgresql://USER@HOST/NAME"),
        ("database: {url: 'sqlite://'}", "1:17: database.url: SQLite needs a file, which all masters open; write sqlite:///FILE, or sqlite:////FILE if absolute"),
        ("database: {url: 'sqlite:///:memory:'}", "1:17: database.url: SQLite needs a file, which all masters open; write sqlite:///FILE, or sqlite:////FILE if absolute"),
        ("database: {upgrade: no}", "1:21: database.upgrade: expected auto or manual, got 'no'"),
        # plugins
        ("plugins: [./no.py]", "1:11: plugins[0]: the plugin './no.py' cannot be read: No such file or directory; paths begin at this file's folder"),
        ("plugins: [./]", "1:11: plugins[0]: the plugin './' is not a file of Python code"),
        ("plugins: [a b]", "1:11: plugins[0]: 'a b' is not a module's name; a file is written ./NAME.py"),
        ("plugins: [a.b, a.b]", "1:16: plugins[1]: the plugin 'a.b' stands here twice; keep one"),
        ("plugins: [{a: b}]", "1:11: plugins[0]: expected a file or a module, got a mapping"),
        # schedulers and change sources
        ("schedulers: [17]", "1:14: schedulers[0]: expected a mapping, got 17; write '- type: ...', 'name: ...'"),
        ("schedulers: [{name: a}]", "1:14: schedulers[0]: the key 'type' is missing; add 'type:', its class"),
        ("change_sources:\n- type: G", "2:3: change_sources[0]: the key 'name' is missing; add 'name:', unique in this list"),
        ("schedulers: [{type: a b, name: a}]", "1:21: schedulers[0].type: expected a class such as Periodic or my_plugin.MyClass, got 'a b'"),
        ("schedulers: [{type: P, name: 5}]", '1:30: schedulers[0].name: expected a name, got 5; quote it: "5"'),
        (
            "schedulers:\n- {type: P, name: a}\n- {type: Q, name: a}",
            "3:19: schedulers[1].name: the name 'a' is taken by schedulers[0] in line 2; give it another",
        ),
        (
            "change_sources:\n- {type: P, name: a}\n- {type: Q, name: b}\n- {type: Q, name: a}",
            "4:19: change_sources[2].name: the name 'a' is taken by change_sources[0] in line 2; give it another",
        ),
        (BUILDER + "schedulers: [{type: P, name: a, builderNames: [unti]}]",
         "2:48: schedulers[0].builderNames[0]: unknown builder 'unti'; did you mean 'unit'?"),
        (BUILDER + "schedulers: [{type: P, name: a, builderNames: unit}]",
         "2:47: schedulers[0].builderNames: expected a list of builders, got 'unit'; write [unit]"),
        (BUILDER + "schedulers: [{type: P, name: a, builderNames: [unit, 3]}]",
         '2:54: schedulers[0].builderNames[1]: expected a builder\'s name, got 3; quote it: "3"'),
        ("schedulers: [{type: P, name: a, x: 017}]",
         "1:36: schedulers[0].x: '017': a number that YAML readers understand differently; write it in plain digits, or quote it if it is text"),
        # builders
        ("builders: [{steps: [git: ]}]", "1:12: builders[0]: the key 'name' is missing; add 'name:', the builder's name, which schedulers give in builderNames"),
        ("builders: [{name: a}]", "1:12: builders[0]: the key 'steps' is missing; add 'steps:', what its tasks do, in order"),
        ("builders: [{name: a, steps: []}]", "1:29: builders[0].steps: expected a list of steps with at least one item"),
        ("builders: [{name: a, steps: }]", "1:29: builders[0].steps: expected a list of steps, got nothing; write it as [a, b] or as '- a' lines"),
        (BUILDER.strip() + "\n", None),
        ("builders:\n- {name: a, steps: [git: ]}\n- {name: a, steps: [git: ]}",
         "3:10: builders[1].name: the name 'a' is taken by builders[0] in line 2; give it another"),
        ("builders: [{name: a, steps: [git: ], on_lost: retry}]",
         "1:47: builders[0].on_lost: expected fail or requeue, got 'retry'"),
        ("builders: [{name: a, steps: [git: ], max_parallel: 0}]",
         "1:52: builders[0].max_parallel: expected a whole number from 1 to 100,000, got 0"),
        ("builders: [{name: a, steps: [git: ], env: {A-B: x}}]",
         "1:44: builders[0].env.A-B: expected an environment variable's name, got 'A-B'"),
        ("builders: [{name: a, steps: [git: ], env: {A: 4}}]", '1:47: builders[0].env.A: expected text, got 4; quote it: "4"'),
        ("builders: [{name: a, steps: [git: ], properties: [a]}]",
         "1:50: builders[0].properties: expected a mapping, got a list; write it as 'key: value' lines"),
        # steps
        (STEP.format("make"), "1:30: builders[0].steps[0]: expected a step, got 'make'; write '- shell: [make, test]'"),
        (STEP.format("{}"), "1:30: builders[0].steps[0]: the step does nothing; add 'shell:', 'git:' or 'trigger:'"),
        (STEP.format("{timeout: 3}"), "1:30: builders[0].steps[0]: the step does nothing; add 'shell:', 'git:' or 'trigger:'"),
        (STEP.format("{shel: a}"), "1:31: builders[0].steps[0].shel: unknown kind of step; did you mean 'shell'?"),
        (STEP.format("{shell: a, git: }"), "1:41: builders[0].steps[0]: a step is either git or shell, not both; make it two steps"),
        (STEP.format("{shell: a, timout: 3}"), "1:41: builders[0].steps[0].timout: unknown key; did you mean 'timeout'?"),
        (STEP.format("{git: {dept: 3}}"), "1:37: builders[0].steps[0].dept: unknown key; did you mean 'depth'?"),
        (STEP.format("{git: {}, env: {}}"), "1:40: builders[0].steps[0].env: unknown key;"
         " known: name, timeout, workdir, repository, branch, codebase, depth, clean"),
        (STEP.format("{git: [a]}"), "1:36: builders[0].steps[0].git: expected a mapping; write '- git: {}'"),
        (STEP.format("{shell: {command: a, timeout: 1}, timeout: 2}"),
         "1:64: builders[0].steps[0].timeout: stands also inside 'shell:'; keep one"),
        (STEP.format("{shell: }"), "1:38: builders[0].steps[0].command: expected a command, got nothing"),
        (STEP.format("{shell: {}}"), "1:30: builders[0].steps[0]: the step has no command; write [program, argument] or one line of shell"),
        (STEP.format("{shell: []}"), "1:38: builders[0].steps[0].command: expected a list with at least one item"),
        (STEP.format("{shell: ['']}"), "1:39: builders[0].steps[0].command[0]: the program's name is empty"),
        (STEP.format("{shell: [make, 4]}"), '1:45: builders[0].steps[0].command[1]: expected an argument, got 4; quote it: "4"'),
        (STEP.format("{shell: 'echo %(prop:my-branch)s'}"),
         "1:38: builders[0].steps[0].command: '%(prop:my-branch)s' in a shell line: a property's value could run as a command there;"
         ' write the command as a list, or use "$LOCUM_PROP_MY_BRANCH" in the line'),
        (STEP.format("{shell: 'echo %(branch)s'}"),
         "1:38: builders[0].steps[0].command: '%(branch)s' in a shell line: a property's value could run as a command there;"
         ' write the command as a list, or use "$LOCUM_PROP_NAME" in the line'),
        *(
            (STEP.format(f"{{shell: [a, 'x{wrong}y']}}"),
             f"1:42: builders[0].steps[0].command: '{wrong}' is not a property; write %(prop:NAME)s")
            for wrong in ("%(prop:a b)s", "%(prop:)s", "%(branch)s", "%(prop)s")
        ),
        *(
            (STEP.format(f"{{git: , workdir: {folder}}}"),
             f"1:47: builders[0].steps[0].workdir: '{folder}' leaves the task's work directory;"
             " name a folder below it, without '..' and without a leading '/'")
            for folder in ("/etc", "../x", "a/../../b", "a/..", "..", "~/x")
        ),
        (STEP.format("{git: {depth: 0}}"), "1:44: builders[0].steps[0].depth: expected a whole number from 1 to 1,000,000,000, got 0"),
        (STEP.format("{git: {clean: 1}}"), "1:44: builders[0].steps[0].clean: expected true or false, got 1"),
        # variables
        ("log: {file: '${NO}'}", "1:13: log.file: the environment variable NO is not set;"
         " set it, or give a default: ${NO:-...}, or $${ for ${"),
        *(
            (f"log: {{file: '{text}'}}", "1:13: log.file: '${' without a variable;"
             " write ${NAME}, ${NAME:-default}, or $${ for a literal ${")
            for text in ("${", "${}", "${1A}", "${A-b}", "${A:-${B}}", "${A%/}")
        ),
        ("log: {file: '${BAD}'}", "1:13: log.file: the environment variable BAD does not hold UTF-8 text"),
    ],
)  # fmt: skip
def test_each_fault_says_where_what_and_how_to_mend_it(text, fault, tmp_path):
    if fault is None:
        assert parse(text.encode(), "master.yaml", {}, tmp_path)
    else:
        assert faults(text, tmp_path, BAD="\udcff") == [f"master.yaml:{fault}"]


def test_all_faults_are_said_at_once_in_the_order_of_the_file(tmp_path):
    text = """\
cluster: {lease: 4s, timezone: Nowhere/Atall, foo: 1}
builders:
  - {name: unit, steps: [{shell: 'echo %(prop:x)s', timout: 3}]}
  - {name: unit, steps: [], max_parallel: x}
schedulers:
  - {type: P, name: a, builderNames: [unit, other], b: 017, c: '${NO}'}
  - {type: P, name: a}
extra: 1
"""
    places = [line.split(": ")[0].removeprefix("master.yaml:") for line in faults(text, tmp_path)]
    assert places == [
        "1:18",
        "1:32",
        "1:47",
        "3:34",
        "3:53",
        "4:12",
        "4:25",
        "4:43",
        "6:45",
        "6:56",
        "6:64",
        "7:21",
        "8:1",
    ]


def test_a_faulty_builder_still_has_a_name_that_schedulers_may_use(tmp_path):
    text = "builders: [{name: unit, steps: [], x: 1}]\nschedulers: [{type: P, name: a, builderNames: [unit]}]"
    assert not any("unknown builder" in fault for fault in faults(text, tmp_path))


def test_long_values_are_cut_and_control_characters_escaped(tmp_path):
    (fault,) = faults('log: {level: "' + "\\e[31m" + "x" * 5000 + '"}', tmp_path)
    assert len(fault) < 180
    assert "\x1b" not in fault and "\\x1b[31mxxx" in fault


def test_an_error_holds_its_faults_and_says_one_a_line():
    later, earlier = Fault(Place("m", 2, 1), "b", "two"), Fault(Place("m", 1, 5), "a", "one")
    error = ConfigError([later, earlier])
    assert error.faults == [earlier, later]
    assert str(error) == "m:1:5: a: one\nm:2:1: b: two"


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("corn", ["cron", "name"], "cron"),
        ("treestabletimer", ["treeStableTimer"], "treeStableTimer"),
        ("builder_names", ["builderNames"], "builderNames"),
        ("zzz", ["cron", "name"], None),
        ("", ["a"], None),
        (None, ["a"], None),
        (3, ["a"], None),
        ("x", [], None),
        ("unit-77", [f"unit{i}" for i in range(5000)], "unit77"),
        ("unti5", [f"unit{i}" for i in range(5000)], "unit5"),
        ("x" * 10_000, ["x"], None),
    ],
)
def test_the_nearest_known_word_is_suggested(word, known, meant):
    assert suggest(word, known) == meant


def test_a_property_with_a_default_is_no_fault(tmp_path):
    steps = b'builders: [{name: b, steps: [{shell: [echo, "%(prop:branch:-main)s", "%(prop:a-b:-)s"]}]}]'
    (builder,) = parse(steps, "t.yaml", {}, tmp_path).builders
    assert builder.steps[0].command == ("echo", "%(prop:branch:-main)s", "%(prop:a-b:-)s")
