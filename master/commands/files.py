"""``locum init``, ``check`` and ``start``: from an empty folder to a running master."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import click

from ...config import ConfigError, Fault, MasterConfig
from ...db.naming import Refused
from ..no_collections import no_collections
from .opening import config_option, config_path, load_config
from .output import emit_json, say
from .starter import STARTER


@click.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
def init(folder: Path) -> None:
    """Write a master.yaml that starts as it is.

    It is commented, and goes into FOLDER (default: here); one that is there is never overwritten.
    """
    path = folder / "master.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER)
    except FileExistsError:
        raise Refused(f"{path} is there already; remove it first, or name another folder") from None
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror}") from None
    say(f"wrote {path}; now: locum check --config {path}, then: locum start --config {path}")


@click.command()
@config_option
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the file, for editors, and check nothing.")
def check(config_file: str | None, schema: bool) -> int:
    """Tell everything wrong with a master.yaml.

    Reads the file, its plugins and every scheduler's arguments. Each fault as file:line:column: path: what; what to do. Exit 0 if there is none, else 1.
    """
    if schema:
        from ..configuring import schema as whole_schema

        emit_json(whole_schema())
        return 0
    try:
        config = load_config(config_file)
    except ConfigError as error:  # what plugins and constructors have to say comes with it, all at once
        more = _class_faults(error.partial) if isinstance(error.partial, MasterConfig) else []
        raise ConfigError([*error.faults, *more]) from None
    faults = _class_faults(config)
    if faults:
        raise ConfigError(faults)
    counted = (
        (len(config.schedulers), "schedulers"),
        (len(config.builders), "builders"),
        (len(config.change_sources), "change sources"),
    )
    say(f"{config.file}: well: " + ", ".join(f"{count} {what}" for count, what in counted))
    return 0


def _class_faults(config: MasterConfig) -> list[Fault]:
    from ..configuring import check as check_classes  # imports the plugins' world: no other command needs it

    return check_classes(config)


@click.command()
@config_option
@click.option(
    "--name", metavar="NAME", help="The master's name. Default: $LOCUM_MASTER_NAME, the file's, or the host's."
)
def start(config_file: str | None, name: str | None) -> int:
    """Run a master in the foreground.

    SIGTERM hands its schedulers over and stops, SIGHUP reads the file again.
    """
    with no_collections():
        config = load_config(config_file)
        from ..service import run  # brings what no other command needs
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    return run(config, name=master_name(name, config), config_path=config_path(config_file).resolve())


def master_name(given: str | None, config: MasterConfig) -> str:
    """The first that is there: --name, $LOCUM_MASTER_NAME, the file's, the host's."""
    name = given or os.environ.get("LOCUM_MASTER_NAME") or config.master.name or socket.gethostname()
    if not name.isprintable() or len(name) > 200 or name != name.strip() or "," in name:
        raise click.UsageError(f"{name!r} cannot be a master's name: use up to 200 printable characters, no comma.")
    return name
