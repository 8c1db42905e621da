"""What steps wait for elsewhere in the cluster: answers to messages, and completed buildsets.

All that wait on one master are looked after by one statement, on a wake-up and every few seconds; none while nobody waits.
It goes on through outages of the database and a change of incarnation: what is waited for is in the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection
from twisted.internet.defer import Deferred

from ...db import buildsets, messages
from ...db.errors import DatabaseAway, DatabaseError, OutcomeUnknown
from ..logs import Log
from ..loop import Loop
from ..surroundings import RemoteDatabase, Surroundings

LOOK_S = 3.0


class Gone(Exception):
    """What was waited for is not in the database any more; the text says what."""


@dataclass(frozen=True, slots=True)
class Request:
    """A message to be sent. ``key`` makes it one, however often it is sent."""

    scheduler: str
    key: str
    kind: str
    body: Mapping[str, Any]
    made_by: str


class Outcomes:
    """``ask`` sends a message and gives a Deferred of its answer; ``completed`` one of a buildset's result.

    Cancel a Deferred to wait no longer. ``ask`` fails with a DatabaseError that says why if the scheduler is unknown or disabled.
    """

    log = Log()

    def __init__(self, remote: RemoteDatabase, surroundings: Surroundings, announce: Callable[..., object]) -> None:
        self.remote = remote
        self._announce = announce
        self._to_send: list[tuple[Request, Deferred[dict[str, Any]]]] = []
        self._answers: dict[int, list[Deferred[dict[str, Any]]]] = {}
        self._results: dict[int, list[Deferred[str]]] = {}
        self._loop = Loop(surroundings.reactor, self._look, LOOK_S, "waiting for other schedulers", retry_s=1.0)

    def start(self) -> None:
        """Begin to look."""
        self._loop.start()

    def stop(self) -> Deferred[None]:
        """Look no more."""
        return self._loop.stop()

    def look(self) -> None:
        """Something may have been answered or completed."""
        if self._to_send or self._answers or self._results:
            self._loop.soon()

    def ask(self, request: Request) -> Deferred[dict[str, Any]]:
        """The answer that a turn of the scheduler gives."""
        answer: Deferred[dict[str, Any]] = Deferred()
        self._to_send.append((request, answer))
        self._loop.soon()
        return answer

    def completed(self, buildset: int) -> Deferred[str]:
        """The buildset's result, once it has one."""
        result: Deferred[str] = Deferred()
        self._results.setdefault(buildset, []).append(result)
        self._loop.soon()
        return result

    async def _look(self) -> None:
        await self._send()
        for waiting in (self._answers, self._results):
            _forget_cancelled(waiting)
        if self._answers or self._results:
            ids = list(self._answers), list(self._results)
            answers, results = await self.remote.read(_found, *ids)
            _tell(self._answers, ids[0], answers, "message {} is gone")
            _tell(self._results, ids[1], results, "buildset {} is gone")

    async def _send(self) -> None:
        sent = False
        while self._to_send:
            request, answer = self._to_send[0]
            if answer.called:
                del self._to_send[0]
                continue
            try:
                message = await self.remote.write(
                    messages.send, request.scheduler, request.key, request.kind, request.body, request.made_by
                )
            except (DatabaseAway, OutcomeUnknown):
                raise  # it stays first; the key makes a repetition the same message
            except DatabaseError as error:
                del self._to_send[0]
                if not answer.called:
                    answer.errback(error)
                continue
            del self._to_send[0]
            self._answers.setdefault(message.id, []).append(answer)
            sent = True
        if sent:
            self._announce("messages")


def _found(
    conn: Connection, message_ids: Iterable[int], buildset_ids: Iterable[int]
) -> tuple[dict[int, dict[str, Any] | None], dict[int, str | None]]:
    return messages.answers_of(conn, message_ids), buildsets.results_of(conn, buildset_ids)


def _forget_cancelled(waiting: dict[int, list[Deferred[Any]]]) -> None:
    for key, deferreds in list(waiting.items()):
        waiting[key] = [one for one in deferreds if not one.called]
        if not waiting[key]:
            del waiting[key]


def _tell(waiting: dict[int, list[Deferred[Any]]], asked: Iterable[int], found: Mapping[int, Any], gone: str) -> None:
    for key in asked:
        if key in found and found[key] is None:
            continue
        for one in waiting.pop(key, ()):
            if one.called:
                continue
            if key in found:
                one.callback(found[key])
            else:
                one.errback(Gone(gone.format(key)))
