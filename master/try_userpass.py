"""``Try_Userpass``: try jobs over HTTP with a user's name and password, and from ``locum try``."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from ..config import Secret
from ..schedulers.hooks import hook
from ..schedulers.interface import NotActive
from ..schedulers.try_jobs import LARGEST_JOB, BadJob, read_job
from ..schedulers.trying import TryBase
from .logs import Log
from .loop import Loop
from .surroundings import Surroundings
from .tried import tried

_JOBS = "jobs"
_JOBS_KEPT = 500
_LISTENING = "listening"
LISTEN_AGAIN_S = 1.0


class Try_Userpass(TryBase):
    """Makes a buildset of every try job: from ``locum try`` on any host that reaches the database, and, with a ``port``,
    by ``POST`` over HTTP to the master that it is active on, with basic authentication.

    ``userpass``: a mapping of users to passwords, or a list of pairs; a password may be a secret. A job whose ``jobid`` has
    been served before is answered with the buildset that it made then.
    """

    log = Log()
    compare_attrs: ClassVar[Sequence[str]] = ("port", "interface", "users")

    surroundings: Surroundings

    def __init__(
        self,
        name: str,
        builderNames: Any,
        port: int | None = None,
        userpass: Any = None,
        interface: str = "127.0.0.1",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, builderNames, **kwargs)
        if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536):
            raise ValueError(f"port: expected a number from 1 to 65535, got {port!r}")
        if not isinstance(interface, str):
            raise ValueError(f"interface: expected an address such as 127.0.0.1, got {interface!r}")
        self.port = port
        self.interface = interface
        self.users = _users(userpass)
        if port is not None and not self.users:
            raise ValueError("userpass: it is required with a port: nobody could send anything")
        self._loop: Loop | None = None
        self._listening: Any = None
        self._trouble: str | None = None

    def equip(self, surroundings: Surroundings, base_dir: Path) -> None:
        """Called once by the master, right after construction."""
        self.surroundings = surroundings

    @hook
    async def activate(self) -> None:
        await super().activate()
        if self.port is not None:
            name = f"try scheduler {self.name!r}"
            self._loop = Loop(self.surroundings.reactor, self._listen, LISTEN_AGAIN_S, name)
            self._loop.start()

    @hook
    async def deactivate(self) -> None:
        self.active = False
        if self._loop is not None:
            await self._loop.stop()
        if self._listening is not None:
            listening, self._listening = self._listening, None
            await listening.stopListening()
        await super().deactivate()

    async def _listen(self) -> None:
        """A master of this host that is frozen may have the port still: asked for again until it is free."""
        if self._listening is not None:
            return
        site = http_site(self)
        trouble = ""
        try:
            self._listening = self.surroundings.reactor.listenTCP(self.port, site, interface=self.interface)
        except CannotListenError as error:
            trouble = f"it cannot listen yet: {error}"
        if trouble != self._trouble:
            await self._tell(trouble)

    async def _tell(self, trouble: str) -> None:
        """In the log and for ``locum status``, once: it is tried again every second."""
        if trouble:
            self.log.warn("scheduler {name}: {trouble}", name=self.name, trouble=trouble)
        try:
            async with self.turn():
                if trouble or await self.getState(_LISTENING, None):
                    await self.setState(_LISTENING, {"ok": not trouble, "text": trouble})
        except NotActive:
            return  # another instance goes on
        self._trouble = trouble

    def knows(self, user: bytes, password: bytes) -> bool:
        """Whether that is one of its users. Takes as long for a wrong name as for a wrong password."""
        found = False
        for name, kept in self.users.items():
            text = kept.reveal() if isinstance(kept, Secret) else kept
            same = hmac.compare_digest(name.encode(), user) & hmac.compare_digest(text.encode(), password)
            found = found or bool(same)
        return found

    async def served(self, data: bytes, user: str) -> Mapping[str, Any]:
        """What a request is answered: {buildset, tasks}, once it is committed. BadJob, NotActive."""
        job = read_job(data)
        async with self.turn():
            jobs: dict[str, Any] = await self.getState(_JOBS, {})
            if job.jobid in jobs:
                answer: dict[str, Any] = jobs[job.jobid]
                return answer
            fault = ""
            try:
                bsid, brids = await tried(self, job)
            except BadJob as error:
                fault = str(error)  # of the job: the turn itself has not failed
            else:
                by_id = {i: name for name, i in self.master.known_builders().items()}
                answer = {"buildset": bsid, "tasks": {by_id[i]: task for i, task in brids.items()}}
                if job.jobid:
                    kept = dict(list(jobs.items())[-_JOBS_KEPT + 1 :])
                    await self.setState(_JOBS, {**kept, job.jobid: answer})
        if fault:
            raise BadJob(fault)
        self.log.info("scheduler {name}: a try job by {user}", name=self.name, user=user)
        return answer


class _Request(Request):
    """Takes in no more than a job can be long, whoever sends it: what is longer is cut off as it comes."""

    _taken = 0

    def handleContentChunk(self, data: bytes) -> None:
        self._taken += len(data)
        if self._taken <= LARGEST_JOB:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]
        elif self._taken - len(data) <= LARGEST_JOB:
            said = json.dumps({"error": f"it is larger than {LARGEST_JOB >> 20} MB"}).encode() + b"\n"
            head = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(said)
            channel: Any = self.channel
            channel.write(head + said)
            channel.dataReceived = lambda data: None  # what is under way already
            channel.loseConnection()


def http_site(scheduler: Try_Userpass) -> Any:
    """What listens for its jobs."""
    return _Site(_Jobs(scheduler))  # type: ignore[no-untyped-call]


class _Site(Site):
    """Without a log of its own."""

    noisy = displayTracebacks = False
    requestFactory = _Request

    def log(self, request: Any) -> None:
        """Requests are noted by the scheduler."""


class _Jobs(Resource):
    """``POST`` a job, get its buildset."""

    isLeaf = True

    def __init__(self, scheduler: Try_Userpass) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._scheduler = scheduler

    def render_POST(self, request: Any) -> int | bytes:
        user = request.getUser()
        if not self._scheduler.knows(user, request.getPassword()):
            request.setHeader(b"www-authenticate", b'Basic realm="locum try"')
            return _said(request, 401, {"error": "no such user, or another password"})
        assert request.content is not None
        data = request.content.read(LARGEST_JOB + 1)
        name = user.decode("utf-8", "replace")
        Deferred.fromCoroutine(self._scheduler.served(data, name)).addCallbacks(
            lambda answer: _finish(request, 201, answer), lambda failure: _refuse(request, failure.value)
        )
        return NOT_DONE_YET


def _refuse(request: Any, error: BaseException) -> None:
    if isinstance(error, BadJob):
        _finish(request, 400, {"error": str(error)})
    elif isinstance(error, NotActive):
        _finish(
            request, 503, {"error": "it is not known to be kept: another master takes over; send the same job again"}
        )
    else:
        Try_Userpass.log.error("a try job failed: {error}", error=repr(error))
        _finish(request, 500, {"error": "it failed; see the master's log"})


def _finish(request: Any, code: int, answer: Mapping[str, Any]) -> None:
    if not request.finished and request.channel is not None:
        request.write(_said(request, code, answer))
        request.finish()


def _said(request: Any, code: int, answer: Mapping[str, Any]) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"application/json")
    return json.dumps(answer).encode() + b"\n"


def _users(given: Any) -> dict[str, str | Secret]:
    if given is None:
        return {}
    try:
        pairs = list(given.items()) if isinstance(given, Mapping) else [(user, password) for user, password in given]
    except (TypeError, ValueError):
        raise ValueError("userpass: expected a mapping of users to passwords, or a list of pairs") from None
    for user, password in pairs:
        if not isinstance(user, str) or not user or ":" in user:
            raise ValueError(f"userpass: expected users' names, without ':', got {user!r}")
        if not isinstance(password, (str, Secret)) or not (
            password.reveal() if isinstance(password, Secret) else password
        ):
            raise ValueError(f"userpass: the password of {user!r} is not a text, or empty")
    return dict(pairs)
