"""The git poller when things go wrong: remotes that hang or fail, copies that break, masters that die in the middle."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest
from locum.master.sources import git
from locum.schedulers.interface import NotActive
from locum.tests.support.git_polling import Master, Origin, Polling, logged
from locum.tests.support.guards import until as wait_until
from locum.tests.support.reactors import run, until


@pytest.fixture
def origin(tmp_path):
    made = Origin(tmp_path / "origin")
    made.commit("the first", a="1")
    return made


@pytest.fixture
def master():
    return Master()


def polling(step, tmp_path, master, repository, work="work", **arguments):
    async def whole(surroundings):
        async with Polling(surroundings, tmp_path / work, master, repository, **arguments) as active:
            await active.polled()
            if step is not None:
                await step(active)

    run(whole)


def running(word: str) -> list[str]:
    """The command lines of living processes that hold a word."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if word in line and int(name) != os.getpid():
            found.append(line)
    return found


@pytest.fixture
def silent():
    """The port of a server that takes connections and says nothing, ever."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


# -- remotes that hang or fail ------------------------------------------------------------------------------------


def test_a_hanging_remote_is_killed_in_time_and_shown(tmp_path, master, silent):
    async def step(active):
        assert "no answer within 0.3 s" in master.kept("status")["text"]
        assert not master.kept("status")["ok"]
        assert running(f":{silent}/") == []

    polling(step, tmp_path, master, f"git://127.0.0.1:{silent}/app", timeout=0.3)


def test_a_poll_that_hangs_is_ended_by_deactivation_with_all_that_it_started(tmp_path, master, monkeypatch):
    word = f"hanging-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("GIT_SSH_COMMAND", f"sh -c 'setsid sleep 987 {word} & sleep 986' {word}")

    async def whole(surroundings):
        async with Polling(surroundings, tmp_path / "work", master, "ssh://host/app"):
            await until(surroundings, lambda: running(word), "ssh runs")
            begun = time.monotonic()
        assert time.monotonic() - begun < 4
        assert running(word) == []

    with logged() as lines:
        run(whole)
    assert [text for level, text in lines if level != "info"] == []
    assert master.turns == []


def test_a_failing_remote_is_asked_less_often_told_once_and_comes_back(tmp_path, origin, master):
    away = tmp_path / "away"

    async def step(active):
        origin.path.rename(away)
        pauses = []
        for _ in range(6):
            await active.polled()
            pauses.append(active.poller._loop.interval_s)
        assert pauses == [60, 120, 240, 300, 300, 300]
        assert not master.kept("status")["ok"]
        assert "does not appear to be a git repository" in master.kept("status")["text"]
        away.rename(origin.path)
        made = origin.commit("meanwhile")
        await active.polled()
        assert active.poller._loop.interval_s == 60
        assert master.kept("status")["ok"]
        assert master.revisions == [made]

    with logged() as lines:
        polling(step, tmp_path, master, origin.url)
    assert len([text for level, text in lines if level == "warn"]) == 1
    assert [text for level, text in lines if "works again" in text] == ["change source app: works again"]


def test_a_long_interval_is_never_shortened_by_failures(tmp_path, master):
    async def step(active):
        for _ in range(3):
            await active.polled()
            assert active.poller._loop.interval_s == 3600

    polling(step, tmp_path, master, str(tmp_path / "nowhere"), poll_interval="1h")


def test_an_error_of_our_own_never_ends_the_polling(tmp_path, origin, master, monkeypatch):
    async def step(active):
        made = origin.commit("x")

        async def broken(*_):
            raise RuntimeError("odd")

        with monkeypatch.context() as patched:
            patched.setattr(active.poller._remote, "refs", broken)
            await active.polled()
            assert master.kept("status")["text"] == "RuntimeError: odd"
        await active.polled()
        assert master.revisions == [made]

    polling(step, tmp_path, master, origin.url)


def test_polls_go_on_by_themselves_and_never_overlap(tmp_path, origin, master):
    async def step(active):
        made = []
        for number in range(3):
            made.append(origin.commit(str(number)))
            await until(active.surroundings, lambda made=made: master.revisions == made, "a change")
        assert active.overlapping == 1

    polling(step, tmp_path, master, origin.url, poll_interval="100ms")


def gits(url: str) -> list[int]:
    """The git processes that ask that URL for its branches."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if Path(f"/proc/{name}/cmdline").read_bytes().startswith(f"git\0ls-remote\0--symref\0--\0{url}".encode()):
                found.append(int(name))
        except OSError:
            pass
    return found


def test_a_git_that_is_killed_is_a_failed_poll_like_any_other(tmp_path, origin, master, monkeypatch):
    word = f"slow-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("GIT_SSH_COMMAND", f"sleep 985; : {word}")

    async def whole(surroundings):
        async with Polling(surroundings, tmp_path / "work", master, f"ssh://{word}/app"):
            await until(surroundings, lambda: gits(f"ssh://{word}/app"), "git runs")
            os.kill(gits(f"ssh://{word}/app")[0], signal.SIGKILL)
            await until(surroundings, lambda: master.kept("status"), "the failure is shown")
            assert "ended by SIGKILL" in master.kept("status")["text"]
            assert running(word) == []

    run(whole)


# -- copies that break --------------------------------------------------------------------------------------------


def the_copy(tmp_path) -> Path:
    [found] = (tmp_path / "work").glob("*/copy.git")
    return found


def shorten(copy):
    for path in copy.rglob("objects/**/*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[:20])


def leave_locks(copy):
    for name in ("HEAD.lock", "config.lock", "packed-refs.lock"):
        (copy / name).write_text("")
    for path in list((copy / "refs").rglob("*")):
        if path.is_file():
            path.with_name(path.name + ".lock").write_text("")


@pytest.mark.parametrize(
    "harm",
    [
        lambda copy: shutil.rmtree(copy.parent),
        lambda copy: shutil.rmtree(copy),
        lambda copy: shutil.rmtree(copy / "objects"),
        lambda copy: shutil.rmtree(copy / "refs"),
        lambda copy: (copy / "HEAD").unlink(),
        lambda copy: (copy / "HEAD").write_text("rubbish"),
        lambda copy: (copy / "config").write_text("[rubbish"),
        shorten,
        leave_locks,
        lambda copy: [shutil.rmtree(copy), copy.write_text("a file")],
    ],
    ids=[
        "no folder",
        "no copy",
        "no objects",
        "no refs",
        "no HEAD",
        "bad HEAD",
        "bad config",
        "bad objects",
        "locks",
        "file",
    ],
)
def test_a_broken_copy_heals_within_one_poll(tmp_path, origin, master, harm):
    origin.many(5)

    async def step(active):
        harm(the_copy(tmp_path))
        made = [origin.commit("1", x="1"), origin.commit("2", y="1")]
        await active.polled()
        assert master.kept("status")["ok"], master.kept("status")
        assert master.revisions == made

    polling(step, tmp_path, master, origin.url)


def test_a_work_folder_that_cannot_be_used_is_shown(tmp_path, origin, master):
    (tmp_path / "work").write_text("a file")
    polling(None, tmp_path, master, origin.url)
    assert "cannot be used" in master.kept("status")["text"]
    (tmp_path / "work").unlink()
    polling(None, tmp_path, master, origin.url)
    assert master.kept("status")["ok"]


def test_the_users_and_the_masters_own_git_settings_change_nothing(tmp_path, origin, master, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[log]\n\tshowSignature = true\n\tfollow = true\n[diff]\n\trenames = copies\n\tnoprefix = true\n[color]\n\tui = always\n"
        "[format]\n\tpretty = oneline\n[core]\n\thooksPath = /nonexistent\n\tquotePath = true\n[i18n]\n\tlogOutputEncoding = latin1\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", "/nonexistent")

    async def step(active):
        origin.path.joinpath("a").rename(origin.path / "ü")
        made = origin.commit("cafè")
        await active.polled()
        [change] = master.changes.values()
        assert (change.revision, change.comments, change.files_json) == (made, "cafè", '["a","ü"]')

    polling(step, tmp_path, master, origin.url)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository to somebody else")
def test_a_repository_on_this_host_may_be_somebody_elses(tmp_path, origin, master):
    for path in (origin.path, *origin.path.rglob("*")):
        os.chown(path, 12345, 12345)
    polling(None, tmp_path, master, origin.url)
    assert master.kept("status")["ok"], master.kept("status")


# -- masters that die in the middle -------------------------------------------------------------------------------


def test_another_master_goes_on_where_the_first_one_was(tmp_path, origin, master):
    polling(None, tmp_path, master, origin.url, work="one")
    made = [origin.commit(str(number)) for number in range(3)]
    polling(None, tmp_path, master, origin.url, work="two")
    assert master.revisions == made
    made.append(origin.commit("3"))
    polling(None, tmp_path, master, origin.url, work="one")
    assert master.revisions == made
    assert master.repeated == []


def tangled(origin) -> set[str]:
    """Thirty commits on main with merges among them."""
    start = origin.git("rev-parse", "main")
    for number in range(6):
        origin.git("checkout", "-q", "-b", f"side{number}", "main~1" if number else "main")
        origin.commit(f"side {number}", **{f"s{number}": "1"})
        origin.commit(f"side {number} again", **{f"s{number}": "2"})
        origin.git("checkout", "-q", "main")
        origin.commit(f"main {number}", **{f"m{number}": "1"})
        origin.commit(f"main {number} again")
        origin.git("merge", "-q", "--no-ff", "-m", f"merge {number}", f"side{number}")
    return set(origin.git("rev-list", f"{start}..main").split())


def test_a_push_that_is_cut_off_at_any_turn_is_neither_missed_nor_repeated(tmp_path, origin, master, monkeypatch):
    monkeypatch.setattr(git, "MOST_CHANGES", 4)
    monkeypatch.setattr(git, "READ_AT_ONCE", 3)
    polling(None, tmp_path, master, origin.url, work="0", branches=["main"])
    made = tangled(origin)
    for life in range(1, 12):
        master.allow = 1  # then it dies
        polling(None, tmp_path, master, origin.url, work=str(life % 3), branches=["main"])
    assert len(master.revisions) == len(made) == 30
    assert set(master.revisions) == made
    assert master.repeated == []
    place = {revision: number for number, revision in enumerate(master.revisions)}
    for line in origin.git("rev-list", "--parents", "main").splitlines():
        child, *parents = line.split()
        assert all(place[parent] < place[child] for parent in parents if child in place and parent in place)


def test_nothing_is_reported_that_was_not_committed(tmp_path, origin, master):
    polling(None, tmp_path, master, origin.url)
    before = dict(master.state)
    made = origin.commit("x")
    master.allow = 0
    with logged() as lines:
        polling(None, tmp_path, master, origin.url)
    assert (master.state, master.revisions) == (before, [])
    assert [text for level, text in lines if level in ("warn", "error")] == []
    master.allow = 9
    polling(None, tmp_path, master, origin.url)
    assert master.revisions == [made]


def test_an_instance_that_is_not_the_owner_touches_nothing(tmp_path, origin, master):
    async def step(active):
        polls = active.polls
        active.seat.open = False
        shutil.rmtree(tmp_path / "work")
        active.poller._loop.soon()
        await until(active.surroundings, lambda: not active.poller._loop._running, "a step")
        assert (active.polls, (tmp_path / "work").exists()) == (polls, False)
        with pytest.raises(NotActive):
            active.seat.get_state("x")

    polling(step, tmp_path, master, origin.url)


def test_a_forced_push_is_understood_by_a_master_that_never_saw_the_old_commits(tmp_path, origin, master):
    origin.many(10)
    polling(None, tmp_path, master, origin.url, work="one")
    origin.git("reset", "-q", "--hard", "HEAD~2")
    made = [origin.commit("rewritten", x="1")]
    polling(None, tmp_path, master, origin.url, work="two")
    assert master.revisions == made


def test_a_forced_push_whose_old_commits_are_nowhere_any_more_reports_the_tip(tmp_path, origin, master):
    origin.many(10)
    polling(None, tmp_path, master, origin.url, work="one")
    origin.git("reset", "-q", "--hard", "HEAD~2")
    tip = origin.commit("rewritten", x="1")
    origin.git("reflog", "expire", "--expire=now", "--all")
    origin.git("gc", "-q", "--prune=now")
    with logged() as lines:
        polling(None, tmp_path, master, origin.url, work="two")
    assert master.revisions == [tip]
    assert any("is not to be had any more" in text for _, text in lines)


def test_a_remote_that_fails_just_then_is_no_proof_that_old_commits_are_gone(tmp_path, origin, master):
    origin.many(10)
    polling(None, tmp_path, master, origin.url, work="one")
    origin.git("reset", "-q", "--hard", "HEAD~2")
    made = [origin.commit("rewritten 1", x="1"), origin.commit("rewritten 2", x="2")]

    async def whole(surroundings):
        async with Polling(surroundings, tmp_path / "two", master, origin.url) as active:
            remote = active.poller._remote
            fetch = remote._fetch

            async def failing(*arguments, **more):
                if arguments[0] == "--":  # a single commit is asked for
                    origin.path.rename(tmp_path / "away")
                return await fetch(*arguments, **more)

            remote._fetch = failing
            await until(surroundings, lambda: active.polls == 1, "a poll")
            assert master.revisions == []
            remote._fetch = fetch
            (tmp_path / "away").rename(origin.path)
            await active.polled()
        assert master.revisions == made

    run(whole)


def test_a_dead_process_leaves_no_git_behind(tmp_path, silent):
    script = f"""
import sys
from pathlib import Path
from twisted.internet.defer import Deferred
from locum.tests.support.git_polling import Master, Polling
from locum.tests.support.reactors import run

async def whole(surroundings):
    async with Polling(surroundings, Path({str(tmp_path)!r}), Master(), "git://127.0.0.1:{silent}/app"):
        await Deferred()

run(whole)
"""
    import subprocess
    import sys

    child = subprocess.Popen([sys.executable, "-c", script])
    try:
        wait_until(lambda: running(f"ls-remote --symref -- git://127.0.0.1:{silent}/app"), "git runs")
    finally:
        child.kill()
        child.wait()
    wait_until(lambda: not running(f":{silent}/"), "nothing is left")
