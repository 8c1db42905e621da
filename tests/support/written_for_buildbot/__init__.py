"""Schedulers as people have written them for Buildbot; ``imported`` replaces their imports, and nothing else."""

import re
import types
from pathlib import Path

FOLDER = Path(__file__).parent


def imported(name):
    """A module of this folder, after ``buildbot`` has been replaced by ``locum.schedulers.compat`` in its imports."""
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    text = re.sub(r"^(from|import) buildbot\b", r"\1 locum.schedulers.compat", text, flags=re.M)
    module = types.ModuleType(f"written_for_buildbot.{name}")
    exec(compile(text, str(FOLDER / f"{name}.py"), "exec"), vars(module))
    return module
