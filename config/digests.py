"""Whether two configurations are the same, in one short text; secrets never count."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from .secret import MASK, Secret


def digest_of(value: Any) -> str:
    """SHA-256, in hexadecimal, of the canonical JSON of plain values and dataclasses; a Secret counts as a bare mask.

    Fields of a dataclass that do not take part in comparing it do not count either.
    """
    return hashlib.sha256(_ENCODER.encode(value).encode()).hexdigest()


def _plain(value: object) -> Any:
    if isinstance(value, Secret):
        return {"secret": MASK}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.compare}
    raise TypeError(f"{type(value).__name__} cannot be part of a configuration")


_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), default=_plain, check_circular=False, allow_nan=False
)
