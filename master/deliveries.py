"""What tenures react to, read once for all that a master holds, and brought to each: in masters and in rehearsals alike."""

from __future__ import annotations

from ..db import cancelling, messages
from ..schedulers.interface import FailedTask
from .activation import Activation
from .answering import serving
from .surroundings import RemoteDatabase


class Deliveries:
    """For the tenures of ``activation``, which belong to the incarnation ``me``."""

    def __init__(self, activation: Activation, remote: RemoteDatabase, me: str) -> None:
        self._activation = activation
        self._remote = remote
        self._me = me

    def pump_all(self) -> None:
        """A feed has more: all who consume go on."""
        for tenure in list(self._activation.tenures.values()):
            if tenure.changes.consuming or tenure.finished.consuming:
                tenure.pump()

    async def feeds(self) -> None:
        """New changes, finished buildsets, and news for code written for Buildbot."""
        tools = self._activation.tools
        await tools.changes.read()
        await tools.finished.read()
        await tools.news.read()

    async def messages(self) -> None:
        """What people and other schedulers ask for."""
        if not self._activation.tenures:
            return
        for message in await self._remote.single(messages.waiting_for, self._me):
            tenure = self._activation.tenures.get(message.scheduler_id)
            if tenure is not None:
                tenure.message(message.id, serving(message))

    async def failed(self) -> None:
        """Failed tasks, if anybody wants to hear of them."""
        wanting = [tenure for tenure in self._activation.tenures.values() if tenure.failed.consuming]
        if wanting:
            rows = await self._remote.single(cancelling.failed)
            for tenure in wanting:
                tenure.failed_tasks([FailedTask(row.id, row.builder, row.buildset_id, row.result) for row in rows])
