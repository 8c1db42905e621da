"""Bad input: hypothesis tries every reader of ``targets.py`` for a bounded while; what was ever found has a name here."""

from __future__ import annotations

import contextlib
import io
import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from locum.config import mask_credentials, parse_duration
from locum.db.naming import Refused
from locum.db.urls import DatabaseUrl
from locum.master.changes import BadChange, validated
from locum.master.commands import changes as command
from locum.schedulers.parameters import IntParameter, UserNameParameter, ValidationError
from locum.schedulers.recurrence import recurrence_from_json
from locum.schedulers.stored import start_from_json

from .targets import TARGETS

WORDS = {
    "yaml_file": """master database cluster plugins builders schedulers change_sources tasks log name type url env secret file
        steps shell git timeout builderNames branch hour minute lease heartbeat ${A} ${TOKEN} ${EMPTY:-x} $${ ${ %(prop:x)s
        {secret: {env: TOKEN}} {secret: {file: /dev/null}} &a *a <<: !!x --- ... | > 10s -1 017 1_0 .inf null yes ~ [ ] { }
        , : ? - # ' " Nightly Periodic unit sqlite:///x postgresql://ann:pw@h/d""",
    "duration": "0 1 9 99999999999999999999 . .5 1e9 -1 w d h m s ms M H + inf nan infinity ٣ ½ 1h30m 1m1h _",
    "interpolation": "$ $$ ${ $${ } ${A} ${A:-b} ${EMPTY:-x} ${NESTED} ${TOKEN} ${missing} ${A:-${A}} ${1} ${:-} :-",
    "rendering": "% %% %( %(prop: %(prop:branch)s %(prop:x:-y)s %(prop:list)s )s :- %(kw:x)s %s \0",
    "cron": "* */5 0 59 60 1-5 5-1 1,2 MON mon-fri JAN L LW 15W 6#3 6L @daily @reboot @every / - , # ? ~ R 7 0-7 */0 ٣ 1/2",
    "zone_of_cron": "UTC Europe/Berlin ../../etc/passwd /etc/passwd EST5EDT Etc/GMT+25 \0 posixrules europe/berlin .",
    "change_lines": r"""{ } [ ] , : "who" "ann" "branch" "when" "files" "properties" "request_id" "comments" 1e400 1e4000 NaN -1
        null true "2024-05-17T09:30:00+02:00" "\ud800" "\u0000" {"who":"ann"} {"who":"ann","who":"bob"}""",
    "change_fields": r"""a:= a= := = null [] {} "x" 1e999 2024-05-17 2024-05-17T09:30:00+02:00 0001-01-01T00:00:00+23:59
        9999-12-31T23:59:59-23:59 99999999999 -99999999999 nan inf ٣ --5""",
    "database_url": "sqlite:/// postgresql:// :// / @ : ? & = %40 %zz password= sslpassword= host=/x [::1] , # ann pw \0 é",
    "git_address": "https:// ssh:// git:// file:// ext:: -o /a/b host:path [::1] [ ] @ : / ? # %00 %0a .. é :99999 :x",
    "recurrence": r"""{ } [ ] , : "kind" "interval" "cron" "monthly" "once" "start" "2024-05-17T09:30:00+02:00" "timezone"
        "UTC" "buildset" "builders" ["unit"] "properties" {"kind":[]} {"kind":"cron","cron":"* * * * *"} 1e400 null true""",
    "try_job": r"""{ } [ ] , : "jobid" "branch" "baserev" "patch_body" "patch_body_base64" "patch_level" "patch_subdir"
        "properties" "builders" ["unit"] "comment" "../x" "\ud800" "\u0000" 1 5 true null 3:abc, 1:1, 1:5,2:{}, 999999999:
        {"jobid":"a","patch_body":"x"} ٣ -1 1e400 1\nj\nmain\nabc\n1\ndiff\nunit 5\n{} 4\n""",
    "form": r"""{ } [ ] , : "text" "number" "flag" "choice" "several" "any_name" "any_value" "patch_body" "patch_level" "branch"
        "group_inner" "7" "a" "true" "\ud800" "\u0000" ["a","b"] ["a"] {"number":["7"]} 7 1e400 null true <a@b> ٣ 99999999999999999999""",
    "pattern": r"""( ) [ ] { } * + ? | . ^ $ \w \d \s (?: (?= (?<= (?P<a> (?P=a) (?i) (?( \1 a b {2,} {99999} {4294967296} a** [^/]+ - [z-a]
        (a+)+ (a|aa)* \b \Z \u0041 ++ *+ (?>""",
    "git_commits": r""": ann <ann@example.org> \0 \x1f é \u2028 :100644 a/b .. -x " 1700000000 99999999999999999999 ٣""",
    "masking": "https:// http:// ssh:// :// @ : / a9+.- = password= token=x & ' sslpassword=",
    "stored": r"""{ } [ ] , : "a" null 1 NaN 1e999 "\ud800" {"a":[1,"x"]} {"a":[1]}""",
}  # fmt: skip


def _inputs(name: str) -> st.SearchStrategy[bytes]:
    """Bytes, text, and words of the language that the reader reads, with anything between."""
    words = st.sampled_from([*WORDS[name].split(), " ", "\n", "\n  ", ": ", ", ", "\t", "\r\n", "\x85", "\u2028"])
    text = st.lists(words | st.text(max_size=3), max_size=30).map("".join)
    return st.binary(max_size=200) | (st.text(max_size=200) | text).map(lambda t: t.encode("utf-8", "surrogatepass"))


def test_every_target_has_words() -> None:
    assert set(WORDS) == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_is_read_is_a_value_or_the_error_that_was_promised(name: str) -> None:
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(_inputs(name))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    "piece", [b"(", b"[", b"{", b'{"a":', b"9", b"a", b"*,", b"${A}", b"://", b"%(", b"\n- ", b"@:", b"\0", b'"']
)
def test_much_of_one_thing_does_not_take_long(name: str, piece: bytes) -> None:
    TARGETS[name](piece * (60_000 // len(piece)))


# -- what was found --------------------------------------------------------------------------------------------------


def test_a_time_of_hundreds_of_digits_is_refused_with_a_sentence() -> None:
    with pytest.raises(BadChange, match="outside of the years"):
        validated({"who": "ann", "when": 10**400})


def test_a_key_that_stands_twice_behind_very_many_is_found_soon() -> None:
    keys = ",".join(f'"{n}":1' for n in range(200_000))
    with pytest.raises(BadChange, match="'7' stands twice"):
        command.change_of_line(f'{{{keys},"7":2}}'.encode())


def test_of_very_many_unknown_fields_the_first_are_named() -> None:
    with pytest.raises(BadChange) as error:
        validated(dict.fromkeys(map(str, range(500_000)), 1))
    assert len(error.value.faults) == 22 and "499980 unknown fields more" in str(error.value)


def test_a_bad_line_among_good_ones_adds_nothing() -> None:
    lines = [json.dumps({"who": "ann", "when": when}) for when in (1, 10**400, 2)]
    new, faults = command._read(io.BytesIO("\n".join(lines).encode()))
    assert len(new) == 2 and [fault[:7] for fault in faults] == ["line 2:"]
    with pytest.raises(Refused, match="cannot read"):
        command._from_lines("/nowhere/changes.json")


@pytest.mark.parametrize("kind", [[], {}, 3, None, True])
def test_a_recurrence_whose_kind_is_no_text_is_refused(kind: object) -> None:
    with pytest.raises(ValueError, match="kind"):
        recurrence_from_json({"kind": kind})


@pytest.mark.parametrize("builders", [3, None, "unit", {"a": 1}, [[]]])
def test_a_stored_start_whose_builders_are_no_list_of_names_is_refused(builders: object) -> None:
    with pytest.raises(ValueError, match="builders"):
        start_from_json({"buildset": {"builders": builders}})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, -(10**400)])
def test_a_number_that_is_no_duration_is_refused(value: float) -> None:
    with pytest.raises(ValueError):
        parse_duration(value)


@pytest.mark.parametrize(
    "url", ["://" * 1_300, "postgresql://" + ":/" * 2_000, "postgresql://u:" + "/" * 4_000, "x" * 10**6]
)
def test_a_database_url_is_masked_soon_however_it_is_made(url: str) -> None:
    before = time.process_time()
    with contextlib.suppress(ValueError):
        DatabaseUrl.parse(url, Path("/nowhere"))
    assert time.process_time() - before < 2


def test_a_database_url_that_names_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name in ("loop/x", "a\0b"):
        with pytest.raises(ValueError, match="names no usable file"):
            DatabaseUrl.parse(f"sqlite:///{name}", tmp_path)


def test_a_long_text_without_a_url_is_looked_through_for_passwords_soon() -> None:
    before = time.process_time()
    assert mask_credentials("a" * 60_000 + " token=x") == "a" * 60_000 + " token=***"
    assert time.process_time() - before < 2


def test_a_long_name_without_an_address_is_refused_soon() -> None:
    before = time.process_time()
    with pytest.raises(ValidationError, match="with an address"):
        UserNameParameter(required=True).parsed("a" * 60_000)
    assert time.process_time() - before < 2


def test_a_whole_number_may_stand_between_odd_blanks() -> None:
    assert IntParameter("n").parsed("\x1d 6 \x1f") == 6
    assert IntParameter("n", default="\x1d7").default == 7
