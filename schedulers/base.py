"""``BaseScheduler``: what every scheduler is a subclass of.

The camelCase names and what they mean are those that Buildbot's documentation describes to authors of schedulers; new
here are durable timers, finished buildsets as causes, and ``turn()``. A scheduler never writes to the database: while it
reacts to a cause, what it asks for is gathered and committed as one turn, under its term, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed

from .arguments import (
    checked_builder_names,
    checked_codebases,
    checked_importance,
    checked_key,
    checked_name,
    checked_priority,
    checked_properties,
    checked_text,
    importance,
    is_priority,
    stamp_fields,
    stamp_of_change,
    to_json,
    with_source,
)
from .catchup import Skip
from .changes import Change
from .filters import AllOf, ChangeFilter
from .hooks import answered, begin, hook
from .interface import BuildsetRequest, FinishedBuildset, MasterInterface, SchedulerFault, StampFields, away
from .rendering import Props, has_renderables, is_renderable, rendered

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
LARGEST_STATE = 16 * 1024 * 1024
_NOTHING: Any = object()
_PARENT = ("parent_buildid", "parent_relationship", "rebuilt_buildid")

__all__ = ["BaseScheduler", "Clustered", "answered", "hook", "to_datetime", "to_instant"]


def to_instant(due: datetime) -> int:
    """Microseconds since the epoch of an aware datetime; TypeError for anything else."""
    if not isinstance(due, datetime) or due.tzinfo is None:
        raise TypeError(f"expected a datetime with a time zone, such as datetime.now(timezone.utc), got {due!r}")
    return (due - EPOCH) // _MICROSECOND


def to_datetime(instant: int) -> datetime:
    """The aware datetime, in UTC, of microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=instant)


@dataclass(frozen=True, slots=True)
class Considering:
    """How a scheduler tells which changes are for it."""

    filter: ChangeFilter | AllOf | None = None
    file_is_important: Callable[[Change], Any] | None = None
    only_important: bool = False


class Clustered(Service):
    """Something named of which exactly one instance in the cluster is active: a scheduler, or a change source.

    Hooks (``activate``, ``deactivate``, ``startActivity``, ``stopActivity``, ``gotTimer``) may be plain, ``async def``, or
    return a Deferred. ``startService`` and ``stopService`` run on every master that has it configured, active or not.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("name",)
    enabled = True

    def __init__(self, name: str) -> None:
        self.name: str = checked_name(name)
        self.active = False
        self.master: MasterInterface = away(name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}{' active' if self.active else ''}>"

    def faultsAmong(self, others: Mapping[str, Clustered], builders: Set[str]) -> Iterable[tuple[str, str]]:
        """What is wrong with it beside the other schedulers (by name) and the builders of its file: (argument, sentence).

        Asked once they are all made; it must neither change nor start anything.
        """
        return ()

    # -- becoming active and inactive -----------------------------------------------------------------------------

    @hook
    async def activate(self) -> None:
        """This instance is the owner now. The first turn of its term. Subclasses must up-call."""
        self.active = True
        await answered(self.startActivity())

    @hook
    async def deactivate(self) -> None:
        """It stops being the owner; must not finish before all of its processing has stopped. Subclasses must up-call."""
        self.active = False
        await answered(self.stopActivity())

    def startActivity(self) -> Any:
        """Called by ``activate``, for subclasses that prefer not to up-call."""

    def stopActivity(self) -> Any:
        """Called by ``deactivate``."""

    # -- state and timers -----------------------------------------------------------------------------------------

    def getState(self, key: str, default: Any = _NOTHING) -> Deferred[Any]:
        """The value last set in a committed turn, or in this one. KeyError if there is none and no ``default``."""
        text = self.master.get_state(key)
        if text is not None:
            return self._read_state(key, text)
        if default is _NOTHING:
            return fail(KeyError(key))
        return succeed(default)

    def _read_state(self, key: str, text: str) -> Deferred[Any]:
        try:
            return succeed(json.loads(text))
        except (ValueError, RecursionError) as error:
            return fail(
                SchedulerFault(
                    f"state {key!r} of {self.name!r} is not JSON in the database ({error}); mend that row of"
                    " scheduler_state, or restore it from a backup"
                )
            )

    def setState(self, key: str, value: Any) -> Deferred[None]:
        """Keep a JSON value under ``key``; the next owner's ``getState`` reads it once this turn has committed.

        TypeError: it is not JSON. ValueError: it is over ``LARGEST_STATE`` characters of JSON.
        """
        text = to_json(value, f"state {key!r}")
        if len(text) > LARGEST_STATE:
            raise ValueError(
                f"state {key!r}: {len(text):,} characters of JSON; a value may have {LARGEST_STATE:,}, as every takeover"
                " reads it; keep what is large elsewhere, and only where it is in here"
            )
        return self.master.set_state(checked_key(key), text)

    def setTimer(self, key: str, due: datetime) -> Deferred[None]:
        """Set or move a durable alarm: ``gotTimer(key, due)`` will be called on whichever master owns this scheduler then."""
        if self.active and type(self).gotTimer is Clustered.gotTimer:
            raise NotImplementedError(f"{type(self).__name__} sets timers, but does not define gotTimer")
        return self.master.set_timer(checked_key(key), to_instant(due))

    def cancelTimer(self, key: str) -> Deferred[None]:
        """Take an alarm back; nothing happens if there is none."""
        return self.master.set_timer(checked_key(key), None)

    def timerDue(self, key: str) -> datetime | None:
        """When the alarm of that key is due (UTC), as this turn sees it; None: there is none. In ``gotTimer`` the one that fires
        is still there: unless it is set again, it goes when the turn ends."""
        due = self.master.timers().get(key)
        return None if due is None else to_datetime(due)

    def turn(self) -> AbstractAsyncContextManager[None]:
        """``async with self.turn():`` one turn of its own for background code. Not inside a hook: that is a turn already,
        and this one would wait for its end."""
        return self.master.turn()

    def now(self) -> datetime:
        """The cluster's time (the database's), in UTC: use it rather than this host's."""
        return to_datetime(self.master.now())

    def gotTimer(self, key: str, due: datetime) -> Any:
        """The timer of that key fell due at ``due`` (UTC). Setting it again here moves it to its next time.

        Of a key that the class knows nothing of, it was set when the scheduler was of another class: a recorded skip.
        """
        at = to_instant(due)
        why = f"timer {key!r} was set when this scheduler was of another class; a {type(self).__name__} has none such"
        return self.master.record_skips([Skip(at, at, 1, why)])


class BaseScheduler(Clustered):
    """A named object that decides when, and with what, work is requested. Exactly one instance of a name is active.

    ``name`` and ``builderNames`` are positional; subclasses take their own keywords and pass the rest on by ``**kwargs``.
    Hooks (``activate``, ``deactivate``, ``startActivity``, ``stopActivity``, ``gotChange``, ``gotTimer``,
    ``gotBuildsetComplete``) may be plain, ``async def``, or return a Deferred.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("builderNames", "properties", "codebases", "priority")
    requests_work: ClassVar[bool] = True
    """whether people may have it make a buildset"""

    # Not set by __init__: up to 30 attributes, CPython keeps an instance's in half of the room.
    considering: Considering = Considering()
    """How it tells which changes are for it, as it said when it began to consume."""
    _renders_properties = False
    _renders_builders = False

    def __init__(
        self,
        name: str,
        builderNames: Any,
        properties: Mapping[str, Any] | None = None,
        codebases: Any = None,
        priority: int | Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(name)
        self.builderNames = checked_builder_names(builderNames)
        self.properties = checked_properties(properties, renderables=True)
        self.codebases = checked_codebases(codebases)
        self.priority = checked_priority(priority)
        if has_renderables(self.properties):
            self._renders_properties = True
        if has_renderables(self.builderNames):
            self._renders_builders = True

    # -- causes ---------------------------------------------------------------------------------------------------

    def startConsumingChanges(
        self,
        fileIsImportant: Callable[[Change], Any] | None = None,
        change_filter: ChangeFilter | AllOf | None = None,
        onlyImportant: bool = False,
    ) -> Deferred[None]:
        """From ``activate``: ask for ``gotChange`` for every change that passes. Ends by itself at deactivation."""
        if change_filter is not None and not callable(getattr(change_filter, "filter_change", None)):
            raise TypeError(f"change_filter: expected a ChangeFilter, got {change_filter!r}")
        self.considering = Considering(change_filter, checked_importance(fileIsImportant), onlyImportant)
        return self.master.consume_changes(self._consider)

    def gotChange(self, change: Change, important: bool) -> Any:
        """One change, one turn."""
        raise NotImplementedError(f"{type(self).__name__} consumes changes, but does not define gotChange")

    def startConsumingBuildsets(self, filter: Callable[[FinishedBuildset], bool] | None = None) -> Deferred[None]:
        """From ``activate``: ask for ``gotBuildsetComplete`` for each completed buildset that ``filter`` says yes to."""
        return self.master.consume_buildsets(filter or (lambda buildset: True))

    def gotBuildsetComplete(self, buildset: FinishedBuildset) -> Any:
        """One completed buildset, one turn, in the order of completion."""
        raise NotImplementedError(f"{type(self).__name__} consumes buildsets, but does not define gotBuildsetComplete")

    def _consider(self, change: Change) -> bool | None:
        """Whether a change is important; None: not for this scheduler. What user code raises goes through."""
        if change.codebase not in self.codebases:
            return None
        how = self.considering
        if how.filter is not None and not how.filter.filter_change(change):
            return None
        if how.file_is_important is None:
            return True
        important = importance(how.file_is_important(change))
        return None if how.only_important and not important else important

    # -- pending changes -----------------------------------------------------------------------------------------

    def classifyChanges(self, classifications: Mapping[int, bool]) -> Deferred[None]:
        """Put changes on this scheduler's own list of pending ones: number -> important."""
        if not isinstance(classifications, Mapping):
            raise TypeError(f"classifyChanges: expected {{change number: important}}, got {classifications!r:.80}")
        return self.master.classify({int(n): bool(important) for n, important in classifications.items()})

    @hook
    async def getChangeClassifications(
        self,
        branch: Any = -1,
        repository: str | None = None,
        project: str | None = None,
        codebase: str | None = None,
    ) -> dict[int, bool]:
        """The pending changes, number -> important; with a branch and so on (-1, None: any), only those of that."""
        pending = dict(sorted(self.master.classifications().items()))
        wanted = {"repository": repository, "project": project, "codebase": codebase}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        if not wanted and branch == -1:
            return pending
        fitting = {
            change.number
            for change in await self.master.changes(list(pending))
            if all(getattr(change, name) == value for name, value in wanted.items()) and branch in (-1, change.branch)
        }
        return {number: important for number, important in pending.items() if number in fitting}

    def flushChangeClassifications(
        self, changeids: Iterable[int] | None = None, less_than: int | None = None
    ) -> Deferred[None]:
        """Take changes off the list: the given ones, those below ``less_than``, or all."""
        pending = self.master.classifications()
        numbers = list(pending) if changeids is None else [n for n in _change_numbers(changeids) if n in pending]
        return self.master.flush([n for n in numbers if less_than is None or n < less_than])

    # -- asking for work ------------------------------------------------------------------------------------------

    def getCodebaseDict(self, codebase: str) -> Any:
        """{repository, branch, revision} defaults of a codebase; KeyError if it is not one of this scheduler's."""
        return self.codebases[codebase]

    def listBuilderNames(self) -> list[str]:
        """The names as configured, without those that are worked out for each buildset."""
        names = self.builderNames if isinstance(self.builderNames, tuple) else ()
        return [name for name in names if not is_renderable(name)]

    def getPendingBuildTimes(self) -> list[datetime]:
        """Due times of its timers, soonest first."""
        return [to_datetime(due) for due in sorted(self.master.timers().values())] if self.active else []

    def addBuildsetForSourceStampsWithDefaults(
        self,
        reason: str,
        sourcestamps: Sequence[Mapping[str, Any]] | None = None,
        waited_for: bool = False,
        properties: Mapping[str, Any] | None = None,
        builderNames: Any = None,
        priority: Any = None,
        **kwargs: Any,
    ) -> Deferred[tuple[int, dict[int, int]]]:
        """A buildset for partial stamps, at most one a codebase; every configured codebase gets one, filled in.

        Weakest first: the codebase's configured values, ``getCodebaseDict``, the stamp that is passed.
        """

        async def add() -> tuple[int, dict[int, int]]:
            passed: dict[str, Mapping[str, Any]] = {}
            for stamp in sourcestamps or ():
                codebase = stamp_fields(stamp).codebase
                if codebase in passed:
                    raise SchedulerFault(f"scheduler {self.name!r}: two source stamps for codebase {codebase!r}")
                passed[codebase] = stamp
            full: list[Mapping[str, Any]] = []
            for codebase in self.codebases:
                defaults = await self._codebase_defaults(codebase)
                full.append({**defaults, **passed.pop(codebase, {}), "codebase": codebase})
            full += passed.values()
            return await self._add(full, (), reason, waited_for, properties, builderNames, priority, kwargs)

        return self.master.expect("addBuildsetForSourceStampsWithDefaults", begin(add()))

    def addBuildsetForChanges(
        self,
        waited_for: bool = False,
        reason: str = "",
        external_idstring: str | None = None,
        changeids: Iterable[int] | None = None,
        builderNames: Any = None,
        properties: Mapping[str, Any] | None = None,
        priority: Any = None,
        **kwargs: Any,
    ) -> Deferred[tuple[int, dict[int, int]]]:
        """A buildset for changes: for each configured codebase the stamp of its newest one, or its defaults."""

        async def add() -> tuple[int, dict[int, int]]:
            numbers = _change_numbers(changeids)
            changes = await self.master.changes(numbers)
            if len(changes) != len(numbers):
                missing = set(numbers) - {change.number for change in changes}
                raise SchedulerFault(f"scheduler {self.name!r}: there is no change {sorted(missing)[:5]}")
            newest = {change.codebase: change for change in changes}
            stamps: list[Mapping[str, Any] | StampFields] = []
            for codebase in self.codebases:
                change = newest.get(codebase)
                if change is None:
                    stamps.append({**await self._codebase_defaults(codebase), "codebase": codebase})
                else:
                    stamps.append(stamp_of_change(change))
            options = {**kwargs, "external_idstring": external_idstring}
            return await self._add(stamps, changes, reason, waited_for, properties, builderNames, priority, options)

        return self.master.expect("addBuildsetForChanges", begin(add()))

    def addBuildsetForSourceStamps(
        self,
        waited_for: bool = False,
        sourcestamps: Sequence[Mapping[str, Any] | StampFields | int] | None = None,
        reason: str = "",
        external_idstring: str | None = None,
        properties: Mapping[str, Any] | None = None,
        builderNames: Any = None,
        priority: Any = None,
        **kwargs: Any,
    ) -> Deferred[tuple[int, dict[int, int]]]:
        """A buildset for whole stamps: ids, what ``master.stamps_of`` gives, or dicts of codebase, repository, branch,
        revision, project."""

        async def add() -> tuple[int, dict[int, int]]:
            stamps: list[Mapping[str, Any] | StampFields] = []
            for stamp in sourcestamps or ():
                stamps.append(await self.master.stamp(stamp) if isinstance(stamp, int) else stamp)
            options = {**kwargs, "external_idstring": external_idstring}
            return await self._add(stamps, (), reason, waited_for, properties, builderNames, priority, options)

        return self.master.expect("addBuildsetForSourceStamps", begin(add()))

    async def _codebase_defaults(self, codebase: str) -> dict[str, Any]:
        found = await answered(self.getCodebaseDict(codebase))
        return {**self.codebases[codebase], **found}

    async def _add(
        self,
        stamps: Sequence[Mapping[str, Any] | StampFields],
        changes: Sequence[Change],
        reason: str,
        waited_for: bool,
        properties: Mapping[str, Any] | None,
        builder_names: Any,
        priority: Any,
        options: dict[str, Any],
    ) -> tuple[int, dict[int, int]]:
        fields = tuple([s if isinstance(s, StampFields) else stamp_fields(s) for s in stamps])
        given = _given_properties(changes, properties)
        own = await self._rendered_properties(given, changes, fields) if self._renders_properties else self.properties
        merged = {name: with_source(value, "Scheduler") for name, value in own.items()}
        merged.update(given)
        merged["scheduler"] = (self.name, "Scheduler")

        def props() -> Props:
            return Props(_about(fields) | _values(merged), changes, fields)

        wanted = self.builderNames if builder_names is None else builder_names
        if builder_names is None and self._renders_builders:
            wanted = await rendered(wanted, props())
        if callable(wanted):
            wanted = await answered(wanted(_values(merged), list(changes)))
        builders = self._builders(wanted)
        level = self.priority if priority is None else priority
        if level is not None:
            if priority is None and is_renderable(level):
                level = _whole_number(await rendered(level, props()))
            level = await self._level(level, builders, changes)
        parent = {name: options.pop(name) for name in _PARENT if options.get(name)}
        external_id = options.pop("external_idstring", None)
        request = BuildsetRequest(
            reason=checked_text("reason", reason),
            builders=builders,
            stamps=fields,
            properties=merged,
            priority=level or 0,
            changes=tuple([change.number for change in changes]),
            due_at=options.pop("due_at", None),
            external_id=None if external_id is None else checked_text("external_idstring", external_id),
            waited_for=bool(waited_for),
            parent=parent or None,
        )
        unknown = sorted(name for name, value in options.items() if value is not None) if options else ()
        if unknown:
            raise TypeError(f"addBuildset got unknown arguments: {', '.join(unknown)}")
        return await self.master.add_buildset(request)

    async def _rendered_properties(
        self, given: Mapping[str, tuple[Any, str]], changes: Sequence[Change], stamps: Sequence[StampFields]
    ) -> dict[str, Any]:
        values = {name: value for name, value in self.properties.items() if not has_renderables(value)}
        values |= _values(given)
        values["scheduler"] = self.name
        return checked_properties(await rendered(self.properties, Props(_about(stamps) | values, changes, stamps)))

    def _builders(self, wanted: Any) -> tuple[str, ...]:
        if type(wanted) is not tuple and (isinstance(wanted, str) or not isinstance(wanted, Iterable)):
            raise SchedulerFault(f"scheduler {self.name!r}: builderNames gave {wanted!r}, expected a list of names")
        names = tuple(wanted)
        for name in names:
            if not isinstance(name, str):
                raise SchedulerFault(f"scheduler {self.name!r}: builderNames gave {name!r} as a builder's name")
        if len(names) > 1:
            names = tuple(dict.fromkeys(names))
        known = self.master.known_builders()
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            what = f"unknown builder {unknown[0]!r}" if unknown else "no builder at all"
            raise SchedulerFault(f"scheduler {self.name!r}: builderNames gave {what}; a buildset needs known builders")
        return names

    async def _level(self, priority: Any, builders: tuple[str, ...], changes: Sequence[Change]) -> int:
        if callable(priority):
            by_codebase: dict[str, list[Change]] = {codebase: [] for codebase in self.codebases}
            for change in changes:
                by_codebase.setdefault(change.codebase, []).append(change)
            priority = await answered(priority(list(builders), by_codebase))
        if priority is None:
            return 0
        if not is_priority(priority):
            raise SchedulerFault(f"scheduler {self.name!r}: priority gave {priority!r}, expected a whole number")
        level: int = priority
        return level


def _given_properties(changes: Sequence[Change], passed: Mapping[str, Any] | None) -> dict[str, tuple[Any, str]]:
    """What a buildset's changes say, and over it what it was asked for with: name -> (value, source)."""
    given: dict[str, tuple[Any, str]] = {}
    for change in changes:
        given.update({name: with_source(value, "Change") for name, value in change.properties.items()})
    if passed is not None:
        given.update({name: with_source(value, "Request") for name, value in checked_properties(passed).items()})
    return given


def _values(properties: Mapping[str, tuple[Any, str]]) -> dict[str, Any]:
    return {name: value for name, (value, _) in properties.items()}


def _about(stamps: Sequence[StampFields]) -> dict[str, Any]:
    """What a task will know of its source stamps: those of codebase '', or of the first by name."""
    stamp = min(stamps, key=lambda one: one.codebase, default=None)
    if stamp is None:
        return {}
    named = ("branch", "revision", "repository", "project", "codebase")
    return {name: value for name in named if (value := getattr(stamp, name)) is not None}


def _change_numbers(given: Any) -> list[int]:
    """Sorted, each once. TypeError: they are no numbers of changes."""
    if given is not None and (isinstance(given, str) or not isinstance(given, Iterable)):
        raise TypeError(f"changeids: expected a list of change numbers, got {given!r:.80}")
    return sorted({_whole(number) for number in given or ()})


def _whole(number: Any) -> int:
    if type(number) is not int:
        cure = "; write change.number" if isinstance(number, Change) else ""
        raise TypeError(f"changeids: expected change numbers, got {number!r:.80}{cure}")
    return number


def _whole_number(value: Any) -> Any:
    """The number that a text says, if it says one."""
    try:
        return int(value) if isinstance(value, str) else value
    except ValueError:
        return value
