"""``locum import-buildbot``: a Buildbot configuration, as far as it has a counterpart here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...db.naming import Refused
from .output import clean, emit_json

if TYPE_CHECKING:
    from ..importing.running import Made
    from ..importing.turning import Turning

_HEADER = """\
# Turned from {file} by 'locum import-buildbot'{incomplete}. 'locum check' accepts it as it is.
# What tasks do is not turned: write the steps of each builder.
"""


@click.command("import-buildbot")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the YAML there, if it is new."
)
@click.option("--timezone", default="UTC", show_default=True, help="The zone that Nightly schedulers go by.")
@click.option("--timeout", "timeout_s", default=30.0, show_default=True, help="Seconds that FILE may run.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON: the YAML, and what is not in it.")
def import_buildbot(file: Path, output: Path | None, timezone: str, timeout_s: float, as_json: bool) -> int:
    """Turn a Buildbot master.cfg into YAML.

    Its schedulers, filters, change sources and builders' names. FILE is Python, and it is run, as Buildbot runs it: in a
    process of its own, with stand-ins for Buildbot, which need not be installed. No build is run; connections, processes
    and writes are refused. What could not be turned is listed, with its line and what to do. Exit 1: FILE failed.
    """
    from ..importing.running import run  # brings what no other command needs
    from ..importing.turning import turn, written

    if output is not None and output.exists():
        raise Refused(f"{output} is there already; remove it first, or name another file")
    try:
        made = run(file, timeout_s)
    except OSError as error:
        raise Refused(f"cannot read {file}: {error.strerror}") from None
    try:
        turning = turn(made, file.name, timezone)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    text = written(turning, timezone, _header(file, made)) if any(turning.sections.values()) else ""
    if as_json:
        emit_json(_answer(made, turning, text))
    elif output is None and text:
        click.echo(text, nl=False)
    if output is not None and text:
        output.write_text(text, encoding="utf-8")
    if not as_json:
        _report(file, output, made, turning)
    return 1 if made.error is not None else 0


def _header(file: Path, made: Made) -> str:
    incomplete = "" if made.error is None else f", which failed ({clean(str(made.error))}): incomplete"
    return _HEADER.format(file=clean(file.name), incomplete=incomplete)


def _report(file: Path, output: Path | None, made: Made, turning: Turning) -> None:
    """On standard output if the YAML is not there."""
    lines = [] if made.error is None else [f"{made.error}; what follows is what had been made by then"]
    lines += [str(one) for one in turning.remarks]
    counts = (("schedulers", "schedulers"), ("builders", "builders"), ("change_sources", "change sources"))
    counted = ", ".join(f"{turning.count(section)} {what}" for section, what in counts)
    wrote = f"wrote {output}: " if output is not None and any(turning.sections.values()) else f"{file}: "
    for line in [*lines, f"{wrote}{counted}"]:
        click.echo(clean(line), err=output is None)


def _answer(made: Made, turning: Turning, text: str) -> dict[str, object]:
    return {
        "yaml": text,
        "error": None if made.error is None else str(made.error),
        **{section: turning.count(section) for section in turning.sections},
        "not_turned": [
            {"file": one.file, "line": one.line or None, "what": one.what, "cure": one.cure} for one in turning.remarks
        ],
        "suggested": turning.suggested,
    }
