"""The sections of the YAML that are settings, one dataclass each: what may be written, what it means, its default.

Durations are seconds, sizes are bytes. The checks that need more than one key are beside the section they are for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import urlsplit

from .durations import format_duration
from .faults import Place, place_of, suggest
from .kinds import Choice, Duration, Flag, ListOf, Size, Text, Whole, Zone
from .reader import Reader
from .secret import MASK, Secret, carries_credentials, mask_credentials
from .settings import as_mapping, gather_settings, read_section, setting
from .tree import Node

_SCHEMES = ("sqlite", "postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class MasterSection:
    """What is this one master's own; the only section that may differ between masters without being drift."""

    name: str | None = setting(Text("a name", name=True), "this master's name; by default the host's", None)
    roles: tuple[str, ...] = setting(
        ListOf(Choice(("schedulers", "tasks")), "a list of roles", least=1),
        "what this master does: run schedulers, carry out tasks",
        ("schedulers", "tasks"),
    )
    workdir: str | None = setting(
        Text("a folder"), "where tasks work; by default work/<the master's name> beside the file", None
    )


@dataclass(frozen=True, slots=True)
class DatabaseSection:
    """The database that all masters share. A ``url`` with a password in it is a Secret; ``shown_url`` has it masked."""

    url: str | Secret = setting(  # noqa: RUF009
        Text("a database's URL", secret=True),
        "sqlite:///FILE (relative to the configuration) or postgresql://USER@HOST/NAME",
        "sqlite:///locum.sqlite",
    )
    upgrade: Literal["auto", "manual"] = setting(
        Choice(("auto", "manual")), "whether a master that starts brings an older schema up to date", "auto"
    )
    pool_size: int = setting(Whole(1, 100), "connections that one master keeps open for its work", 4)
    statement_timeout: float = setting(Duration(0.1, 3600), "the longest that one statement may take", 30.0)
    shown_url: str = ""
    url_place: Place = field(default=Place("", 1, 1), compare=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.url, Secret):
            object.__setattr__(self, "shown_url", self.shown_url or MASK)
            return
        object.__setattr__(self, "shown_url", mask_credentials(self.url))
        if carries_credentials(self.url):
            object.__setattr__(self, "url", Secret(self.url))


@dataclass(frozen=True, slots=True)
class ClusterSection:
    """How masters stand in for each other; the same on all of them. ``margin`` None becomes a tenth of the lease."""

    lease: float = setting(Duration(0.5, 3600), "how long a master that has gone silent keeps its schedulers", 10.0)
    heartbeat: float = setting(Duration(0.05, 600), "how often each master renews its lease", 2.0)
    margin: float = setting(
        Duration(0.001, 600),
        "how long before its lease ends a master stops; by default a tenth of it, at most 1s",
        None,
    )
    timezone: str = setting(Zone(), "the time zone of schedulers that name none", "UTC")
    crash_hint: Literal["auto", "off"] = setting(
        Choice(("auto", "off")), "whether killed processes are noticed at once by locks that the system drops", "auto"
    )
    turn_timeout: float = setting(
        Duration(0.1, 86_400), "the longest that a scheduler's code may react to a cause", 60.0
    )
    calendar: bool = setting(
        Flag(),
        "whether the scheduler 'calendar', which serves stored schedules, is there without being written here",
        True,
    )

    def __post_init__(self) -> None:
        if self.margin is None:
            object.__setattr__(self, "margin", min(1.0, self.lease / 10))


@dataclass(frozen=True, slots=True)
class TasksSection:
    """How masters carry out tasks."""

    max_running: int = setting(Whole(0, 10_000), "how many tasks this master runs at once", 4)
    lost_after: float = setting(
        Duration(1), "how long after its runner's last sign of life a task counts as lost", 300.0
    )
    drain: float = setting(Duration(), "how long a master that is told to stop waits for running steps", 600.0)
    log_limit: int = setting(Size(1024, 2**40), "how much of a step's output is kept", 10 * 2**20)


@dataclass(frozen=True, slots=True)
class LogSection:
    """What a master tells about itself, and where; each master's own."""

    format: Literal["human", "json"] = setting(Choice(("human", "json")), "lines for people or JSON lines", "human")
    level: Literal["debug", "info", "warn", "error"] = setting(
        Choice(("debug", "info", "warn", "error")), "the least that is logged", "info"
    )
    file: str | None = setting(Text("a file"), "the log's file; by default standard error", None)


def read_database(node: Node, path: str, reader: Reader) -> DatabaseSection:
    """The section with its URL checked as far as that goes without connecting. Raises Faulty; no fault shows the URL."""
    section = read_section(DatabaseSection, node, path, reader)
    pair = as_mapping(node, path, reader).pairs.get("url")
    text = section.url.reveal() if isinstance(section.url, Secret) else section.url
    wrong = _wrong_url(text)
    if wrong and pair:
        raise reader.fault(pair[1], f"{path}.url", *wrong)
    return replace(section, url_place=place_of(reader.faults.file, pair[1].at)) if pair else section


def _wrong_url(url: str) -> tuple[str, str] | None:
    """What is wrong, and the cure; says nothing of what follows the scheme."""
    example = "write sqlite:///FILE or postgresql://USER@HOST/NAME"
    scheme, found, rest = url.partition("://")
    if not found or not scheme.isascii() or len(scheme) > 40 or not url.isprintable():
        return "expected a database's URL", example
    if scheme not in _SCHEMES:
        near = suggest(scheme, _SCHEMES)
        return f"unknown kind of database '{scheme}'", f"did you mean '{near}'?" if near else example
    if scheme == "sqlite":
        path = rest.partition("?")[0]
        if not path.startswith("/") or path in ("/", "/:memory:"):
            return "SQLite needs a file, which all masters open", "write sqlite:///FILE, or sqlite:////FILE if absolute"
        return None
    try:
        urlsplit(url)
    except ValueError:
        return "not a valid URL", example
    return None


def read_cluster(node: Node, path: str, reader: Reader) -> ClusterSection:
    """The section with its times checked against each other. Raises Faulty."""
    values, faulty = gather_settings(ClusterSection, node, path, reader)
    pairs = as_mapping(node, path, reader).pairs
    times = [key for key in ("lease", "heartbeat", "margin") if key in pairs]
    if all(key in values for key in times):
        section = ClusterSection(**{key: values[key] for key in times})
        least = 2 * section.heartbeat + section.margin
        if section.lease < least:
            what = f"{format_duration(section.lease)} is too short: one late heartbeat would cost the lease"
            cure = f"at least {format_duration(least)} (two heartbeats and the margin), or a shorter heartbeat"
            faulty = reader.fault(pairs[times[0]][1], f"{path}.lease", what, cure)
    if faulty:
        raise faulty
    return ClusterSection(**values)
