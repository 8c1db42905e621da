"""Which changes a scheduler cares about.

Every condition is compiled once, into a chain of small checks: ten thousand schedulers look at every change. Regular
expressions match from the start, see the first 1000 characters of a text, and are refused when hostile text could stall them
(``bounded_re``).
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import ismethod
from types import SimpleNamespace
from typing import Any, Final, TypedDict, Unpack, cast

from .bounded_re import compile_bounded, matches


class _NotGiven:
    def __repr__(self) -> str:
        return "NOT_GIVEN"

    def __bool__(self) -> bool:
        return False


NOT_GIVEN: Final = _NotGiven()  # for branch: None is the default branch, so something else must say "any"


Text = str | Sequence[str | None] | None
Regex = str | re.Pattern[str] | Sequence[str | re.Pattern[str]] | None
Scalar = str | int | float | bool | None
TextFn = Callable[[Any], object] | None


class Conditions(TypedDict, total=False):
    """The keywords of ``ChangeFilter``. Lists are any of; ``_not_`` ones: none of."""

    project: Text
    project_not_eq: Text
    project_re: Regex
    project_not_re: Regex
    project_fn: TextFn
    repository: Text
    repository_not_eq: Text
    repository_re: Regex
    repository_not_re: Regex
    repository_fn: TextFn
    branch: Text | _NotGiven
    branch_not_eq: Text | _NotGiven
    branch_re: Regex
    branch_not_re: Regex
    branch_fn: TextFn
    category: Text
    category_not_eq: Text
    category_re: Regex
    category_not_re: Regex
    category_fn: TextFn
    codebase: Text
    codebase_not_eq: Text
    codebase_re: Regex
    codebase_not_re: Regex
    codebase_fn: TextFn
    property_eq: Mapping[str, Scalar | Sequence[Scalar]] | None
    property_not_eq: Mapping[str, Scalar | Sequence[Scalar]] | None
    property_re: Mapping[str, Regex] | None
    property_not_re: Mapping[str, Regex] | None
    files_re: Regex
    files_not_re: Regex


_Check = Callable[[Any], bool]
_ATTRIBUTES: Final = ("project", "codebase", "repository", "category", "branch")
_KINDS: Final = ("", "_not_eq", "_re", "_not_re")
_FUNCTIONS: Final = tuple(f"{attribute}_fn" for attribute in _ATTRIBUTES)
_TEXTS: Final = tuple(attribute + kind for attribute in _ATTRIBUTES for kind in _KINDS)
_PROPERTIES: Final = tuple("property" + kind for kind in ("_eq", *_KINDS[1:]))
_FILES: Final = ("files_re", "files_not_re")
_ORDER: Final = (*_FUNCTIONS, *_TEXTS, *_FILES, *_PROPERTIES)  # in which the conditions are tried
_NONE_MEANS_SOMETHING: Final = ("branch", "branch_not_eq")


class ChangeFilter:
    """A set of conditions that a change must fulfil, all of them. Equal when the conditions are; of functions, the same one.

    ``filter_fn(change)`` and ``X_fn(value)`` say yes by any true value. ``X`` and ``X_not_eq`` compare whole values; in
    ``X_re`` and ``X_not_re`` None never matches. A property that a change lacks counts as ''. ``files_re``: some file matches;
    ``files_not_re``: none does. TypeError for an unknown keyword; ValueError names every condition at fault.
    """

    __slots__ = ("_checks", "_given", "_key")

    def __init__(self, filter_fn: Callable[[Any], object] | None = None, **conditions: Unpack[Conditions]) -> None:
        given = {name: value for name, value in conditions.items() if _is_given(name, value)}
        unknown = [_unknown(name) for name in conditions if name not in _ORDER]
        if unknown:
            raise TypeError("ChangeFilter: " + "; ".join(unknown))
        compiled = _compile({"filter_fn": filter_fn, **given} if filter_fn is not None else given)
        self._given = {"filter_fn": filter_fn, **given} if filter_fn is not None else given
        self._checks = tuple(check for check, _ in compiled.values())
        self._key = frozenset((name, key) for name, (_, key) in compiled.items())

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> "ChangeFilter":
        """The filter of a YAML mapping: the same names, without the functions. ValueError names everything at fault."""
        faults = []
        for name, value in mapping.items():
            if name == "filter_fn" or name in _FUNCTIONS:
                faults.append(f"{name}: a function cannot be written here; make the filter in a plugin file")
            elif name not in _ORDER:
                faults.append(_unknown(name))
            elif value is None and name not in _NONE_MEANS_SOMETHING:
                faults.append(f"{name}: no value given; leave the key out to accept any")
        if faults:
            raise ValueError("; ".join(faults))
        return cls(**cast(Conditions, dict(mapping)))

    @property
    def conditions(self) -> Mapping[str, object]:
        """What was given, by name."""
        return self._given

    def filter_change(self, change: object) -> bool:
        """Whether the change fulfils every condition. What a function of the user's raises goes through.

        A change is any object with the attributes of ``changes.Change``; one that is missing counts as ''.
        """
        for check in self._checks:  # noqa: SIM110 - a generator takes twice as long
            if not check(change):
                return False
        return True

    def compared_in(self, owner: object) -> frozenset[Any]:
        """What it is compared by, where ``owner``'s own methods are the same in any instance of it."""
        return frozenset(
            (name, key.__func__ if ismethod(key) and key.__self__ is owner else key) for name, key in self._key
        )

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, ChangeFilter) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"ChangeFilter({', '.join(f'{name}={_shown(value)}' for name, value in self._given.items())})"


class AllOf:
    """Several filters, all of which must say yes; those that say no first keep the others from being asked."""

    def __init__(self, *filters: ChangeFilter) -> None:
        self.filters = filters

    def filter_change(self, change: object) -> bool:
        """Whether every one says yes."""
        return all(one.filter_change(change) for one in self.filters)


_STAMP_TEXTS: Final = tuple(
    attribute + kind
    for attribute in ("project", "codebase", "repository", "branch")
    for kind in ("_eq", "_not_eq", "_re", "_not_re")
)


class SourceStampFilter:
    """A set of conditions that a source stamp must fulfil, all of them: for the cancellers.

    ``X_eq``, ``X_not_eq``, ``X_re`` and ``X_not_re`` for project, codebase, repository and branch, with ChangeFilter's meaning.
    TypeError for an unknown keyword; ValueError names every condition at fault.
    """

    __slots__ = ("_filter", "_given")

    def __init__(self, **conditions: Any) -> None:
        unknown = [_unknown(name, _STAMP_TEXTS) for name in conditions if name not in _STAMP_TEXTS]
        if unknown:
            raise TypeError("SourceStampFilter: " + "; ".join(unknown))
        self._given = conditions
        named = {_condition_of(name): value for name, value in conditions.items()}
        try:
            self._filter = ChangeFilter(**cast(Conditions, named))
        except ValueError as error:
            text = str(error)
            for name in conditions:
                if name.endswith("_eq") and not name.endswith("_not_eq"):
                    text = re.sub(rf"(^|; ){name.removesuffix('_eq')}: ", rf"\1{name}: ", text)
            raise ValueError(text) from None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> "SourceStampFilter":
        """The filter of a YAML mapping. ValueError names everything at fault."""
        faults = [_unknown(name, _STAMP_TEXTS) for name in mapping if name not in _STAMP_TEXTS]
        if faults:
            raise ValueError("; ".join(faults))
        return cls(**mapping)

    def is_matched(self, stamp: object) -> bool:
        """Whether a source stamp (a mapping, or an object with its attributes) fulfils every condition."""
        return self._filter.filter_change(SimpleNamespace(**stamp) if isinstance(stamp, Mapping) else stamp)

    def __eq__(self, other: object) -> bool:
        return self._filter == other._filter if isinstance(other, SourceStampFilter) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._filter)

    def __repr__(self) -> str:
        return f"SourceStampFilter({', '.join(f'{name}={_shown(value)}' for name, value in self._given.items())})"


def _condition_of(name: str) -> str:
    return name if name.endswith(("_not_eq", "_re")) else name.removesuffix("_eq")


def _is_given(name: str, value: object) -> bool:
    return value is not NOT_GIVEN and (value is not None or name in _NONE_MEANS_SOMETHING)


def _unknown(name: object, known: Sequence[str] = (*_ORDER, "filter_fn")) -> str:
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    return f"{name}: unknown condition" + (f"; did you mean {near[0]!r}?" if near else "")


def _shown(value: object) -> str:
    if isinstance(value, re.Pattern):
        return repr(value.pattern)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name!r}: {_shown(one)}" for name, one in value.items()) + "}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ", ".join(_shown(one) for one in value) + "]"
    return repr(value)


def _compile(given: Mapping[str, object]) -> dict[str, tuple[_Check, object]]:
    """For each condition, in the order in which they are tried, its check and what it is compared by. ValueError."""
    compiled = {}
    faults = []
    for name in ("filter_fn", *_ORDER):
        if name in given:
            try:
                compiled[name] = _condition(name, given[name])
            except ValueError as fault:
                faults.append(f"{name}{'' if str(fault).startswith('[') else ': '}{fault}")
    if faults:
        raise ValueError("; ".join(faults))
    return compiled


def _condition(name: str, value: object) -> tuple[_Check, object]:
    if name == "filter_fn" or name in _FUNCTIONS:
        if not callable(value):
            raise ValueError(f"expected a function, got {value!r:.60}")
        return (_bool(value) if name == "filter_fn" else _attribute_fn(name.removesuffix("_fn"), value)), value
    negated = "_not_" in name
    if name in _PROPERTIES:
        return _properties(name, value, negated)
    if name.endswith("_re"):
        patterns = _patterns(value)
        key = frozenset((pattern.pattern, pattern.flags) for pattern in patterns)
        attribute = name.removesuffix("_re").removesuffix("_not")
        return (_files_check if attribute == "files" else _re_check)(attribute, patterns, negated), key
    texts = _texts(value)
    return _eq_check(name.removesuffix("_not_eq"), texts, negated), texts


def _bool(function: Callable[[Any], object]) -> _Check:
    return lambda change: bool(function(change))


def _attribute_fn(attribute: str, function: Callable[[Any], object]) -> _Check:
    return lambda change: bool(function(getattr(change, attribute, "")))


def _eq_check(attribute: str, texts: frozenset[str | None], negated: bool) -> _Check:
    if negated:
        return lambda change: getattr(change, attribute, "") not in texts
    if len(texts) == 1:
        (text,) = texts
        return lambda change: bool(getattr(change, attribute, "") == text)
    return lambda change: getattr(change, attribute, "") in texts


def _re_check(attribute: str, patterns: Sequence[re.Pattern[str]], negated: bool) -> _Check:
    return lambda change: _any_match(patterns, getattr(change, attribute, "")) is not negated


def _files_check(attribute: str, patterns: Sequence[re.Pattern[str]], negated: bool) -> _Check:
    return lambda change: any(_any_match(patterns, file) for file in getattr(change, attribute, ())) is not negated


def _any_match(patterns: Iterable[re.Pattern[str]], value: object) -> bool:
    if value is None:
        return False
    text = value if isinstance(value, str) else str(value)
    for pattern in patterns:  # noqa: SIM110 - as in filter_change
        if matches(pattern, text):
            return True
    return False


def _properties(name: str, wanted: object, negated: bool) -> tuple[_Check, object]:
    if not isinstance(wanted, Mapping):
        raise ValueError(f"expected a mapping of property names to values, got {wanted!r:.60}")
    checks: list[_Check] = []
    keys: list[tuple[object, frozenset[object]]] = []
    for prop, value in wanted.items():
        try:
            if name.endswith("_re"):
                patterns = _patterns(value)
                checks.append(_property_re(prop, patterns, negated))
                keys.append((prop, frozenset((pattern.pattern, pattern.flags) for pattern in patterns)))
            else:
                scalars = _scalars(value)
                checks.append(_property_eq(prop, scalars, negated))
                keys.append((prop, frozenset((type(one).__name__, one) for one in scalars)))
        except ValueError as fault:
            raise ValueError(f"[{prop!r}]: {fault}") from None
    return (lambda change: all(check(change) for check in checks)), frozenset(keys)


def _property_eq(prop: str, scalars: tuple[Scalar, ...], negated: bool) -> _Check:
    return lambda change: (_property(change, prop) in scalars) is not negated


def _property_re(prop: str, patterns: Sequence[re.Pattern[str]], negated: bool) -> _Check:
    return lambda change: _any_match(patterns, _property(change, prop)) is not negated


def _property(change: object, prop: str) -> object:
    value = getattr(change, "properties", {}).get(prop, "")
    return value[0] if isinstance(value, tuple) and len(value) == 2 else value  # else (value, source)


def _listed(value: object) -> list[object]:
    if not isinstance(value, (list, tuple, set, frozenset)):
        return [value]
    if not value:
        raise ValueError("the list is empty: nothing could match")
    return list(value)


def _texts(value: object) -> frozenset[str | None]:
    listed = _listed(value)
    for one in listed:
        if not isinstance(one, (str, type(None))):
            raise ValueError(f"expected text or a list of texts, got {one!r:.60}{_quotes(one)}")
    return frozenset(cast(list[str | None], listed))


def _scalars(value: object) -> tuple[Scalar, ...]:
    listed = _listed(value)
    for one in listed:
        if not isinstance(one, (str, int, float, bool, type(None))):
            raise ValueError(f"expected text, a number, true, false, null or a list of these, got {one!r:.60}")
    return cast(tuple[Scalar, ...], tuple(listed))


def _patterns(value: object) -> tuple[re.Pattern[str], ...]:
    patterns = []
    for one in _listed(value):
        if isinstance(one, str):
            patterns.append(compile_bounded(one))
        elif isinstance(one, re.Pattern) and isinstance(one.pattern, str):
            patterns.append(compile_bounded(one.pattern, one.flags))
        else:
            raise ValueError(f"expected a regular expression or a list of them, got {one!r:.60}{_quotes(one)}")
    return tuple(patterns)


def _quotes(value: object) -> str:
    return "; put it in quotes" if isinstance(value, (int, float)) else ""
