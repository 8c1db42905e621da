"""``locum``: the command line. Every error is one sentence on standard error; exit codes are for scripts."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import click

from ...config import ConfigError, mask_credentials
from ...db.errors import DatabaseAway, DatabaseError, OutcomeUnknown
from . import (
    buildsets,
    changes,
    database,
    demo,
    files,
    force,
    reconfig,
    schedulers,
    schedules,
    simulate,
    status,
    tasks,
    trying,
)
from .explain import explain
from .import_buildbot import import_buildbot
from .next import next_
from .opening import config_option, database_option
from .output import clean

OK, FAILED, USAGE, AWAY, INTERRUPTED = 0, 1, 2, 3, 130

_EPILOG = """\b
Exit codes:
  0    done; what was asked for is well
  1    refused or failed: a faulty file, an unknown name, a buildset without success
  2    the command line is wrong; of 'status': something needs a person
  3    the database does not answer, or its answer was lost
  130  interrupted
"""


def _version() -> str:
    try:
        return version("locum")
    except PackageNotFoundError:
        return "unknown"


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@config_option
@database_option
@click.version_option(_version(), prog_name="locum")
def cli(config_file: str | None, database_url: str | None) -> None:
    """A highly available scheduler: every named scheduler is active on exactly one of several masters."""


for _command in (
    *(files.init, files.check, files.start, reconfig.reconfig, status.status),
    *(changes.change, schedulers.scheduler, schedulers.rebalance, force.force, trying.try_, buildsets.buildset),
    *(tasks.task, schedules.schedule, explain, next_, simulate.simulate_, database.db, demo.demo),
):
    cli.add_command(_command)
cli.add_command(import_buildbot)


def main() -> None:
    """The console script."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # '| head' ends us as it ends any other tool
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; the exit code. Nothing but SystemExit gets out of here."""
    try:
        answer = cli.main(list(arguments), prog_name="locum", standalone_mode=False)
        sys.stdout.flush()
        return answer if isinstance(answer, int) else OK
    except click.UsageError as error:
        return _usage(error)
    except click.ClickException as error:
        return _failed(error.format_message(), FAILED)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except ConfigError as error:
        click.echo("\n".join(clean(line) for line in str(error).splitlines()), err=True)
        return FAILED
    except OutcomeUnknown as error:
        return _failed(
            f"the database's last answer was lost ({error}): look whether it was done before you repeat it", AWAY
        )
    except DatabaseAway as error:
        return _failed(f"the database does not answer: {error}; nothing was changed, try again later", AWAY)
    except DatabaseError as error:
        return _failed(str(error), FAILED)
    except UnicodeEncodeError as error:
        if error.object not in arguments:
            return _defect(error)
        return _failed(f"the argument {error.object!a} is not valid UTF-8", USAGE)
    except Exception as error:
        return _defect(error)


def _defect(error: Exception) -> int:
    if os.environ.get("LOCUM_DEBUG"):
        raise error
    return _failed(f"defect: {type(error).__name__}: {error}; set LOCUM_DEBUG=1 for more, and report it", FAILED)


def _usage(error: click.UsageError) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return USAGE
    path = error.ctx.command_path if error.ctx else "locum"
    return _failed(f"{error.format_message()} See '{path} --help'.", USAGE)


def _failed(text: str, code: int) -> int:
    click.echo("locum: " + clean(mask_credentials(" ".join(text.split()))), err=True)
    return code
