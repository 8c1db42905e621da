"""Try jobs of an external system: asks its server which there are, builds each once, and tells it what became of them.

``GET url`` gives the open jobs: ``[{"id": "r7", "branch": "main", "revision": "c0ffee", "patch": "--- a/...", "who": "ann"}]``.
``POST url/ID`` is told ``{"state": "taken", "buildset": 5}`` and the result, or ``{"state": "refused", "why": "..."}``; a job
of which it was told is open no more. It may be told the same twice: inside each job is built exactly once, but what is done
outside is done at least once.

    plugins: [./external_tryjobs.py]
    schedulers:
      - type: external_tryjobs.ExternalTryJobs
        name: review
        builderNames: [unit]
        url: https://review.example.org/try-jobs
        token: {secret: {env: REVIEW_TOKEN}}
        interval: 30s
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http.client import HTTPException
from typing import Any, ClassVar
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from locum.config import Secret
from locum.schedulers import BaseScheduler, FinishedBuildset, SchedulerFault, duration_argument
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

REQUEST_TIMEOUT_S = 5
NEWS_AT_ONCE = 8  # with the time-out they stay below cluster.turn_timeout


class ExternalTryJobs(BaseScheduler):
    """Polls by a timer, so that whoever takes over polls on. What the server is to be told is kept until it has heard it.

    State ``jobs``: the job's id -> ``buildset`` (null: refused), ``news`` (what the server is to be told; null: nothing),
    ``over`` (whether no more news will come).
    """

    compare_attrs: ClassVar[Sequence[str]] = ("url", "token", "interval")
    log = Logger()

    def __init__(
        self,
        name: str,
        builderNames: Sequence[str],
        url: str,
        token: Secret | None = None,
        interval: float | str = "30s",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, builderNames, **kwargs)
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url: expected one that begins with http:// or https://, got {url!r}")
        self.url = url.rstrip("/")
        self.token = token
        self.interval = timedelta(seconds=duration_argument("interval", interval))

    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingBuildsets(lambda buildset: buildset.scheduler == self.name)
        jobs = await self.getState("jobs", {})
        running = {job["buildset"]: job for job in jobs.values() if not job["over"]}
        for bsid, result in (await self.master.results_of(list(running))).items():
            _ended(running[bsid], result)  # while it was disabled: of that it is not told
        await self.setState("jobs", jobs)
        await self.setTimer("poll", self.now())

    async def gotBuildsetComplete(self, buildset: FinishedBuildset) -> None:
        jobs = await self.getState("jobs", {})
        job = jobs.get(buildset.external_id)
        if job is not None and job["buildset"] == buildset.id and not job["over"]:
            _ended(job, buildset.result)
            await self.setState("jobs", jobs)
            await self.setTimer("poll", self.now())  # tell it at once

    async def gotTimer(self, key: str, due: datetime) -> None:
        await self.setTimer("poll", self.now() + self.interval)
        jobs = await self.getState("jobs", {})
        news = [(name, job["news"]) for name, job in jobs.items() if job["news"] is not None][:NEWS_AT_ONCE]
        try:
            listed = await deferToThread(self._exchange, news)
        except (OSError, HTTPException, ValueError) as error:
            # What went on from here would be a failure of this turn, and the polling would wait for hours in the end.
            self.log.warn("{name}: {url}: {error}; asking again", name=self.name, url=self.url, error=error)
            return
        for name, _ in news:
            jobs[name]["news"] = None
        for given in listed:
            if given["id"] not in jobs:
                jobs[given["id"]] = await self._take(given)
        done = [name for name, job in jobs.items() if job["over"] and job["news"] is None]
        still_open = {given["id"] for given in listed}
        await self.setState("jobs", {name: job for name, job in jobs.items() if name not in done or name in still_open})

    async def _take(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What is kept of a job that is new: its buildset, or why it gets none."""
        who = given.get("who") or "somebody"
        stamp = {name: given[name] for name in ("branch", "revision") if given.get(name)}
        if given.get("patch"):
            stamp["patch"] = {"body": given["patch"], "level": 1}
        try:
            bsid, _ = await self.addBuildsetForSourceStampsWithDefaults(
                reason=f"try job {given['id']} of {who}",
                sourcestamps=[stamp],
                properties={"owner": who, "tryjob": given["id"]},
                external_idstring=given["id"],
            )
        except (SchedulerFault, TypeError, ValueError) as error:  # its fault alone: the others must not wait for it
            return {"buildset": None, "over": True, "news": {"state": "refused", "why": str(error)}}
        return {"buildset": bsid, "over": False, "news": {"state": "taken", "buildset": bsid}}

    def _exchange(self, news: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
        """In a thread, where waiting is allowed, and where nothing of the scheduler may be touched: tell it all, then ask."""
        for name, what in news:
            try:
                self._request(f"{self.url}/{quote(name, safe='')}", json.dumps(what).encode())
            except HTTPError as error:
                if error.code >= 500:
                    raise
                self.log.warn("{job}: the server answered {error}", job=name, error=error)  # it does not want to know
        listed = json.loads(self._request(self.url, None))
        if not isinstance(listed, list) or not all(isinstance(one, dict) and _is_id(one.get("id")) for one in listed):
            raise ValueError("expected a list of objects with an id each")
        return listed

    def _request(self, url: str, data: bytes | None) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token.reveal()}"
        with urlopen(Request(url, data, headers), timeout=REQUEST_TIMEOUT_S) as answer:
            body: bytes = answer.read()
        return body


def _ended(job: dict[str, Any], result: str) -> None:
    job["over"], job["news"] = True, {"state": result, "buildset": job["buildset"]}


def _is_id(value: object) -> bool:
    return isinstance(value, str) and bool(value)
