"""Database URLs: what is understood, where SQLite files lie, and that no password is ever shown."""

import pytest
from locum.db.urls import DatabaseUrl, without_password


def test_a_sqlite_path_is_relative_to_the_yaml_file_and_may_be_absolute(tmp_path):
    assert DatabaseUrl.parse("sqlite:///data/locum.sqlite", tmp_path).path == tmp_path / "data/locum.sqlite"
    assert DatabaseUrl.parse("sqlite:////var/lib/l.sqlite", tmp_path).path.as_posix() == "/var/lib/l.sqlite"
    parsed = DatabaseUrl.parse("sqlite:///a b?c#%41.sqlite", tmp_path)
    assert parsed.dialect == "sqlite" and "?c" not in parsed.sqlite_path.split("?mode=")[0]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_postgresql_urls_go_to_libpq_as_they_are(tmp_path, scheme):
    parsed = DatabaseUrl.parse(f"{scheme}://u:p@a,b:5433/db?target_session_attrs=read-write", tmp_path)
    assert parsed.libpq == "postgresql://u:p@a,b:5433/db?target_session_attrs=read-write"
    assert parsed.dialect == "postgresql"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hush@h/db",
        "postgresql://u:hush@h1,h2:5/db?connect_timeout=1",
        "postgresql://h/db?password=hush&connect_timeout=1",
        "postgresql://h/db?connect_timeout=1&sslpassword=hush",
        "postgresql://u:hush%40@h/db",
        "postgresql://:hush@h/db",
        "postgresql://u:hu:sh@h/db",
        "postgresql://u:hush#hush@h/db",
        "postgresql://u:hush?hush@h/db",
    ],
)
def test_a_password_is_shown_nowhere(tmp_path, url):
    parsed = DatabaseUrl.parse(url, tmp_path)
    for shown in (str(parsed), repr(parsed), f"{parsed}", parsed.shown, without_password(url)):
        assert "hush" not in shown and "hu:sh" not in shown and "***" in shown
    assert "h" in parsed.libpq


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hush@@h/db",
        "postgresql://u:hu@hush@h/db",
        "postgresql://u:hush/hush@h/db",
        "postgresql://u:12/hush@h/db",
        "postgresql://u:12/34?hush@h/db",
        "postgresql://u:hush hush@h/db",
    ],
)
def test_a_password_that_is_not_escaped_is_refused_with_the_cure_and_shown_nowhere(tmp_path, url):
    with pytest.raises(ValueError, match="write '@' as %40") as refused:
        DatabaseUrl.parse(url, tmp_path)
    assert "hush" not in str(refused.value) and "hush" not in without_password(url)


def test_a_url_without_a_password_is_shown_whole():
    url = "postgresql://h:5432/db?options=a@b&application_name=x:y@z"
    assert without_password(url) == url
    assert without_password("/some/path:x@y") == "/some/path:x@y"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "locum.sqlite",
        "mysql://u:hush@h/db",
        "sqlite://",
        "sqlite:///",
        "sqlite://relative",
        "postgresql:h",
        "http://x",
    ],
)
def test_what_is_neither_is_refused_with_the_cure_and_without_the_password(tmp_path, url):
    with pytest.raises(ValueError, match="write sqlite:///FILE or postgresql://") as refused:
        DatabaseUrl.parse(url, tmp_path)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:100%hush@h/db", "write '%' as %25"),
        ("postgresql://u:hush%00@h/db", "write '%' as %25"),
        ("postgresql://u:p@h/db?sslmodee=require", "the option 'sslmodee', which libpq does not know"),
        ("postgresql://h/db?password=x&hush=1", "something that libpq does not understand"),
        ("postgresql://h/db?password=x&hush", "something that libpq does not understand"),
        ("postgresql://u:p@h:hush/db", "a port that is no number from 1 to 65535"),
        ("postgresql://u:p@h:5432,i:70000/db", "a port that is no number from 1 to 65535"),
    ],
)
def test_what_libpq_would_refuse_is_refused_before_and_not_quoted(tmp_path, url, said):
    with pytest.raises(ValueError) as refused:
        DatabaseUrl.parse(url, tmp_path)
    assert said in str(refused.value) and "hush" not in str(refused.value)
