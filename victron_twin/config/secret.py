"""A text that never shows itself."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path


class Secret:
    """A password: neither ``repr`` nor ``str`` nor a traceback shows it, only :meth:`reveal` gives it."""

    __slots__ = ("_reveal",)

    def __init__(self, value: str) -> None:
        self._reveal = lambda: value

    def reveal(self) -> str:
        return self._reveal()

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())


def read_password(path: Path) -> Secret:
    """What the file holds, without the line's end. Raises ``ValueError`` (which names the file) where it cannot."""
    try:
        value = path.read_bytes().decode().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text") from None
    if not value:
        raise ValueError(f"{path}: the file is empty")
    return Secret(value)


def exposed(named: Iterable[tuple[str, Path | None]]) -> list[str]:
    """What is said of files with secrets that others can read; ``named`` gives each with the key that names it."""
    return [
        f"{name}: others can read {path}: chmod o-r {path}"
        for name, path in named
        if path is not None and _mode(path) & stat.S_IROTH
    ]


def _mode(path: Path) -> int:
    """0 for what is not there, or not to be seen from here."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
