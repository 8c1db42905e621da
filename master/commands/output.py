"""What commands print: tables for people, aligned text for pipes, JSON for programs; times in UTC."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, TypeVar

import click

_T = TypeVar("_T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(us: int | None) -> str | None:
    """Microseconds since the epoch as ISO 8601 in UTC, with microseconds and a Z."""
    if us is None:
        return None
    try:
        return (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    except OverflowError:
        return f"{us // 1_000_000}s"


def moment(us: int | None) -> str:
    """A time for people: UTC to the second, '-' for none."""
    text = iso(us)
    return "-" if text is None else f"{text[:10]} {text[11:19]}Z"


def local_time(us: int, zone: tzinfo) -> str:
    """A time for people, in ``zone``, to the second."""
    try:
        return (_EPOCH + timedelta(microseconds=us)).astimezone(zone).isoformat(" ", "seconds")
    except OverflowError:
        return f"{us // 1_000_000}s"


def span(us: int) -> str:
    """A length of time for people: ``3.2 s``, ``5 min``, ``2 h 10 min``, ``3 d``."""
    seconds = abs(us) / 1e6
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{round(hours / 24)} d"


def counted(number: int, what: str) -> str:
    """``1 change``, ``2 changes``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def up_to(limit: int, found: Sequence[_T], more: str = "--limit shows more, --all all") -> Sequence[_T]:
    """The first ``limit`` of what was found; if there is more, that is said on standard error, and how to see it."""
    if len(found) > limit:
        warn(f"there are more than the {limit} shown: {more}")
    return found[:limit]


def emit_json(value: object) -> None:
    """One JSON document on standard output; lone surrogates and foreign encodings are escaped."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=_ascii_only()))


def emit_json_line(value: object) -> None:
    """One of many JSON documents on standard output, each a line of its own."""
    click.echo(json.dumps(value, ensure_ascii=_ascii_only()))


def _ascii_only() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"


def say(line: str) -> None:
    """One line for people on standard output, without control characters."""
    click.echo(clean(line))


def warn(line: str) -> None:
    """One line for people on standard error."""
    click.echo(clean(line), err=True)


def clean(text: str) -> str:
    """Strangers' text fit for a terminal: what is not printable is shown as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def clean_output(text: str) -> str:
    """A command's output fit for a terminal: lines, tabs and colours stay, other control sequences are shown."""
    return "".join(c if c.isprintable() or c in "\n\t\r\x1b" else repr(c)[1:-1] for c in _only_colours(text))


def _only_colours(text: str) -> str:
    parts = text.split("\x1b")
    kept = [parts[0]]
    for part in parts[1:]:
        end = part.find("m")
        is_colour = part.startswith("[") and 0 < end <= 30 and all(c in "0123456789;:" for c in part[1:end])
        kept.append(("\x1b" if is_colour else "\\x1b") + part)
    return "".join(kept)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table: drawn for a terminal, else aligned text with nothing cut off; ``empty`` is said when there are no rows."""
    cells = [[clean("-" if cell is None else str(cell)) for cell in row] for row in rows]
    if not cells:
        click.echo(empty)
    elif sys.stdout.isatty():
        _drawn(columns, cells)
    else:
        widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
        for row in [[column.upper() for column in columns], *cells]:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _drawn(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in cells:
        drawn.add_row(*map(Text, row))
    Console(highlight=False).print(drawn)


def fields(pairs: Mapping[str, object]) -> None:
    """Name and value, one pair a line."""
    width = max(map(len, pairs)) + 1
    for name, value in pairs.items():
        shown = "-" if value is None else str(value)
        click.echo(f"{(name + ':').ljust(width)} {clean(shown)}")


def either(as_json: bool, value: Callable[[], Any], people: Callable[[], None]) -> None:
    """JSON if it was asked for, else the form for people."""
    if as_json:
        emit_json(value())
    else:
        people()
