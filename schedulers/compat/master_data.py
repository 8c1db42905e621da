"""``self.master.data``: ``get`` for the paths that schedulers use, and ``updates``, which join the turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred, fail

from ..arguments import stamp_of_change
from ..base import BaseScheduler
from ..hooks import begin
from ..interface import SchedulerFault
from . import rows
from .absent import sentence
from .data.resultspec import Filter, ResultSpec
from .process.properties import Properties, with_sources

_Answer = Callable[..., Awaitable[Any]]


class Data:
    """Buildbot's data API, as far as schedulers ask it."""

    def __init__(self, scheduler: Any, master: Any) -> None:
        self.updates = Updates(scheduler, master)
        self._master = master

    def get(
        self,
        path: Sequence[Any],
        filters: Sequence[Filter] | None = None,
        fields: Sequence[str] | None = None,
        order: Sequence[str] | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Deferred[Any]:
        """What is at a path: a dictionary (None: there is none), or a list of them, the newest thousand at most."""
        asked = tuple(str(part) if isinstance(part, int) else part for part in path)
        for pattern, method in _PATHS.items():
            given = _fitting(pattern, asked)
            if given is not None:
                spec = ResultSpec(filters or (), fields, order, limit, offset)
                return begin(self._answer(getattr(self, method), given, spec))
        known = ", ".join("/".join(pattern) for pattern in _PATHS)
        return fail(KeyError(f"data.get: there is no path {'/'.join(map(str, path))!r} here; there are {known}"))

    async def _answer(self, method: _Answer, given: Sequence[Any], spec: ResultSpec) -> Any:
        found = await method(*given)
        if isinstance(found, list):
            return spec.apply(found)
        return found if found is None or spec.fields is None else {name: found[name] for name in spec.fields}

    @property
    def _records(self) -> Any:
        return self._master.records

    def _builder(self, given: str) -> tuple[int, str] | None:
        known: Mapping[str, int] = self._master.known_builders()
        if given in known:
            return known[given], given
        return next(((number, name) for name, number in known.items() if str(number) == given), None)

    # -- each path ------------------------------------------------------------------------------------------------

    async def _builders(self) -> Any:
        return [rows.builder_row(number, name) for name, number in self._master.known_builders().items()]

    async def _one_builder(self, given: str) -> Any:
        found = self._builder(given)
        return None if found is None else rows.builder_row(*found)

    async def _requests(self) -> Any:
        return [rows.request_row(one) for one in await self._records.requests()]

    async def _one_request(self, number: int) -> Any:
        return next((rows.request_row(one) for one in await self._records.requests([number])), None)

    async def _requests_of_builder(self, given: str) -> Any:
        found = self._builder(given)
        return [] if found is None else [rows.request_row(r) for r in await self._records.requests(builder=found[0])]

    async def _requests_of_buildset(self, number: int) -> Any:
        return [rows.request_row(one) for one in await self._records.requests(buildset=number)]

    async def _builds(self) -> Any:
        return rows.builds(await self._records.requests())

    async def _one_build(self, number: int) -> Any:
        return next(iter(rows.builds(await self._records.requests([number]))), None)

    async def _builds_of_builder(self, given: str) -> Any:
        found = self._builder(given)
        return [] if found is None else rows.builds(await self._records.requests(builder=found[0]))

    async def _builds_of_request(self, number: int) -> Any:
        return rows.builds(await self._records.requests([number]))

    async def _properties_of_build(self, number: int) -> Any:
        """Of its buildset, and over these what it has set itself."""
        requests = await self._records.requests([number])
        if not requests:
            return None
        own = {name: (value, "Build") for name, value in requests[0].properties.items()}
        buildset = requests[0].buildset_id
        return {**(await self._properties_of_buildset(buildset) or {} if buildset is not None else {}), **own}

    async def _changes_of_build(self, number: int) -> Any:
        requests = await self._records.requests([number])
        buildsets = await self._records.buildsets([r.buildset_id for r in requests if r.buildset_id is not None])
        return [rows.change_row(change) for one in buildsets for change in await self._master.changes(one.changes)]

    async def _buildsets(self) -> Any:
        return [rows.buildset_row(one) for one in await self._records.buildsets()]

    async def _one_buildset(self, number: int) -> Any:
        return next((rows.buildset_row(one) for one in await self._records.buildsets([number])), None)

    async def _properties_of_buildset(self, number: int) -> Any:
        for one in await self._records.buildsets([number]):
            return {name: tuple(pair) for name, pair in one.properties.items()}
        return None

    async def _changes(self) -> Any:
        return [rows.change_row(change) for change in await self._records.changes()]

    async def _one_change(self, number: int) -> Any:
        return next((rows.change_row(change) for change in await self._master.changes([number])), None)

    async def _one_stamp(self, number: int) -> Any:
        try:
            return rows.stamp_row(number, await self._master.stamp(number))
        except SchedulerFault:
            return None

    async def _changes_of_stamp(self, number: int) -> Any:
        """The changes that are that very stamp, of the newest thousand."""
        stamp = await self._master.stamp(number)
        return [rows.change_row(one) for one in await self._records.changes() if stamp_of_change(one) == stamp]

    async def _schedulers(self) -> Any:
        return [rows.scheduler_row(one) for one in await self._records.schedulers()]

    async def _one_scheduler(self, number: int) -> Any:
        return next((rows.scheduler_row(s) for s in await self._records.schedulers() if s.id == number), None)


_PATHS: Mapping[tuple[str, ...], str] = {
    ("builders",): "_builders",
    ("builders", "*"): "_one_builder",
    ("builders", "*", "buildrequests"): "_requests_of_builder",
    ("builders", "*", "builds"): "_builds_of_builder",
    ("buildrequests",): "_requests",
    ("buildrequests", "#"): "_one_request",
    ("buildrequests", "#", "builds"): "_builds_of_request",
    ("builds",): "_builds",
    ("builds", "#"): "_one_build",
    ("builds", "#", "properties"): "_properties_of_build",
    ("builds", "#", "changes"): "_changes_of_build",
    ("buildsets",): "_buildsets",
    ("buildsets", "#"): "_one_buildset",
    ("buildsets", "#", "properties"): "_properties_of_buildset",
    ("buildsets", "#", "buildrequests"): "_requests_of_buildset",
    ("changes",): "_changes",
    ("changes", "#"): "_one_change",
    ("sourcestamps", "#"): "_one_stamp",
    ("sourcestamps", "#", "changes"): "_changes_of_stamp",
    ("schedulers",): "_schedulers",
    ("schedulers", "#"): "_one_scheduler",
}
"""``*`` stands for a name or an id, ``#`` for an id."""


def _fitting(pattern: Sequence[str], path: Sequence[Any]) -> list[Any] | None:
    """What stands in the path for ``*`` and ``#``; None: it is another path."""
    if len(pattern) != len(path):
        return None
    given: list[Any] = []
    for wanted, part in zip(pattern, path, strict=True):
        if wanted == "#" and isinstance(part, str) and part.lstrip("-").isdigit():
            given.append(int(part))
        elif wanted == "*" and isinstance(part, str):
            given.append(part)
        elif wanted != part:
            return None
    return given


class Updates:
    """``self.master.data.updates``: what it changes joins the turn."""

    def __init__(self, scheduler: Any, master: Any) -> None:
        self._scheduler = scheduler
        self._master = master

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(sentence(f"master.data.updates.{name}"))

    def addBuildset(
        self,
        waited_for: bool,
        scheduler: str | None = None,
        sourcestamps: Sequence[Any] | None = None,
        reason: str = "",
        properties: Mapping[str, Any] | Properties | None = None,
        builderids: Sequence[int] | None = None,
        external_idstring: str | None = None,
        rebuilt_buildid: int | None = None,
        parent_buildid: int | None = None,
        parent_relationship: str | None = None,
        priority: int = 0,
    ) -> Deferred[tuple[int, dict[int, int]]]:
        """(buildset id, {builder id: request id}). The scheduler's own properties count too, weaker than these."""
        names = {number: name for name, number in self._master.known_builders().items()}
        unknown = [number for number in builderids or () if number not in names]
        if unknown or not builderids:
            what = f"there is no builder of id {unknown[0]}" if unknown else "no builder is given"
            return fail(SchedulerFault(f"scheduler {self._scheduler.name!r}: {what}"))
        # Not the subclass's own method: that may be what calls this.
        return BaseScheduler.addBuildsetForSourceStamps(
            self._scheduler,
            waited_for=waited_for,
            sourcestamps=sourcestamps,
            reason=reason,
            external_idstring=external_idstring,
            properties=with_sources(properties),
            builderNames=[names[number] for number in builderids],
            priority=priority,
            parent_buildid=parent_buildid,
            parent_relationship=parent_relationship,
            rebuilt_buildid=rebuilt_buildid,
        )

    def addChange(self, **fields: Any) -> Deferred[None]:
        """A new change, once this turn is committed; it has no number before, so there is none to answer."""
        given = {_FIELDS.get(name, name): value for name, value in fields.items() if name not in ("src", "uid")}
        properties = given.get("properties")
        if properties:
            given["properties"] = {name: _plain(value) for name, value in with_sources(properties).items()}
        answer: Deferred[None] = self._master.add_change(given, uuid4().hex)
        return answer

    def findBuilderId(self, name: str) -> Deferred[int]:
        """The id of a builder."""
        answer: Deferred[int] = self._master.db.builders.findBuilderId(name)
        return answer

    def schedulerEnable(self, schedulerid: int, v: bool) -> Deferred[None]:
        """A person does that: 'locum scheduler enable' and 'disable'."""
        return fail(SchedulerFault("a scheduler cannot enable or disable schedulers; use 'locum scheduler disable'"))


_FIELDS = {"author": "who", "when_timestamp": "when"}


def _plain(value: Any) -> Any:
    return value[0] if isinstance(value, (tuple, list)) and len(value) == 2 and isinstance(value[1], str) else value
