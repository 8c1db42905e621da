"""What strangers write into commits and names of files: all of it arrives, cut to size where it must be."""

from __future__ import annotations

import json

import pytest
from locum.master.changes import COMMENTS_LIMIT
from locum.master.sources import commits, repository
from locum.tests.support.git_polling import Master, Origin, Polling
from locum.tests.support.reactors import run


@pytest.fixture
def origin(tmp_path):
    made = Origin(tmp_path / "origin")
    made.commit("the first", a="1")
    return made


def changes_of(tmp_path, origin, do):
    """The changes that a poller makes of what ``do()`` does."""
    master = Master()

    async def whole(surroundings):
        async with Polling(surroundings, tmp_path / "work", master, origin.url) as active:
            await active.polled()
            do()
            await active.polled()

    run(whole)
    return list(master.changes.values())


def raw_commit(origin, message: bytes, *, author: bytes = b"A <a@b.c> 1700000000 +0000", headers: bytes = b"") -> None:
    """A commit object written byte by byte, on main."""
    tree, parent = origin.git("rev-parse", "HEAD^{tree}"), origin.git("rev-parse", "HEAD")
    content = f"tree {tree}\nparent {parent}\n".encode() + b"author " + author + b"\ncommitter " + author + b"\n"
    made = origin.git(
        "hash-object", "-t", "commit", "-w", "--literally", "--stdin", given=content + headers + b"\n" + message
    )
    origin.git("update-ref", "refs/heads/main", made)


def raw_files(origin, *names: bytes) -> None:
    """A commit with files of any names."""
    blob = origin.git("hash-object", "-w", "--stdin", given=b"x")
    lines = b"".join(b"100644 " + blob.encode() + b"\t" + name + b"\0" for name in names)
    origin.git("update-index", "-z", "--index-info", given=lines)
    origin.git("commit", "-q", "-m", "odd names")


def test_names_of_files_with_everything_in_them(tmp_path, origin):
    names = ["new\nline", 'qu"ote', "ta\tb", "ünï", ":colon", "-dash", " ", "a b", "back\\slash", "\x01", "1" * 40]
    [change] = changes_of(tmp_path, origin, lambda: raw_files(origin, *(n.encode() for n in names)))
    assert sorted(json.loads(change.files_json)) == sorted(n if n.strip() else repr(n) for n in names)


def test_a_name_that_is_no_utf8_is_replaced(tmp_path, origin):
    [change] = changes_of(tmp_path, origin, lambda: raw_files(origin, b"caf\xe9"))
    assert json.loads(change.files_json) == ["caf\N{REPLACEMENT CHARACTER}"]


def test_an_empty_commit_and_one_without_a_text(tmp_path, origin):
    def do():
        origin.commit("nothing in it")
        origin.git("commit", "-q", "--allow-empty", "--allow-empty-message", "-m", "")
        origin.commit("a file", f="1")

    found = changes_of(tmp_path, origin, do)
    assert [(c.comments, json.loads(c.files_json)) for c in found] == [
        ("nothing in it", []),
        ("", []),
        ("a file", ["f"]),
    ]


def test_invalid_utf8_and_other_encodings_in_texts_and_authors(tmp_path, origin):
    def do():
        raw_commit(origin, b"bad \xff\xfe", author=b"J\xf6rg <j@x> 1700000000 +0000")
        raw_commit(origin, b"caf\xe9", author=b"J\xf6rg <j@x> 1700000001 +0000", headers=b"encoding ISO-8859-1\n")

    bad, latin = changes_of(tmp_path, origin, do)
    assert bad.comments.startswith("bad \N{REPLACEMENT CHARACTER}")
    assert bad.who.startswith("J\N{REPLACEMENT CHARACTER}")
    assert (latin.comments, latin.who, latin.when_at) == ("café", "Jörg <j@x>", 1_700_000_001_000_000)


@pytest.mark.parametrize("date", [b"99999999999999999999 +0000", b"-5 +0000", b"garbage", b""])
def test_a_commit_from_no_time_at_all(tmp_path, origin, date):
    [change] = changes_of(tmp_path, origin, lambda: raw_commit(origin, b"x", author=b"A <a@b> " + date))
    assert change.comments == "x"


def test_an_author_without_a_name(tmp_path, origin):
    [change] = changes_of(tmp_path, origin, lambda: raw_commit(origin, b"x", author=b" <> 1700000000 +0000"))
    assert change.who == "<>"


def test_a_huge_text_is_cut_with_a_note(tmp_path, origin):
    [change] = changes_of(tmp_path, origin, lambda: raw_commit(origin, "é".encode() * 5_000_000))
    assert len(change.comments.encode()) <= COMMENTS_LIMIT
    assert change.comments.endswith("more bytes of this text were left out]")


def test_a_long_author_is_cut(tmp_path, origin):
    [change] = changes_of(tmp_path, origin, lambda: raw_commit(origin, b"x", author=b"A" * 9000 + b" <a@b> 1 +0000"))
    assert len(change.who) == 1024


def test_what_is_too_much_to_read_at_once_is_read_in_parts_and_then_left_out(tmp_path, origin, monkeypatch):
    monkeypatch.setattr(repository, "MOST_OUTPUT", 40_000)

    def do():
        for number in range(4):
            raw_commit(origin, b"%d" % number * 15_000)
        raw_commit(origin, b"y" * 100_000)
        origin.git("reset", "-q", "--hard")
        raw_files(origin, *(b"f%d" % n for n in range(1000)))

    found = changes_of(tmp_path, origin, do)
    assert [c.comments[:1] for c in found[:4]] == ["0", "1", "2", "3"]
    assert len(found[0].comments) == 15_000
    assert found[4].comments.strip() == "[its text was too long to be read]"
    assert found[5].comments == "odd names\n[its files were too many to be read]"


def test_a_change_has_at_most_as_many_files_as_it_may(monkeypatch):
    monkeypatch.setattr(commits, "FILES_LIMIT", 3)
    commit = commits.Commit("1" * 40, (), "a", "c", 1, "text", tuple("abcde"))
    fields = commits.change_fields(commit, "main", {}, "")
    assert fields["files"] == ["a", "b", "c"]
    assert fields["comments"] == "text\n[2 more files were left out]"


def test_an_identity_stays_within_its_bounds_and_unique():
    plain = commits.request_id("app", "main", "1" * 40)
    assert plain == f"git:app:main:{'1' * 40}"
    long = commits.request_id("s" * 500, "b" * 900, "1" * 40)
    assert len(long) < 200 and long != commits.request_id("s" * 500, "b" * 899, "1" * 40)


def test_what_git_log_never_writes_is_refused():
    with pytest.raises(ValueError, match="cannot be read"):
        commits.parse(b"x\0" * 20)


def test_a_commit_that_cannot_be_kept_does_not_keep_later_ones_away(tmp_path, origin, monkeypatch):
    monkeypatch.setattr(commits, "COMMENTS_LIMIT", 10_000_000)  # so that it is too long for a change

    def do():
        raw_commit(origin, b"z" * 2_000_000)
        raw_commit(origin, b"later")

    odd, later = changes_of(tmp_path, origin, do)
    assert odd.comments.startswith("[not to be kept: comments: has 2000000 bytes")
    assert later.comments == "later"
