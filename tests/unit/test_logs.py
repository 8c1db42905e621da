"""Log lines: for people or as JSON, from a level on, and never in the way of a master."""

import json
import subprocess
import sys

PROGRAM = """
import io, sys
from locum.master.logs import Log, set_level, start_logging

class Full(io.StringIO):
    def write(self, text):
        raise OSError("no space left")

class Job:
    log = Log()

stream = Full() if "full" in sys.argv else sys.stdout
start_logging(stream, sys.argv[1], sys.argv[2])
job = Job()
for level in ("debug", "info", "warn", "error"):
    getattr(job.log, level)("{what} said: {text}", what=level, text="a {brace} and\\nanother line")
if "later" in sys.argv:
    set_level(sys.argv[-1])
    job.log.debug("now said: {text}", text="more")
print("still here")
"""


def said(*arguments):
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert last == "still here"
    return lines


def test_lines_for_people_have_time_level_and_text():
    lines = [line for line in said("human", "info") if " said: " in line]
    assert [line.split()[1] for line in lines] == ["info", "warn", "error"]
    assert all(line[10] == "T" and line[23] == "Z" for line in lines)
    assert "a {brace} and" in lines[0]


def test_a_strangers_text_makes_no_line_of_its_own_and_no_colour():
    program = PROGRAM.replace(
        "a {brace} and\\nanother line", "x\\n2026-11-22T17:00:00.000Z info  master evil is up\\x1b[31m\\r\\x9b"
    )
    done = subprocess.run([sys.executable, "-c", program, "human", "error"], capture_output=True, text=True, timeout=60)
    (line,) = [line for line in done.stdout.splitlines() if "evil" in line]
    assert line == "  2026-11-22T17:00:00.000Z info  master evil is up\\x1b[31m\\x0d\\x9b"


def test_json_lines_are_one_object_each_whatever_the_text():
    lines = [json.loads(line) for line in said("json", "warn")]
    assert [line["level"] for line in lines] == ["warn", "error"]
    assert lines[0]["text"] == "warn said: a {brace} and\nanother line"
    assert lines[0].keys() == {"time", "level", "text"}


def test_the_level_is_where_it_begins():
    assert len([line for line in said("human", "debug") if " said: " in line]) == 4
    assert len([line for line in said("human", "error") if " said: " in line]) == 1


def test_the_level_can_change_while_a_master_runs():
    lines = [line for line in said("human", "error", "later", "debug") if "said: " in line]
    assert [line.split()[1] for line in lines] == ["error", "debug"]


def test_a_full_disk_does_not_stop_anybody():
    assert said("human", "debug", "full") == []
