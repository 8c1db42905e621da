"""Names that are fit for Buildbot's database and URLs. Locum's own names may be any text."""

from __future__ import annotations

import re
from typing import Any

from ..absent import absent

__all__ = ["forceIdentifier", "ident_re", "incrementIdentifier", "isIdentifier"]

ident_re = re.compile(r"^[a-zA-Z\u00a0-\U0010ffff_-][a-zA-Z0-9\u00a0-\U0010ffff_-]*$")


def isIdentifier(maxLength: int, value: Any) -> bool:
    """Whether it is text, not empty, of at most so many letters, digits, '_' and '-', and no digit first."""
    return isinstance(value, str) and 0 < len(value) <= maxLength and ident_re.match(value) is not None


def forceIdentifier(maxLength: int, text: str) -> str:
    """The text with '_' for what may not be in an identifier, cut to the length."""
    if not isinstance(text, str):
        raise TypeError(f"{text!r} cannot be made an identifier")
    if isIdentifier(maxLength, text):
        return text
    fit = re.sub(r"[^a-zA-Z0-9\u00a0-\U0010ffff_-]", "_", text)
    if not fit or fit[0].isdigit():
        fit = f"_{fit}"
    return fit[:maxLength]


def incrementIdentifier(maxLength: int, text: str) -> str:
    """The next one: 'a' is followed by 'a_2', that by 'a_3'."""
    base, _, number = text.rpartition("_")
    following = f"_{int(number) + 1}" if base and number.isdigit() else "_2"
    stem = base if base and number.isdigit() else text
    if len(following) > maxLength:
        raise ValueError(f"there is no room for a number after {text!r}")
    return stem[: maxLength - len(following)] + following


__getattr__ = absent(__name__)
