"""What a patch must be, whoever hands it in: a try job, a form, or a row that a task reads. Sentences say what is wrong."""

from __future__ import annotations

from typing import Any

DEEPEST_LEVEL = 100


def text_fault(value: Any, *, nul: bool = False) -> str:
    """'' for a text that can be kept; ``nul``: it may hold NUL characters, as a diff may."""
    if isinstance(value, str) and (nul or "\0" not in value):
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return ""
    return f"expected text, got {value!r:.60}"


def level_fault(level: Any) -> str:
    """'' for how many folders are to be stripped from a diff's paths."""
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level <= DEEPEST_LEVEL:
        return f"expected a whole number from 0 to {DEEPEST_LEVEL}, got {level!r:.40}"
    return ""


def subdir_fault(subdir: Any) -> str:
    """'' for a folder inside of the checkout, or for none. git would take a leading '-' for an option."""
    fault = text_fault(subdir)
    if not fault and (subdir.startswith(("/", "-")) or ".." in subdir.split("/")):
        fault = f"expected a folder of the repository, such as 'lib/core', without '..', got {subdir!r:.80}"
    return fault
