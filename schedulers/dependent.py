"""A scheduler that goes on where another one's buildsets have succeeded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, ClassVar

from .base import BaseScheduler, Clustered
from .basic import reason_argument
from .hooks import hook
from .interface import FinishedBuildset

GOOD = ("success", "warnings")


class Dependent(BaseScheduler):
    """When a buildset of ``upstream`` (a scheduler's name, or the scheduler) succeeds, one for the same source stamps.

    Exactly once for each, whatever happens meanwhile: also for buildsets that were made or completed while nobody was
    active. ``passProperties``: names of properties of the upstream buildset that go on to this one's, or True for all.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("upstream_name", "reason", "passProperties")

    def __init__(
        self,
        name: str,
        upstream: Any,
        builderNames: Any,
        reason: str | None = None,
        passProperties: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, builderNames, **kwargs)
        found = upstream.name if isinstance(upstream, Clustered) else upstream
        if not isinstance(found, str) or not found:
            raise ValueError(f"upstream: expected a scheduler's name, got {upstream!r}")
        if passProperties is None or isinstance(passProperties, bool):
            names: bool | tuple[str, ...] = bool(passProperties)
        elif isinstance(passProperties, (list, tuple)) and all(isinstance(one, str) for one in passProperties):
            names = tuple(passProperties)
        else:
            raise ValueError(f"passProperties: expected a list of properties' names, or true, got {passProperties!r}")
        self.upstream_name = found
        self.passProperties = names
        self.reason = reason_argument(reason, self)

    def faultsAmong(self, others: Mapping[str, Clustered], builders: Set[str]) -> Iterator[tuple[str, str]]:
        """An upstream that nobody configured, and a chain of upstreams that comes back to its beginning."""
        chain = [self.name]
        upstream: Clustered | None = self
        while isinstance(upstream, Dependent):
            following = upstream.upstream_name
            chain.append(following)
            if following == self.name:
                yield "upstream", f"these schedulers wait for one another: {' -> '.join(chain)}; none would ever begin"
                return
            if following in chain[:-1]:
                return  # a circle that this one only leads to: those in it say so
            upstream = others.get(following)
        if upstream is None and len(chain) == 2:
            yield "upstream", f"there is no scheduler {self.upstream_name!r}"

    @hook
    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingBuildsets(
            lambda buildset: buildset.scheduler == self.upstream_name and buildset.result in GOOD
        )

    @hook
    async def gotBuildsetComplete(self, buildset: FinishedBuildset) -> None:
        stamps = await self.master.stamps_of(buildset.id)
        changes = await self.master.changes(buildset.changes)
        names = self.passProperties
        passed = {
            name: (value, "Upstream")
            for name, value in buildset.properties.items()
            if name != "scheduler" and (names is True or (names and name in names))
        }
        options = {"external_idstring": buildset.external_id}
        await self._add(stamps, changes, self.reason, False, passed, None, None, options)
