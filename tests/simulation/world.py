"""One fake clock, one real database, many masters in this very process: every call of the database, every timer and every
wake-up is an event at which something may go wrong.

Nothing here asks the real time, and every die is thrown by the name of its point (``roll``), so a seed tells the whole
story, and a fault that is left out moves none of the others but by its own consequences.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from locum.db import members
from locum.db.database import Database, HostClocks
from locum.db.errors import DatabaseAway, OutcomeUnknown
from locum.master.service import Master
from locum.master.surroundings import Pool, Surroundings
from locum.master.watchman import RETRY_S
from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.python.failure import Failure

from .commands import Guard

SECOND = 1_000_000
WALL_AT_START = 1_700_000_000 * SECOND
BOOTED = 5_000 * SECOND
FATES = (
    "kill before",
    "kill after",
    "lost",
    "unknown",
    "ghost",
    "away",
    "freeze before",
    "freeze after",
    "block after",
)
"""What may become of a call of the database."""
PARTINGS = ("kill", "freeze", "block", "late")
"""What may become of a timer or a wake-up."""
_FREEZES_S = (0.5, 2.0, 6.0, 15.0, 40.0)
_BLOCKS_S = (0.5, 3.0, 9.0, 20.0)


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
        self._timers = 0

    def seconds(self) -> float:
        """Seconds of this reactor's life."""
        return self._process.boottime_us() / SECOND

    def callLater(self, seconds: float, function: Callable[..., Any], *args: Any, **kwargs: Any) -> DelayedCall:
        """As Twisted's."""
        assert seconds >= 0, seconds
        process, world = self._process, self._process.world
        self._timers += 1
        point = f"{process} timer {self._timers}"

        def act() -> None:
            parting = world.faults.one_of(PARTINGS, point)
            if parting and process.part(parting, point):
                world.later(1, "", run, process)
            elif not process.dead:
                run()

        def run() -> None:
            if not event.cancelled:
                call.called = True
                function(*args, **kwargs)

        # A moment later at least, as on a real reactor: no loop can stand still in time.
        event = world.later(max(1, int(seconds / process.rate * SECOND)), "", act, process)
        call = DelayedCall(event)
        return call

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        """As Twisted's."""
        self.callLater(0, function, *args)

    def spawnProcess(self, protocol: Any, program: str, args: Sequence[str], *_: Any, **__: Any) -> Guard:
        """A guard with a command."""
        return Guard(self._process, protocol, args)


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


class Call:
    """One call of a function in a thread, nearly always of a ``Database``; ``point`` is its name among all calls."""

    __slots__ = ("answer", "answer_us", "args", "function", "how", "kwargs", "lane", "of_database", "point", "what")

    def __init__(
        self,
        lane: Lane,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        answer: Deferred[Any],
    ) -> None:
        self.lane = lane
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.answer = answer
        self.answer_us = 0
        """how long the answer takes beyond what is usual"""
        self.how: str = function.__name__
        """``write``, ``read`` or ``single``; another name for a function that is not a ``Database``'s"""
        database = getattr(function, "__self__", None) or (args[0] if args else None)
        self.of_database = isinstance(database, Database)
        self.what: Callable[..., Any] = args[0] if self.how in ("write", "read", "single") else function
        process = lane.process
        if isinstance(database, Database) and database not in process.databases:
            process.databases.append(database)
        name = self.what.__name__
        process.calls[name] += 1
        self.point = f"{process} {name} {process.calls[name]}"

    def start(self) -> None:
        process, world = self.lane.process, self.lane.process.world
        delay = int(-math.log(1 - world.roll("takes", self.point)) * 4000) + 200
        if self.of_database and world.faults.one_of(("slow",), self.point, f"slow at {self.point}", self.what.__name__):
            # The driver's own deadline cuts a beat short at half a lease.
            longest = process.lease_s / 2 if self.lane.name == "locum-beat" else 12.0
            slow_us = int((0.05 + world.roll("slow for", self.point) * (longest - 0.05)) * SECOND)
            self.answer_us = int(slow_us * world.roll("slow answer", self.point))
            delay = slow_us - self.answer_us
            world.slow_until_us = max(world.slow_until_us, world.now_us + slow_us + SECOND // 10)
        world.later(delay, "", self.execute, process, on_reactor=False)

    def execute(self) -> None:
        process, world = self.lane.process, self.lane.process.world
        fate = world.fate_of(self)
        world.note(f"{self.point}{': ' + fate if fate else ''}")
        if fate == "kill before":
            return process.kill()
        if fate == "freeze before":
            process.freeze(world.choice(_FREEZES_S, self.point))
            world.later(1, "", self._thawed, process, on_reactor=False)
            return None
        if fate == "away":
            return self._reply(Failure(self._lost() if self.how == "single" else DatabaseAway("simulated")))
        if fate == "unknown":
            return self._reply(Failure(self._lost()))
        if fate == "ghost":  # the connection broke, and the server carries it out all the same, later
            longest_s = world.choice((0.005, 0.02, 4.0), self.point)
            later_us = int(longest_s * world.roll("ghost after", self.point) * SECOND)
            world.later(later_us, "", lambda: world.perform(self), None)
            return self._reply(Failure(self._lost()))
        return self._go_on(fate)

    def _thawed(self) -> None:
        if self.lane.process.unreachable:
            return self._reply(Failure(self._lost()))
        return self._go_on()

    def _go_on(self, fate: str = "") -> None:
        process, world = self.lane.process, self.lane.process.world
        result = world.perform(self)
        if fate == "kill after":
            return process.kill()
        if fate == "freeze after":
            process.freeze(world.choice(_FREEZES_S, self.point))
        if fate == "block after":
            process.block(world.choice(_BLOCKS_S, self.point))
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

        usual_us = 50 + int(world.roll("answers", self.point) * 1450)
        world.later(self.answer_us + usual_us, "", answer, self.lane.process)


class Process:
    """A process that runs one master. Killed: all that it planned is dropped. Frozen: withheld until it goes on.

    ``differs``: the names of the schedulers that a reconfiguration of it may touch.
    """

    def __init__(self, world: World, name: str, number: int, config: Any) -> None:
        self.world = world
        self.name = name
        self.number = number
        self.pid = 1000 + world.next_number()
        self.config = config
        """its file, as it is now"""
        self.read = self.ran = config
        """what it read last, and what it ran by when it read that"""
        self.lease_s: float = config.cluster.lease
        self.dead = False
        self.frozen = False
        self.blocked = False
        self._still_until_us = 0
        self.cut_off = False
        self.leaving = False
        self.differs: set[str] = set()
        self.withheld: list[Event] = []
        self.databases: list[Database] = []
        self.guards: list[Guard] = []
        self.calls: Counter[str] = Counter()
        self._label = f"{name}#{number}"
        host = world.hosts.get(name, Host())
        self.host = host
        self.rate = host.rate
        clocks = HostClocks(self._wall_us, self._lease_or_boottime_us)
        general = Lane(self, "general", 6)
        self.watch = Lane(self, "watch", 1)

        def new_pool(purpose: str, size: int) -> Pool:
            return Pool(Lane(self, purpose, size).in_thread, lambda: None)

        self.reactor = Reactor(self)
        surroundings = Surroundings(self.reactor, clocks, general.in_thread, new_pool)
        before, world.running = world.running, self
        self.master = Master(
            config, name, surroundings, {}, read_config=self._read_config, threads=False, on_end=self._ended
        )
        world.running = before

    def __str__(self) -> str:
        return self._label

    @property
    def unreachable(self) -> bool:
        """Whether the database cannot be reached from here."""
        return self.cut_off or self.world.outage

    def _read_config(self) -> Any:
        self.read, self.ran = self.config, self.master.config
        return self.read

    # -- its clocks ---------------------------------------------------------------------------------------------------

    def boottime_us(self) -> int:
        """CLOCK_BOOTTIME of its host."""
        return self.host.booted_us + int(self.world.now_us * self.rate)

    def _wall_us(self) -> int:
        return self.world.wall_us if self.world.serving else self.world.wall_us + self.host.off_us

    def _lease_or_boottime_us(self) -> int:
        return self.world.lease_us if self.world.serving else self.boottime_us()

    # -- its life -----------------------------------------------------------------------------------------------------

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
        for guard in list(self.guards):
            guard.orphaned()
        for database in self.databases:
            database.close()
        self.world.note(f"{self}: dead")
        self.world.died(self)

    def freeze(self, seconds: float) -> None:
        """As SIGSTOP, and SIGCONT so much later."""
        if not self.dead and not self.frozen:
            self.frozen = True
            self.world.note(f"{self}: frozen for {seconds} s")
            self._thaw_later(seconds)

    def block(self, seconds: float) -> None:
        """The reactor does not come round for so long; threads go on."""
        if not self.dead and not self.blocked:
            self.blocked = True
            self.world.note(f"{self}: blocked for {seconds} s")
            self._thaw_later(seconds)

    def _thaw_later(self, seconds: float) -> None:
        until_us = self.world.now_us + int(seconds * SECOND)
        self._still_until_us = max(self._still_until_us, until_us)

        def over() -> None:
            if self.world.now_us >= self._still_until_us:  # nobody has stopped it anew meanwhile
                self.thaw()

        self.world.later(int(seconds * SECOND), "", over, None)

    def part(self, parting: str, point: str) -> bool:
        """What becomes of a timer or wake-up; True: it comes later."""
        self.world.note(f"{point}: {parting}")
        if parting == "kill":
            self.kill()
            return False
        if parting == "freeze":
            self.freeze(self.world.choice(_FREEZES_S, point))
        else:  # late: the reactor was busy with something for a moment
            self.block(self.world.choice(_BLOCKS_S if parting == "block" else (0.1, 0.5, 2.0), point))
        return True

    def thaw(self) -> None:
        """Go on: what came due meanwhile happens now, in order."""
        if self.dead or not (self.frozen or self.blocked):
            return
        self.frozen = self.blocked = False
        self._still_until_us = 0
        withheld, self.withheld = self.withheld, []
        self.world.note(f"{self}: goes on, {len(withheld)} late")
        for event in withheld:
            self.world.again(event)

    def withholds(self, event: Event) -> bool:
        """Whether it cannot happen now."""
        return self.frozen or (self.blocked and event.on_reactor)


@dataclass(slots=True)
class Host:
    """The clocks of a master's machine: how far its wall clock is off, how fast its quartz runs, when it was booted."""

    off_us: int = 0
    rate: float = 1.0
    booted_us: int = 0


class Faults:
    """Whether something goes wrong at a point: thrown by dice; or, with ``kept``, what is on that list and nothing else."""

    def __init__(self, world: World, chances: dict[str, float], kept: Sequence[str] | None) -> None:
        self._world = world
        self.chances = chances
        self._kept = None if kept is None else dict(fault.split(": ", 1) for fault in kept)
        self.happened: list[str] = []
        self.over = False

    def happens(self, what: str, point: str) -> bool:
        """Whether ``what`` goes wrong there."""
        return bool(self.one_of((what,), point, f"{what} at {point}"))

    def one_of(self, kinds: Sequence[str], point: str, name: str = "", function: str = "") -> str:
        """Which of ``kinds`` goes wrong there; '' for nothing."""
        if self.over:
            return ""
        name = name or point
        if self._kept is not None:
            found = self._kept.get(name, "")
            found = found if found in kinds else ""
        else:
            found = self._thrown(kinds, name, function)
        if found:
            self.happened.append(f"{name}: {found}")
        return found

    def _thrown(self, kinds: Sequence[str], name: str, function: str) -> str:
        chances = [self.chances.get(kind, 0.0) + self.chances.get(f"{kind} {function}", 0.0) for kind in kinds]
        if not any(chances):
            return ""
        die = self._world.roll("fault", name)
        for kind, chance in zip(kinds, chances, strict=True):
            die -= chance
            if die < 0:
                return kind
        return ""


class World:
    """The clock, the queue of what will happen, and the dice."""

    def __init__(self, seed: int, chances: dict[str, float], kept: Sequence[str] | None) -> None:
        self.seed = seed
        self._salt = f"{seed}|".encode()
        self.now_us = BOOTED
        self.wall_offset_us = WALL_AT_START
        self.skipped_us = 0
        self.steps = 0
        self.faults = Faults(self, chances, kept)
        self.outage = False
        self.wake_lost = 0.0
        self.wake_late_s = 0.05
        self.lease_by_wall = False
        self.crash_hint = False
        self.broken = ""
        self.hosts: dict[str, Host] = {}
        self.upstream: list[str] = []
        self.jumped = False
        """somebody set the server's clock: what is measured by it is not what passed"""
        self.processes: list[Process] = []
        self.pids: dict[int, Process] = {}
        """All that ever were. Their objects must not be collected in the middle of a run: ``finally`` blocks would run."""
        self.slow_until_us = 0
        """until then some call to the database may still be on its way, as it was slow"""
        self.running: Process | None = None
        self.serving = False
        """the database answers at this moment, so who asks for a clock means the server's"""
        self.touched: list[tuple[Any, ...]] = []
        """(table, key, ...) of rows that the present call has written"""
        self.lately: deque[str] = deque(maxlen=80)
        self.on_performed: Callable[[Call, Any], None] = lambda *_: None
        self.on_death: Callable[[Process], None] = lambda process: None
        self.live_commands: dict[int, Guard] = {}
        self.last_command: dict[int, str] = {}
        """task -> how the last of its commands that has ended did so"""
        self._attempts: Counter[int] = Counter()
        self._failed_before: Counter[str] = Counter()
        self._turns: Counter[str] = Counter()
        self._booted: Counter[str] = Counter()
        self._wakes = 0
        self._numbers = 0
        self._heap: list[tuple[int, int, Event]] = []
        self._count = 0
        self._hash = hashlib.blake2b(digest_size=12)

    # -- time ---------------------------------------------------------------------------------------------------------

    @property
    def wall_us(self) -> int:
        """The server's wall clock (with one host: everybody's), which may be set."""
        return self.now_us + self.wall_offset_us

    @property
    def lease_us(self) -> int:
        """The clock that leases are judged by: CLOCK_BOOTTIME of the one host, or the server's wall clock."""
        return self.wall_us - self.skipped_us if self.lease_by_wall else self.now_us

    @property
    def seconds(self) -> float:
        """Lived since the beginning; what was skipped of the calendar does not count."""
        return (self.now_us - BOOTED) / SECOND

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

    def skip(self, us: int) -> None:
        """So much of the calendar passes in which nothing happens: the wall clock goes on, and nothing else."""
        self.note(f"{us / 3.6e9:.2f} h pass")
        self.wall_offset_us += us
        self.skipped_us += us

    def pause(self, seconds: float) -> Deferred[None]:
        """For the code of schedulers: fires so much later, in their process."""
        waiting: Deferred[None] = Deferred()

        def go_on() -> None:
            if not waiting.called:
                waiting.callback(None)

        self.later(int(seconds * SECOND), "", go_on, self.running)
        return waiting

    # -- dice ---------------------------------------------------------------------------------------------------------

    def roll(self, *name: str) -> float:
        """From 0 to 1, always the same for that name."""
        found = hashlib.blake2b(self._salt + "|".join(name).encode(), digest_size=7).digest()
        return int.from_bytes(found, "big") / 2**56

    def choice(self, among: Sequence[Any], name: str) -> Any:
        """One of them, always the same for that name."""
        return among[int(self.roll("choice", name) * len(among))]

    def next_number(self) -> int:
        """One that nobody had before."""
        self._numbers += 1
        return self._numbers

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

    def fate_of(self, call: Call) -> str:
        """What becomes of this call; '' for nothing special."""
        if not call.of_database:
            return ""
        if call.lane.process.unreachable:
            return "away"
        fate = self.faults.one_of(FATES, call.point, function=call.what.__name__)
        if fate == "ghost" and (call.how != "write" or call.what.__name__ == "join"):
            return "unknown"
        return fate

    async def slowly(self, name: str) -> None:
        """A reaction of that scheduler may take its time."""
        self._turns[name] += 1
        point = f"turn {self._turns[name]} of {name}"
        if self.faults.happens("slow turn", point):
            await self.pause(0.01 + 5.0 * self.roll("for", point))

    def maybe_raise(self, name: str, cause: str) -> None:
        """A reaction of that scheduler may fail; of the same cause a few times at most, unless this story is stubborn."""
        before = self._failed_before[f"{name} {cause}"]
        if before >= 2 and not self.faults.chances.get("stubborn"):
            return
        if self.faults.happens("raise", f"{cause} try {before + 1} of {name}"):
            self._failed_before[f"{name} {cause}"] += 1
            raise RuntimeError("simulated")

    def perform(self, call: Call) -> Any:
        """Carry it out on the real database: its answer, or the Failure."""
        result: Any
        self.touched.clear()
        self.serving = call.of_database
        try:
            result = call.function(*call.args, **call.kwargs)
        except Exception:
            result = Failure()
        finally:
            self.serving = False
        announced = {key[0] for table, *key in self.touched if table == "announcements"}
        if announced:
            self.touched[:] = [row for row in self.touched if row[0] != "announcements"]
        if call.of_database:
            self.on_performed(call, result)
        if announced and not isinstance(result, Failure):
            self.wake(announced, call.lane.process)
        return result

    def wake(self, topics: set[str], but: Process | None = None) -> None:
        """Tell the masters that something is new, those that hear it."""
        for process in self.processes:
            if process is but:
                continue
            self._wakes += 1
            point = f"wake-up {self._wakes}"
            if self.roll("heard", point) >= self.wake_lost:
                delay = int(-math.log(1 - self.roll("after", point)) * self.wake_late_s * SECOND) + 1
                self.later(delay, "", lambda process=process, point=point: self._woken(process, topics, point), process)

    def _woken(self, process: Process, topics: set[str], point: str) -> None:
        parting = self.faults.one_of(PARTINGS, point)
        if parting:
            process.part(parting, point)
        incarnation = process.master.incarnation
        if incarnation is not None and not parting:
            incarnation.woken(topics)

    # -- processes ----------------------------------------------------------------------------------------------------

    def boot(self, name: str, config: Any) -> Process:
        """Start a master in a new process."""
        self._booted[name] += 1
        process = Process(self, name, self._booted[name], config)
        self.pids[process.pid] = process
        self.processes.append(process)
        process.start()
        return process

    def died(self, process: Process) -> None:
        """It is gone, and whoever watches its lock may notice."""
        self.processes.remove(process)
        incarnation = process.master.incarnation
        if incarnation is not None and self.crash_hint:
            for other in self.processes:
                self._hint(other, incarnation.id, process.pid)
        self.on_death(process)

    def joined(self, process: Process, incarnation: Any) -> None:
        """It is a member: it says which lock it holds, as its watching thread does, until that is known to be written."""
        if not self.crash_hint or incarnation._ended:
            return

        def again(_: Failure) -> None:
            self.later(int(RETRY_S * SECOND), "", lambda: self.joined(process, incarnation), process, on_reactor=False)

        database = incarnation.databases.work.database
        process.watch.in_thread(database.single, members.set_crash_key, incarnation.id, process.pid).addErrback(again)

    def _hint(self, watcher: Process, dead: str, key: int) -> None:
        def look() -> None:
            mine = watcher.master.incarnation
            # Only a lock that was seen held and then free tells anything.
            if mine is not None and any(m.incarnation == dead and m.crash_key == key for m in mine.membership.peers):
                database = mine.databases.work.database
                answer = watcher.watch.in_thread(database.single, members.declare_crashed, dead, key)
                answer.addCallbacks(lambda yes: mine._peer_lost(dead) if yes else None, lambda failure: None)

        delay = int(50_000 * self.roll("noticed", str(watcher), dead)) + 1
        self.later(delay, "", look, watcher)

    def next_attempt(self, task: int) -> int:
        """How often a command of that task has been started."""
        self._attempts[task] += 1
        return self._attempts[task]

    def could_not_start(self, process: Process, failure: Failure) -> None:
        """It refused: its name is taken, says it."""
        if "give this master another name" not in failure.getErrorMessage() and not process.leaving:
            self.violate(f"{process} could not start: {failure.getTraceback()}")

    def ended_by_itself(self, process: Process, code: int) -> None:
        """Its master gave up, which it may only do for another one of its name."""
        self.note(f"{process}: ended by itself")
        if not any(p.name == process.name for p in self.processes if p is not process):
            self.violate(f"{process} gave up by itself, though no other master has its name")
