"""Everything that reads what people and strangers write, each as a function of bytes.

Whatever the bytes are, the answer is a value that holds what was promised, or the one error that its callers expect, with
a sentence. Anything else is a defect, and so is taking long. ``test_inputs.py`` tries them with hypothesis, ``hunt.py``
with atheris, which looks for bytes that reach new code.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from locum.config import ConfigError, MasterConfig, format_duration, parse, parse_duration
from locum.config.durations import LONGEST_S
from locum.config.scalars import Unresolved, interpolate
from locum.config.secret import mask_credentials
from locum.db.errors import DatabaseError
from locum.db.naming import Refused
from locum.db.stored import read_object, read_properties, read_texts, read_value
from locum.db.urls import DatabaseUrl
from locum.master.changes import BadChange, validated
from locum.master.commands import changes as command
from locum.master.commands.properties import parsed
from locum.master.sources import commits
from locum.master.sources.address import Address
from locum.master.tasks.rendering import UnknownProperty, environment, render_command
from locum.schedulers.arguments import to_json
from locum.schedulers.bounded_re import compile_bounded
from locum.schedulers.cron import CronError, CronRule
from locum.schedulers.force import ForceScheduler
from locum.schedulers.recurrence import recurrence_from_json
from locum.schedulers.stored import start_from_json
from locum.schedulers.try_jobs import BadJob, job_of, read_job

BOUND_S = 5.0
"""Processor time for one input; the slowest take a hundredth of it."""
LARGEST = 64 * 1024
SECRET = "s3cr3t-of-the-environment"
ENVIRON = {"A": "x", "EMPTY": "", "NESTED": "${A}", "TOKEN": SECRET}
NOW = 1_700_000_000_000_000

Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {}


def target(function: Target) -> Target:
    """Adds a target that is also held to its time."""

    def bounded(data: bytes) -> None:
        before = time.process_time()
        function(data[:LARGEST])
        assert time.process_time() - before < BOUND_S, f"{function.__name__} took too long"

    TARGETS[function.__name__] = bounded
    return bounded


def _said(error: BaseException) -> None:
    """A sentence, and no secret in it."""
    text = str(error)
    assert text.strip() and SECRET not in text, text


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


@target
def yaml_file(data: bytes) -> None:
    try:
        config = parse(data, "m.yaml", ENVIRON, Path("/nowhere"))
    except ConfigError as error:
        assert error.faults and all(f.what and f.place.line >= 1 and f.place.column >= 1 for f in error.faults)
        if b"TOKEN}" not in data and b"TOKEN:" not in data:  # only as {secret: {env: TOKEN}}, never as ${TOKEN}
            _said(error)
    else:
        assert isinstance(config, MasterConfig)


@target
def duration(data: bytes) -> None:
    text = _text(data)
    for value in (text, *(convert(text) for convert in (int, float) if _is(convert, text))):
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            _said(error)
        else:
            assert 0 <= seconds <= LONGEST_S
            assert parse_duration(format_duration(seconds)) == seconds


def _is(convert: Callable[[str], Any], text: str) -> bool:
    try:
        convert(text)
    except (ValueError, OverflowError):
        return False
    return True


@target
def interpolation(data: bytes) -> None:
    text = _text(data)
    try:
        done = interpolate(text, ENVIRON)
    except Unresolved as error:
        assert all(isinstance(part, str) for part in error.args) and error.args[0]
    else:
        assert "$" in text or done == text


@target
def rendering(data: bytes) -> None:
    text = _text(data)
    properties = {"branch": text, "n": 1, "none": None, "list": [text], text[:20]: "named by a stranger"}
    try:
        command_line = render_command(("echo", text, "%(prop:branch)s"), properties)
    except UnknownProperty as error:
        _said(error)
    else:
        assert len(command_line) == 3 and command_line[2] == text
    made, notes = environment(properties)
    assert all("\0" not in value for value in made.values()) and all(notes)


@target
def cron(data: bytes) -> None:
    text = _text(data)
    try:
        rule = CronRule.parse(text, "Europe/Berlin")
    except CronError as error:
        _said(error)
        return
    following = rule.after(NOW)
    assert following is None or following > NOW
    assert following is None or rule.before(following + 1) == following
    assert rule.count(NOW, NOW + 10**12) >= 0


@target
def zone_of_cron(data: bytes) -> None:
    try:
        CronRule.parse("0 3 * * *", _text(data))
    except ValueError as error:
        _said(error)


@target
def change_lines(data: bytes) -> None:
    """``change add --json -``."""
    try:
        new, faults = command._read(io.BytesIO(data))
    except Refused as error:
        _said(error)
        return
    assert all(fault.startswith("line ") for fault in faults)
    for change in new:
        assert change.who and change.request_id
        assert all("\0" not in value for value in (change.who, change.comments, change.files_json))
        json.loads(change.files_json), json.loads(change.properties_json)


@target
def change_fields(data: bytes) -> None:
    """``change add`` with options: every field given the same odd value, and the properties' form."""
    text = _text(data)
    for value in (text, [text], {text: text}, _json(data), command._seconds(text)):
        for name in ("who", "branch", "comments", "when", "files", "properties", "request_id", text[:30]):
            try:
                validated({"who": "ann", name: value})
            except BadChange as error:
                _said(error)
    import click

    try:
        parsed([text])
    except click.UsageError as error:
        assert error.format_message()


@target
def database_url(data: bytes) -> None:
    text = _text(data)
    for url in (text, f"postgresql://{text}", f"sqlite:///{text}", f"postgresql://ann:{SECRET}@{text}"):
        try:
            made = DatabaseUrl.parse(url, Path("/nowhere"))
        except ValueError as error:
            assert str(error)
            if url.startswith("postgresql://ann:"):
                _said(error)
        else:
            assert made.dialect in ("sqlite", "postgresql")
            assert SECRET not in str(made) + repr(made)


@target
def git_address(data: bytes) -> None:
    text = _text(data)
    for url in (text, f"https://{text}", f"ssh://{text}", f"git@{text}:a/b", f"https://ann:{SECRET}@{text}"):
        try:
            made = Address.parse(url)
        except ValueError as error:
            _said(error)
        else:
            assert SECRET not in repr(made) + str(made)


@target
def recurrence(data: bytes) -> None:
    value = _json(data)
    try:
        rule = recurrence_from_json(value)
    except ValueError as error:
        _said(error)
    else:
        following = rule.after(NOW)
        assert following is None or following > NOW
    try:
        start_from_json(value)
    except ValueError as error:
        _said(error)


@target
def stored(data: bytes) -> None:
    """JSON as it stands in a row."""
    for read in (read_value, read_object, read_texts, read_properties):
        try:
            read(_text(data), "files_json of change 7")
        except DatabaseError as error:
            assert str(error).startswith("files_json of change 7 ") and "mend" in str(error)


@target
def try_job(data: bytes) -> None:
    """A file of ``Try_Jobdir``, or what is posted to ``Try_Userpass``."""
    version, sep, rest = data.partition(b"\n")
    netstrings = b"".join(b"%d:%s," % (len(part), part) for part in [version, *rest.split(b"\n")]) if sep else data
    for given in (data, netstrings):
        try:
            job = read_job(given)
        except BadJob as error:
            _said(error)
        else:
            assert job_of(json.loads(json.dumps(job.to_mapping()))) == job


_FIELDS = [
    {"type": "String", "name": "text", "regex": "[a-z]*", "maxsize": 20},
    {"type": "Text", "name": "lines"},
    {"type": "Int", "name": "number", "default": 1},
    {"type": "Boolean", "name": "flag"},
    {"type": "UserName", "name": "who"},
    {"type": "ChoiceString", "name": "choice", "choices": ["a", "b"]},
    {"type": "ChoiceString", "name": "several", "choices": ["a", "b"], "multiple": True, "strict": False},
    {"type": "File", "name": "file", "maxsize": 100},
    {"type": "AnyProperty", "name": "any"},
    {"type": "Patch", "name": "patch"},
    {"type": "Nested", "name": "group", "fields": [{"type": "Int", "name": "inner"}]},
]


@target
def form(data: bytes) -> None:
    """What somebody filled in: as a whole, and the same odd value in each field."""
    scheduler = ForceScheduler("s", ["unit"], properties=_FIELDS)
    text, value = _text(data), _json(data)
    forms = [value] if isinstance(value, dict) else []
    forms += [dict.fromkeys(scheduler.fieldNames, odd) for odd in (text, value, [text, text], data)]
    for filled in forms:
        errors: dict[str, str] = {}
        values = {name: one if isinstance(one, list) else [one] for name, one in filled.items()}
        made = scheduler.gathered(values, errors)
        try:
            made.send(None)
        except StopIteration as done:
            taken, stamps = done.value
        taken = [taken, stamps, *(one.taken(values, errors) for one in (scheduler.username, scheduler.reason))]
        for name, fault in errors.items():
            assert fault and SECRET not in fault, (name, fault)
        if not errors:
            to_json(taken, "the form").encode()


@target
def pattern(data: bytes) -> None:
    try:
        compile_bounded(_text(data))
    except ValueError as error:
        _said(error)


@target
def masking(data: bytes) -> None:
    text = _text(data)
    for said in (text, f"{text}=", f"git said: https://ann:{SECRET}@{text}", f"{text} password={SECRET}"):
        assert SECRET not in mask_credentials(said)


@target
def git_commits(data: bytes) -> None:
    """What strangers committed: whatever it is, it becomes a change."""
    fields = [b"a" * 40, b"", data, data, b"17", data]
    telling = b"\0".join(one.replace(b"\0", b"?") for one in fields) + b"\0\0"
    paths = b"".join(b":100644 100644 1 2 M\0%s\0" % path for path in data.split(b"\0")[:50] if path)
    (commit,) = commits.parse(telling + paths)
    longer = replace(commit, files=commit.files * 3000, comments=commit.comments * 30, note="too long")
    for one in (commit, longer):
        assert validated(commits.change_fields(one, "main", {}, "")).who
    for given in (data, telling + data, telling.replace(b"17", data[:5000].replace(b"\0", b""))):
        try:
            commits.parse(given)
        except ValueError as error:
            _said(error)
