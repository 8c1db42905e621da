"""A repository that wants a password: git gets it, and nobody else ever sees it."""

from __future__ import annotations

import base64
import contextlib
import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from locum.config.secret import Secret
from locum.tests.support.git_polling import Master, Origin, Polling, logged
from locum.tests.support.reactors import run

PASSWORD = "s3cr/t pw"
QUOTED = "s3cr%2Ft%20pw"


class Host(ThreadingHTTPServer):
    """Serves a folder to whoever knows the password, and looks around at each request."""

    daemon_threads = True

    def __init__(self, folder, user="ada", password=PASSWORD, moved_to=None):
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.moved_to = moved_to
        self.given: list[str | None] = []
        self.arguments_seen: set[str] = set()

    @property
    def at(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(SimpleHTTPRequestHandler):
    server: Host

    def do_GET(self):
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                if "git" in line:
                    self.server.arguments_seen.add(line)
        given = self.headers.get("Authorization")
        self.server.given.append(given)
        if self.server.moved_to:
            self.send_response(302)
            self.send_header("Location", self.server.moved_to + self.path)
            self.end_headers()
        elif given != self.server.expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()
        else:
            self.path = self.path.partition("?")[0]
            super().do_GET()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(host):
    thread = threading.Thread(target=host.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield host
    finally:
        host.shutdown()
        host.server_close()
        thread.join()


@pytest.fixture
def origin(tmp_path):
    made = Origin(tmp_path / "origin")
    made.commit("the first", a="1")
    return made


def everything(tmp_path, master, lines, extra=()):
    """All that a poller wrote or said."""
    texts = [text for _, text in lines] + [*master.state.values(), *map(repr, master.changes.values()), *extra]
    for path in (tmp_path / "work").rglob("*"):
        if path.is_file():
            texts.append(path.read_bytes().decode("latin1"))
    return texts


def polled(tmp_path, master, url, step=None):
    seen = []

    async def whole(surroundings):
        async with Polling(surroundings, tmp_path / "work", master, url, timeout=10) as active:
            await active.polled()
            if step:
                step()
                await active.polled()
            seen.append(repr(active.poller) + repr(vars(active.poller)) + repr(vars(active.poller._remote)))

    with logged() as lines:
        run(whole)
    return everything(tmp_path, master, lines, seen)


@pytest.mark.parametrize("wrap", [str, Secret])
def test_a_password_reaches_the_host_and_nothing_else(tmp_path, origin, wrap):
    master = Master()

    def step():
        origin.commit("with a password")
        origin.git("update-server-info")

    origin.git("update-server-info")
    with serving(Host(origin.path / ".git")) as host:
        texts = polled(tmp_path, master, wrap(f"http://ada:{QUOTED}@{host.at}/"), step)
    assert master.kept("status")["ok"], master.kept("status")
    assert [c.comments for c in master.changes.values()] == ["with a password"]
    assert [c.repository for c in master.changes.values()] == [f"http://{host.at}/"]
    assert any("ls-remote" in line for line in host.arguments_seen)
    for text in [*texts, *host.arguments_seen]:
        assert PASSWORD not in text and QUOTED not in text and "s3cr" not in text


def test_a_token_alone_is_a_user_without_a_password(tmp_path, origin):
    master = Master()
    origin.git("update-server-info")
    with serving(Host(origin.path / ".git", "t0ken", "")) as host:
        texts = polled(tmp_path, master, f"http://t0ken@{host.at}/")
    assert master.kept("status")["ok"], master.kept("status")
    assert not any("t0ken" in text for text in [*texts, *host.arguments_seen])


def test_a_wrong_password_is_shown_as_an_error_without_it(tmp_path, origin):
    master = Master()
    with serving(Host(origin.path / ".git", password="another")) as host:
        texts = polled(tmp_path, master, f"http://ada:{QUOTED}@{host.at}/")
    assert "Authentication failed" in master.kept("status")["text"]
    assert not any("s3cr" in text for text in texts)


def test_a_redirect_to_another_host_does_not_take_the_password_along(tmp_path, origin):
    master = Master()
    with (
        serving(Host(origin.path / ".git")) as other,
        serving(Host(origin.path / ".git", moved_to=f"http://{other.at}")) as host,
    ):
        polled(tmp_path, master, f"http://ada:{QUOTED}@{host.at}/")
    assert not master.kept("status")["ok"]
    assert set(other.given) == {None}
