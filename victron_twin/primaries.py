"""The primary devices of a GX, remembered across restarts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twisted.logger import Logger

from .files import read_json, write_json
from .state import StateError
from .twin.primary import Key


class Primaries:
    """``primaries.json`` in the state folder: for each GX the primary of each service, ``"battery": "battery/512"``."""

    _log = Logger()

    def __init__(self, path: Path) -> None:
        """Raises StateError for a file that cannot be read."""
        self._path = path
        self._all = read_json(path)
        if not all(isinstance(v, dict) for v in self._all.values()):
            raise StateError(f"{path} does not hold primaries: move it away, it is made anew")

    def of(self, thing: str) -> Mapping[str, Key]:
        """The remembered primaries of the GX behind a thing."""
        keys = {}
        for service, key in self._all.get(thing, {}).items():
            kind, _, instance = str(key).partition("/")
            keys[service] = (kind, instance)
        return keys

    def changed(self, thing: str, service: str, old: Key | None, new: Key) -> None:
        """Remember and tell: a primary never changes silently."""
        self._log.info(
            "{thing}: the primary {service} is {new} (before: {old})",
            thing=thing,
            service=service,
            new="/".join(new),
            old="/".join(old) if old else "none",
        )
        self._all.setdefault(thing, {})[service] = "/".join(new)
        try:
            write_json(self._path, self._all)
        except OSError as error:
            self._log.error("{path} cannot be written: {error}", path=str(self._path), error=str(error))
