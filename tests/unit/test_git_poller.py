"""The git poller against real repositories: every new commit once, whatever happens to branches, copies and masters."""

from __future__ import annotations

import pytest
from locum.tests.support.git_polling import Master, Origin, Polling, logged
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

    polling(
        step, tmp_path, master, origin.url, project="p", codebase="c", category="k", revlink="http://x/%(revision)s"
    )
    assert len([turn for turn in master.turns if turn]) == 1
    change = list(master.changes.values())[1]
    assert (change.who, change.committer, change.branch) == ("Ada <a@b.c>", "Ada <a@b.c>", "main")
    assert (change.comments, change.files_json) == ("text 1\n\nand more", '["f1"]')
    assert (change.repository, change.project, change.codebase, change.category) == (origin.url, "p", "c", "k")
    assert change.revlink == f"http://x/{change.revision}"
    assert change.request_id == f"git:app:main:{change.revision}"


def test_without_new_commits_nothing_is_written(tmp_path, origin, master):
    async def step(active):
        turns = len(master.turns)
        for _ in range(3):
            await active.polled()
        assert len(master.turns) == turns

    polling(step, tmp_path, master, origin.url)


def test_a_huge_push_is_reported_in_bounded_turns(tmp_path, origin, master):
    made = []

    async def step(active):
        made.extend(origin.many(1203))
        await active.polled()

    polling(step, tmp_path, master, origin.url)
    assert master.revisions == made
    assert [len(turn) for turn in master.turns if turn] == [500, 500, 203]
    assert master.kept("reported") == []


def test_only_branches_that_were_asked_for_are_followed(tmp_path, origin, master):
    async def step(active):
        expected = []
        for branch in ("main", "dev", "release/1", "release/2/x", "feature"):
            origin.git(
                "checkout", "-q", *([] if branch == "main" else ["-b"]), branch, *(["--"] if branch == "main" else [])
            )
            made = origin.commit(f"on {branch}")
            if branch.startswith(("main", "release")):
                expected.append((branch, made))
            origin.git("checkout", "-q", "main")
        await active.polled()
        found = [(c.branch, c.revision) for c in master.changes.values()]
        assert sorted(found) == sorted(expected)
        assert found[0] == expected[0]  # the others come after what they began at

    polling(step, tmp_path, master, origin.url, branches=["main", "release/*"])


def test_every_branch_is_followed_by_a_star(tmp_path, origin, master):
    async def step(active):
        origin.git("checkout", "-q", "-b", "ünï")
        made = origin.commit()
        await active.polled()
        assert [(c.branch, c.revision) for c in master.changes.values()] == [("ünï", made)]

    polling(step, tmp_path, master, origin.url, branches="*")


def test_a_merge_reports_the_commits_of_a_branch_once(tmp_path, origin, master):
    async def step(active):
        origin.git("checkout", "-q", "-b", "feature")
        first = origin.commit("feature 1", f="1")
        await active.polled()
        second = origin.commit("feature 2", g="1")
        origin.git("checkout", "-q", "main")
        third = origin.commit("main", h="1")
        origin.git("merge", "-q", "--no-ff", "-m", "merged", "feature")
        merge = origin.git("rev-parse", "HEAD")
        await active.polled()
        by_revision = {c.revision: c for c in master.changes.values()}
        assert len(by_revision) == len(master.changes) == 4
        assert set(by_revision) == {first, second, third, merge}
        assert by_revision[merge].branch == "main"
        assert by_revision[merge].files_json == '["f","g"]'  # what it brought to the branch

    polling(step, tmp_path, master, origin.url, branches=["main", "feature"])


def test_a_merge_of_a_branch_that_is_not_followed_brings_its_commits(tmp_path, origin, master):
    async def step(active):
        origin.git("checkout", "-q", "-b", "feature")
        feature = [origin.commit("1"), origin.commit("2")]
        origin.git("checkout", "-q", "main")
        origin.git("merge", "-q", "--no-ff", "-m", "merged", "feature")
        await active.polled()
        assert master.revisions == [*feature, origin.git("rev-parse", "main")]

    polling(step, tmp_path, master, origin.url, branches=["main"])


def test_a_branch_that_only_gains_known_commits_reports_its_tip_once(tmp_path, origin, master):
    origin.git("branch", "stable")

    async def step(active):
        made = [origin.commit("1"), origin.commit("2")]
        await active.polled()
        origin.git("branch", "-f", "stable", "main")
        await active.polled()
        await active.polled()
        found = [(c.branch, c.revision) for c in master.changes.values()]
        assert found == [("main", made[0]), ("main", made[1]), ("stable", made[1])]

    polling(step, tmp_path, master, origin.url, branches=["main", "stable"])


def test_a_new_branch_reports_what_no_branch_had_before(tmp_path, origin, master):
    async def step(active):
        origin.commit("on main")
        await active.polled()
        seen = len(master.changes)
        origin.git("branch", "old", "main~1")
        await active.polled()
        assert len(master.changes) == seen
        assert "old" in master.kept("revisions")
        origin.git("checkout", "-q", "-b", "new")
        made = [origin.commit("n1"), origin.commit("n2")]
        await active.polled()
        assert master.revisions[seen:] == made

    polling(step, tmp_path, master, origin.url, branches="*")


@pytest.mark.parametrize("head", ["main", "release/1"])
def test_a_new_branch_does_not_report_the_main_branch_that_is_not_followed(tmp_path, origin, master, head):
    origin.many(20)

    async def step(active):
        assert master.kept("revisions") == {}
        origin.git("checkout", "-q", "-b", "release/1")
        made = origin.commit("the release")
        if head == "main":
            origin.git("checkout", "-q", "main")
        await active.polled()
        assert master.revisions == [made]

    polling(step, tmp_path, master, origin.url, branches=["release/*"])


def test_a_deleted_branch_is_forgotten_and_comes_back_as_a_new_one(tmp_path, origin, master):
    origin.git("branch", "side")

    async def step(active):
        origin.git("checkout", "-q", "side")
        first = origin.commit("1")
        await active.polled()
        origin.git("checkout", "-q", "main")
        origin.git("branch", "-D", "side")
        await active.polled()
        assert set(master.kept("revisions")) == {"main"}
        origin.git("checkout", "-q", "-b", "side", first)
        await active.polled()
        assert master.revisions == [first]
        second = origin.commit("2")
        await active.polled()
        assert master.revisions == [first, second]

    polling(step, tmp_path, master, origin.url, branches=["main", "side"])


def test_a_remote_that_shows_no_branches_for_a_while_costs_nothing(tmp_path, origin, master):
    origin.many(10)

    async def step(active):
        tip = origin.git("rev-parse", "main")
        origin.git("checkout", "-q", "--detach")
        origin.git("branch", "-D", "main")
        await active.polled()
        assert master.kept("revisions") == {}
        origin.git("checkout", "-q", "-b", "main", tip)
        made = origin.commit("after it")
        await active.polled()
        assert master.revisions == [made]

    polling(step, tmp_path, master, origin.url, branches=["main"])


def test_a_branch_can_take_the_place_of_a_folder_of_branches(tmp_path, origin, master):
    origin.git("branch", "a")

    async def step(active):
        origin.git("branch", "-D", "a")
        origin.git("checkout", "-q", "-b", "a/b")
        made = origin.commit()
        await active.polled()
        assert master.revisions == [made]
        assert master.kept("status")["ok"]

    polling(step, tmp_path, master, origin.url, branches="*")


def test_a_rewritten_branch_reports_the_new_commits_only(tmp_path, origin, master):
    origin.many(5)

    async def step(active):
        origin.git("reset", "-q", "--hard", "HEAD~2")
        made = [origin.commit("rewritten 1", x="1"), origin.commit("rewritten 2", x="2")]
        await active.polled()
        assert master.revisions == made

    polling(step, tmp_path, master, origin.url)


def test_a_branch_that_is_reset_backwards_makes_no_change(tmp_path, origin, master):
    origin.many(5)

    async def step(active):
        origin.git("reset", "-q", "--hard", "HEAD~3")
        await active.polled()
        assert master.changes == {}
        assert master.kept("revisions") == {"main": origin.git("rev-parse", "main")}
        made = origin.commit("forward again", x="3")
        await active.polled()
        assert master.revisions == [made]

    polling(step, tmp_path, master, origin.url)


def test_an_empty_repository_is_followed_from_its_first_commit(tmp_path, master):
    empty = Origin(tmp_path / "empty")

    async def step(active):
        assert master.kept("status") | {"at": ""} == {
            "ok": True,
            "text": "the repository has no branches yet",
            "at": "",
        }
        made = [empty.commit("1"), empty.commit("2")]
        await active.polled()
        assert master.revisions == made

    polling(step, tmp_path, master, empty.url)


def test_a_head_that_names_no_branch_is_shown(tmp_path, origin, master):
    origin.git("symbolic-ref", "HEAD", "refs/heads/nowhere")
    with logged() as lines:
        polling(None, tmp_path, master, origin.url)
    assert not master.kept("status")["ok"]
    assert "there are main" in master.kept("status")["text"]
    assert [text for level, text in lines if level == "warn"] == [f"change source app: {master.kept('status')['text']}"]


def test_a_name_that_matches_nothing_is_shown_with_what_there_is(tmp_path, origin, master):
    polling(None, tmp_path, master, origin.url, branches=["mian"])
    assert master.kept("status")["text"] == "no branch matches mian; there are main"


def test_a_renamed_default_branch_goes_on(tmp_path, origin, master):
    async def step(active):
        origin.git("branch", "-m", "main", "trunk")
        await active.polled()
        made = origin.commit()
        await active.polled()
        assert [(c.branch, c.revision) for c in master.changes.values()] == [("trunk", made)]

    polling(step, tmp_path, master, origin.url)


def test_a_tag_is_not_mistaken_for_a_branch_of_its_name(tmp_path, origin, master):
    origin.many(3)
    origin.git("tag", "main", "HEAD~2")
    origin.git("tag", "-a", "-m", "t", "v1")

    async def step(active):
        made = origin.commit()
        await active.polled()
        assert master.revisions == [made]

    polling(step, tmp_path, master, origin.url)


def test_a_repository_with_sha256_names(tmp_path, master):
    origin = Origin(tmp_path / "origin", "--object-format=sha256")
    origin.commit()

    async def step(active):
        made = origin.commit("x", f="1")
        await active.polled()
        assert master.revisions == [made] and len(made) == 64

    polling(step, tmp_path, master, origin.url)


def test_a_submodule_is_a_file_that_changed(tmp_path, origin, master):
    async def step(active):
        origin.git("update-index", "--add", "--cacheinfo", "160000", "1" * 40, "vendored")
        origin.git("commit", "-q", "-m", "a submodule")
        await active.polled()
        assert [c.files_json for c in master.changes.values()] == ['["vendored"]']

    polling(step, tmp_path, master, origin.url)


def test_branches_followed_since_a_reconfiguration_start_at_their_tips(tmp_path, origin, master):
    origin.git("checkout", "-q", "-b", "dev")
    origin.commit("long ago")
    polling(None, tmp_path, master, origin.url, branches=["main"])

    async def step(active):
        assert master.changes == {}
        made = origin.commit("new")
        await active.polled()
        assert master.revisions == [made]

    polling(step, tmp_path, master, origin.url, branches=["main", "dev"])


def test_another_repository_under_the_same_name_starts_at_its_tip(tmp_path, origin, master):
    polling(None, tmp_path, master, origin.url)
    other = Origin(tmp_path / "other")
    other.commit("unrelated")
    other.many(5)

    async def step(active):
        assert master.changes == {}
        made = other.commit("new")
        await active.polled()
        assert master.revisions == [made]

    polling(step, tmp_path, master, other.url)


def test_a_repository_that_has_moved_goes_on_where_it_was(tmp_path, origin, master):
    polling(None, tmp_path, master, origin.url)
    made = origin.commit("while it moved")
    origin.path.rename(tmp_path / "moved")
    polling(None, tmp_path, master, str(tmp_path / "moved"))
    assert master.revisions == [made]
