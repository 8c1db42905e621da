"""The fields of a ForceScheduler's form: each takes a value, or says what is wrong with it.

In the YAML a field is a mapping with ``type`` (``String`` or ``StringParameter``) and the constructor's arguments. What is
only for the form's looks (labels, layout, sizes) is kept for whoever shows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ..config import suggest
from .arguments import to_json
from .bounded_re import compile_bounded, matches
from .field_options import (
    checked_autopopulate,
    checked_choices,
    checked_flag,
    checked_list,
    checked_size,
    checked_words,
    repeated,
)
from .patches import level_fault, subdir_fault, text_fault

LONGEST_FILE = 10 * 1024 * 1024
LAYOUTS = ("vertical", "simple", "tabs")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_EMPTY: tuple[Any, ...] = ("", None, [])
_ROOM = __name__.rpartition(".")[0]
_EMAIL = re.compile(r"[^@\s<>]@[^@\s<>]")  # somewhere in it; with more than one character a side it takes n * n


class ValidationError(ValueError):
    """A value does not fit its field; the text is for the person who gave it."""


class CollectedValidationError(ValueError):
    """All that is wrong with a form: ``errors`` maps a field's full name to a sentence."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{name}: {text}" for name, text in self.errors.items()))


class BaseParameter:
    """One field. ``fullName`` is its name in the form: that of the group that it is in goes before."""

    type: ClassVar[str] = ""

    def __init__(
        self,
        name: str,
        label: str | None = None,
        tablabel: str | None = None,
        regex: str | None = None,
        default: Any = "",
        required: bool = False,
        multiple: bool = False,
        hide: bool = False,
        maxsize: int | None = None,
        autopopulate: Mapping[str, Mapping[str, Any]] | None = None,
        tooltip: str = "",
    ) -> None:
        if not isinstance(name, str) or (name and not _NAME.fullmatch(name)):
            raise ValueError(f"name: expected letters, digits, '_', '-' and '.', got {name!r}")
        self.name = self.fullName = name
        self.label = name if label is None else checked_words("label", label)
        self.tablabel = self.label if tablabel is None else checked_words("tablabel", tablabel)
        self.regex = None if regex is None else checked_words("regex", regex)
        try:
            self._pattern = None if regex is None else compile_bounded(regex)
        except ValueError as error:
            raise ValueError(f"regex: {error}") from None
        self.default = default
        self.required = checked_flag("required", required)
        self.multiple = checked_flag("multiple", multiple)
        self.hide = checked_flag("hide", hide)
        self.maxsize = None if maxsize is None else checked_size("maxsize", maxsize, "characters")
        self.autopopulate = None if autopopulate is None else checked_autopopulate(autopopulate)
        self.tooltip = checked_words("tooltip", tooltip)
        to_json(default, "default")
        fault = self._default_fault()
        if fault:
            raise ValueError(f"default: the field {name!r} would not take it itself: {fault}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def _default_fault(self) -> str:
        """Why the field would refuse its own default. An empty one stands for a field that nobody has filled in."""
        if self.default in _EMPTY:
            return ""
        several = self.multiple and isinstance(self.default, (list, tuple))
        try:
            for value in self.default if several else [self.default]:
                self._one(value)
        except ValidationError as error:
            return str(error) if self._is_ours or isinstance(self.default, str) else ""
        except Exception:  # somebody's own class, which may need what its constructor has not set yet
            if self._is_ours:
                raise
        return ""

    @property
    def _is_ours(self) -> bool:
        """Whether its class comes with Locum; somebody's own may have defaults that are no texts."""
        return type(self).__module__.startswith(f"{_ROOM}.")

    def named(self, group: str) -> None:
        """It is in a group of that full name."""
        self.fullName = f"{group}_{self.name}" if group and self.name else group or self.name

    def fields(self) -> Iterator[BaseParameter]:
        """The fields that take values: itself, or those inside."""
        yield self

    def spec(self) -> dict[str, Any]:
        """All that a form needs to know, as JSON values."""
        kept = {key: value for key, value in vars(self).items() if not key.startswith("_")}
        return {"type": self.type, **kept}

    def taken(self, form: Mapping[str, Sequence[Any]], errors: dict[str, str]) -> Any:
        """Its value in a form of {full name: [values]}; what is wrong goes to ``errors``."""
        try:
            return self._taken(form.get(self.fullName))
        except ValidationError as error:
            errors[self.fullName] = str(error)
            return None

    def _taken(self, given: Sequence[Any] | None) -> Any:
        if given is None:
            if self.required and self.default in _EMPTY:
                raise ValidationError("it is required")
            return self.default
        if self.multiple:
            if self.required and not given:
                raise ValidationError("it is required")
            return [self._one(value) for value in given]
        if len(given) != 1:
            raise ValidationError(f"expected one value, got {len(given)}")
        return self._one(given[0])

    def _one(self, value: Any) -> Any:
        text = self.text_of(value)
        fault = text_fault(text, nul=isinstance(self, (TextParameter, FileParameter)))
        if fault:
            raise ValidationError(fault)
        if self.required and not text:
            raise ValidationError("it is required")
        if self.maxsize is not None and len(text) > self.maxsize:
            raise ValidationError(f"it is too long: {len(text)} characters, at most {self.maxsize} are taken")
        if self._pattern is not None and not matches(self._pattern, text):
            raise ValidationError(f"{text[:60]!r} does not match {self.regex!r}")
        return self.parsed(text)

    def text_of(self, value: Any) -> str:
        """The text that was given."""
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, (int, float)):
            return str(value)
        raise ValidationError(f"expected text, got {value!r:.60}")

    def parsed(self, text: str) -> Any:
        """The value that a text stands for. ValidationError."""
        return text


class FixedParameter(BaseParameter):
    """A value that nobody can change: ``default``."""

    type: ClassVar[str] = "fixed"

    def _default_fault(self) -> str:
        return ""  # nobody else gives it a value

    def _taken(self, given: Sequence[Any] | None) -> Any:
        if given is not None and list(given) not in ([self.default], [str(self.default)]):
            raise ValidationError(f"it is always {self.default!r}")
        return self.default


class StringParameter(BaseParameter):
    """One line of text, shown ``size`` characters wide."""

    type: ClassVar[str] = "text"

    def __init__(self, name: str, size: int = 10, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.size = checked_size("size", size, "characters")


class TextParameter(StringParameter):
    """Several lines of text, shown in ``cols`` and ``rows``."""

    type: ClassVar[str] = "textarea"

    def __init__(self, name: str, cols: int = 80, rows: int = 20, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.cols = checked_size("cols", cols, "characters")
        self.rows = checked_size("rows", rows, "lines")


class IntParameter(StringParameter):
    """A whole number."""

    type: ClassVar[str] = "int"

    def __init__(self, name: str, default: Any = 0, **kwargs: Any) -> None:
        super().__init__(name, default=default, **kwargs)
        if isinstance(default, str) and (number := _whole(default)) is not None:
            self.default = number

    def _default_fault(self) -> str:
        unfilled = type(self.default) is int and self.default == 0
        return "" if unfilled else super()._default_fault()

    def parsed(self, text: str) -> Any:
        if not text and not self.required:
            return self.default
        number = _whole(text)
        if number is None:
            raise ValidationError(f"expected a whole number of at most 18 digits, got {text[:60]!r}")
        return number


def _whole(text: str) -> int | None:
    """The number; None: it is none. ``int`` takes fewer blanks around it than ``strip`` takes away."""
    text = text.strip()
    return int(text) if _WHOLE.fullmatch(text) else None


class BooleanParameter(BaseParameter):
    """Yes or no."""

    type: ClassVar[str] = "bool"

    def __init__(self, name: str, default: Any = False, **kwargs: Any) -> None:
        super().__init__(name, default=checked_flag("default", default), **kwargs)

    def _default_fault(self) -> str:
        return ""  # the two are not texts

    def parsed(self, text: str) -> Any:
        word = text.strip().lower()
        if word in ("true", "yes", "on", "1"):
            return True
        if word in ("false", "no", "off", "0", ""):
            return False
        raise ValidationError(f"expected true or false, got {text[:60]!r}")


class UserNameParameter(StringParameter):
    """Who it is; with ``need_email`` an address must be in it."""

    type: ClassVar[str] = "username"

    def __init__(
        self, name: str = "username", label: str = "Your name:", size: int = 30, need_email: bool = True, **kwargs: Any
    ) -> None:
        self.need_email = checked_flag("need_email", need_email)  # the default is looked at with it
        super().__init__(name, label=label, size=size, **kwargs)

    def parsed(self, text: str) -> Any:
        if self.need_email and (text or self.required) and not _EMAIL.search(text):
            raise ValidationError("expected a name with an address, such as 'Ann <ann@example.org>'")
        return text


class ChoiceStringParameter(BaseParameter):
    """One of ``choices``, or with ``multiple`` several. Not ``strict``: anything else is taken too. Without a default, the first."""

    type: ClassVar[str] = "list"

    def __init__(
        self, name: str, choices: Sequence[str] = (), strict: bool = True, default: Any = None, **kwargs: Any
    ) -> None:
        self.choices = checked_choices(choices)  # the default is looked at with these two
        self.strict = checked_flag("strict", strict)
        if strict and not self.choices:
            raise ValueError("choices: expected at least one, as nothing else is taken")
        many = checked_flag("multiple", kwargs.get("multiple", False))
        if default is None:
            default = [] if many else next(iter(self.choices), "")
        elif many and isinstance(default, str) and default:
            default = [default]
        super().__init__(name, default=default, **kwargs)

    def _default_fault(self) -> str:
        if self.default == "" and self.strict and not self.required:
            return self._refused("")
        return super()._default_fault()

    def parsed(self, text: str) -> Any:
        refused = self._refused(text)
        if refused:
            raise ValidationError(refused)
        return text

    def _refused(self, text: str) -> str:
        if not self.strict or text in self.choices:
            return ""
        meant = suggest(text, self.choices)
        return f"{text[:60]!r} is not one of {', '.join(self.choices)}" + (
            f"; did you mean {meant!r}?" if meant else ""
        )


class WorkerChoiceParameter(ChoiceStringParameter):
    """The name of the master that is to run it, for builders that look at this property."""

    def __init__(self, name: str = "runner", strict: bool = False, **kwargs: Any) -> None:
        super().__init__(name, strict=strict, **kwargs)


class FileParameter(BaseParameter):
    """A file's content, as text; ``maxsize`` characters at most."""

    type: ClassVar[str] = "file"

    def __init__(self, name: str, maxsize: int | None = LONGEST_FILE, **kwargs: Any) -> None:
        super().__init__(name, maxsize=maxsize, **kwargs)


class NestedParameter(BaseParameter):
    """A group of fields. With a name its value is a mapping of theirs; without, they are the form's own."""

    type: ClassVar[str] = "nested"

    def __init__(
        self,
        name: str = "",
        fields: Sequence[BaseParameter | Mapping[str, Any]] = (),
        layout: str = "vertical",
        columns: int | None = None,
        **kwargs: Any,
    ) -> None:
        if "default" in kwargs:
            raise ValueError("default: a group has none; give it to one of its fields")
        super().__init__(name, default=None, **kwargs)
        if layout not in LAYOUTS:
            raise ValueError(f"layout: expected {', '.join(LAYOUTS)}, got {layout!r}")
        given = checked_list("fields", fields, "parameters")
        if not given:
            raise ValueError("fields: expected a list of parameters, got an empty one")
        self.inner = [parameter(one, f"fields[{number}]") for number, one in enumerate(given)]
        twice = repeated(value_names(self.inner))
        if twice is not None:
            raise ValueError(f"fields: there are two fields named {twice!r}; name one of them anew")
        self.layout = layout
        self.columns = None if columns is None else checked_size("columns", columns, "columns")
        self.named("")

    def named(self, group: str) -> None:
        super().named(group)
        for one in self.inner:
            one.named(self.fullName)

    def fields(self) -> Iterator[BaseParameter]:
        for one in self.inner:
            yield from one.fields()

    def spec(self) -> dict[str, Any]:
        found = super().spec()
        del found["inner"]
        return {**found, "fields": [one.spec() for one in self.inner]}

    def values(self, form: Mapping[str, Sequence[Any]], errors: dict[str, str]) -> dict[str, Any]:
        """{name: value} of the fields."""
        return values_of(self.inner, form, errors)

    def taken(self, form: Mapping[str, Sequence[Any]], errors: dict[str, str]) -> Any:
        return self.values(form, errors)


def values_of(
    fields: Sequence[BaseParameter], form: Mapping[str, Sequence[Any]], errors: dict[str, str]
) -> dict[str, Any]:
    """{name: value}; those of nameless groups, and what an AnyPropertyParameter names, stand beside the others."""
    found: dict[str, Any] = {}
    for one in fields:
        value = one.taken(form, errors)
        if isinstance(one, AnyPropertyParameter) or (isinstance(one, NestedParameter) and not one.name):
            found.update(value or {})
        else:
            found[one.name] = value
    return found


def value_names(fields: Sequence[BaseParameter]) -> list[str]:
    """The names that ``values_of`` is certain to give, once for each field that gives it."""
    found: list[str] = []
    for one in fields:
        if isinstance(one, NestedParameter) and not one.name:
            found += value_names(one.inner)
        elif not isinstance(one, AnyPropertyParameter):
            found.append(one.name)
    return found


class AnyPropertyParameter(NestedParameter):
    """A property whose name is given too."""

    type: ClassVar[str] = "any"

    def __init__(self, name: str, **kwargs: Any) -> None:
        pair = [StringParameter("name", label="Name:"), StringParameter("value", label="Value:")]
        super().__init__(name, fields=pair, **kwargs)

    def taken(self, form: Mapping[str, Sequence[Any]], errors: dict[str, str]) -> Any:
        """{name: value}, empty if no name is given."""
        values = self.values(form, errors)
        if values["name"] and not _NAME.fullmatch(values["name"]):
            errors[f"{self.fullName}_name"] = f"{values['name'][:60]!r} is not a property's name"
        return {values["name"]: values["value"]} if values["name"] else {}


class PatchParameter(NestedParameter):
    """A diff to apply after the checkout: ``body``, ``level``, ``author``, ``comment``, ``subdir``."""

    type: ClassVar[str] = "patch"

    def __init__(self, name: str = "patch", label: str = "Patch:", **kwargs: Any) -> None:
        usual = [
            TextParameter("body", label="Diff:", maxsize=LONGEST_FILE),
            IntParameter("level", default=1),
            StringParameter("author"),
            StringParameter("comment"),
            StringParameter("subdir", default=""),
        ]
        super().__init__(name, label=label, **{"fields": usual, **kwargs})
        named = {one.name: one for one in self.inner}
        if "body" not in named:
            raise ValueError("fields: one named 'body' is missing; without the diff there is no patch")
        for key, one in named.items():
            if key == "level":
                require_whole(one, f"fields.{key}", level_fault)
            elif key in _PATCH_TEXTS:
                require_text(one, f"fields.{key}", file=key == "body")

    def taken(self, form: Mapping[str, Sequence[Any]], errors: dict[str, str]) -> Any:
        """The patch; None: no body was given. The rules are those of try jobs."""
        wrong: dict[str, str] = {}
        values = self.values(form, wrong)
        for one in self.inner:
            if one.fullName not in wrong and values.get(one.name) not in _EMPTY:
                fault = _patch_fault(one.name, values[one.name])
                wrong |= {one.fullName: fault} if fault else {}
        errors |= wrong
        return values if values.get("body") else None


_PATCH_TEXTS = ("body", "author", "comment", "subdir")


def _patch_fault(key: str, value: Any) -> str:
    if key == "level":
        return level_fault(value)
    if key == "subdir":
        return subdir_fault(value)
    return text_fault(value, nul=key == "body") if key in _PATCH_TEXTS else ""


class CodebaseParameter(NestedParameter):
    """What is to be built of a codebase. Each of branch, revision, repository, project: a field, or a text that is fixed."""

    type: ClassVar[str] = "codebase"

    def __init__(
        self,
        codebase: str = "",
        name: str | None = None,
        label: str | None = None,
        branch: Any = None,
        revision: Any = None,
        repository: Any = None,
        project: Any = None,
        patch: Any = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(codebase, str):
            raise ValueError(f"codebase: expected a name, got {codebase!r}")
        given = {"branch": branch, "revision": revision, "repository": repository, "project": project}
        fields: list[BaseParameter] = []
        for key, value in given.items():
            if value is None:
                fields.append(StringParameter(key, label=f"{key.capitalize()}:"))
            elif isinstance(value, str):
                fields.append(FixedParameter(key, default=value))
            else:
                if not isinstance(value, (BaseParameter, Mapping)):
                    raise ValueError(
                        f"{key}: expected a text (put it in quotes) or a field's mapping, got {value!r:.60}"
                    )
                fields.append(parameter({"name": key, **value} if isinstance(value, Mapping) else value, key))
                if fields[-1].name != key:
                    raise ValueError(f"{key}: its field must be named {key!r}, not {fields[-1].name!r}")
                require_text(fields[-1], key)
                _require_stampable(fields[-1], key)
        if patch is not None:
            fields.append(parameter(patch, "patch"))
            if not isinstance(fields[-1], PatchParameter):
                raise ValueError("patch: expected a PatchParameter")
        self.codebase = codebase
        self.patched = patch is not None
        super().__init__(
            codebase if name is None else name, label=codebase if label is None else label, fields=fields, **kwargs
        )

    def taken(self, form: Mapping[str, Sequence[Any]], errors: dict[str, str]) -> Any:
        """A partial source stamp: what is empty is left to the defaults."""
        values = self.values(form, errors)
        if self.patched:
            values["patch"] = values.pop(self.inner[-1].name)
        return {"codebase": self.codebase, **{key: value for key, value in values.items() if value not in (None, "")}}


KINDS: Mapping[str, type[BaseParameter]] = {
    cls.__name__.removesuffix("Parameter"): cls
    for cls in (
        *(FixedParameter, StringParameter, TextParameter, IntParameter, BooleanParameter, UserNameParameter),
        *(ChoiceStringParameter, WorkerChoiceParameter, FileParameter, NestedParameter, AnyPropertyParameter),
        *(PatchParameter, CodebaseParameter),
    )
}


def require_text(field: BaseParameter, where: str, *, file: bool = False) -> None:
    """ValueError: it stands where one text is wanted, and gives something else. ``file``: a file's content will do."""
    others = (IntParameter, BooleanParameter, NestedParameter, *(() if file else (FileParameter,)))
    if isinstance(field, others):
        raise ValueError(
            f"{where}: expected a field for text, such as String, ChoiceString or Fixed, got {_kind(field)}"
        )
    if field.multiple:
        raise ValueError(f"{where}.multiple: one value is wanted here; leave it out")


def require_whole(field: BaseParameter, where: str, fault_of: Callable[[Any], str]) -> None:
    """ValueError: it stands where a whole number is wanted, and gives something else, or has a default with a fault."""
    if not isinstance(field, (IntParameter, FixedParameter)):
        raise ValueError(f"{where}: expected a field for a whole number, Int or Fixed, got {_kind(field)}")
    if field.multiple:
        raise ValueError(f"{where}.multiple: one value is wanted here; leave it out")
    must_be_given = isinstance(field, IntParameter) and field.required and field.default in _EMPTY
    fault = "" if must_be_given else fault_of(field.default)
    if fault:
        raise ValueError(f"{where}.default: {fault}")


def _require_stampable(field: BaseParameter, key: str) -> None:
    """A source stamp's parts are texts; a revision may be a number."""
    number = key == "revision" and type(field.default) is int
    if field.default is not None and not number and not isinstance(field.default, str):
        raise ValueError(f"{key}.default: expected text, got {field.default!r:.60}; put it in quotes")


def _kind(field: BaseParameter) -> str:
    return type(field).__name__.removesuffix("Parameter")


def parameter(value: Any, where: str) -> BaseParameter:
    """A field as it is given: made already, or the YAML's mapping of one. ValueError begins with ``where``."""
    if isinstance(value, BaseParameter):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected a mapping such as {{type: String, name: reason}}, got {value!r}")
    given = dict(value)
    odd_keys = [key for key in given if not isinstance(key, str)]
    if odd_keys:
        raise ValueError(f"{where}: expected texts as keys, got {odd_keys[0]!r:.60}")
    kind = given.pop("type", None)
    cls = KINDS.get(str(kind).removesuffix("Parameter"))
    if cls is None:
        meant = suggest(str(kind), KINDS)
        hint = f"did you mean {meant!r}?" if meant else f"known are {', '.join(KINDS)}"
        raise ValueError(f"{where}.type: unknown kind of parameter {kind!r}; {hint}")
    try:
        return cls(**given)
    except (ValueError, TypeError) as error:
        text = str(error)
        odd = re.search(
            r"(?:unexpected|multiple values for) keyword argument '(\w+)'|missing .*argument: '(\w+)'", text
        )
        if odd:
            text = f"{odd[1] or odd[2]}: {'unknown key' if odd[1] else 'it is required'}"
        raise ValueError(f"{where}.{text}") from None
