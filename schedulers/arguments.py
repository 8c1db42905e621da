"""What schedulers are given, checked: each refusal begins with the argument's name, and says what was expected."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any

from twisted.internet.defer import Deferred

from .changes import Change
from .interface import SchedulerFault, StampFields
from .rendering import has_renderables, is_renderable, whole_reference

LARGEST_PRIORITY = 2**31 - 1
_CODEBASE_KEYS = frozenset({"repository", "branch", "revision"})
_STAMP_KEYS = frozenset({"codebase", "repository", "branch", "revision", "project", "patch"})


def checked_name(name: Any) -> str:
    """A scheduler's name. ValueError."""
    if not isinstance(name, str) or not name or not _storable(name):
        raise ValueError(f"name: expected a non-empty text, got {name!r}")
    return name


def checked_builder_names(names: Any) -> Any:
    """A tuple of names (or texts that name properties), or the function or renderable that will give them. ValueError."""
    names = whole_reference(names) or names
    if callable(names) or (is_renderable(names) and not isinstance(names, str)):
        return names
    if isinstance(names, (str, bytes, Mapping)) or not isinstance(names, Iterable):
        raise ValueError(f"builderNames: expected a list of builders' names, got {names!r}")
    names = tuple(names)
    if not names:
        raise ValueError("builderNames: expected at least one builder's name, got an empty list")
    for name in names:
        if not isinstance(name, str) and not is_renderable(name):
            raise ValueError(f"builderNames: expected names, got {name!r}")
    if len(set(names)) != len(names):
        raise ValueError("builderNames: a builder is named twice")
    return names


def checked_codebases(codebases: Any) -> dict[str, dict[str, Any]]:
    """{codebase: {repository, branch, revision}} of a mapping, of a list of names, or of None. ValueError."""
    if codebases is None:
        return {"": {}}
    if isinstance(codebases, (str, bytes)) or not isinstance(codebases, Iterable):
        raise ValueError(f"codebases: expected a list of names or a mapping, got {codebases!r}")
    if not isinstance(codebases, Mapping):
        names = list(codebases)
        for name in names:
            if not isinstance(name, str):
                raise ValueError(f"codebases: expected names, got {name!r}")
        codebases = {name: {} for name in names}
    checked = {}
    for name, defaults in codebases.items():
        defaults = {} if defaults is None else defaults
        if not isinstance(name, str) or not isinstance(defaults, Mapping):
            raise ValueError(
                f"codebases: {name!r}: expected a mapping of repository, branch, revision, got {defaults!r}"
            )
        unknown = sorted(str(key) for key in set(defaults) - _CODEBASE_KEYS)
        if unknown:
            raise ValueError(f"codebases: {name!r}: unknown key {unknown[0]!r}; known are repository, branch, revision")
        for key, value in defaults.items():
            number = key == "revision" and type(value) is int
            if value is not None and not isinstance(value, str) and not number:
                raise ValueError(f"codebases: {name!r}: {key}: expected text, got {value!r}")
        checked[name] = dict(defaults)
    if not checked:
        raise ValueError("codebases: expected at least one codebase, got none")
    return checked


def checked_priority(priority: Any) -> Any:
    """None, a whole number, or the function or renderable that will give one. ValueError."""
    if priority is None or callable(priority) or is_priority(priority) or is_renderable(priority):
        return priority
    raise ValueError(f"priority: expected a whole number, a function or a renderable, got {priority!r}")


def is_priority(value: Any) -> bool:
    """Whether it is a whole number that the database can keep."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_PRIORITY


def checked_properties(properties: Any, *, renderables: bool = False) -> dict[str, Any]:
    """A copy. ValueError for what is not a mapping of names; TypeError for a value that is not JSON (nor renderable, if
    that is allowed)."""
    if properties is None:
        return {}
    if not isinstance(properties, Mapping):
        raise ValueError(f"properties: expected a mapping of names to values, got {properties!r}")
    for name, value in properties.items():
        if not isinstance(name, str) or not name or not _storable(name):
            raise ValueError(f"properties: expected non-empty texts as names, got {name!r}")
        if not (renderables and has_renderables(value)):
            to_json(value, f"property {name!r}")
    return dict(properties)


def checked_importance(function: Any) -> Callable[[Change], Any] | None:
    """``fileIsImportant``: a function that takes a change and answers at once, or None. TypeError."""
    if function is None:
        return None
    if not callable(function):
        raise TypeError(f"fileIsImportant: expected a function of a change, got {function!r}")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError("fileIsImportant: it must answer True or False at once; write it without 'async' and 'yield'")
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise TypeError(f"fileIsImportant: it is called with a change and nothing else: {error}") from None
    except ValueError:  # something that Python cannot look into
        pass
    checked: Callable[[Change], Any] = function
    return checked


def importance(answer: Any) -> bool:
    """What ``fileIsImportant`` answered, as True or False. TypeError for what is no answer, though it would count as yes."""
    if isinstance(answer, bool):
        return answer
    if inspect.iscoroutine(answer):
        answer.close()  # else Python complains that nobody awaited it
    if inspect.isawaitable(answer) or isinstance(answer, Deferred):
        raise TypeError(f"fileIsImportant must answer True or False at once, not {answer!r}")
    if callable(answer) or inspect.isgenerator(answer) or answer is NotImplemented:
        raise TypeError(f"fileIsImportant must answer True or False, not {answer!r}; is a call's '()' missing?")
    return bool(answer)


def with_source(value: Any, source: str) -> tuple[Any, str]:
    """(value, source) of a property; one that is such a pair already, a tuple, keeps its own source."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str):
        return value[0], value[1]
    return value, source


def stamp_of_change(change: Change) -> StampFields:
    """The source stamp that a change stands for."""
    return StampFields(change.codebase, change.repository, change.branch, change.revision, change.project)


def stamp_fields(stamp: Any) -> StampFields:
    """A source stamp of a mapping. SchedulerFault."""
    if type(stamp) is not dict and not isinstance(stamp, Mapping):
        raise SchedulerFault(f"a source stamp is a mapping with {', '.join(sorted(_STAMP_KEYS))}; got {stamp!r}")
    if not stamp.keys() <= _STAMP_KEYS:
        unknown = sorted(str(key) for key in set(stamp) - _STAMP_KEYS)
        raise SchedulerFault(
            f"a source stamp has an unknown key {unknown[0]!r}; known are {', '.join(sorted(_STAMP_KEYS))}"
        )
    get = stamp.get
    patch, revision = get("patch"), get("revision")
    found = (
        get("codebase") or "",
        get("repository") or "",
        get("branch"),
        None if revision is None else str(revision),
        get("project") or "",
    )
    if patch is not None:  # large, and hardly ever the same
        return _checked_stamp(*found, to_json(patch, "patch"))
    try:
        return _known_stamp(*found)
    except TypeError:  # something that is no text, and cannot even be looked up
        return _checked_stamp(*found)


def _checked_stamp(
    codebase: Any, repository: Any, branch: Any, revision: str | None, project: Any, patch_json: str | None = None
) -> StampFields:
    return StampFields(
        codebase=checked_text("codebase", codebase),
        repository=checked_text("repository", repository),
        branch=None if branch is None else checked_text("branch", branch),
        revision=None if revision is None else checked_text("revision", revision),
        project=checked_text("project", project),
        patch_json=patch_json,
    )


_known_stamp = lru_cache(maxsize=4096, typed=True)(_checked_stamp)


def checked_text(what: str, value: Any) -> str:
    """Text that a database can keep. SchedulerFault."""
    if not isinstance(value, str) or not _storable(value):
        raise SchedulerFault(f"{what}: expected a text without NUL or half characters, got {value!r}")
    return value


def checked_key(key: Any) -> str:
    """A key of state or of a timer. TypeError."""
    if not isinstance(key, str) or not _storable(key):
        raise TypeError(f"expected a text as key, got {key!r}")
    return key


def json_encoder(*, allow_nan: bool, sort_keys: bool = False) -> Callable[[Any], str]:
    """``json.dumps`` with its C encoder made once: made anew for each small value, it costs more than the value.

    RecursionError: the value contains itself, or is nested too deeply.
    """
    make: Any = vars(json.encoder)["c_make_encoder"]
    plain = json.JSONEncoder(allow_nan=allow_nan, sort_keys=sort_keys)
    if make is None:  # Python without its C modules
        return plain.encode
    pieces = make(None, plain.default, encode_basestring_ascii, None, ": ", ", ", sort_keys, False, allow_nan)

    def encode(value: Any) -> str:
        return "".join(pieces(value, 0))

    return encode


_encode = json_encoder(allow_nan=False)


def to_json(value: Any, what: str) -> str:
    """The JSON text of a value. TypeError names ``what``."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        hint = "; is an 'await' missing?" if "Deferred" in str(error) or "coroutine" in str(error) else ""
        raise TypeError(
            f"{what}: expected a JSON value (text, number, true, false, null, list, mapping): {error}{hint}"
        ) from None
    if not isinstance(value, (str, int)):
        _refuse_other_keys(value, what)
    return text


def _refuse_other_keys(value: Any, what: str) -> None:
    """JSON's mappings have texts as keys: 1 would come back as "1", and nobody would find it."""
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"{what}: the key {key!r:.60} of a mapping is no text, and would come back as one")
            if isinstance(item, (dict, list, tuple)):
                _refuse_other_keys(item, what)
    elif isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, (dict, list, tuple)):
                _refuse_other_keys(item, what)


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
