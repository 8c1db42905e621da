"""Properties on the command line: ``NAME=TEXT``, or ``NAME:=JSON`` for values that are not text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click

PROPERTY_HELP = "A property; NAME:=JSON for a value that is not text. May be repeated."


def parsed(given: Iterable[str]) -> dict[str, Any]:
    """{name: value}. UsageError for what has no '=', for bad JSON and for a name given twice."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        is_json = name.endswith(":")
        name = name.removesuffix(":") if is_json else name
        if not equals or not name:
            raise click.UsageError(f"--property {text!r}: write NAME=TEXT, or NAME:=JSON.")
        if name in found:
            raise click.UsageError(f"--property {name!r} is given twice.")
        found[name] = _json(name, value) if is_json else value
    return found


def _json(name: str, value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--property {name!r}: not JSON ({error}); for text write {name}=TEXT.") from None
