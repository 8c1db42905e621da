"""Run it with pytest in this folder: the harness has the master, the database and the time; the server is a real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import external_tryjobs
import pytest
from external_tryjobs import ExternalTryJobs
from locum.config import Secret
from locum.schedulers.testing import SchedulerHarness


class ReviewServer(ThreadingHTTPServer):
    """The external system: its open jobs, and what it was told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.open: list[Any] = []
        self.told: list[tuple[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/jobs"


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer

    def do_GET(self) -> None:
        self._answer(self.server.open)

    def do_POST(self) -> None:
        name = self.path.rpartition("/")[2]
        what = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status == 200:
            self.server.told.append((name, what["state"]))
            self.server.open = [job for job in self.server.open if job["id"] != name]
        self._answer(None)

    def _answer(self, body: Any) -> None:
        self.server.tokens.add(self.headers["Authorization"])
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReviewServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(external_tryjobs, "REQUEST_TIMEOUT_S", 60)  # a busy machine is no reason to fail
    with ReviewServer() as found:
        thread = Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def polling(server: ReviewServer, interval: str = "30s") -> SchedulerHarness:
    return SchedulerHarness(lambda: review(server, interval), thread_timeout_s=60)


def review(server: ReviewServer, interval: str = "30s") -> ExternalTryJobs:
    return ExternalTryJobs("review", ["unit"], url=server.url, token=Secret("s3cret"), interval=interval)


def job(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "branch": "main", "revision": "c0ffee", "patch": "--- a/x\n+++ b/x\n", "who": "ann", **more}


def test_a_job_is_built_and_the_server_hears_of_it(server: ReviewServer) -> None:
    server.open = [job("r1")]
    with polling(server) as harness:
        (built,) = harness.buildsets
        assert (built.branch, built.revision, built.properties["owner"]) == ("main", "c0ffee", "ann")
        assert built.external_id == "r1" and "+++ b/x" in str(built.sourcestamps[0].patch_json)
        assert server.told == []
        harness.advance("30s")
        assert server.told == [("r1", "taken")]
        harness.finish(built, "failure")
        assert server.told == [("r1", "taken"), ("r1", "failure")]
        assert harness.state["jobs"] == {} and len(harness.buildsets) == 1
        assert server.tokens == {"Bearer s3cret"}


def test_a_job_that_makes_no_sense_is_refused_and_the_others_are_built(server: ReviewServer) -> None:
    server.open = [job("r1", branch=["main"]), job("r2")]
    with polling(server) as harness:
        harness.advance("30s")
        assert server.told == [("r1", "refused"), ("r2", "taken")]
        assert [one.external_id for one in harness.buildsets] == ["r2"]


@pytest.mark.parametrize("committed", [False, True])
def test_a_takeover_in_the_middle_builds_once_and_tells_at_least_once(server: ReviewServer, committed: bool) -> None:
    server.open = [job("r1")]
    with polling(server) as harness:
        server.open.append(job("r2"))
        harness.kill_at_next_commit(committed=committed)
        harness.advance("30s")  # it told of r1, took r2, and died
        assert server.told == [("r1", "taken")] and len(harness.buildsets) == 1 + committed
        harness.take_over()
        harness.advance("30s")
        assert [one.external_id for one in harness.buildsets] == ["r1", "r2"]
        assert server.told == [("r1", "taken")] * (1 if committed else 2) + [("r2", "taken")]


def test_what_ends_while_nobody_is_up_or_it_is_disabled_is_told(server: ReviewServer) -> None:
    server.open = [job("r1"), job("r2")]
    with polling(server) as harness:
        harness.advance("30s")
        first, second = harness.buildsets
        harness.kill()
        harness.finish(first)
        harness.take_over()
        harness.disable()
        harness.finish(second, "failure")
        harness.enable()
        assert server.told[2:] == [("r1", "success"), ("r2", "failure")]


def test_a_failed_commit_builds_once(server: ReviewServer) -> None:
    for fate in ("fail_next_commit", "lose_next_answer"):
        server.open, server.told = [], []
        with polling(server) as harness:
            server.open = [job("r1")]
            getattr(harness, fate)()
            harness.advance("30s")
            harness.advance("1m")
            assert [one.external_id for one in harness.buildsets] == ["r1"]
            assert server.told == [("r1", "taken")]


def test_a_reconfiguration_in_the_middle_forgets_no_job(server: ReviewServer) -> None:
    server.open = [job("r1")]
    with polling(server) as harness:
        harness.reconfigure(lambda: review(server, interval="5s"))
        server.open.append(job("r2"))
        harness.advance("5s")
        assert [one.external_id for one in harness.buildsets] == ["r1", "r2"]
        harness.finish(harness.buildsets[0])
        assert ("r1", "success") in server.told


def test_while_the_server_is_in_trouble_nothing_is_lost(server: ReviewServer) -> None:
    server.open = [job("r1")]
    with polling(server) as harness:
        server.status = 503
        harness.finish(harness.buildsets[0])
        harness.advance("5m")
        assert server.told == [] and harness.failures == [] and any("503" in line for line in harness.log)
        server.status = 200
        harness.advance("30s")
        assert server.told == [("r1", "success")]


def test_an_answer_that_is_no_list_of_jobs_does_no_harm(server: ReviewServer) -> None:
    server.open = [{"no": "id"}]
    with polling(server) as harness:
        assert harness.buildsets == [] and any("with an id each" in line for line in harness.log)
