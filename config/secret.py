"""Values that must never be seen: the holder of a secret, and the masking of credentials inside other text."""

from __future__ import annotations

import re
from typing import NoReturn

MASK = "***"

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(\S*)@")
_PARAMETER = re.compile(r"\b((?:ssl)?password|passwd|token|access_token|private_token|api_key|secret)=[^&\s'\"]*", re.I)


class Secret:
    """An opaque string: ``repr``, ``str`` and ``format`` give ``***``; only ``reveal()`` gives the value.

    Equal to another secret of the same value, and hashable. Neither JSON nor pickle accept it (TypeError),
    so that it cannot leave the process by accident. Copies are the object itself.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself: for the one place that uses it; never to be logged, shown or stored."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


def mask_credentials(text: str) -> str:
    """``text`` with every password of a URL, token user and ``password=`` parameter replaced by ``***``.

    Masks rather too much than too little: a password may itself hold ``/`` or ``@``.
    """
    if "://" in text:
        if len(text) > 1000:  # the pattern is quadratic
            return text[: text.index("://") + 3] + MASK
        text = _URL.sub(_without_password, text)
    return _PARAMETER.sub(rf"\1={MASK}", text)


def carries_credentials(text: str) -> bool:
    """Whether ``text`` (a URL) holds a password or token that must not be shown."""
    return mask_credentials(text) != text


def _without_password(found: re.Match[str]) -> str:
    scheme, info = found[1], found[2]
    user, colon, _ = info.partition(":")
    if colon:
        return f"{scheme}://{user}:{MASK}@"
    if scheme.lower() in ("http", "https"):  # there the user alone is a token
        return f"{scheme}://{MASK}@"
    return found[0]
