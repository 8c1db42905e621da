"""The options of a form's fields, checked: each refusal begins with the option's name, and says what was expected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .arguments import to_json


def checked_flag(option: str, value: Any) -> bool:
    """ValueError for what is neither true nor false."""
    if not isinstance(value, bool):
        raise ValueError(f"{option}: expected true or false, got {value!r:.60}")
    return value


def checked_size(option: str, value: Any, unit: str) -> int:
    """A whole number above 0. ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{option}: expected a whole number of {unit}, 1 or more, got {value!r:.60}")
    return value


def checked_words(option: str, value: Any) -> str:
    """A text for people to read. ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{option}: expected text, got {value!r:.60}")
    return value


def checked_list(option: str, value: Any, of: str) -> list[Any]:
    """ValueError: it is no list; ``of``: what should be in it."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise ValueError(f"{option}: expected a list of {of}, got {value!r:.60}")
    return list(value)


def checked_choices(value: Any) -> list[str]:
    """Texts, each once. ValueError."""
    choices = checked_list("choices", value, "texts")
    for choice in choices:
        if not isinstance(choice, str):
            raise ValueError(f"choices: expected texts, got {choice!r:.60}; put it in quotes")
    twice = repeated(choices)
    if twice is not None:
        raise ValueError(f"choices: {twice!r} is there twice; leave one of them out")
    return choices


def checked_autopopulate(value: Any) -> dict[str, dict[str, Any]]:
    """{value of this field: {name of a field: its value then}}. ValueError."""
    expected = "expected a mapping of this field's values to mappings of fields to values, such as {fast: {batch: 50}}"
    if not isinstance(value, Mapping):
        raise ValueError(f"autopopulate: {expected}, got {value!r:.60}")
    for key, filled in value.items():
        if not isinstance(key, str) or not isinstance(filled, Mapping):
            raise ValueError(f"autopopulate: {expected}, got {key!r:.60}: {filled!r:.60}")
    checked = {key: dict(filled) for key, filled in value.items()}
    try:
        to_json(checked, "autopopulate")
    except TypeError as error:
        raise ValueError(str(error)) from None
    return checked


def repeated(names: Sequence[str]) -> str | None:
    """The first that is there more than once."""
    return next((name for number, name in enumerate(names) if name in names[:number]), None)
