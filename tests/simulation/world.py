"""One fake clock, one real database, several masters in this very process: every database call is an event that may go wrong.

All that is random comes from one seeded generator, and nothing here asks the real time, so a seed tells the whole story.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from locum.db import wakeups
from locum.db.database import Database, HostClocks
from locum.db.errors import DatabaseAway, OutcomeUnknown
from locum.master.service import Master
from locum.master.surroundings import Pool, Surroundings
from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.python.failure import Failure

SECOND = 1_000_000
WALL_AT_START = 1_700_000_000 * SECOND
FATES = (
    "kill before",
    "kill after",
    "lost",
    "unknown",
    "ghost",
    "away",
    "slow",
    "freeze before",
    "freeze after",
    "block after",
)


class Violation(AssertionError):
    """A promise was broken."""


@dataclass(slots=True)
class Event:
    """Something that will happen. ``on_reactor``: it waits while its process's reactor is blocked, too."""

    label: str
    act: Callable[[], None]
    process: Process | None
    on_reactor: bool = True
    cancelled: bool = False


class DelayedCall:
    """What ``callLater`` gives."""

    def __init__(self, event: Event) -> None:
        self._event = event
        self.called = False

    def active(self) -> bool:
        """Whether it is still to come."""
        return not self.called and not self._event.cancelled

    def cancel(self) -> None:
        """Take it back; as strict as the real one."""
        if self.called:
            raise AlreadyCalled
        if self._event.cancelled:
            raise AlreadyCancelled
        self._event.cancelled = True


class Reactor:
    """The part of a reactor that a master uses, of one simulated process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def seconds(self) -> float:
        """Seconds of this reactor's life."""
        return self._process.world.now_us / SECOND

    def callLater(self, seconds: float, function: Callable[..., Any], *args: Any, **kwargs: Any) -> DelayedCall:
        """As Twisted's."""
        assert seconds >= 0, seconds

        def act() -> None:
            call.called = True
            function(*args, **kwargs)

        # A moment later at least, as on a real reactor: no loop can stand still in time.
        event = self._process.world.later(max(1, int(seconds * SECOND)), "", act, self._process)
        call = DelayedCall(event)
        return call

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        """As Twisted's."""
        self.callLater(0, function, *args)


@dataclass(slots=True)
class Lane:
    """Threads of one purpose: at most ``size`` calls at a time, the others wait their turn."""

    process: Process
    name: str
    size: int
    busy: int = 0
    waiting: deque[Call] = field(default_factory=deque)

    def in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        """A blocking call becomes an event."""
        call = Call(self, function, args, kwargs, Deferred())
        if not self.process.dead:
            self.waiting.append(call)
            self._start()
        return call.answer

    def _start(self) -> None:
        while self.waiting and self.busy < self.size:
            self.busy += 1
            self.waiting.popleft().start()

    def done(self) -> None:
        """One call is over."""
        self.busy -= 1
        self._start()


@dataclass(slots=True)
class Call:
    """One call of a function in a thread, nearly always of a ``Database``."""

    lane: Lane
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    answer: Deferred[Any]

    @property
    def how(self) -> str:
        """``write``, ``read`` or ``single``; another name for a function that is not a ``Database``'s."""
        return self.function.__name__

    @property
    def what(self) -> Callable[..., Any]:
        """The function that gets the connection."""
        inner: Callable[..., Any] = self.args[0] if self.how in ("write", "read", "single") else self.function
        return inner

    def start(self) -> None:
        process, world = self.lane.process, self.lane.process.world
        database = getattr(self.function, "__self__", None) or (self.args[0] if self.args else None)
        if isinstance(database, Database) and database not in process.databases:
            process.databases.append(database)
        delay = int(world.rng.expovariate(1 / 4000)) + 200
        if world.happens("slow"):
            # The driver's own deadline cuts a beat short at half a lease.
            longest = process.lease_s / 2 if self.lane.name == "locum-beat" else 12.0
            delay = int(world.rng.uniform(0.05, longest) * SECOND)
        world.later(delay, "", self.execute, process, on_reactor=False)

    def execute(self) -> None:
        process, world = self.lane.process, self.lane.process.world
        fate = world.fate_of(self)
        world.note(f"{process}: {self.how} {self.what.__name__}{': ' + fate if fate else ''}")
        if fate == "kill before":
            return process.kill()
        if fate == "freeze before":
            process.freeze(world.rng.choice((0.5, 2.0, 6.0, 15.0, 40.0)))
            world.later(1, "", self.execute, process, on_reactor=False)
            return None
        if fate == "away":
            return self._reply(Failure(self._lost() if self.how == "single" else DatabaseAway("simulated")))
        if fate == "unknown":
            return self._reply(Failure(self._lost()))
        if fate == "ghost":  # the connection broke, and the server carries it out all the same, later
            world.later(
                int(world.rng.choice((0.005, 0.02, 4.0)) * world.rng.random() * SECOND),
                "",
                lambda: world.perform(self),
                None,
            )
            return self._reply(Failure(self._lost()))
        result = world.perform(self)
        if fate == "kill after":
            return process.kill()
        if fate == "freeze after":
            process.freeze(world.rng.choice((0.5, 2.0, 6.0, 15.0, 40.0)))
        if fate == "block after":
            process.block(world.rng.choice((0.5, 3.0, 9.0, 20.0)))
        return self._reply(Failure(self._lost()) if fate == "lost" else result)

    def _lost(self) -> Exception:
        return DatabaseAway("simulated") if self.how == "read" else OutcomeUnknown("simulated")

    def _reply(self, result: Any) -> None:
        world = self.lane.process.world

        def answer() -> None:
            self.lane.done()
            if isinstance(result, Failure):
                self.answer.errback(result)
            else:
                self.answer.callback(result)

        world.later(int(world.rng.uniform(50, 1500)), "", answer, self.lane.process)


class Process:
    """A process that runs one master. Killed: all that it planned is dropped. Frozen: withheld until it goes on."""

    def __init__(self, world: World, name: str, number: int, config: Any) -> None:
        self.world = world
        self.name = name
        self.number = number
        self.lease_s: float = config.cluster.lease
        self.dead = False
        self.frozen = False
        self.blocked = False
        self.cut_off = False
        self.leaving = False
        self.withheld: list[Event] = []
        self.databases: list[Database] = []
        clocks = HostClocks(lambda: world.wall_us, lambda: world.now_us)
        general = Lane(self, "general", 6)

        def new_pool(purpose: str, size: int) -> Pool:
            return Pool(Lane(self, purpose, size).in_thread, lambda: None)

        self.reactor = Reactor(self)
        surroundings = Surroundings(self.reactor, clocks, general.in_thread, new_pool)
        self.master = Master(config, name, surroundings, {}, threads=False, on_end=self._ended)

    def __str__(self) -> str:
        return f"{self.name}#{self.number}"

    def start(self) -> None:
        """Run the master."""

        def begin() -> None:
            Deferred.fromCoroutine(self.master.start()).addErrback(self._could_not)

        self.world.later(1, f"{self}: starts", begin, self)

    def _could_not(self, failure: Failure) -> None:
        self.world.note(f"{self}: could not start: {failure.getErrorMessage()}")
        self.world.could_not_start(self, failure)
        self.kill()

    def _ended(self, code: int) -> None:
        self.world.ended_by_itself(self, code)
        self.kill()

    def stop(self) -> None:
        """As SIGTERM does: the process ends when the master has stopped."""
        if self.dead or self.leaving:
            return
        self.leaving = True

        def gone(_: Any) -> None:
            self.world.note(f"{self}: has stopped")
            self.kill()

        def begin() -> None:
            self.master.stop("it was stopped").addBoth(gone)

        self.world.later(1, f"{self}: is told to stop", begin, self)

    def kill(self) -> None:
        """As SIGKILL does."""
        if self.dead:
            return
        self.dead = True
        self.withheld.clear()
        for database in self.databases:
            database.close()
        self.world.note(f"{self}: dead")
        self.world.died(self)

    def freeze(self, seconds: float) -> None:
        """As SIGSTOP, and SIGCONT so much later."""
        if not self.dead and not self.frozen:
            self.frozen = True
            self.world.note(f"{self}: frozen for {seconds} s")
            self.world.later(int(seconds * SECOND), "", self.thaw, None)

    def block(self, seconds: float) -> None:
        """The reactor does not come round for so long; threads go on."""
        if not self.dead and not self.blocked:
            self.blocked = True
            self.world.note(f"{self}: blocked for {seconds} s")
            self.world.later(int(seconds * SECOND), "", self.thaw, None)

    def thaw(self) -> None:
        """Go on: what came due meanwhile happens now, in order."""
        if self.dead or not (self.frozen or self.blocked):
            return
        self.frozen = self.blocked = False
        withheld, self.withheld = self.withheld, []
        self.world.note(f"{self}: goes on, {len(withheld)} late")
        for event in withheld:
            self.world.again(event)

    def withholds(self, event: Event) -> bool:
        """Whether it cannot happen now."""
        return self.frozen or (self.blocked and event.on_reactor)


class World:
    """The clock, the queue of what will happen, and the dice."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now_us = 5_000 * SECOND
        self.wall_offset_us = WALL_AT_START
        self.steps = 0
        self.chances: dict[str, float] = {}
        self.outage = False
        self.wake_lost = 0.0
        self.wake_late_s = 0.05
        self.broken = ""
        self.processes: list[Process] = []
        self.graveyard: list[Process] = []
        """Their objects must not be collected in the middle of a run: ``finally`` blocks would run at a random moment."""
        self.running: Process | None = None
        self.lately: deque[str] = deque(maxlen=60)
        self.on_performed: Callable[[Call | None, Callable[..., Any], tuple[Any, ...], Any], None] = lambda *_: None
        self.on_death: Callable[[Process], None] = lambda process: None
        self._heap: list[tuple[int, int, Event]] = []
        self._count = 0
        self._hash = hashlib.blake2b(digest_size=12)

    # -- time ---------------------------------------------------------------------------------------------------------

    @property
    def wall_us(self) -> int:
        """The host's wall clock, which may be set."""
        return self.now_us + self.wall_offset_us

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self.now_us / SECOND - 5_000

    def later(
        self, delay_us: int, label: str, act: Callable[[], None], process: Process | None, *, on_reactor: bool = True
    ) -> Event:
        """Plan something."""
        event = Event(label, act, process, on_reactor)
        if process is None or not process.dead:
            self._push(self.now_us + delay_us, event)
        return event

    def again(self, event: Event) -> None:
        """What was withheld happens now."""
        self._push(self.now_us, event)

    def _push(self, at: int, event: Event) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, event))

    def step(self) -> None:
        """The next thing happens."""
        at, _, event = heapq.heappop(self._heap)
        self.now_us = max(self.now_us, at)
        process = event.process
        if event.cancelled or (process is not None and process.dead):
            return
        if process is not None and process.withholds(event):
            process.withheld.append(event)
            return
        self.steps += 1
        if event.label:
            self.note(event.label)
        self.running = process
        try:
            event.act()
        finally:
            self.running = None
        if self.broken:
            raise Violation(self.broken)

    def violate(self, text: str) -> None:
        """A promise is broken; for code whose exceptions somebody else would catch."""
        self.broken = self.broken or text

    def run_until(self, when_us: int) -> None:
        """All that happens until then."""
        while self._heap and self._heap[0][0] <= when_us:
            self.step()
        self.now_us = max(self.now_us, when_us)

    def pause(self, seconds: float) -> Deferred[None]:
        """For the code of schedulers: fires so much later, in their process."""
        waiting: Deferred[None] = Deferred()

        def go_on() -> None:
            if not waiting.called:
                waiting.callback(None)

        self.later(int(seconds * SECOND), "", go_on, self.running)
        return waiting

    # -- what is told -------------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """A line of the story; part of what must be the same for the same seed."""
        line = f"{self.seconds:11.6f} {text}"
        self._hash.update(line.encode())
        self.lately.append(line)

    def remark(self, text: str) -> None:
        """A line for readers only."""
        self.lately.append(f"{self.seconds:11.6f}     | {text}")

    @property
    def digest(self) -> str:
        """Of the whole story so far."""
        return self._hash.hexdigest()

    # -- what goes wrong ----------------------------------------------------------------------------------------------

    def happens(self, what: str) -> bool:
        """Throw the dice."""
        chance = self.chances.get(what, 0.0)
        return chance > 0 and self.rng.random() < chance

    def fate_of(self, call: Call) -> str:
        """What becomes of this call; '' for nothing special."""
        if self.outage or call.lane.process.cut_off:
            return "away"
        for fate in FATES:
            if fate != "slow" and (self.happens(fate) or self.happens(f"{fate} {call.what.__name__}")):
                if fate == "ghost" and (call.how != "write" or call.what.__name__ == "join"):
                    continue
                return fate
        return ""

    def perform(self, call: Call) -> Any:
        """Carry it out on the real database: its answer, or the Failure."""
        result: Any
        try:
            result = call.function(*call.args, **call.kwargs)
        except Exception:
            result = Failure()
        if call.how in ("write", "single"):
            self.on_performed(call, call.what, call.args[1:], result)
        if call.what is wakeups.announce and not isinstance(result, Failure):
            self.wake(set(call.args[1]), call.lane.process)
        return result

    def wake(self, topics: set[str], but: Process | None = None) -> None:
        """Tell the masters that something is new, those that hear it."""
        for process in self.processes:
            if process is not but and self.rng.random() >= self.wake_lost:
                delay = int(self.rng.expovariate(1 / self.wake_late_s) * SECOND) + 1
                self.later(delay, "", lambda process=process: self._woken(process, topics), process)

    def _woken(self, process: Process, topics: set[str]) -> None:
        incarnation = process.master.incarnation
        if incarnation is not None:
            incarnation.woken(topics)

    # -- processes ----------------------------------------------------------------------------------------------------

    def boot(self, name: str, config: Any) -> Process:
        """Start a master in a new process."""
        process = Process(self, name, 1 + sum(p.name == name for p in self.processes + self.graveyard), config)
        self.processes.append(process)
        process.start()
        return process

    def died(self, process: Process) -> None:
        """It is gone."""
        self.processes.remove(process)
        self.graveyard.append(process)
        self.on_death(process)

    def could_not_start(self, process: Process, failure: Failure) -> None:
        """It refused: its name is taken, says it."""
        if "give this master another name" not in failure.getErrorMessage() and not process.leaving:
            self.violate(f"{process} could not start: {failure.getTraceback()}")

    def ended_by_itself(self, process: Process, code: int) -> None:
        """Its master gave up, which it may only do for another one of its name."""
        self.note(f"{process}: ended by itself")
        if not any(p.name == process.name for p in self.processes if p is not process):
            self.violate(f"{process} gave up by itself, though no other master has its name")
