"""Regular expressions that strangers' text cannot stall.

``re`` cannot be given a deadline, and while it works its whole process stands still. Two bounds instead: a match looks at
the first ``MAX_TEXT`` characters only, and patterns whose time explodes on hostile text are refused when they are read:

- a repeat around something of variable width, with nothing between two rounds that tells them apart: ``(a+)+``, ``(a|aa)*``,
  ``(\\w+/?)*`` take exponential time; ``([^/]+/)*`` is fine, since the slash tells;
- four or more wildcards in a row that can trade text with each other (``.*a.*b.*c.*d``): n to the fourth power.

This is a sieve, not a proof: it knows nothing of back-references and look-arounds. It reads Python's own parse of the
pattern; where that has no parser of the known shape, patterns are accepted as they are.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

try:
    from re import _constants as sre  # type: ignore[attr-defined]
    from re import _parser as sre_parser  # type: ignore[attr-defined]
except ImportError:  # another implementation of re
    sre = sre_parser = None

MAX_TEXT: Final = 1000  # characters
_MAX_WILDCARDS: Final = 3
_MANY: Final = 16  # a repeat of up to that many rounds costs little

_Chars = frozenset[int]
_OTHER: Final = 256  # stands for all characters past Latin-1
_ALL: Final[_Chars] = frozenset(range(257))
_NONE: Final[_Chars] = frozenset()


@lru_cache(maxsize=4096)
def compile_bounded(text: str, flags: int = 0) -> re.Pattern[str]:
    """Compile the pattern. ValueError says what is wrong with it, or why it could take for ever."""
    try:
        pattern = re.compile(text, flags)
    except (re.error, RecursionError, OverflowError) as fault:
        raise ValueError(f"bad regular expression {text[:80]!r}: {fault}") from None
    if sre_parser is not None:
        tree = list(sre_parser.parse(text, flags))
        if _explodes(tree):
            raise ValueError(
                f"regular expression {text[:80]!r} repeats something of variable width in ways that can be mixed up, "
                "which takes for ever on some texts; put a character between the rounds that the inner part cannot match"
            )
        if _wildcards(tree) > _MAX_WILDCARDS:
            raise ValueError(
                f"regular expression {text[:80]!r} has more than {_MAX_WILDCARDS} wildcards that can match the same text, "
                "which takes for ever on some texts; narrow them (such as [^/]* for .*) or use several expressions"
            )
    return pattern


def matches(pattern: re.Pattern[str], text: str) -> bool:
    """Whether the pattern matches from the start of the text, of which it sees the first ``MAX_TEXT`` characters."""
    return pattern.match(text, 0, MAX_TEXT) is not None


# What follows walks over lists of (operation, argument), the shape of Python's parsed patterns.

_Node = tuple[Any, Any]
_Nodes = list[_Node]


def _repeat(node: _Node) -> tuple[int, int, _Nodes] | None:
    """(fewest rounds, most rounds, body) of a repeat that backtracks."""
    op, argument = node
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        return int(argument[0]), int(argument[1]), list(argument[2])
    return None


def _group(node: _Node) -> _Nodes | None:
    """The body of a plain group."""
    return list(node[1][3]) if node[0] is sre.SUBPATTERN else None


def _branches(node: _Node) -> list[_Nodes]:
    return [list(branch) for branch in node[1][1]] if node[0] is sre.BRANCH else []


def _bodies(node: _Node) -> list[_Nodes]:
    """Every sequence directly inside."""
    op, argument = node
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        return [list(argument[2])]
    if op in (sre.ASSERT, sre.ASSERT_NOT):
        return [list(argument[1])]
    if op is sre.ATOMIC_GROUP:
        return [list(argument)]
    if op is sre.GROUPREF_EXISTS:
        return [list(body) for body in argument[1:] if body is not None]
    group = _group(node)
    return _branches(node) if group is None else [group]


def _explodes(nodes: _Nodes) -> bool:
    for node in nodes:
        repeat = _repeat(node)
        if repeat is not None and repeat[1] > _MANY and _ambiguous(repeat[2]):
            return True
        if any(_explodes(body) for body in _bodies(node)):
            return True
    return False


def _ambiguous(body: _Nodes) -> bool:
    """Whether rounds of the body can be told apart in more than one way."""
    body = _flat(body)
    if len(body) == 1 and _branches(body[0]):
        branches = [_flat(branch) for branch in _branches(body[0])]
        return _overlap(branches) or any(_ambiguous(branch) for branch in branches)
    marks = [_alphabet([node]) for node in body if _is_mark(node)]
    return any(all(mark & loose for mark in marks) for loose in _loose(body))


def _flat(nodes: _Nodes) -> _Nodes:
    """The sequence with its plain groups opened."""
    opened: _Nodes = []
    for node in nodes:
        group = _group(node)
        opened += [node] if group is None else _flat(group)
    return opened


def _is_mark(node: _Node) -> bool:
    """Whether this is in every round: one character, or at least one of a repeated character."""
    repeat = _repeat(node)
    if repeat is not None:
        return repeat[0] > 0 and all(_is_mark(inner) for inner in repeat[2][:1]) and len(repeat[2]) == 1
    return node[0] in (sre.LITERAL, sre.NOT_LITERAL, sre.IN, sre.ANY)


def _loose(nodes: _Nodes) -> Iterator[_Chars]:
    """The alphabets of the parts whose width varies, or that can be read in two ways."""
    for node in nodes:
        repeat = _repeat(node)
        if repeat is not None and repeat[0] != repeat[1]:
            yield _alphabet(repeat[2])
        branches = _branches(node)
        if branches and (any(not branch for branch in branches) or _overlap(branches)):
            yield _alphabet([node])
        for body in _bodies(node):
            yield from _loose(body)


def _overlap(branches: list[_Nodes]) -> bool:
    """Whether two alternatives can begin with the same character."""
    seen: _Chars = _NONE
    for branch in branches:
        first = _first(branch)
        if seen & first:
            return True
        seen |= first
    return False


def _first(nodes: _Nodes) -> _Chars:
    """The characters with which the sequence can begin."""
    found: _Chars = _NONE
    for node in nodes:
        if node[0] is sre.AT:
            continue
        repeat = _repeat(node)
        bodies = _bodies(node)
        found |= frozenset().union(*map(_first, bodies)) if bodies else _alphabet([node])
        optional = (repeat is not None and repeat[0] == 0) or any(not body for body in bodies)
        if not optional:
            break
    return found


def _alphabet(nodes: Iterable[_Node]) -> _Chars:
    """Every character that the sequence can contain."""
    found: _Chars = _NONE
    for node in nodes:
        bodies = _bodies(node)
        found |= frozenset().union(*map(_alphabet, bodies)) if bodies else _characters(*node)
    return found


def _characters(op: Any, argument: Any) -> _Chars:
    if op is sre.LITERAL:
        return _one(argument)
    if op is sre.NOT_LITERAL:
        return _ALL - {argument}
    if op is sre.IN:
        negated = argument[0][0] is sre.NEGATE
        members = argument[1:] if negated else argument
        if negated:  # exactly those, lest an alphabet comes out too small
            return _ALL - frozenset().union(*(_excluded(*one) for one in members)) | {_OTHER}
        return frozenset().union(*(_member(*one) for one in members))
    return _NONE if op is sre.AT else _ALL


def _member(op: Any, argument: Any) -> _Chars:
    if op is sre.LITERAL:
        return _one(argument)
    if op is sre.RANGE:
        low, high = argument
        return frozenset(range(low, min(high, 255) + 1)) | (_one(high) if high > 255 else _NONE)
    name = str(op if op is not sre.CATEGORY else argument).lower()
    for word, test in (("digit", str.isdigit), ("space", str.isspace), ("word", _is_word)):
        if word in name:
            wanted = "not" not in name
            return frozenset(code for code in range(256) if test(chr(code)) is wanted) | {_OTHER}
    return _ALL


def _excluded(op: Any, argument: Any) -> _Chars:
    return frozenset((argument,)) if op is sre.LITERAL else _member(op, argument)


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _one(code: int) -> _Chars:
    """That character, in either case: flags are not looked at."""
    if code > 255:
        return frozenset((_OTHER,))
    swapped = chr(code).swapcase()
    return frozenset((code, ord(swapped) if len(swapped) == 1 and ord(swapped) < 256 else code))


def _wildcards(nodes: _Nodes) -> int:
    """The longest chain of unbounded repeats that can trade text. One at the very end has nobody to trade with."""
    chain = longest = 0
    last: _Chars = _NONE
    flat = [node for node in _flat(nodes) if node[0] is not sre.AT]
    for at, node in enumerate(flat):
        repeat = _repeat(node)
        if repeat is not None and repeat[1] > _MANY:
            alphabet = _alphabet(repeat[2])
            if at < len(flat) - 1:
                chain = chain + 1 if last & alphabet else 1
            last = last | alphabet if chain > 1 else alphabet
        elif _is_mark(node) and not _alphabet([node]) & last:
            chain, last = 0, _NONE
        longest = max(longest, chain)
    inner = (_wildcards(body) for node in flat for body in _bodies(node))
    return max([longest, *inner])
