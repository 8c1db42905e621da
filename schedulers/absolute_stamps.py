"""``createAbsoluteSourceStamps``: a codebase without a change gets the last revision that was seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, fail, succeed

from .base import BaseScheduler
from .changes import Change
from .hooks import hook

_SEEN = "lastCodebases"


class AbsoluteSourceStamps(BaseScheduler):
    """For schedulers that consume changes: call ``remember(change)`` for each; the rest follows from the option."""

    compare_attrs: ClassVar[Sequence[str]] = ("createAbsoluteSourceStamps",)

    def __init__(self, name: str, builderNames: Any, createAbsoluteSourceStamps: bool = False, **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.createAbsoluteSourceStamps = flag_argument("createAbsoluteSourceStamps", createAbsoluteSourceStamps)

    def getCodebaseDict(self, codebase: str) -> Deferred[dict[str, Any]]:
        if self.createAbsoluteSourceStamps:
            seen: Deferred[dict[str, Any]] = self._last_seen(codebase)
            return seen
        return succeed(self.codebases[codebase]) if codebase in self.codebases else fail(KeyError(codebase))

    @hook
    async def _last_seen(self, codebase: str) -> dict[str, Any]:
        seen = (await self.getState(_SEEN, {})).get(codebase, {})
        known = {name: seen[name] for name in ("repository", "branch", "revision") if name in seen}
        return {**self.codebases[codebase], **known}

    async def remember(self, change: Change) -> None:
        """Note the revision of the change's codebase, if that is wanted. Changes come in order: the last one is the newest."""
        if not self.createAbsoluteSourceStamps:
            return
        seen = await self.getState(_SEEN, {})
        seen[change.codebase] = {
            "repository": change.repository,
            "branch": change.branch,
            "revision": change.revision,
            "lastChange": change.number,
        }
        await self.setState(_SEEN, seen)


def flag_argument(name: str, value: Any) -> bool:
    """True or False. ValueError names the argument."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected true or false, got {value!r}")
    return value
