"""``locum try``: a git checkout's uncommitted diff, built before it is committed."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ...config import mask_credentials
from ...db import audit, messages
from ...db.database import Database
from ...db.naming import Refused, storable
from ...schedulers.try_jobs import LARGEST_JOB, TryJob
from ..changes import properties_json
from .force import ANSWER_TIMEOUT_S, completed, told
from .opening import SECONDS, database_command, json_option, polled, who, written
from .output import clean_output, emit_json, say, warn
from .properties import PROPERTY_HELP, parsed

LARGEST_PATCH = LARGEST_JOB // 2


@click.command("try")
@click.argument("scheduler")
@click.option(
    "--builder", "builders", multiple=True, metavar="NAME", help="Only these of its builders; may be repeated."
)
@click.option(
    "--checkout", default=".", type=click.Path(path_type=Path), help="The git checkout. Default: the current folder."
)
@click.option(
    "--base", metavar="COMMIT", help="The diff's base, which the repository has. Default: where it left upstream."
)
@click.option(
    "--patch",
    "patch_file",
    metavar="FILE",
    help="This diff against --base, instead of the checkout's; '-': standard input.",
)
@click.option(
    "--patch-level",
    default=1,
    type=click.IntRange(0, 100),
    help="How many folders to strip from its paths. Default: 1.",
)
@click.option("--branch", metavar="TEXT", help="Default: the upstream branch's name.")
@click.option("--repository", metavar="URL", help="Default: the scheduler's, else the checkout's origin.")
@click.option("--project", default="", metavar="TEXT")
@click.option("--codebase", default="", metavar="TEXT")
@click.option("--comment", default="", metavar="TEXT", help="Shown with the buildset.")
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help=PROPERTY_HELP)
@click.option("--request-id", metavar="ID", help="Makes a repeated command one request. Default: a new one.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@click.option("--wait", is_flag=True, help="Wait until the buildset is complete; exit 0 if it succeeded, else 1.")
@click.option(
    "--timeout",
    type=SECONDS,
    metavar="SECONDS",
    help="How long to wait. Default: 10 s; with --wait, for ever.",
)
@json_option
@database_command
def try_(
    database: Database,
    scheduler: str,
    builders: tuple[str, ...],
    checkout: Path,
    base: str | None,
    patch_file: str | None,
    patch_level: int,
    properties: tuple[str, ...],
    request_id: str | None,
    dry_run: bool,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Build a checkout's uncommitted diff.

    What differs from the upstream branch, committed or not, is sent as a patch to SCHEDULER, a Try_Userpass or Try_Jobdir. Files that git does not
    know are left out ('git add -N' adds them). The request is kept until the scheduler has answered it, wherever it is active.
    """
    key = request_id or uuid.uuid4().hex
    if not storable(key) or not key:
        raise click.UsageError("--request-id: expected text without control characters.")
    if patch_file is not None:
        if base is None:
            raise click.UsageError("--patch: name with --base the commit that it is against.")
        found = _Diff(_read(patch_file), base, None, "")
    else:
        found = _diff_of(checkout, base)
        if found.left_out and not as_json:
            warn(f"left out, because git does not know it: {_some(found.left_out)}; 'git add -N' adds it")
    if not found.patch:
        raise Refused(f"nothing differs from {found.base[:12]}; change something, or name another --base")
    if len(found.patch) > LARGEST_PATCH:
        raise Refused(f"the diff is larger than {LARGEST_PATCH >> 20} MB")
    job = TryJob(
        jobid=key,
        branch=given["branch"] or found.branch,
        baserev=found.base,
        patch=found.patch,
        patch_level=patch_level,
        repository=given["repository"] or "",
        origin=found.origin,
        project=given["project"],
        codebase=given["codebase"],
        who=who(),
        comment=given["comment"],
        builders=builders,
        properties=_checked(parsed(properties)),
    )
    if dry_run:
        return _shown(job, as_json)
    return _sent(database, scheduler, job, key, wait, timeout, as_json)


def _sent(
    database: Database, scheduler: str, job: TryJob, key: str, wait: bool, timeout: float | None, as_json: bool
) -> int:
    sent = written(database, ["messages"], _send, scheduler, key, job)
    limit = timeout if timeout is not None else (None if wait else ANSWER_TIMEOUT_S)
    if not sent.held:
        if not as_json:
            warn(f"nobody who is up holds {scheduler} now; the request is kept (request id {key})")
        if not wait:
            limit = min(1.0, limit or 0.0)
    answer = polled(database, lambda conn: messages.answer_of(conn, sent.id), 0.1, limit)
    found = {"message": sent.id, "request_id": key, "held": sent.held, "known": sent.known, "answer": answer}
    if answer is None:
        if as_json:
            emit_json({**found, "buildset": None})
        elif sent.held or wait:
            say(f"{scheduler} has not answered yet; the request is kept (request id {key})")
        return 1 if wait else 0
    if "error" in answer:
        raise Refused(f"{scheduler} refused the job: {answer.get('why') or answer['error']}")
    buildset = answer.get("buildset")
    complete = None
    if wait and isinstance(buildset, int):
        complete = polled(database, lambda conn: completed(conn, buildset), 0.25, timeout)
    return told(found, buildset, complete, as_json, wait)


def _send(conn: Any, scheduler: str, key: str, job: TryJob) -> messages.Sent:
    sent = messages.send(conn, scheduler, key, "try", job.to_mapping(), who())
    if not sent.known:
        audit.record(conn, who(), "try", f"scheduler '{scheduler}'", job.comment)
    return sent


def _shown(job: TryJob, as_json: bool) -> int:
    if as_json:
        emit_json(job.to_mapping())
        return 0
    say(f"{len(job.patch or b'')} bytes against {job.baserev}, branch {job.branch or '(the default one)'}")
    click.echo(clean_output((job.patch or b"").decode("utf-8", "backslashreplace")), nl=False)
    return 0


def _checked(properties: dict[str, Any]) -> Mapping[str, Any]:
    try:
        properties_json(properties)
    except ValueError as error:
        raise click.UsageError(f"--property: {error}.") from None
    return properties


class _Diff:
    """A diff, the commit that it is against, and what is known of where that is."""

    def __init__(self, patch: bytes, base: str, branch: str | None, origin: str, left_out: Sequence[str] = ()) -> None:
        self.patch, self.base, self.branch, self.origin, self.left_out = patch, base, branch, origin, left_out


def _diff_of(checkout: Path, base: str | None) -> _Diff:
    top = _git(checkout, "rev-parse", "--show-toplevel").decode("utf-8", "surrogateescape").rstrip("\n")
    root = Path(top)
    upstream = _asked(root, "rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}")
    if base is None:
        base = "HEAD" if upstream is None else (_asked(root, "merge-base", "HEAD", upstream) or "HEAD")
    commit = _asked(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}")
    if commit is None:
        raise Refused(f"{base!r} is not a commit of {root}; make one, or name another --base")
    remote, _, branch = (upstream or "").partition("/")
    url = _asked(root, "remote", "get-url", remote or "origin") or ""
    # Binary and without this person's settings: prefixes, colours and external diffs of theirs would spoil it.
    options = (
        "--binary",
        "--no-color",
        "--no-ext-diff",
        "--no-textconv",
        "--full-index",
        "--src-prefix=a/",
        "--dst-prefix=b/",
    )
    patch = _git(root, "diff", *options, commit, "--")
    unknown = _git(root, "ls-files", "--others", "--exclude-standard", "-z").decode("utf-8", "replace")
    left_out = [path for path in unknown.split("\0") if path]
    return _Diff(patch, commit, branch or None, "" if mask_credentials(url) != url else url, left_out)


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more


def _asked(folder: Path, *arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=False)
    text = done.stdout.decode("utf-8", "replace").strip()
    return text if done.returncode == 0 and text else None


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=False)
    except OSError as error:
        raise Refused(f"cannot run git in {folder}: {error.strerror}") from None
    if done.returncode:
        why = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise Refused(f"git {arguments[0]} in {folder}: {why}")
    return done.stdout


def _read(path: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise click.UsageError(f"--patch: cannot read {path}: {error.strerror}.") from None
