"""Logging through txaio: loggers for modules, and where their lines go."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, TextIO

import txaio
from twisted.logger import LogLevel, formatEvent, globalLogBeginner

# A change's comment may be in an error's text: no line of its own and no colour for whoever reads the log in a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TXAIO: Any = txaio  # half of its names come into being when a framework is chosen, so no type can be known


class Log:
    """A logger that is made when it is first used: ``log.warn("{what}", what=...)``; levels debug, info, warn, error."""

    def __init__(self) -> None:
        self._logger: Any = None

    def __getattr__(self, level: str) -> Any:
        if self._logger is None:
            _TXAIO.use_twisted()
            self._logger = _TXAIO.make_logger()
        return getattr(self._logger, level)


def start_logging(stream: TextIO, style: str, level: str) -> None:
    """Write what is logged from now on to ``stream``: ``style`` 'human' or 'json', from ``level`` on."""
    _TXAIO.use_twisted()
    write = _json_line if style == "json" else _human_line

    def observe(event: dict[str, Any]) -> None:
        try:
            stream.write(write(event) + "\n")
            stream.flush()
        except (OSError, ValueError):
            pass  # a full disk or a closed pipe must not stop a master

    set_level(level)
    observer: Any = observe
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def set_level(level: str) -> None:
    """Log from ``level`` on: at once, whatever has been logged before."""
    _TXAIO.use_twisted()
    _TXAIO.set_global_log_level(level)


def _time(event: dict[str, Any]) -> str:
    return datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(event: dict[str, Any]) -> str:
    level = event.get("log_level", LogLevel.info)
    return str(level.name)


def _text(event: dict[str, Any]) -> str:
    text = formatEvent(event)
    failure = event.get("log_failure")
    if failure is not None:
        text = f"{text}: {failure.getTraceback()}" if text else failure.getTraceback()
    return text


def _human_line(event: dict[str, Any]) -> str:
    text = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", _text(event)).rstrip("\n").replace("\n", "\n  ")
    return f"{_time(event)} {_level(event):<5} {text}"


def _json_line(event: dict[str, Any]) -> str:
    return json.dumps({"time": _time(event), "level": _level(event), "text": _text(event)})
