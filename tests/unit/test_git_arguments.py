"""What a git poller's constructor takes, and what it says about everything else."""

from __future__ import annotations

import pytest
from locum.config.secret import Secret
from locum.master.sources.address import Address
from locum.master.sources.branches import Branches, Refs
from locum.master.sources.git import GitPoller
from locum.schedulers.comparing import compared

GOOD = [
    "https://git.example.org/app.git",
    "HTTPS://git.example.org:8443/app.git",
    "ssh://git@git.example.org:22/app.git",
    "git+ssh://git.example.org/app",
    "git@git.example.org:team/app.git",
    "git.example.org:app.git",
    "git@[::1]:app.git",
    "git://git.example.org/app",
    "file:///srv/git/app.git",
    "/srv/git/app.git",
    "/srv/a:b c.git",
]
BAD = [
    "",
    "-oProxyCommand=evil",
    "--upload-pack=evil",
    "ext::sh -c evil",
    "fd::17/foo",
    "foo::https://git.example.org/app",
    "relative/path",
    "./app",
    "app",
    "~/app",
    "ftp://git.example.org/app",
    "javascript://x/y",
    "https:///app",
    "https://[::1/app",
    "https://host:port/app",
    "ssh://-oProxyCommand=evil/app",
    "ssh://-evil@host/app",
    "ssh://git:pw@host/app",
    "git://u:pw@host/app",
    "-evil:path",
    "https://host/a\nb",
    " https://host/a",
    "https://host/" + "a" * 5000,
    "https://u:p%0aq@host/app",
    None,
    7,
    ["https://host/a"],
]


@pytest.mark.parametrize("repository", GOOD)
def test_git_urls_and_absolute_paths_are_taken_as_they_are(repository):
    address = Address.parse(repository)
    assert address.shown == address.url == repository
    assert address.credentials() == ({}, {})


@pytest.mark.parametrize("repository", BAD, ids=lambda value: str(value)[:30])
def test_anything_else_is_refused_by_name(repository):
    with pytest.raises(ValueError, match=r"^repository: ") as refused:
        GitPoller("app", repository)
    assert "pw" not in str(refused.value).replace("takes no password", "")


@pytest.mark.parametrize(
    "url, hidden",
    [
        ("https://ada:s3cr%2Ft@host/app.git", ["s3cr%2Ft", "s3cr/t"]),
        ("https://t0ken@host/app.git", ["t0ken"]),
        ("https://ada:@host/app.git", []),
        ("https://host/app.git?private_token=t0ken", ["t0ken"]),
    ],
)
@pytest.mark.parametrize("wrap", [str, Secret])
def test_credentials_are_in_nothing_that_is_shown(url, hidden, wrap):
    poller = GitPoller("app", wrap(url))
    shown = [repr(poller), repr(poller.address), repr(compared(poller)), repr(poller.common), poller.address.shown]
    shown.append(poller.scrubbed(f"fatal: unable to access '{url}/': and {url} again"))
    shown += [poller.scrubbed(f"git said {piece}") for piece in hidden]
    assert [(piece, text) for piece in hidden for text in shown if piece in text] == []


def test_a_secret_without_credentials_in_it_is_hidden_whole():
    address = Address.parse(Secret("https://host/very-secret-path/app.git/"))
    assert address.shown == "***"
    assert "very" not in address.scrubbed("repository 'https://host/very-secret-path/app.git/' not found")


def test_git_is_given_no_credentials_but_in_the_environment():
    address = Address.parse("https://ada:s3cr%2Ft@host:81/app.git")
    settings, environment = address.credentials()
    assert address.url == address.shown == "https://host:81/app.git"
    assert environment == {"LOCUM_GIT_USER": "ada", "LOCUM_GIT_PASSWORD": "s3cr/t"}
    assert set(settings) == {"credential.helper", "credential.https://host:81.helper"}
    assert "s3cr" not in str(settings)


@pytest.mark.parametrize(
    "arguments",
    [
        {"branches": []},
        {"branches": 7},
        {"branches": False},
        {"branches": ["main", 7]},
        {"branches": [""]},
        {"branches": "-evil"},
        {"branches": "a b"},
        {"branches": "a..b"},
        {"branches": "a~1"},
        {"branches": "a:b"},
        {"branches": "+a:b"},
        {"branches": "a\0"},
        {"branches": "x.lock"},
        {"branches": "refs/tags/v1"},
        {"branches": "b" * 2000},
        {"poll_interval": "soon"},
        {"poll_interval": 0},
        {"poll_interval": -1},
        {"poll_interval": True},
        {"timeout": "never"},
        {"timeout": 0},
        {"codebase": None},
        {"codebase": "c\0"},
        {"project": 7},
        {"category": ["x"]},
        {"category": "x" * 2000},
        {"properties": [1]},
        {"properties": {"": 1}},
        {"properties": {"a": object()}},
        {"revlink": 7},
        {"revlink": "http://x/%(rev)s"},
    ],
    ids=lambda arguments: str(arguments)[:40],
)
def test_a_wrong_argument_is_refused_by_name(arguments):
    with pytest.raises(ValueError, match=f"^{next(iter(arguments))}: "):
        GitPoller("app", "/srv/app", **arguments)


def test_durations_are_seconds_or_text():
    poller = GitPoller("app", "/srv/app", poll_interval="1m30s", timeout=5)
    assert (poller.poll_interval_s, poller.timeout_s) == (90, 5)


def test_two_pollers_are_equal_unless_an_argument_differs():
    base = {"repository": "https://u:p@h/a", "branches": ["main"], "poll_interval": "60s"}
    one = compared(GitPoller("app", **base))
    assert one == compared(GitPoller("app", **{**base, "poll_interval": 60}))
    for more in (
        {"repository": "https://u:q@h/a"},
        {"branches": ["dev"]},
        {"poll_interval": 61},
        {"timeout": 5},
        {"codebase": "c"},
        {"properties": {"a": 1}},
        {"revlink": "x"},
        {"category": "c"},
    ):
        assert one != compared(GitPoller("app", **{**base, **more}))


REFS = Refs("main", {name: name for name in ("main", "dev", "release/1", "release/2/x", "a*b")})


@pytest.mark.parametrize(
    "branches, chosen",
    [
        (None, ["main"]),
        (True, ["main", "a*b", "dev", "release/1", "release/2/x"]),
        ("*", ["main", "a*b", "dev", "release/1", "release/2/x"]),
        ("dev", ["dev"]),
        ("refs/heads/dev", ["dev"]),
        (["release/*", "main", "main"], ["release/1", "release/2/x", "main"]),
        (["DEV", "release/?"], ["release/1"]),
        (["nothing"], []),
    ],
)
def test_names_and_patterns_choose_branches_the_most_important_first(branches, chosen):
    assert list(Branches.parse(branches).chosen(REFS)) == chosen
