"""Keeps the services as the configuration says, also when that changes while they run.

What can be taken over is taken over by the services that run; for the rest those that it affects are stopped and made
anew. A configuration that cannot be used, or whose services fail right after their start, is refused, and the one
before stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Protocol

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .config import Config, ConfigError
from .state import StateError

#: Services that fail within this time after a change are taken for its fault, in s.
PROBATION = 10.0

#: Which part a change of a key begins anew. "" is what running services take over; what is not named is "core", which
#: takes the others with it.
PARTS: Mapping[str, str] = {
    "cadence": "",
    "commands": "",
    "log_level": "",
    "log_format": "",
    "warnings": "",
    "http": "web",
    "manhole": "manhole",
    "manhole_keys": "manhole",
}


class Site(Protocol):
    """The services of one configuration; see :mod:`victron_twin.tap`."""

    def make(self, config: Config, part: str, fatal: Callable[[str], None]) -> IService | None:
        """A part, not yet started; ``core`` first, since the others look at it. Raises ConfigError and StateError."""

    def adjust(self, config: Config) -> None:
        """Let running services take over what they can."""

    def prepare(self, config: Config) -> Deferred[None]:
        """Find out what has to be known before ``core`` can be made."""


#: In the order in which they are made and started; stopped the other way round.
ORDER = ("core", "web", "manhole")


class Supervisor(MultiService):
    """``load`` makes a configuration of what Greengrass gives (None: there is no Greengrass)."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        load: Callable[[Mapping[str, Any] | None], Config],
        site: Site,
        fatal: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.config: Config | None = None
        self._clock = clock
        self._load = load
        self._site = site
        self._fatal = fatal
        self._lock = DeferredLock()
        self._parts: dict[str, IService] = {}
        self._before: Config | None = None
        self._until = 0.0

    def begin(self) -> None:
        """Make the services of a configuration without Greengrass. Raises ConfigError and StateError."""
        self._make(self._load(None), ORDER)

    def take(self, component: Mapping[str, Any]) -> Deferred[None]:
        """A component's configuration was read. Changes are made one after the other."""
        return self._lock.run(lambda: Deferred.fromCoroutine(self._take(component))).addErrback(
            lambda failure: self._log.failure("the configuration was not taken", failure)
        )

    async def _take(self, component: Mapping[str, Any]) -> None:
        try:
            config = self._load(component)
        except ConfigError as error:
            self._refuse(str(error))
            return
        if not self.running:
            return
        if self.config is None:
            await self._first(config)
        else:
            await self._change(self.config, config)

    async def _first(self, config: Config) -> None:
        try:
            await self._site.prepare(config)
            self._make(config, ORDER)
        except (ConfigError, StateError) as error:
            self._refuse(str(error))

    def _refuse(self, message: str) -> None:
        if self.config is None:
            self._fatal(message)
        else:
            self._log.error("The new configuration is refused, the one before stays: {message}", message=message)

    async def _change(self, old: Config, new: Config) -> None:
        changed = [f.name for f in fields(Config) if getattr(old, f.name) != getattr(new, f.name)]
        if not changed:
            return
        parts = {PARTS.get(name, "core") for name in changed}
        again = [part for part in ORDER if part in parts or "core" in parts]
        self._log.info(
            "The configuration has changed ({changed}): {what}",
            changed=", ".join(changed),
            what=f"{', '.join(again)} begins anew" if again else "taken over",
        )
        for part in reversed(again):
            await self._end(part)
        self._before, self._until = old, self._clock.seconds() + PROBATION
        try:
            if "core" in again:
                await self._site.prepare(new)
            self._make(new, again)
        except (ConfigError, StateError) as error:
            self._before = None
            self._refuse(str(error))
            for part in reversed(again):
                await self._end(part)
            self._make(old, again)
            return
        self._site.adjust(new)

    def _make(self, config: Config, parts: tuple[str, ...] | list[str]) -> None:
        for part in parts:
            made = self._site.make(config, part, self._failed)
            if made is not None:
                self._parts[part] = made
                made.setServiceParent(self)
        self.config = config

    async def _end(self, part: str) -> None:
        service = self._parts.pop(part, None)
        if service is not None:
            await maybeDeferred(service.disownServiceParent)

    def _failed(self, message: str) -> None:
        """A service cannot go on. Right after a change it is the change that goes."""
        before, self._before = self._before, None
        if before is None or self._clock.seconds() > self._until:
            self._fatal(message)
            return
        self._log.error("The new configuration does not work, back to the one before: {message}", message=message)
        self._lock.run(lambda: Deferred.fromCoroutine(self._back(before))).addErrback(self._lost)

    async def _back(self, before: Config) -> None:
        if self.config is not None and self.running:
            await self._change(self.config, before)
            self._before = None

    def _lost(self, failure: Failure) -> None:
        self._log.failure("the configuration before could not be taken", failure)
        self._fatal(f"neither the new configuration nor the one before works: {failure.getErrorMessage()}")
