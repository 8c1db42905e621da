"""The git poller against real repositories: every new commit once, whatever happens to branches, copies and masters."""

from __future__ import annotations

import pytest
from locum.tests.support.git_polling import Master, Origin, Polling
from locum.tests.support.reactors import run


@pytest.fixture
def origin(tmp_path):
    made = Origin(tmp_path / "origin")
    made.commit("the first", a="1")
    return made


@pytest.fixture
def master():
    return Master()


def polling(step, tmp_path, master, repository, work="work", **arguments):
    """Run ``await step(polling)`` with an active poller that has done its first poll."""

    async def whole(surroundings):
        async with Polling(surroundings, tmp_path / work, master, repository, **arguments) as active:
            await active.polled()
            if step is not None:
                await step(active)
            assert active.overlapping == 1

    run(whole)


def test_the_first_poll_ever_starts_at_the_tip(tmp_path, origin, master):
    polling(None, tmp_path, master, origin.url)
    assert master.changes == {}
    assert master.kept("revisions") == {"main": origin.git("rev-parse", "main")}
    assert master.kept("status")["ok"] and master.kept("status")["text"] == "follows main"


def test_new_commits_become_changes_oldest_first_in_one_turn(tmp_path, origin, master):
    async def step(active):
        made = [origin.commit(f"text {n}\n\nand more", **{f"f{n}": "x"}) for n in range(3)]
        await active.polled()
        assert master.revisions == made

    polling(step, tmp_path, master, origin.url, project="p", codebase="c", category="k", revlink="http://x/%(revision)s")
    assert len([turn for turn in master.turns if turn]) == 1
    change = list(master.changes.values())[1]
    assert (change.who, change.committer, change.branch) == ("Ada <a@b.c>", "Ada <a@b.c>", "main")
    assert (change.comments, change.files_json) == ("text 1\n\nand more", '["f1"]')
    assert (change.repository, change.project, change.codebase, change.category) == (origin.url, "p", "c", "k")
    assert change.revlink == f"http://x/{change.revision}"
    assert change.request_id == f"git:app:main:{change.revision}"
