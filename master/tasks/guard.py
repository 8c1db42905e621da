"""Runs one command and answers for its end: ``python -I -S guard.py GRACE DEADLINE FOLDER PROGRAM ARGUMENT...``.

A program of its own, of the standard library alone, that starts fast. The master holds the other ends of three pipes:

0  orders, a line each: ``deadline SECONDS`` (of CLOCK_BOOTTIME; ``never``) and ``kill``. Its end: the master is dead.
1  what the command writes, to both of its outputs, goes there as it is.
3  reports, a line each: ``started PID``, then one of ``exit CODE``, ``signal NUMBER``, ``deadline``, ``killed``,
   ``orphaned`` or ``error TEXT``.

Nothing that the command started outlives it: what is left is asked to end (SIGTERM) and after GRACE seconds made to.
Orphans of orphans come to this process (a "subreaper"), so that leaving the group or the session is no way out.
"""

# What is beneath ``signal``: that one makes enums, which takes as long as all the rest.
import _signal as signal  # type: ignore[import-not-found]
import os
import select
import sys
import time

ORDERS, OUTPUT, REPORTS = 0, 1, 3
LONGEST_WAIT_S = 2.0  # poll() stands still while the machine sleeps, the deadline does not
PR_SET_CHILD_SUBREAPER = 36


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def report(line: str) -> None:
    try:
        os.write(REPORTS, line.encode("utf-8", "replace") + b"\n")
    except OSError:  # nobody is there to hear it
        pass


def become_subreaper() -> None:
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):  # then only the group of the command is ours to kill
        pass


def descendants() -> list[int]:
    """The processes below this one, as they are now."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:  # gone meanwhile
                continue
            if fields[0] != b"Z":
                children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    new = children.get(os.getpid(), [])
    while new:
        found += new
        new = [child for parent in new for child in children.get(parent, [])]
    return found


class Guard:
    """One command from its start to the end of all that it left behind."""

    def __init__(self, grace_s: float, deadline: float) -> None:
        self.grace_s = grace_s
        self.deadline = deadline
        self.pid = 0
        self.status: int | None = None
        self.orders = b""
        self.why = ""
        self.wake, wake_in = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_in, False)
        signal.set_wakeup_fd(wake_in)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self.terminated)
        for ignored in (signal.SIGINT, signal.SIGHUP):  # a terminal's; the master says when to end
            signal.signal(ignored, signal.SIG_IGN)
        self.poll = select.poll()
        self.poll.register(self.wake, select.POLLIN)
        self.poll.register(ORDERS, select.POLLIN)

    def terminated(self, *_: object) -> None:
        self.why = self.why or "killed"

    def start(self, program: list[str]) -> bool:
        """False, and reported, if it cannot be started."""
        try:
            self.pid = os.posix_spawnp(
                program[0],
                program,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, OUTPUT, 1),
                    (os.POSIX_SPAWN_DUP2, OUTPUT, 2),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}),
            )
        except OSError as error:
            report(f"error cannot start {program[0][:200]!r}: {error.strerror}")
            return False
        report(f"started {self.pid}")
        return True

    def run(self) -> None:
        while self.status is None and not self.why:
            self.wait(self.deadline - now())
        self.end_all()
        report(self.why or self.ending())

    def ending(self) -> str:
        code = os.waitstatus_to_exitcode(self.status or 0)
        return f"exit {code}" if code >= 0 else f"signal {-code}"

    def wait(self, longest_s: float) -> None:
        """Until something happens; takes it in."""
        for fd, _ in self.poll.poll(max(0.0, min(longest_s, LONGEST_WAIT_S)) * 1000):
            if fd == ORDERS:
                self.obey()
            else:
                os.read(self.wake, 4096)
        self.reap()
        if now() >= self.deadline:
            self.why = self.why or "deadline"

    def obey(self) -> None:
        read = os.read(ORDERS, 4096)
        if not read:
            self.poll.unregister(ORDERS)
            self.why = self.why or "orphaned"
        *lines, self.orders = (self.orders + read).split(b"\n")
        for line in lines:
            if line == b"kill":
                self.why = self.why or "killed"
            elif line.startswith(b"deadline "):
                self.deadline = float("inf") if line.endswith(b"never") else float(line[9:])

    def reap(self) -> bool:
        """Take in the dead; whether anybody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid:
                self.status = status

    def end_all(self) -> None:
        """SIGTERM, then SIGKILL, until nobody is left; those that cannot be killed are given up after a while."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        until = now() + self.grace_s
        if self.reap():
            self.signal_all(signal.SIGTERM)
        while self.reap() and now() < until:
            self.rest(until - now())
        until = now() + 10
        while self.reap() and now() < until:
            self.signal_all(signal.SIGKILL)
            self.rest(0.05)

    def rest(self, seconds: float) -> None:
        """Until somebody has died."""
        readable = select.select([self.wake], [], [], max(0.0, min(seconds, LONGEST_WAIT_S)))[0]
        if readable:
            os.read(self.wake, 4096)

    def signal_all(self, number: int) -> None:
        group = [(os.killpg, self.pid)] if self.status is None else []
        for kill, pid in [*group, *((os.kill, pid) for pid in descendants())]:
            try:
                kill(pid, number)
            except OSError:  # gone meanwhile, or another user's
                pass


def main(arguments: list[str]) -> None:
    os.dup2(OUTPUT, 2)
    os.set_inheritable(REPORTS, False)
    os.closerange(REPORTS + 1, 2**16)  # whatever the master itself was given
    try:
        os.setsid()  # away from the master's terminal and its signals
    except OSError:
        pass
    deadline = float("inf") if arguments[1] == "never" else float(arguments[1])
    guard = Guard(float(arguments[0]), deadline)
    become_subreaper()
    try:
        os.chdir(arguments[2])
    except OSError as error:
        report(f"error cannot work in {arguments[2]}: {error.strerror}")
        return
    if guard.start(arguments[3:]):
        guard.run()


if __name__ == "__main__":
    main(sys.argv[1:])
