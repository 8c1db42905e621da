"""The ``shell`` step: runs one command; exit code 0 is success."""

from __future__ import annotations

from pathlib import Path

from ...config.builders import StepSection
from .rendering import UnknownProperty, environment, render_command
from .step_run import StepFailed, StepRun


async def run_shell(run: StepRun, section: StepSection) -> int:
    """Run the command; its exit code, 0. Raises StepFailed, Interrupted."""
    try:
        arguments = render_command(section.command, run.properties)
    except UnknownProperty as error:
        raise StepFailed(str(error)) from None
    for note in environment(run.properties)[1]:
        run.output.line(note)
    folder = run.place(section.workdir)
    await run.in_thread(_make, folder)
    ending = await run.command(arguments, folder)
    if not ending.succeeded:
        raise StepFailed(ending.sentence(), ending.number if ending.how == "exit" else None)
    return 0


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
