"""Secrets: never in a repr, a fault, a digest or a difference."""

import copy
import dataclasses
import json
import pickle
from pathlib import Path

import pytest
from locum.config import ConfigError, Secret, carries_credentials, compare, mask_credentials, parse

SCHEDULER = "schedulers: [{{type: P, name: a, token: {}}}]"


def read(text, tmp_path, **environ):
    return parse(text.encode(), "master.yaml", environ, tmp_path)


def faults_of(text, tmp_path, **environ):
    with pytest.raises(ConfigError) as error:
        read(text, tmp_path, **environ)
    return str(error.value)


def token(source, tmp_path, **environ):
    return read(SCHEDULER.format(source), tmp_path, **environ).schedulers[0].arguments["token"]


def test_a_secret_shows_only_stars():
    secret = Secret("hunter2")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>3}", "%s" % secret, repr([secret]), repr({"a": secret})]  # noqa: UP031
    assert all("hunter2" not in text and "***" in text for text in shown)
    assert secret.reveal() == "hunter2"


def test_secrets_of_one_value_are_equal_and_hash_alike():
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_a_secret_goes_into_neither_json_nor_pickle():
    with pytest.raises(TypeError):
        json.dumps({"a": Secret("x")})
    with pytest.raises(TypeError):
        pickle.dumps(Secret("x"))


def test_a_secret_survives_copying_as_itself():
    secret = Secret("x")
    assert copy.deepcopy({"a": [secret]})["a"][0] is secret
    assert copy.copy(secret) is secret


def test_a_secret_comes_from_the_environment_or_from_a_file(tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    assert token("{secret: {env: TOKEN}}", tmp_path, TOKEN="abc") == Secret("abc")
    assert token("{secret: {file: token}}", tmp_path) == Secret("s3cret")
    assert token(f"{{secret: {{file: {tmp_path}/token}}}}", Path("elsewhere")) == Secret("s3cret")
    assert token('{secret: {file: "${NAME}"}}', tmp_path, NAME="token") == Secret("s3cret")


def test_a_secret_may_stand_deep_inside_arguments(tmp_path):
    arguments = read(SCHEDULER.format("[{a: {secret: {env: X}}}]"), tmp_path, X="x").schedulers[0].arguments
    assert arguments["token"] == [{"a": Secret("x")}]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("{secret: {env: NO}}", "the environment variable 'NO' is not set"),
        ("{secret: {env: EMPTY}}", "the secret env 'EMPTY' is empty"),
        ("{secret: {file: no}}", "the secret file 'no' cannot be read: No such file"),
        ("{secret: {file: .}}", "is not a file"),
        ("{secret: {file: large}}", "is larger than 64 kB"),
        ("{secret: {file: binary}}", "cannot be read: not UTF-8 text"),
        ("{secret: {file: nul}}", "holds a NUL character"),
        ("{secret: {}}", "write {secret: {env: NAME}} or {secret: {file: PATH}}"),
        ("{secret: hunter2}", "not a source of a secret"),
        ("{secret: {envv: X}}", "not a source of a secret"),
        ("{secret: {env: X, file: token}}", "not a source of a secret"),
        ("{secret: {env: [X]}}", "not a source of a secret"),
        ('{secret: {file: "a\\0b"}}', "NUL"),
    ],
)
def test_a_secret_that_cannot_be_had_is_a_fault(source, what, tmp_path):
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xfd")
    (tmp_path / "nul").write_bytes(b"a\0b")
    faults = faults_of(SCHEDULER.format(source), tmp_path, EMPTY="", X="x")
    assert what in faults
    assert "hunter2" not in faults
    assert faults.startswith("master.yaml:1:")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://locum:hunter2@db1,db2/locum",
        "postgresql://locum:hunter2/with/slash@db/locum",
        "postgresql://locum@db/locum?password=hunter2",
        "postgresql://locum:hun@ter2hunter2@db/locum",
        "postgresql://:hunter2@db/locum",
    ],
)
def test_a_password_in_the_databases_url_is_seen_nowhere(url, tmp_path):
    text = f'database: {{url: "{url}"}}'
    config = read(text, tmp_path)
    assert config.database.url == Secret(url)
    assert "hunter2" not in repr(config) + config.database.shown_url
    assert config.database.shown_url.startswith("postgresql://")
    other = read(text.replace("hunter2", "hunter3"), tmp_path)
    lines = compare(config, other).lines()
    assert lines and "hunter" not in "".join(lines)
    assert "hunter2" not in faults_of(text + "\nbad: 1", tmp_path)
    assert "hunter2" not in faults_of(text.replace("postgresql:", "postgrsql:"), tmp_path)
    assert "hunter2" not in faults_of(text.replace("postgresql://", ""), tmp_path)


def test_a_url_without_a_password_stays_readable(tmp_path):
    config = read("database: {url: 'postgresql://locum@db1,db2/locum?target_session_attrs=read-write'}", tmp_path)
    assert config.database.url == config.database.shown_url
    assert "db1,db2" in repr(config)


def test_a_secret_url_is_checked_but_never_shown(tmp_path):
    text = "database: {url: {secret: {env: URL}}}"
    config = read(text, tmp_path, URL="postgresql://u:hunter2@db/locum")
    assert config.database.url == Secret("postgresql://u:hunter2@db/locum")
    assert config.database.shown_url == "***"
    assert "hunter2" not in faults_of(text, tmp_path, URL="hunter2")


def test_credentials_in_a_steps_repository_make_it_a_secret(tmp_path):
    text = "builders: [{name: b, steps: [{git: {repository: 'https://tok3n@git.example.org/a.git'}}]}]"
    config = read(text, tmp_path)
    assert config.builders[0].steps[0].repository == Secret("https://tok3n@git.example.org/a.git")
    assert "tok3n" not in repr(config)


def test_arguments_with_credentials_are_masked_in_reprs_and_differences(tmp_path):
    old = read("change_sources: [{type: G, name: a, repository: 'https://u:tok3n@h/a'}]", tmp_path)
    new = read("change_sources: [{type: G, name: a, repository: 'https://u:tok3n@h/b', x: [tok]}]", tmp_path)
    text = repr(old) + "".join(compare(old, new).lines())
    assert "tok3n" not in text
    assert "https://u:***@h/a" in text


def test_a_changed_secret_is_a_difference_but_no_drift(tmp_path):
    text = SCHEDULER.format("{secret: {env: T}}")
    old, new = read(text, tmp_path, T="one"), read(text, tmp_path, T="two")
    assert old.digest == new.digest
    difference = compare(old, new)
    assert difference.schedulers.changed == ("a",)
    assert difference.lines() == ["~ scheduler a: token: a new secret value"]


def test_secrets_cannot_stand_where_they_would_be_shown(tmp_path):
    secret = "{secret: {env: T}}"
    for text in (
        f"builders: [{{name: b, steps: [git: {{}}], properties: {{a: [{secret}]}}}}]",
        f"builders: [{{name: b, steps: [shell: [echo, {secret}]]}}]",
        f"builders: [{{name: {secret}, steps: [git: {{}}]}}]",
        f"master: {{name: {secret}}}",
    ):
        assert "a secret cannot stand here" in faults_of(text, tmp_path, T="hunter2")


def test_secrets_may_stand_in_the_environment_of_builders_and_steps(tmp_path):
    text = "builders: [{name: b, env: {A: {secret: {env: T}}}, steps: [{shell: x, env: {B: {secret: {env: T}}}}]}]"
    builder = read(text, tmp_path, T="hunter2").builders[0]
    assert builder.env == {"A": Secret("hunter2")} and builder.steps[0].env == {"B": Secret("hunter2")}
    assert "hunter2" not in str(dataclasses.asdict(builder))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://u:p@h/x", "https://u:***@h/x"),
        ("https://token@h/x", "https://***@h/x"),
        ("ssh://git@h/x", "ssh://git@h/x"),
        ("git@h:x", "git@h:x"),
        ("/srv/repo", "/srv/repo"),
        ("postgresql://h/d?sslpassword=x&a=b", "postgresql://h/d?sslpassword=***&a=b"),
        ("host=h password=x", "host=h password=***"),
        ("a=b", "a=b"),
    ],
)
def test_credentials_are_masked_wherever_they_stand(text, masked):
    assert mask_credentials(text) == masked
    assert carries_credentials(text) == (text != masked)
