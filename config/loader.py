"""From a file to a ``MasterConfig``: everything is read, then everything wrong is said at once."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from .builders import BuilderSection, read_builder
from .digests import digest_of
from .entries import Entry, EntryReader, check_builder_names
from .faults import ConfigError, FaultList, Faulty, Place, packed, place_of, shown
from .kinds import Text
from .reader import Reader, describe, reason
from .sections import (
    ClusterSection,
    DatabaseSection,
    LogSection,
    MasterSection,
    TasksSection,
    read_cluster,
    read_database,
)
from .settings import read_section
from .tree import LARGEST_FILE, Node, Scalar, Sequence, compose
from .tree import Mapping as MappingNode

SECTIONS = ("master", "database", "cluster", "plugins", "change_sources", "builders", "schedulers", "tasks", "log")

_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_START = packed(1, 1)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A file (``path`` is where it is) or a module (``path`` None) with classes that entries name; not imported here.

    ``digest`` is of the file's contents, '' for a module.
    """

    place: Place = field(compare=False, repr=False)
    target: str
    is_file: bool
    path: Path | None = field(compare=False)
    digest: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class MasterConfig:
    """A master as configured: validated, plain, unchangeable; nothing was imported, opened or started for it.

    ``digest`` tells drift: it is equal for masters whose files agree in all that must be the same everywhere. The
    sections ``master``, ``database`` and ``log``, ``tasks.max_running`` and all secrets do not count; the contents of
    plugin files do.
    """

    file: str
    base_dir: Path
    master: MasterSection = field(default_factory=MasterSection)
    database: DatabaseSection = field(default_factory=DatabaseSection)
    cluster: ClusterSection = field(default_factory=ClusterSection)
    plugins: tuple[Plugin, ...] = ()
    change_sources: tuple[Entry, ...] = ()
    builders: tuple[BuilderSection, ...] = ()
    schedulers: tuple[Entry, ...] = ()
    tasks: TasksSection = field(default_factory=TasksSection)
    log: LogSection = field(default_factory=LogSection)
    digest: str = ""


def load(path: str | Path, environ: Mapping[str, str]) -> MasterConfig:
    """Read and check the file at ``path``; ``${VAR}`` and secrets are taken from ``environ``.

    Raises ConfigError with everything wrong, also when the file cannot be read.
    """
    file = Path(path)
    faults = FaultList(str(path))
    data = b""
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # opening a pipe could wait for ever
            faults.add(_START, "", "not a file")
        else:
            with file.open("rb") as opened:
                data = opened.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        faults.add(_START, "", f"cannot be read: {reason(error)}", "name another with --config")
    faults.settle()
    return parse(data, str(path), environ, Path(os.path.abspath(file)).parent)


def parse(text: bytes, name: str, environ: Mapping[str, str], base_dir: Path) -> MasterConfig:
    """As ``load``, of YAML in memory: ``name`` stands in the faults, relative paths begin at ``base_dir``."""
    faults = FaultList(name)
    root = compose(text, faults)
    if not isinstance(root, MappingNode):
        if root is None or (isinstance(root, Scalar) and root.plain and root.text in ("", "~", "null")):
            faults.add(_START, "", "the file is empty", "'locum init' writes one to begin with")
        else:
            found = describe(root, root.text if isinstance(root, Scalar) else None)
            faults.add(root.at, "", f"expected sections such as 'builders:', got {found}")
        raise ConfigError(faults)
    config = _Loader(root, Reader(faults, environ, base_dir)).config()
    try:
        faults.settle()
    except ConfigError as error:
        error.partial = config
        raise
    return config


class _Loader:
    """Reads the sections; one that is faulty is its default until ``settle`` raises."""

    def __init__(self, root: MappingNode, reader: Reader) -> None:
        self._root = root
        self._reader = reader

    def config(self) -> MasterConfig:
        reader = self._reader
        for key, (at, _) in self._root.pairs.items():
            if key not in SECTIONS:
                reader.unknown(at, key, "unknown section", key, SECTIONS)
        builders = self._list("builders", lambda node, path: read_builder(node, path, reader))
        entries = EntryReader(reader)
        schedulers = self._list("schedulers", entries.read)
        change_sources = self._list("change_sources", entries.read)
        known, *_ = (self._names(key) for key in ("builders", "schedulers", "change_sources"))
        for index, node in enumerate(self._items("schedulers")):
            if isinstance(node, MappingNode):
                check_builder_names(node, f"schedulers[{index}]", known, reader)
        config = MasterConfig(
            file=reader.faults.file,
            base_dir=reader.base_dir,
            master=self._section("master", lambda n, p: read_section(MasterSection, n, p, reader), MasterSection()),
            database=self._section("database", lambda n, p: read_database(n, p, reader), DatabaseSection()),
            cluster=self._section("cluster", lambda n, p: read_cluster(n, p, reader), ClusterSection()),
            plugins=self._plugins(),
            change_sources=change_sources,
            builders=builders,
            schedulers=schedulers,
            tasks=self._section("tasks", lambda n, p: read_section(TasksSection, n, p, reader), TasksSection()),
            log=self._section("log", lambda n, p: read_section(LogSection, n, p, reader), LogSection()),
        )
        return with_digest(config)

    def _section(self, key: str, read: Callable[[Node, str], _T], default: _T) -> _T:
        if key not in self._root.pairs:
            return default
        try:
            return read(self._root.pairs[key][1], key)
        except Faulty:
            return default

    def _list(self, key: str, read: Callable[[Node, str], _T]) -> tuple[_T, ...]:
        """The items that could be read."""
        found = []
        for index, node in enumerate(self._items(key)):
            try:
                found.append(read(node, f"{key}[{index}]"))
            except Faulty:
                continue
        return tuple(found)

    def _plugins(self) -> tuple[Plugin, ...]:
        seen: set[str] = set()

        def read(node: Node, path: str) -> Plugin:
            target = Text("a file or a module").read(node, path, self._reader)
            assert isinstance(target, str)
            if target in seen:
                raise self._reader.fault(node, path, f"the plugin {shown(target)} stands here twice", "keep one")
            seen.add(target)
            return _read_plugin(target, node, path, self._reader)

        return self._list("plugins", read)

    def _items(self, key: str) -> list[Node]:
        node = self._root.pairs[key][1] if key in self._root.pairs else None
        if isinstance(node, Sequence):
            return node.items
        try:
            if node is None or (isinstance(node, Scalar) and self._reader.scalar(node, key) is None):
                return []
        except Faulty:
            return []
        self._reader.expected(node, key, "a list", "write '- ' before each item")
        return []

    def _names(self, key: str) -> set[str]:
        """The names in a list, those of faulty items too, with a fault for each that stands twice."""
        first: dict[str, tuple[int, int]] = {}
        for index, node in enumerate(self._items(key)):
            pair = node.pairs.get("name") if isinstance(node, MappingNode) else None
            if pair is None or not isinstance(pair[1], Scalar):
                continue
            path = f"{key}[{index}].name"
            try:
                name = self._reader.text(pair[1], path)
            except Faulty:
                continue
            if name in first:
                other, at = first[name]
                what = f"the name {shown(name)} is taken by {key}[{other}] in line {place_of('', at).line}"
                self._reader.fault(pair[1], path, what, "give it another")
            else:
                first[name] = (index, pair[1].at)
        return set(first)


def _read_plugin(target: str, node: Node, path: str, reader: Reader) -> Plugin:
    place = place_of(reader.faults.file, node.at)
    if not target.endswith(".py") and "/" not in target:
        if not _MODULE.fullmatch(target):
            raise reader.fault(node, path, f"{shown(target)} is not a module's name", "a file is written ./NAME.py")
        return Plugin(place, target, False, None)
    try:
        file = reader.base_dir / target
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
            raise reader.fault(node, path, f"the plugin {shown(target)} is not a file of Python code")
        with file.open("rb") as opened:
            return Plugin(place, target, True, file, hashlib.file_digest(opened, "sha256").hexdigest())
    except (OSError, ValueError) as error:
        what = f"the plugin {shown(target)} cannot be read: {reason(error)}"
        raise reader.fault(node, path, what, "paths begin at this file's folder") from None


def with_digest(config: MasterConfig) -> MasterConfig:
    """The same, with the digest of what it says now: masters that do the same have the same."""
    tasks = config.tasks
    digest = digest_of(
        {
            "cluster": config.cluster,
            "plugins": [[plugin.target, plugin.digest] for plugin in config.plugins],
            "change_sources": sorted((entry.name, entry.digest) for entry in config.change_sources),
            "builders": sorted((builder.name, builder.digest) for builder in config.builders),
            "schedulers": sorted((entry.name, entry.digest) for entry in config.schedulers),
            "tasks": [tasks.lost_after, tasks.drain, tasks.log_limit],
        }
    )
    return replace(config, digest=digest)
