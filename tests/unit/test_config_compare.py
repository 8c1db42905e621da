"""Comparing two configurations: only what differs, by name, and in words."""

from pathlib import Path

from locum.config import compare, parse

OLD = """\
cluster: {lease: 10s}
builders:
  - {name: a, steps: [shell: [make]]}
  - {name: b, steps: [shell: [make]]}
schedulers:
  - {type: P, name: one, builderNames: [a], n: 1}
  - {type: P, name: two, builderNames: [a]}
  - {type: P, name: three, builderNames: [a]}
change_sources:
  - {type: G, name: app, repository: /srv/app}
"""


def read(text, folder=Path("/nowhere")):
    return parse(text.encode(), "master.yaml", {}, folder)


def test_equal_files_do_not_differ_whatever_their_order_comments_and_spelling():
    new = """\
# moved about
change_sources: [{repository: "/srv/app", name: app, type: G}]
schedulers: [
  {type: P, name: three, builderNames: [a]}, {type: P, name: one, n: 1, builderNames: [a]},
  {type: P, name: two, builderNames: [a]}]
builders: [{name: b, steps: [{shell: {command: [make]}}]}, {name: a, steps: [shell: [make]]}]
cluster: {lease: 10, heartbeat: 2000ms}
"""
    difference = compare(read(OLD), read(new))
    assert difference.empty
    assert difference.lines() == []


def test_what_was_added_removed_and_changed_is_told_by_name():
    new = (
        OLD.replace("name: two", "name: four")
        .replace("n: 1", "n: 2, m: x")
        .replace("name: b, steps: [shell: [make]]", "name: b, steps: [git: ]")
    )
    new = new.replace("- {type: G, name: app, repository: /srv/app}", "[]").replace(
        "change_sources:\n  []", "change_sources: []"
    )
    difference = compare(read(OLD), read(new))
    assert not difference.empty
    assert (difference.schedulers.added, difference.schedulers.removed) == (("four",), ("two",))
    assert difference.schedulers.changed == ("one",)
    assert difference.builders.changed == ("b",)
    assert difference.change_sources.removed == ("app",)
    lines = difference.lines()
    assert lines[0] == "- change source app"
    assert lines[1] == "~ builder b: steps[0]: shell step 'make' -> git step 'git'"
    assert lines[2:] == ["+ scheduler four", "- scheduler two", "~ scheduler one: m: (not given) -> 'x', n: 1 -> 2"]


def test_changed_settings_have_dotted_names_and_both_values():
    new = "master: {name: m1}\nlog: {level: debug}\ntasks: {drain: 5s}\n" + OLD.replace("10s", "20s")
    difference = compare(read(OLD), read(new))
    assert {(s.name, s.old, s.new) for s in difference.settings} == {
        ("cluster.lease", 10.0, 20.0),
        ("master.name", None, "m1"),
        ("log.level", "info", "debug"),
        ("tasks.drain", 600.0, 5.0),
    }
    assert "~ cluster.lease: 10.0 -> 20.0" in difference.lines()


def test_true_is_not_one_and_text_is_no_number():
    for value in ("yes", "1.0", "'1'"):
        difference = compare(read(OLD), read(OLD.replace("n: 1", f"n: {value}")))
        assert difference.schedulers.changed == ("one",)
        assert difference.lines()[0].startswith("~ scheduler one: n: 1 -> ")


def test_a_plugins_changed_contents_are_a_difference(tmp_path):
    (tmp_path / "p.py").write_text("a = 1")
    old = read("plugins: [p.py]", tmp_path)
    (tmp_path / "p.py").write_text("a = 2")
    (line,) = compare(old, read("plugins: [p.py]", tmp_path)).lines()
    assert line.startswith("~ plugins: ('p.py (")


def test_the_place_in_the_file_is_no_difference():
    assert compare(read(OLD), read("\n\n" + OLD)).empty


def test_one_changed_of_ten_thousand_is_found():
    lines = [f"- {{type: P, name: p{i}, n: {i}}}" for i in range(10_000)]
    old = read("schedulers:\n" + "\n".join(lines))
    lines[5000] = "- {type: P, name: p5000, n: 0}"
    assert compare(old, read("schedulers:\n" + "\n".join(lines))).lines() == ["~ scheduler p5000: n: 5000 -> 0"]


def test_inside_a_long_value_the_one_thing_that_differs_is_told():
    old = """\
builders: [{name: b, steps: [{shell: [make, test]}, {shell: [echo, a]}, {git: {}}], env: {A: x, B: y}}]
schedulers: [{type: P, name: s, filters: [{a: 1, b: 2}, {a: 3}], builderNames: [b]}]
"""
    new = """\
builders: [{name: b, steps: [{shell: [make, test], timeout: 5m}, {shell: [echo, a]}], env: {A: x, B: z}}]
schedulers: [{type: P, name: s, filters: [{a: 1, b: 4}, {a: 3}, {a: 5}], builderNames: [b]}]
"""
    assert compare(read(old), read(new)).lines() == [
        "~ builder b: env.B: 'y' -> 'z', steps[0].timeout: 1200.0 -> 300.0, steps[2]: git step 'git' -> (not given)",
        "~ scheduler s: filters[0].b: 2 -> 4, filters[2]: (not given) -> {'a': 5}",
    ]
