"""The component's configuration as the nucleus keeps it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from .connection import Body, Failed, Stream

Path = tuple[str, ...]


class Configuration:
    """``value`` is the configuration as it is now."""

    def __init__(self, value: Mapping[str, Any], component: str, lite: bool) -> None:
        self.value: dict[str, Any] = copy.deepcopy(dict(value))
        self._component = component
        self._lite = lite
        self._subscriptions: dict[Stream, Path] = {}

    def merge(self, patch: Mapping[str, Any]) -> None:
        """As a deployment does: objects merge, None removes, anything else replaces. Each changed key is an event."""
        for path in list(_merge(self.value, patch, ())):
            body = {"configurationUpdateEvent": {"componentName": self._component, "keyPath": list(path)}}
            for stream, wanted in list(self._subscriptions.items()):
                if path[: len(wanted)] == wanted or wanted[: len(path)] == path:
                    stream.send("ConfigurationUpdateEvents", body)

    def get(self, stream: Stream, request: Body) -> Body:
        """A leaf comes as ``{leaf: value}``, an object as it is."""
        path, value = self._find(request)
        if self._lite:
            value = _strings(value)
        return {
            "componentName": self._component,
            "value": value if isinstance(value, dict) else {path[-1]: value},
        }

    def subscribe(self, stream: Stream, request: Body) -> Body:
        path, _ = self._find(request)
        self._subscriptions[stream] = path
        stream.on_end(lambda: self._subscriptions.pop(stream))
        return {}

    def _find(self, request: Body) -> tuple[Path, Any]:
        path = tuple(request.get("keyPath") or ())
        value: Any = self.value
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None or (request.get("componentName") or self._component) != self._component:
            raise Failed("ResourceNotFoundError", "Key not found.")
        return path, value


def _merge(value: dict[str, Any], patch: Mapping[str, Any], path: Path) -> Iterator[Path]:
    """Paths of the leaves that changed, and of what was removed."""
    for key, new in patch.items():
        old = value.get(key)
        if new is None:
            if key in value:
                del value[key]
                yield (*path, key)
        elif isinstance(new, Mapping):
            if not isinstance(old, dict):
                value[key] = {}
            yield from _merge(value[key], new, (*path, key))
        elif old != new or type(old) is not type(new):
            value[key] = copy.deepcopy(new)
            yield (*path, key)


def _strings(value: Any) -> Any:
    """Nucleus lite's scalars."""
    if isinstance(value, dict):
        return {key: _strings(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_strings(inner) for inner in value]
    return value if isinstance(value, str) else json.dumps(value)
