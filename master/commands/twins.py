"""``schedule`` and ``scheduler`` differ by one letter: each tells when it is given what only the other knows."""

from __future__ import annotations

from typing import Any

import click


class Twin(click.Group):
    """A group of commands that is easily mistaken for its ``twin``, another command of ``locum``."""

    def __init__(self, *args: Any, twin: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._twin = twin

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        verb = args[0] if args else ""
        root = ctx.find_root().command
        other = root.commands.get(self._twin) if isinstance(root, click.Group) else None
        if verb not in self.commands and isinstance(other, click.Group) and verb in other.commands:
            raise click.UsageError(
                f"'locum {self.name}' has no {verb!r}; did you mean 'locum {self._twin} {verb}'?", ctx
            )
        return super().resolve_command(ctx, args)
