"""Who is told of deltas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from .backend import Delta, nothing


class Watchers:
    """The listeners of one backend. What one of them raises is logged: it is not the others' fault, nor an update's."""

    _log = Logger()

    def __init__(self) -> None:
        self._watchers: list[tuple[Callable[[Delta], None], Callable[[], None]]] = []

    def add(self, listener: Callable[[Delta], None], missed: Callable[[], None] = nothing) -> Callable[[], None]:
        """As :meth:`~victron_twin.shadows.backend.ShadowBackend.watch` has it."""
        watcher = listener, missed
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def tell(self, delta: Delta) -> None:
        for listener, _ in list(self._watchers):
            self._call(listener, delta)

    def missed(self) -> None:
        """Deltas may have been missed."""
        for _, missed in list(self._watchers):
            self._call(missed)

    def _call(self, listener: Callable[..., None], *args: Any) -> None:
        try:
            listener(*args)
        except Exception:  # noqa: BLE001 - whatever it is
            self._log.failure("a listener to deltas failed")
