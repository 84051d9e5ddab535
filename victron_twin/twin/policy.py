"""What the cloud may do: the mode, the default allow-list of the catalogue, and the owner's patterns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from victron_twin.catalog.commands import Command

from .flat import Path, dotted


@dataclass(frozen=True, slots=True)
class Policy:
    """``mode`` is ``off``, ``allow-list`` or ``all``; patterns read ``victron-vebus.mode=Off``, with ``*``, and a
    boolean's ``true``.

    ``deny`` counts in every mode; ``allow`` adds to the default allow-list.
    """

    mode: str = "allow-list"
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def refuses(self, shadow: str, path: Path, value: Any, command: Command, shown: Mapping[Path, Any]) -> str:
        """Why a desire must not be executed, or an empty text.

        ``path`` is the desire's in the shadow, ``shown`` what is reported of its device by the paths of the fields.
        """
        name = path[2:] if path[0] == "devices" else path
        text = json.dumps(value) if isinstance(value, bool) else str(value)
        texts = {f"{shadow}.{dotted(p)}={text}" for p in (name, path)}
        if self.mode == "off":
            return "commands.mode is off"
        if any(fnmatchcase(one, pattern) for one in texts for pattern in map(_whole, self.deny)):
            return "commands.deny forbids it"
        if self.mode == "all" or any(fnmatchcase(one, pattern) for one in texts for pattern in map(_whole, self.allow)):
            return ""
        for guard in command.guards:
            if guard.covers(text) and not (guard.field and shown.get(tuple(guard.field.split("."))) in guard.unless):
                why = f" unless {guard.field} is {' or '.join(guard.unless)}" if guard.field else ""
                return f"not in the default allow-list{why}: add {shadow}.{dotted(name)}={text} to commands.allow"
        return ""


def _whole(pattern: str) -> str:
    """A pattern without a value is meant for every value."""
    return pattern if "=" in pattern else f"{pattern}=*"
