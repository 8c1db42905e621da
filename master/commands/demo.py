"""``locum demo``: three masters, a real git repository, a kill, and what happened."""

from __future__ import annotations

import signal

import click


@click.command()
@click.option(
    "--database", "database_url", metavar="URL", help="An empty PostgreSQL database. Default: a SQLite file of its own."
)
@click.option("--keep", is_flag=True, help="Keep the folder (and the tables), to look around.")
def demo(database_url: str | None, keep: bool) -> int:
    """Watch three masters survive a kill.

    Commits while they run, a kill, a freeze: told as it happens, in half a minute. Needs nothing but git; works in a temporary folder. Exit 1 if a commit was lost or built twice.
    """
    from ..demo import run  # it starts masters, which no other command needs

    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    given = database_url or click.get_current_context().find_root().params.get("database_url")
    return run(given, keep)
