"""The JSON Schema (draft 2020-12) of the YAML, for editors; made from the tables that the reader uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .builders import STEP_KINDS, BuilderSection, StepSection
from .kinds import NAME, Text
from .secret import Secret
from .sections import ClusterSection, DatabaseSection, LogSection, MasterSection, TasksSection
from .settings import Setting, settings_of

_SECTIONS = {
    "master": MasterSection,
    "database": DatabaseSection,
    "cluster": ClusterSection,
    "tasks": TasksSection,
    "log": LogSection,
}
_SOURCES = [
    {"type": "object", "properties": {key: {"type": "string"}}, "required": [key], "additionalProperties": False}
    for key in ("env", "file")
]


def json_schema() -> dict[str, Any]:
    """The schema as plain data for ``json.dumps``."""
    properties: dict[str, Any] = {name: _object(section) for name, section in _SECTIONS.items()}
    properties |= {
        "plugins": _array({"type": "string", "minLength": 1}, "files or modules with classes of your own"),
        "change_sources": _array(_entry({}), "where changes come from; one of each name"),
        "builders": _array(_object(BuilderSection), "what can be asked for; one of each name"),
        "schedulers": _array(
            _entry({"builderNames": {}}),
            "what asks for work, and when; one of each name; keys are the class's arguments",
        ),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Locum master configuration",
        "type": "object",
        "properties": {name: {"anyOf": [schema, {"type": "null"}]} for name, schema in properties.items()},
        "additionalProperties": False,
        "$defs": {
            "secret": {
                "type": "object",
                "description": "a value from an environment variable or a file, never shown",
                "properties": {"secret": {"oneOf": _SOURCES}},
                "required": ["secret"],
                "additionalProperties": False,
            }
        },
    }


def step_schema() -> dict[str, Any]:
    """One step: ``shell: [...]`` or ``git: {}`` with its keys beside it or inside."""
    return {"oneOf": [_step(kind) for kind in STEP_KINDS]}


def _step(kind: str) -> dict[str, Any]:
    beside = _properties(settings_of(StepSection, kind))
    inside: list[dict[str, Any]] = [{"type": "object", "properties": dict(beside), "additionalProperties": False}]
    inside.append(beside.get({"shell": "command", "trigger": "schedulerNames"}.get(kind, ""), {"type": "null"}))
    return {
        "type": "object",
        "properties": {kind: {"anyOf": inside}, **beside},
        "required": [kind],
        "additionalProperties": False,
    }


def _entry(more: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"type": Text().schema(), "name": NAME.schema(), **more},
        "required": ["type", "name"],
    }


def _object(section: type) -> dict[str, Any]:
    settings = settings_of(section)
    schema = {
        "type": "object",
        "description": (section.__doc__ or "").partition("\n")[0],
        "properties": _properties(settings),
        "additionalProperties": False,
    }
    required = [name for name, setting in settings.items() if setting.required]
    return schema | ({"required": required} if required else {})


def _properties(settings: Mapping[str, Setting]) -> dict[str, Any]:
    return {name: _property(setting) for name, setting in settings.items()}


def _property(setting: Setting) -> dict[str, Any]:
    schema = {"description": setting.doc} | setting.kind.schema()
    default = setting.default
    if default is None or default is dataclasses.MISSING or isinstance(default, Secret):
        return schema
    return schema | {"default": list(default) if isinstance(default, tuple) else default}


def _array(items: dict[str, Any], doc: str) -> dict[str, Any]:
    return {"type": "array", "description": doc, "items": items}
