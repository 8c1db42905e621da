"""Builders and their steps: what a task does."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from .digests import digest_of
from .faults import Faulty, Place, place_of, shown
from .kinds import NAME, AnyPlain, Choice, Duration, Flag, ListOf, MapOf, Text, Whole
from .reader import Reader
from .secret import Secret, carries_credentials
from .settings import read_settings, setting, settings_of
from .tree import Mapping, Node, Scalar, Sequence

PROPERTY_REFERENCE = re.compile(r"%\(prop:([A-Za-z_][A-Za-z0-9_.-]*?)(?::-[^)]*)?\)s")
# What was surely meant as a reference: other programs' %(refname) must get through.
_MEANT_AS_REFERENCE = re.compile(r"%\(prop\b[^)]*(?:\)s?)?|%\([^()\s]*\)s")

_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
_ENVIRONMENT = MapOf(Text(secret=True, empty=True), _VARIABLE, "an environment variable's name")
_NAMES = ListOf(Text("a scheduler's name"), "a list of schedulers")
StepKind = Literal["git", "shell", "trigger"]
STEP_KINDS: tuple[StepKind, ...] = ("git", "shell", "trigger")


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder inside the task's work directory."""

    def read(self, node: Node, path: str, reader: Reader) -> str:
        text = Text("a folder").read(node, path, reader)
        assert isinstance(text, str)
        if text.startswith(("/", "~", "\\")) or ".." in re.split(r"[/\\]", text) or not text.isprintable():
            cure = "name a folder below it, without '..' and without a leading '/'"
            raise reader.fault(node, path, f"{shown(text)} leaves the task's work directory", cure)
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "pattern": r"^[^/~\\]"}


@dataclass(frozen=True, slots=True)
class _Command:
    """An argument list, or one line for ``sh -c``; strangers' text may reach only the first."""

    def read(self, node: Node, path: str, reader: Reader) -> tuple[str, ...] | str:
        if isinstance(node, Sequence):
            words: tuple[str, ...] = ListOf(Text("an argument", empty=True), least=1).read(node, path, reader)
            if not words[0]:
                raise reader.fault(node.items[0], f"{path}[0]", "the program's name is empty")
            for item, word in zip(node.items, words, strict=True):
                _check_references(item, word, path, reader)
            return words
        if not isinstance(node, Scalar):
            raise reader.expected(node, path, "a command", _COMMAND_CURE)
        line = Text("a command").read(node, path, reader)
        assert isinstance(line, str)
        if found := _MEANT_AS_REFERENCE.search(line):
            name = PROPERTY_REFERENCE.fullmatch(found[0])
            variable = f"$LOCUM_PROP_{re.sub('[^A-Z0-9]', '_', name[1].upper())}" if name else "$LOCUM_PROP_NAME"
            what = f"{shown(found[0])} in a shell line: a property's value could run as a command there"
            raise reader.fault(node, path, what, f'write the command as a list, or use "{variable}" in the line')
        return line

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "minLength": 1}, ListOf(Text(empty=True), least=1).schema()]}


_COMMAND_CURE = "write [program, argument] or one line of shell"


def _check_references(node: Node, word: str, path: str, reader: Reader) -> None:
    for found in _MEANT_AS_REFERENCE.finditer(word):
        if not PROPERTY_REFERENCE.fullmatch(found[0]):
            raise reader.fault(node, path, f"{shown(found[0])} is not a property", "write %(prop:NAME)s")


@dataclass(frozen=True, slots=True)
class StepSection:
    """One step of a builder: ``git`` checks a sourcestamp out, ``shell`` runs a command (a str is run by ``sh -c``),
    ``trigger`` sets off other schedulers."""

    kind: StepKind
    name: str = setting(NAME, "what people see", "")
    timeout: float | None = setting(
        Duration(0.1, null=True),
        "the longest it may run; null (as a trigger has it unless you say otherwise): without end",
        1200.0,
    )
    workdir: str | None = setting(_Folder(), "a folder inside the task's work directory", None)
    command: tuple[str, ...] | str = setting(_Command(), "a list of arguments, or a line for sh", (), only="shell")
    env: dict[str, str | Secret] = setting(  # noqa: RUF009
        _ENVIRONMENT, "environment variables for this step", {}, only="shell"
    )
    repository: str | Secret | None = setting(  # noqa: RUF009
        Text("a URL or path", secret=True), "where from; by default the sourcestamp's", None, only="git"
    )
    branch: str | None = setting(Text("a branch"), "which branch when the sourcestamp names none", None, only="git")
    codebase: str = setting(Text("a codebase", empty=True), "which of the sourcestamps", "", only="git")
    depth: int | None = setting(Whole(1, 10**9, null=True), "how many commits to fetch; null: all", None, only="git")
    clean: bool = setting(Flag(), "whether files that are not in the repository are removed first", True, only="git")
    schedulerNames: tuple[str, ...] = setting(_NAMES, "which Triggerable schedulers", (), only="trigger")
    unimportantSchedulerNames: tuple[str, ...] = setting(
        _NAMES, "more of them, whose outcome does not count", (), only="trigger"
    )
    waitForFinish: bool = setting(
        Flag(),
        "whether the step lasts until their buildsets are complete, and fails if one of them fails",
        False,
        only="trigger",
    )
    set_properties: dict[str, Any] = setting(  # noqa: RUF009
        MapOf(AnyPlain()), "properties for their buildsets; `%(prop:NAME)s` is this task's", {}, only="trigger"
    )
    sourceStamps: tuple[dict[str, Any], ...] = setting(
        ListOf(
            MapOf(Text("text", empty=True), "codebase|repository|branch|revision|project", "a part of a source stamp")
        ),
        "what to build: `codebase`, `repository`, `branch`, `revision`, `project`; by default what this task builds",
        (),
        only="trigger",
    )
    updateSourceStamp: bool = setting(
        Flag(), "whether `got_revision` takes the place of this task's own revision", True, only="trigger"
    )
    alwaysUseLatest: bool = setting(
        Flag(),
        "whether no source stamp is handed on, so that the schedulers' own defaults count",
        False,
        only="trigger",
    )
    priority: int | None = setting(
        Whole(-(2**31) + 1, 2**31 - 1, null=True),
        "the priority of their tasks; null: the schedulers' own",
        None,
        only="trigger",
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """A step as ``- shell: [make, test]`` with sibling keys, ``- git: {}``, or all inside ``- shell: {...}``."""

    def read(self, node: Node, path: str, reader: Reader) -> StepSection:
        if not isinstance(node, Mapping):
            raise reader.expected(node, path, "a step", "write '- shell: [make, test]'")
        kinds = [kind for kind in STEP_KINDS if kind in node.pairs]
        if len(kinds) != 1:
            raise self._not_one_kind(node, path, reader, kinds)
        kind = kinds[0]
        inner = node.pairs[kind][1]
        pairs = {key: pair for key, pair in node.pairs.items() if key != kind}
        if isinstance(inner, Mapping):
            for key in inner.pairs.keys() & pairs.keys():
                reader.fault(pairs[key][0], f"{path}.{key}", f"stands also inside '{kind}:'", "keep one")
            pairs |= inner.pairs
        elif kind == "shell":
            pairs["command"] = node.pairs[kind]
        elif kind == "trigger" and isinstance(inner, Sequence):
            pairs["schedulerNames"] = node.pairs[kind]
        elif not isinstance(inner, Scalar) or reader.scalar(inner, path) is not None:
            cure = "write '- git: {}'" if kind == "git" else "write '- trigger: [NAME]'"
            raise reader.fault(inner, f"{path}.{kind}", "expected a mapping", cure)
        values = read_settings(StepSection, Mapping(node.pairs[kind][0], pairs), path, reader, kind)
        return self._step(kind, values, node, path, reader)

    @staticmethod
    def _not_one_kind(node: Mapping, path: str, reader: Reader, kinds: list[StepKind]) -> Faulty:
        if kinds:
            at = max(node.pairs[kind][0] for kind in kinds)
            return reader.fault(at, path, f"a step is either {' or '.join(kinds)}, not both", "make it two steps")
        for key, (at, _) in node.pairs.items():
            if not any(key in settings_of(StepSection, kind) for kind in STEP_KINDS):
                return reader.unknown(at, f"{path}.{key}", "unknown kind of step", key, STEP_KINDS)
        return reader.fault(node, path, "the step does nothing", "add 'shell:', 'git:' or 'trigger:'")

    @staticmethod
    def _step(kind: StepKind, values: dict[str, Any], node: Mapping, path: str, reader: Reader) -> StepSection:
        if kind == "shell" and not values.get("command"):
            raise reader.fault(node, path, "the step has no command", _COMMAND_CURE)
        if kind == "trigger":
            if not values.get("schedulerNames") and not values.get("unimportantSchedulerNames"):
                raise reader.fault(node, path, "the step triggers nothing", "write '- trigger: [NAME]'")
            if values.get("sourceStamps") and values.get("alwaysUseLatest"):
                raise reader.fault(node, path, "sourceStamps and alwaysUseLatest exclude each other", "keep one")
            values.setdefault("timeout", None)
        repository = values.get("repository")
        if isinstance(repository, str) and carries_credentials(repository):
            values["repository"] = Secret(repository)
        values.setdefault("name", _step_name(kind, values.get("command", ())))
        return StepSection(kind, **values)

    def schema(self) -> dict[str, Any]:
        from .schema import step_schema  # the schema of sections needs the kinds, this one kind needs a section's

        return step_schema()


def _step_name(kind: str, command: tuple[str, ...] | str) -> str:
    line = command if isinstance(command, str) else " ".join(command)
    words = "".join(letter if letter.isprintable() else " " for letter in line[:200]).split()
    return " ".join(words)[:60] or kind


@dataclass(frozen=True, slots=True)
class BuilderSection:
    """A named list of steps, and how its tasks run. ``digest`` tells whether two are the same, secrets aside."""

    name: str = setting(NAME, "the builder's name, which schedulers give in builderNames")
    steps: tuple[StepSection, ...] = setting(ListOf(_Step(), "a list of steps", least=1), "what its tasks do, in order")
    properties: dict[str, Any] = setting(  # noqa: RUF009
        MapOf(AnyPlain()), "properties that every task of it has", {}
    )
    max_parallel: int | None = setting(
        Whole(1, 100_000, null=True), "how many of its tasks run at once in the whole cluster; null: any number", None
    )
    on_lost: Literal["fail", "requeue"] = setting(
        Choice(("fail", "requeue")), "what becomes of a task whose master was lost", "fail"
    )
    archive: Literal["auto", "manual"] = setting(
        Choice(("auto", "manual")), "whether finished tasks leave the list of current ones by themselves", "auto"
    )
    collapse_requests: bool = setting(
        Flag(), "whether of several unstarted requests for the same branch only the newest is carried out", False
    )
    env: dict[str, str | Secret] = setting(  # noqa: RUF009
        _ENVIRONMENT, "environment variables for all its steps", {}
    )
    description: str = setting(Text(empty=True), "what people see", "")
    place: Place = field(default=Place("", 1, 1), compare=False, repr=False)
    digest: str = field(default="", repr=False)


def read_builder(node: Node, path: str, reader: Reader) -> BuilderSection:
    """One builder. Raises Faulty."""
    values = read_settings(BuilderSection, node, path, reader)
    digest = digest_of(BuilderSection(**values))
    return BuilderSection(**values, place=place_of(reader.faults.file, node.at), digest=digest)
