"""``config.error``: what is wrong with a scheduler's arguments, told by ``locum check`` at the scheduler's place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from .absent import absent

__all__ = ["ConfigErrors", "error"]


class ConfigErrors(ValueError):
    """What a constructor or ``checkConfig`` refuses; ``errors`` are the sentences."""

    def __init__(self, errors: Iterable[str] = ()) -> None:
        self.errors = list(errors)
        super().__init__("; ".join(self.errors))

    def addError(self, message: str) -> None:
        """One more."""
        self.errors.append(message)
        self.args = ("; ".join(self.errors),)

    def __bool__(self) -> bool:
        return bool(self.errors)

    def __str__(self) -> str:
        return "; ".join(self.errors)


def error(message: str, always_raise: bool = False) -> NoReturn:
    """Refuse the configuration. Begin with an argument's name and a colon, and it is told at that argument."""
    raise ConfigErrors([message])


__getattr__ = absent(__name__)
