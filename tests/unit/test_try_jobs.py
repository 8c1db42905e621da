"""Try jobs: their forms, the maildir, HTTP, and what becomes of them."""

import base64
import json

import pytest
from locum.config import Secret
from locum.db.messages import Message
from locum.master.answering import serving
from locum.master.try_jobdir import Try_Jobdir
from locum.master.try_userpass import Try_Userpass
from locum.schedulers import SingleBranchScheduler
from locum.schedulers.try_jobs import BadJob, TryJob, job_of, read_job

DIFF = b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+\xff\n"
BASE64 = base64.b64encode(DIFF).decode()


def netstrings(*parts):
    return b"".join(b"%d:%s," % (len(part), part) for part in parts)


# -- forms


def test_a_job_as_json_and_as_netstrings_of_all_versions_says_the_same():
    common = {"jobid": "j1", "branch": "main", "baserev": "r1", "patch": DIFF, "patch_level": 1}
    fields = [b"j1", b"main", b"r1", b"1", DIFF]
    more = [b"git://x", b"p"]
    names = [b"unit", b"lint"]
    builders = {"builders": ("unit", "lint")}
    assert read_job(netstrings(b"1", *fields, *names)) == TryJob(**common, **builders)
    second = {**common, "repository": "git://x", "project": "p"}
    assert read_job(netstrings(b"2", *fields, *more, *names)) == TryJob(**second, **builders)
    third = {**second, "who": "ann"}
    assert read_job(netstrings(b"3", *fields, *more, b"ann", *names)) == TryJob(**third, **builders)
    fourth = {**third, "comment": "try it"}
    assert read_job(netstrings(b"4", *fields, *more, b"ann", b"try it", *names)) == TryJob(**fourth, **builders)
    whole = TryJob(**fourth, **builders, properties={"a": 1})
    text = json.dumps(whole.to_mapping()).encode()
    assert read_job(text) == read_job(netstrings(b"5", text)) == read_job(netstrings(b"6", text) + b"\n") == whole
    assert read_job(b'{"patch_body": "diff"}').patch == b"diff"
    assert read_job(b'{"branch": "", "baserev": null}') == TryJob()
    assert read_job(b'{"patch_subdir": "lib/..core/x"}').patch_subdir == "lib/..core/x"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "neither JSON nor netstrings"),
        (b"\xff", "neither JSON nor netstrings"),
        (b"[1]", "expected a JSON object"),
        (b'{"brunch": "x"}', "brunch: unknown key"),
        (b'{"branch": 3}', "branch: expected text"),
        (b'{"who": "a\\u0000b"}', "who: expected text"),
        (b'{"who": "\\ud800"}', "who: expected text"),
        (b'{"patch_level": -1}', "patch_level: expected"),
        (netstrings(b"1", b"j", b"main", b"r", "²".encode(), b"diff", b"unit"), "patch_level: expected a whole number"),
        (b'{"properties": {"": 1}}', "properties: expected non-empty texts as names"),
        (b'{"properties": {"a": NaN}}', "property 'a': expected a JSON value"),
        (b'{"branch": "' + b"x" * 4097 + b'"}', "branch: it has 4,097 characters"),
        (b'{"comment": "' + b"x" * 65537 + b'"}', "comment: it has 65,537 characters"),
        (b'{"patch_level": 101}', "patch_level: expected a whole number from 0 to 100"),
        (b'{"patch_subdir": "../.."}', "patch_subdir: expected a folder of the repository"),
        (b'{"patch_subdir": "lib/../../x"}', "patch_subdir: expected a folder of the repository"),
        (b'{"patch_subdir": "/etc"}', "patch_subdir: expected a folder of the repository"),
        (b'{"patch_subdir": "--reverse"}', "patch_subdir: expected a folder of the repository"),
        (b'{"builders": "unit"}', "builders: expected a list"),
        (b'{"properties": []}', None),
        (b'{"properties": [1]}', "properties: expected a mapping"),
        (b'{"patch_body_base64": "?"}', "patch_body_base64: it is not base64"),
        (netstrings(b"9", b"x"), "unknown version b'9'"),
        (netstrings(b"4", b"x"), "at least 9 parts"),
        (netstrings(b"1", b"j", b"b", b"r", b"one", b"d"), "patch_level: expected a whole number"),
        (netstrings(b"5", b"{}", b"{}"), "one JSON object"),
        (b"3:ab", "cut off"),
        (b"1:5;", "cut off"),
        (b"999999999:x,", "cut off"),
        (netstrings(b"1", b"\xff", b"b", b"r", b"1", b"d"), "jobid: it is not UTF-8"),
    ],
)
def test_a_bad_job_is_refused_with_the_reason(data, said):
    if said is None:
        assert read_job(data).properties == {}
        return
    with pytest.raises(BadJob, match=said.replace("[", r"\[")):
        read_job(data)


# -- by message


def userpass(**arguments):
    return lambda: Try_Userpass("try", ["unit", "lint"], **arguments)


def answer(b, job):
    """What the message of ``locum try`` is answered."""
    found = []
    serve = serving(Message(1, b.id, "k", "try", job.to_mapping(), 0, "ann"))

    async def served():
        found.append(await serve(b.scheduler))

    b.ask(served)
    return found[0]


def test_a_job_becomes_a_buildset_with_its_patch(bench):
    b = bench(userpass(codebases={"": {"repository": "git://ours", "branch": "main"}}, properties={"a": 1, "b": 1}))
    job = TryJob(
        **{"jobid": "j1", "baserev": "r1", "patch": DIFF, "patch_level": 0, "patch_subdir": "sub", "who": "ann@host"},
        **{"origin": "ssh://mine", "comment": "please", "builders": ("lint",), "properties": {"b": 2}},
    )
    found = answer(b, job)
    (built,) = b.built
    assert found == {"buildset": built.id, "tasks": {"lint": found["tasks"]["lint"]}}
    assert built.reason == "'try' job by ann@host: please"
    assert built.stamps == [
        {"codebase": "", "repository": "git://ours", "branch": "main", "revision": "r1", "project": ""}
    ]
    assert {n: v for n, (v, _) in built.properties.items()} == {"a": 1, "b": 2, "owner": "ann@host", "scheduler": "try"}
    assert json.loads(b.sql("SELECT patch_json FROM sourcestamps")[0][0]) == {
        **{"body_base64": BASE64, "level": 0, "subdir": "sub", "author": "ann@host", "comment": "please"}
    }
    assert b.sql("SELECT external_id FROM buildsets")[0][0] == "j1"


@pytest.mark.parametrize(
    ("given", "configured", "expected"),
    [("git://given", "git://ours", "git://given"), ("", "git://ours", "git://ours"), ("", "", "ssh://mine")],
)
def test_the_repository_is_the_one_given_else_the_scheduler_s_else_the_checkout_s(bench, given, configured, expected):
    b = bench(userpass(codebases={"": {"repository": configured} if configured else {}}))
    answer(b, TryJob(repository=given, origin="ssh://mine", branch="topic"))
    assert (b.built[0].stamps[0]["repository"], b.built[0].stamps[0]["branch"]) == (expected, "topic")
    assert b.built[0].builders == ["unit", "lint"]


def test_builders_and_codebases_that_are_not_its_own_are_refused(bench):
    b = bench(userpass())
    assert "'deploy' is not one of" in answer(b, TryJob(builders=("deploy",)))["error"]
    assert answer(b, TryJob(builders=("unti",)))["error"].endswith("unit, lint; did you mean 'unit'?")
    assert "codebase 'x' is not one of" in answer(b, TryJob(codebase="x"))["error"]
    assert b.built == [] and b.failures == {}


def test_other_schedulers_take_no_try_jobs(bench):
    b = bench(lambda: SingleBranchScheduler("quick", ["unit"], branch="main"))
    assert "only Try_Userpass and Try_Jobdir" in answer(b, TryJob())["error"]


# -- the maildir


@pytest.fixture
def jobdir(bench, tmp_path):
    """A started Try_Jobdir, and its folder."""
    holder = []

    def make():
        scheduler = Try_Jobdir("try", ["unit"], "jobs", poll_interval=1)
        if holder:
            scheduler.equip(holder[0].surroundings, tmp_path)
        return scheduler

    b = bench(lambda: SingleBranchScheduler("other", ["unit"], branch="main"))
    holder.append(b)
    b.die()
    b.make = make
    b.start()
    return b, tmp_path / "jobs"


def put(folder, name, data):
    (folder / "new").mkdir(parents=True, exist_ok=True)
    (folder / "new" / name).write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())


def inside(folder):
    return {part: sorted(p.name for p in (folder / part).iterdir()) for part in ("new", "cur", "bad")}


def own(b):
    return [built for built in b.built if built.properties["scheduler"][0] == "try"]


def test_every_file_of_new_is_one_buildset_and_goes_to_cur(jobdir):
    b, folder = jobdir
    put(folder, "1.a", {"branch": "main", "comment": "one"})
    put(folder, "2.b", netstrings(b"5", b'{"comment": "two"}'))
    b.advance(1.1)
    assert [x.reason for x in own(b)] == ["'try' job: one", "'try' job: two"]
    assert inside(folder) == {"new": [], "cur": ["1.a", "2.b"], "bad": []}
    b.fail_over()
    b.advance(5)
    assert len(own(b)) == 2


def test_a_file_whose_master_died_before_it_was_moved_is_one_buildset(jobdir):
    b, folder = jobdir
    put(folder, "1.a", {"comment": "one"})
    b.advance(1.1)
    (folder / "cur" / "1.a").rename(folder / "new" / "1.a")
    b.fail_over()
    b.advance(2)
    assert len(own(b)) == 1 and inside(folder)["cur"] == ["1.a"]
    put(folder, "1.a", {"comment": "another of the same name"})
    b.advance(2)
    assert len(own(b)) == 2
    assert len(b.state["served"]) == 1


def test_bad_jobs_are_kept_aside_with_the_reason_and_the_others_go_on(jobdir):
    b, folder = jobdir
    put(folder, "1.bad", b"what is this")
    put(folder, "2.bad", {"builders": ["nobody"]})
    put(folder, "3.good", {})
    (folder / "new" / "4.folder").mkdir()
    b.advance(1.1)
    assert len(own(b)) == 1
    names = ["1.bad", "1.bad.reason", "2.bad", "2.bad.reason", "4.folder", "4.folder.reason"]
    assert inside(folder) == {"new": [], "cur": ["3.good"], "bad": names}
    assert "'nobody' is not one of" in (folder / "bad" / "2.bad.reason").read_text()
    assert "neither JSON nor" in (folder / "bad" / "1.bad.reason").read_text()


def test_a_name_that_comes_again_puts_no_earlier_file_away(jobdir):
    b, folder = jobdir
    for comment in ("one", "two", "three"):
        put(folder, "1.a", {"comment": comment})
        b.advance(2)
    for _ in range(2):
        put(folder, "1.bad", b"?")
        b.advance(2)
    bad = ["1.bad", "1.bad.2", "1.bad.2.reason", "1.bad.reason"]
    assert inside(folder) == {"new": [], "cur": ["1.a", "1.a.2", "1.a.3"], "bad": bad}
    assert len(own(b)) == 3


def test_a_job_that_the_author_s_code_fails_at_is_kept_aside_and_the_others_go_on(jobdir, monkeypatch):
    b, folder = jobdir
    served = Try_Jobdir.tryJob

    def odd(self, job):
        if job.comment == "odd":
            raise KeyError("what it looks for")
        return served(self, job)

    monkeypatch.setattr(Try_Jobdir, "tryJob", odd)
    put(folder, "1.odd", {"comment": "odd"})
    put(folder, "2.good", {})
    b.advance(1.1)
    assert len(own(b)) == 1 and inside(folder) == {"new": [], "cur": ["2.good"], "bad": ["1.odd", "1.odd.reason"]}
    assert (folder / "bad" / "1.odd.reason").read_text() == "KeyError: 'what it looks for'\n"


def test_while_nobody_is_active_files_wait(jobdir):
    b, folder = jobdir
    b.disable()
    put(folder, "1.a", {})
    b.advance(5)
    assert own(b) == [] and inside(folder)["new"] == ["1.a"]
    b.enable()
    b.advance(2)
    assert len(own(b)) == 1


def test_a_job_that_could_not_be_committed_is_served_later_once(jobdir):
    b, folder = jobdir
    b.database_away()
    put(folder, "1.a", {})
    b.advance(3)
    assert own(b) == [] and inside(folder)["new"] == ["1.a"]
    b.database_back()
    b.advance(10)
    assert len(own(b)) == 1 and inside(folder)["cur"] == ["1.a"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Try_Jobdir("t", ["unit"], ""), "jobdir: expected a folder"),
        (lambda: Try_Jobdir("t", ["unit"], "x", poll_interval=0), "poll_interval: expected at least"),
        (lambda: Try_Userpass("t", ["unit"], port=0), "port: expected a number"),
        (lambda: Try_Userpass("t", ["unit"], port=8031), "userpass: it is required with a port"),
        (lambda: Try_Userpass("t", ["unit"], port=8031, userpass=["ann"]), "userpass: expected a mapping"),
        (lambda: Try_Userpass("t", ["unit"], port=8031, userpass={"a:b": "x"}), "userpass: expected users' names"),
        (lambda: Try_Userpass("t", ["unit"], port=8031, userpass={"ann": ""}), "userpass: the password of 'ann'"),
        (lambda: Try_Userpass("t", ["unit"], interface=3), "interface: expected an address"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_by_name(make, said):
    with pytest.raises(ValueError) as refused:
        make()
    assert str(refused.value).startswith(said)


def test_passwords_may_be_secrets_and_pairs():
    one = Try_Userpass("t", ["unit"], userpass={"ann": Secret("s"), "bob": "t"})
    assert one.users == Try_Userpass("t", ["unit"], userpass=[("ann", Secret("s")), ("bob", "t")]).users
    assert one.knows(b"ann", b"s") and one.knows(b"bob", b"t")
    assert not one.knows(b"ann", b"t") and not one.knows(b"", b"") and not one.knows(b"\xff", b"s")
    assert job_of({}) == TryJob()
