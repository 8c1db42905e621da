"""Where a repository is, without what nobody may see: credentials go to git by the environment, never by its arguments.

Arguments can be read by everybody on the host, and git hands a URL's user and password on to the arguments of its own
helpers; the environment can be read by the same user only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ...config.secret import MASK, Secret, mask_credentials

SCHEMES = ("file", "git", "http", "https", "ssh", "git+ssh", "ssh+git")
_LONGEST = 4000
_HELPER = re.compile(r"[A-Za-z0-9+.-]*::")
_SCP = re.compile(r"(?:[^/@:]+@)?(?:\[[0-9a-fA-F:.]+\]|[^/@:\[\]]+):.+")
_WANTED = "expected a git URL (https://, ssh://, git://, file://, user@host:path) or an absolute path"


@dataclass(frozen=True, slots=True)
class Address:
    """A repository's address. ``url`` is what git is given, ``shown`` what people and changes see."""

    url: str = field(repr=False)
    shown: str
    user: Secret | None = None
    password: Secret | None = None
    _hidden: tuple[Secret, ...] = ()

    @classmethod
    def parse(cls, value: Any) -> Address:
        """From the configuration's text or ``Secret``. ValueError says what is wrong and never shows a credential."""
        secret = isinstance(value, Secret)
        text = value.reveal() if isinstance(value, Secret) else value
        if not isinstance(text, str) or not text:
            raise ValueError(f"{_WANTED}, got {mask_credentials(repr(text)) if not secret else MASK}")
        seen = MASK if secret else repr(mask_credentials(text)[:200])
        if len(text) > _LONGEST or not text.isprintable() or text != text.strip():
            raise ValueError(f"{_WANTED}, without blanks around it or control characters in it, got {seen}")
        if text.startswith("-") or _HELPER.match(text):
            raise ValueError(f"{_WANTED}; options and remote helpers are refused, got {seen}")
        whole = (Secret(text.rstrip("/")),) if secret else ()
        if "://" not in text:
            if not text.startswith("/") and not _SCP.fullmatch(text):
                raise ValueError(f"{_WANTED}, got {seen}")
            return cls(text, MASK if secret else text, _hidden=whole)
        return cls._of_url(text, seen, whole, secret)

    @classmethod
    def _of_url(cls, text: str, seen: str, whole: tuple[Secret, ...], secret: bool) -> Address:
        try:
            parts = urlsplit(text)
            if parts.port == 0:
                raise ValueError
        except ValueError:
            raise ValueError(f"{_WANTED}; this is not a valid URL: {seen}") from None
        scheme = parts.scheme.lower()
        if scheme not in SCHEMES:
            raise ValueError(f"{_WANTED}; this scheme is not allowed: {seen}")
        if scheme != "file" and (not parts.hostname or parts.hostname.startswith("-")):
            raise ValueError(f"{_WANTED}; this URL names no host: {seen}")
        if scheme not in ("http", "https"):
            if parts.password is not None:
                raise ValueError(f"{scheme}:// takes no password; use a key and leave the password out, got {seen}")
            if (parts.username or "").startswith("-"):
                raise ValueError(f"{_WANTED}; options are refused, got {seen}")
            return cls(text, MASK if secret else mask_credentials(text), _hidden=whole)
        if mask_credentials(parts.query) != parts.query:  # a token among the parameters
            whole = (*whole, *(Secret(value) for _, value in parse_qsl(parts.query)))
        if parts.username is None:
            return cls(text, MASK if secret else mask_credentials(text), _hidden=whole)
        return cls._with_credentials(parts, whole)

    @classmethod
    def _with_credentials(cls, parts: SplitResult, whole: tuple[Secret, ...]) -> Address:
        info, _, host = parts.netloc.rpartition("@")
        raw_user, colon, raw_password = info.partition(":")
        user, password = unquote(raw_user), unquote(raw_password)
        if not (user + password).isprintable():
            raise ValueError("the user or password in the URL holds a control character")
        url = parts._replace(netloc=host).geturl()
        pieces = (raw_password, password) if colon else (raw_user, user)
        hidden = sorted({info, *pieces} - {""}, key=len, reverse=True)
        return cls(
            url,
            mask_credentials(url),
            Secret(user),
            Secret(password) if colon else None,
            (*whole, *(Secret(piece) for piece in hidden)),
        )

    def scrubbed(self, text: str) -> str:
        """``text`` with every credential of this address, and of any other URL in it, replaced by ``***``."""
        for piece in self._hidden:
            text = text.replace(piece.reveal(), MASK)
        return " ".join(mask_credentials(word) for word in text.split(" "))

    def credentials(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """(git settings, environment) that let git ask for the user and password, for this very host only."""
        if self.user is None:
            return {}, {}
        parts = urlsplit(self.url)
        scope = f"credential.{parts.scheme}://{parts.netloc}"
        tell = """!printf 'username=%s\\npassword=%s\\n' "$LOCUM_GIT_USER" "$LOCUM_GIT_PASSWORD";:"""
        settings = {f"{scope}.helper": tell}
        if self.password is not None:  # else a helper of the user's own may know the password
            settings = {"credential.helper": "", **settings}
        password = "" if self.password is None else self.password.reveal()
        return settings, {"LOCUM_GIT_USER": self.user.reveal(), "LOCUM_GIT_PASSWORD": password}
