"""``self.master.mq``: messages about changes, buildsets and build requests, each as a turn of its own.

Buildbot's messages are lost when nobody listens. Here each one is a durable timer of the scheduler, set together with the
note of how far it has looked: it is delivered once, also after a failover, and tried again like any other cause when the
callback fails. What came before the first ``startConsuming``, or while the scheduler was disabled, is not for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from ..base import to_datetime
from ..hooks import answered, begin
from ..interface import NotActive
from ..records import Finished, News
from . import rows

TIMER = "mq:"
_STATE = "mq"
_LOG = Logger()
_AT_ONCE = 500
"""messages that are set down in one turn"""

KINDS: Mapping[str, tuple[str, ...]] = {
    "changes": ("new",),
    "buildsets": ("new", "complete"),
    "buildrequests": ("new", "complete"),
    "builds": ("finished",),
}
"""topic -> its events."""


@dataclass(eq=False)
class QueueRef:
    """One consumer. ``stopConsuming`` ends it; legal twice."""

    callback: Callable[..., Any] | None
    filter: tuple[str | None, ...]
    topics: frozenset[tuple[str, str]]

    def stopConsuming(self) -> Deferred[None]:
        """Call back no more."""
        self.callback = None
        return succeed(None)

    def wants(self, key: tuple[str, ...]) -> bool:
        """Whether the filter lets a message of that key through."""
        return len(key) == len(self.filter) and all(
            wanted is None or wanted == part for wanted, part in zip(self.filter, key, strict=True)
        )


class Messages:
    """Who consumes what. Its looking around begins with the first consumer, and ends with the instance."""

    def __init__(self, scheduler: Any, master: Any) -> None:
        self._scheduler = scheduler
        self._master = master
        self._refs: list[QueueRef] = []
        self._watching = False
        self._looking = False
        self._more = False

    def startConsuming(
        self, callback: Callable[..., Any], filter: Sequence[Any], persistent_name: str | None = None
    ) -> Deferred[QueueRef]:
        """From ``activate``: ``callback(key, message)`` for each message whose key fits ``filter`` (None: anything)."""
        wanted = tuple(None if part is None else str(part) for part in filter)
        ref = QueueRef(callback, wanted, _topics(wanted))

        async def start() -> QueueRef:
            await self._begin(ref.topics)
            self._refs.append(ref)
            if not self._watching:
                self._watching = True
                self._master.records.watch(self._offer)
            return ref

        return begin(start())

    async def waitUntilEvent(self, *args: Any) -> None:
        """No scheduler may wait for something to happen inside a turn: say what should happen then."""
        raise TypeError("mq.waitUntilEvent: a turn cannot wait for another event; use mq.startConsuming")

    def produce(self, routing_key: Sequence[str], data: Any) -> None:
        """Messages are made of what is in the database, by nobody else."""
        raise TypeError("mq.produce: messages come from the database alone; ask for what should happen instead")

    # -- how far it has looked --------------------------------------------------------------------------------------

    async def _begin(self, topics: frozenset[tuple[str, str]]) -> None:
        """What has come so far is not for topics that nobody consumed before, nor for one that was disabled since."""
        state = await self._scheduler.getState(_STATE, None) or {"at": 0, "topics": []}
        enabled_at = self._master.enabled_at
        if enabled_at is not None and enabled_at > state["at"]:
            state = {"at": 0, "topics": []}
        fresh = [place for place in _PLACES if place not in state and any(place in _SEEN[one] for one in topics)]
        if fresh:
            news = await self._master.records.news()
            state.update({place: _now_at(place, news) for place in fresh})
        known = {(topic, event) for topic, event in state["topics"]}
        if fresh or not topics <= known:
            state.update(topics=sorted(known | topics), at=self._master.now())
            await self._scheduler.setState(_STATE, state)

    def _offer(self, news: News) -> None:
        """Something may be new."""
        self._more = True
        if self._looking or not any(ref.callback for ref in self._refs):
            return
        self._looking = True

        def over(_: object) -> None:
            self._looking = False

        begin(self._look(news)).addErrback(_expected).addBoth(over)

    async def _look(self, news: News) -> None:
        state = await self._scheduler.getState(_STATE, None)
        self._more = state is not None and _is_new(state, news)
        while self._more:
            self._more = False
            await self._note()

    async def _note(self) -> None:
        """A timer for each message, and how far that is, in one turn. What is read here is newer than what was noted last."""
        records = self._master.records
        news: News = await records.news()
        finished: list[Finished] = []
        state = await self._scheduler.getState(_STATE)
        while "finished" in state:
            after = finished[-1].number if finished else state["finished"]
            finished += (found := await records.finished_after(after))
            if not found:
                break
        async with self._scheduler.turn():
            if state != await self._scheduler.getState(_STATE):  # a hook has begun to consume something else meanwhile
                self._more = True
                return
            topics = {(topic, event) for topic, event in state["topics"]}
            wanted = topics & {one for ref in self._refs if ref.callback for one in ref.topics}
            due = to_datetime(self._master.now())
            for topic, event, number in _what_is_new(state, news, finished):
                if (topic, event) in wanted:
                    await self._scheduler.setTimer(f"{TIMER}{topic}.{number}.{event}", due)
            self._more = self._more or state.get("change", news.change) < news.change
            await self._scheduler.setState(_STATE, state)

    # -- a message --------------------------------------------------------------------------------------------------

    async def deliver(self, key: str) -> None:
        """The timer of a message: call back whoever wants it."""
        topic, number, event = key.removeprefix(TIMER).split(".")
        message, keys = await self._message(topic, int(number), event)
        if message is None:
            return
        for ref in list(self._refs):
            fitting = next((one for one in keys if ref.wants(one)), None)
            if fitting is not None and ref.callback is not None:
                await answered(ref.callback(fitting, dict(message)))

    async def _message(
        self, topic: str, number: int, event: str
    ) -> tuple[dict[str, Any] | None, list[tuple[str, ...]]]:
        own = (topic, str(number), event)
        if topic == "changes":
            found = await self._master.changes([number])
            return (rows.change_row(found[0]) if found else None), [own]
        if topic == "buildsets":
            buildsets = await self._master.records.buildsets([number])
            return (rows.buildset_row(buildsets[0]) if buildsets else None), [own]
        requests = await self._master.records.requests([number])
        if not requests:
            return None, []
        one = requests[0]
        builder, buildset = ("builders", str(one.builder_id)), ("buildsets", str(one.buildset_id))
        if topic == "builds":
            return rows.build_row(one), [own, (*builder, *own)]
        return rows.request_row(one), [own, (*builder, *own), (*buildset, *own), (*buildset, *builder, *own)]


def _expected(failure: Failure) -> None:
    if not isinstance(failure.value, NotActive):
        _LOG.failure("looking for what is new failed; it is looked for again soon", failure, LogLevel.warn)


_PLACES = ("change", "finished", "buildsets", "new", "ended")
_SEEN: Mapping[tuple[str, str], frozenset[str]] = {
    ("changes", "new"): frozenset({"change"}),
    ("buildsets", "new"): frozenset({"finished", "buildsets"}),
    ("buildsets", "complete"): frozenset({"finished"}),
    ("buildrequests", "new"): frozenset({"finished", "new"}),
    ("buildrequests", "complete"): frozenset({"finished", "ended"}),
    ("builds", "finished"): frozenset({"finished", "ended"}),
}
"""By which of the places that are kept an event is known to be new."""


def _topics(wanted: tuple[str | None, ...]) -> frozenset[tuple[str, str]]:
    """What a filter asks for. ValueError: nothing that there is."""
    topic, event = (wanted[-3], wanted[-1]) if len(wanted) >= 3 else (None, None)
    events = KINDS.get(topic or "", ())
    chosen = events if event is None else tuple(one for one in events if one == event)
    if not chosen:
        known = ", ".join(f"({topic!r}, None, {event!r})" for topic, events in KINDS.items() for event in events)
        raise ValueError(f"mq.startConsuming: nothing here sends messages for {wanted!r}; there are {known}")
    return frozenset((topic or "", one) for one in chosen)


def _now_at(place: str, news: News) -> Any:
    if place in ("change", "finished"):
        return getattr(news, place)
    if place == "buildsets":
        return sorted({buildset for _, buildset, _ in news.open_tasks})
    return [task for task, _, ended in news.open_tasks if ended or place == "new"]


def _is_new(state: Mapping[str, Any], news: News) -> bool:
    return any(state[place] != _now_at(place, news) for place in _PLACES if place in state)


def _what_is_new(state: dict[str, Any], news: News, finished: Sequence[Finished]) -> Iterator[tuple[str, str, int]]:
    """(topic, event, number) of everything since, oldest first, and not too much at once; ``state`` moves on with it."""
    if "change" in state:
        for number in range(state["change"] + 1, min(news.change, state["change"] + _AT_ONCE) + 1):
            state["change"] = number
            yield "changes", "new", number
    if "finished" not in state:
        return
    buildsets, new, ended = (set(state.get(place, ())) for place in ("buildsets", "new", "ended"))
    over = {one.id for one in finished}
    still = [row for row in news.open_tasks if row[1] not in over]
    for task, buildset, is_over in sorted([*still, *((t, one.id, True) for one in finished for t in one.tasks)]):
        if buildset not in buildsets:
            buildsets.add(buildset)
            yield "buildsets", "new", buildset
        if task not in new:
            yield "buildrequests", "new", task
        if is_over and task not in ended:
            yield "buildrequests", "complete", task
            yield "builds", "finished", task
    for one in finished:
        state["finished"] = one.number
        yield "buildsets", "complete", one.id
    left = News(news.change, state["finished"], still)
    state.update({place: _now_at(place, left) for place in ("buildsets", "new", "ended") if place in state})
