"""The fields of a ForceScheduler's form: each takes a value, or says what is wrong with it.

In the YAML a field is a mapping with ``type`` (``String`` or ``StringParameter``) and the constructor's arguments. What is
only for the form's looks (labels, layout, sizes) is kept for whoever shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ..config import suggest
from .arguments import to_json
from .bounded_re import compile_bounded, matches

LONGEST_FILE = 10 * 1024 * 1024
LAYOUTS = ("vertical", "simple", "tabs")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+")


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
        for argument, value in (("required", required), ("multiple", multiple), ("hide", hide)):
            if not isinstance(value, bool):
                raise ValueError(f"{argument}: expected true or false, got {value!r}")
        if maxsize is not None and (isinstance(maxsize, bool) or not isinstance(maxsize, int) or maxsize < 0):
            raise ValueError(f"maxsize: expected a whole number of characters, got {maxsize!r}")
        if autopopulate is not None and not isinstance(autopopulate, Mapping):
            raise ValueError(f"autopopulate: expected a mapping of values to fields' values, got {autopopulate!r}")
        self.name = self.fullName = name
        self.label = name if label is None else label
        self.tablabel = self.label if tablabel is None else tablabel
        self.regex = regex
        try:
            self._pattern = None if regex is None else compile_bounded(regex)
        except (TypeError, ValueError) as error:
            raise ValueError(f"regex: {error}") from None
        self.default = default
        self.required = required
        self.multiple = multiple
        self.hide = hide
        self.maxsize = maxsize
        self.autopopulate = autopopulate
        self.tooltip = tooltip
        to_json(default, "default")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

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
            if self.required and self.default in ("", None, []):
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

    def _taken(self, given: Sequence[Any] | None) -> Any:
        if given is not None and list(given) not in ([self.default], [str(self.default)]):
            raise ValidationError(f"it is always {self.default!r}")
        return self.default


class StringParameter(BaseParameter):
    """One line of text, shown ``size`` characters wide."""

    type: ClassVar[str] = "text"

    def __init__(self, name: str, size: int = 10, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.size = size


class TextParameter(StringParameter):
    """Several lines of text, shown in ``cols`` and ``rows``."""

    type: ClassVar[str] = "textarea"

    def __init__(self, name: str, cols: int = 80, rows: int = 20, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.cols, self.rows = cols, rows


class IntParameter(StringParameter):
    """A whole number."""

    type: ClassVar[str] = "int"

    def __init__(self, name: str, default: Any = 0, **kwargs: Any) -> None:
        super().__init__(name, default=default, **kwargs)

    def parsed(self, text: str) -> Any:
        if not text and not self.required:
            return self.default
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
            raise ValidationError(f"expected a whole number, got {text[:60]!r}")
        return int(text)


class BooleanParameter(BaseParameter):
    """Yes or no."""

    type: ClassVar[str] = "bool"

    def __init__(self, name: str, default: Any = False, **kwargs: Any) -> None:
        super().__init__(name, default=default, **kwargs)
        if not isinstance(default, bool):
            raise ValueError(f"default: expected true or false, got {default!r}")

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
        super().__init__(name, label=label, size=size, **kwargs)
        self.need_email = need_email

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
        if isinstance(choices, str) or not all(isinstance(choice, str) for choice in choices):
            raise ValueError(f"choices: expected a list of texts, got {choices!r}")
        if strict and not choices:
            raise ValueError("choices: expected at least one, as nothing else is taken")
        many = bool(kwargs.get("multiple"))
        if default is None:
            default = [] if many else next(iter(choices), "")
        super().__init__(name, default=default, **kwargs)
        self.choices = list(choices)
        self.strict = strict
        wrong = [one for one in (default if many else [default]) if strict and one not in self.choices]
        if wrong:
            raise ValueError(f"default: {wrong[0]!r} is not one of the choices")

    def parsed(self, text: str) -> Any:
        if self.strict and text not in self.choices:
            meant = suggest(text, self.choices)
            raise ValidationError(
                f"{text[:60]!r} is not one of {', '.join(self.choices)}"
                + (f"; did you mean {meant!r}?" if meant else "")
            )
        return text


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
        super().__init__(name, default=None, **kwargs)
        if layout not in LAYOUTS:
            raise ValueError(f"layout: expected {', '.join(LAYOUTS)}, got {layout!r}")
        if isinstance(fields, (str, Mapping)) or not fields:
            raise ValueError(f"fields: expected a list of parameters, got {fields!r}")
        self.inner = [parameter(one, f"fields[{number}]") for number, one in enumerate(fields)]
        self.layout = layout
        self.columns = columns
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
        fields = kwargs.pop("fields", None) or [
            TextParameter("body", label="Diff:", maxsize=LONGEST_FILE),
            IntParameter("level", default=1),
            StringParameter("author"),
            StringParameter("comment"),
            StringParameter("subdir", default=""),
        ]
        super().__init__(name, label=label, fields=fields, **kwargs)

    def taken(self, form: Mapping[str, Sequence[Any]], errors: dict[str, str]) -> Any:
        """The patch; None: no body was given."""
        values = self.values(form, errors)
        return values if values.get("body") else None


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
                fields.append(parameter({"name": key, **value} if isinstance(value, Mapping) else value, key))
                if fields[-1].name != key:
                    raise ValueError(f"{key}: its field must be named {key!r}, not {fields[-1].name!r}")
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


def parameter(value: Any, where: str) -> BaseParameter:
    """A field as it is given: made already, or the YAML's mapping of one. ValueError begins with ``where``."""
    if isinstance(value, BaseParameter):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected a mapping such as {{type: String, name: reason}}, got {value!r}")
    given = dict(value)
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
        odd = re.search(r"unexpected keyword argument '(\w+)'|missing .*argument: '(\w+)'", text)
        if odd:
            text = f"{odd[1] or odd[2]}: {'unknown key' if odd[1] else 'it is required'}"
        raise ValueError(f"{where}.{text}") from None
