"""Cancellers: they request nothing, but cancel tasks that are not worth their while any more. Clustered like any scheduler,
so exactly one acts, and goes on elsewhere when its master dies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, ClassVar

from .arguments import stamp_of_change
from .base import BaseScheduler, Clustered
from .changes import Change
from .filters import SourceStampFilter
from .hooks import answered, hook
from .interface import FailedTask, StampFields

_FIELDS = ("project", "codebase", "repository", "branch", "revision")


@dataclass(frozen=True, slots=True)
class _Rule:
    """One of a canceller's ``filters``; ``victims`` None: all builders."""

    builders: tuple[str, ...]
    victims: tuple[str, ...] | None
    filter: SourceStampFilter


class Canceller(BaseScheduler):
    """What both have in common: ``filters`` that name builders, and source stamps for which they hold."""

    compare_attrs: ClassVar[Sequence[str]] = ("rules",)
    requests_work = False

    def __init__(self, name: str, filters: Any, keys: tuple[str, ...]) -> None:
        self.rules = tuple(_rules(filters, keys))
        named = [b for rule in self.rules for b in (*rule.builders, *(rule.victims or ()))]
        super().__init__(name, list(dict.fromkeys(named)))

    def faultsAmong(self, others: Mapping[str, Clustered], builders: Set[str]) -> Iterator[tuple[str, str]]:
        """Builders that nobody configured."""
        for number, rule in enumerate(self.rules):
            for key, names in (("builders", rule.builders), ("builders_to_cancel", rule.victims or ())):
                for name in names:
                    if name not in builders:
                        yield f"filters[{number}].{key}", f"there is no builder {name!r}"


class OldBuildCanceller(Canceller):
    """A newer change of a branch cancels the older tasks of the listed builders that have not come to rest.

    ``filters``: mappings with ``builders`` and ``filter`` (a SourceStampFilter, or its mapping; none: every stamp), or pairs
    of them. ``branch_key``: a function of a source stamp, a mapping, that says what counts as its branch.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("branch_key",)

    def __init__(self, name: str, filters: Any, branch_key: Callable[[Mapping[str, Any]], Any] | None = None) -> None:
        super().__init__(name, filters, ("builders", "filter"))
        if branch_key is not None and not callable(branch_key):
            raise ValueError(f"branch_key: expected a function of a source stamp, got {branch_key!r}")
        self.branch_key = branch_key

    @hook
    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingChanges()

    def _consider(self, change: Change) -> bool | None:
        stamp = stamp_of_change(change)
        return True if any(rule.filter.is_matched(stamp) for rule in self.rules) else None

    def _key(self, stamp: StampFields) -> tuple[Any, ...]:
        given = {name: getattr(stamp, name) for name in _FIELDS}
        branch = stamp.branch if self.branch_key is None else self.branch_key(given)
        return stamp.project, stamp.codebase, stamp.repository, branch

    @hook
    async def gotChange(self, change: Change, important: bool) -> None:
        newer = stamp_of_change(change)
        key = self._key(newer)
        rules = [rule for rule in self.rules if rule.filter.is_matched(newer)]
        builders = sorted({name for rule in rules for name in rule.builders})
        old = [
            task.id
            for task in await self.master.tasks_older_than(change.number, builders)
            if any(
                task.builder in rule.builders
                and any(self._key(stamp) == key and rule.filter.is_matched(stamp) for stamp in task.stamps)
                for rule in rules
            )
        ]
        if old:
            await self.master.cancel_tasks(old, f"{self.name}: change {change.number} of the same branch is newer")


class FailingBuildsetCanceller(Canceller):
    """A task of one of ``builders`` that fails cancels those of ``builders_to_cancel`` of its buildset.

    ``filters``: mappings with ``builders``, ``builders_to_cancel`` (none: all) and ``filter``, or triples of them.
    """

    def __init__(self, name: str, filters: Any) -> None:
        super().__init__(name, filters, ("builders", "builders_to_cancel", "filter"))

    @hook
    async def activate(self) -> None:
        await super().activate()
        watched = {name for rule in self.rules for name in rule.builders}
        await self.master.consume_failed_tasks(lambda task: task.builder in watched)

    @hook
    async def gotTaskFailed(self, failed: FailedTask) -> None:
        """A task failed, and others of its buildset have not come to rest."""
        rules = [rule for rule in self.rules if failed.builder in rule.builders]
        stamps = await answered(self.master.stamps_of(failed.buildset_id))
        rules = [rule for rule in rules if not stamps or any(map(rule.filter.is_matched, stamps))]
        useless = [
            task.id
            for task in await self.master.unfinished_tasks_of(failed.buildset_id)
            if any(rule.victims is None or task.builder in rule.victims for rule in rules)
        ]
        if useless:
            await self.master.cancel_tasks(useless, f"{self.name}: task {failed.id} of {failed.builder} failed")


def _rules(filters: Any, keys: tuple[str, ...]) -> Iterator[_Rule]:
    if isinstance(filters, (str, Mapping)) or not isinstance(filters, Iterable):
        raise ValueError(f"filters: expected a list of mappings with {', '.join(keys)}, got {filters!r}")
    filters = list(filters)
    if not filters:
        raise ValueError("filters: expected at least one, got an empty list")
    for number, one in enumerate(filters):
        where = f"filters[{number}]"
        if isinstance(one, (tuple, list)) and len(one) == len(keys):
            one = dict(zip(keys, one, strict=True))
        if not isinstance(one, Mapping):
            raise ValueError(f"{where}: expected a mapping with {', '.join(keys)}, got {one!r}")
        unknown = [key for key in one if key not in keys]
        if unknown:
            raise ValueError(f"{where}.{unknown[0]}: unknown key; known are {', '.join(keys)}")
        builders = _names(f"{where}.builders", one.get("builders"))
        victims = one.get("builders_to_cancel")
        yield _Rule(
            builders,
            None if victims is None else _names(f"{where}.builders_to_cancel", victims),
            _filter(f"{where}.filter", one.get("filter")),
        )


def _names(where: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise ValueError(f"{where}: expected a list of builders' names, got {value!r}")


def _filter(where: str, value: Any) -> SourceStampFilter:
    if value is None:
        return SourceStampFilter()
    if isinstance(value, SourceStampFilter):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected a mapping such as {{branch_eq: main}}, got {value!r}")
    try:
        return SourceStampFilter.from_mapping(value)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
