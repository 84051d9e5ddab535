"""A link to an emulated nucleus: the real SDK on a real socket, with the waits of our own side shortened."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet import reactor

from tests.emulators.cloud import Cloud
from tests.emulators.nucleus import NucleusEmulator
from tests.emulators.shadow_manager import ShadowManager
from victron_twin.greengrass.nucleus import Nucleus

needs_sdk = pytest.mark.skipif(find_spec("awsiot") is None, reason="needs awsiotsdk, of the extra greengrass")

#: Makes benches that are taken down at a test's end; the arguments are those of a Bench without its folder.
Make = Callable[..., "Bench"]

REACTOR: Any = reactor
#: Where waits of seconds are to pass, they pass so many times faster.
SPEED = 20.0


class Hasty:
    """The reactor, with a clock that runs faster."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self.callFromThread = REACTOR.callFromThread

    def seconds(self) -> float:
        return float(REACTOR.seconds()) * self._speed

    def callLater(self, delay: float, function: Callable[..., Any], *args: Any) -> Any:
        return REACTOR.callLater(delay / self._speed, function, *args)


class Bench:
    """One nucleus and one link to it; ``fatal`` has what the link gave up for.

    The link's clock is ``speed`` times as fast as ours. Its calls have ten seconds all the same, since machines are
    slow at times; where a call is to run out of time, ``timeout`` is said, by the link's clock.
    """

    def __init__(
        self, folder: Path, speed: float = SPEED, calls: int = 32, timeout: float | None = None, **options: Any
    ) -> None:
        self.path = str(folder / "socket")
        self.cloud = Cloud(REACTOR)
        self.shadows = ShadowManager(REACTOR, self.cloud)
        self.shadows.limited = False
        options.setdefault("shadow_manager", self.shadows)
        self.nucleus = NucleusEmulator(REACTOR, self.path, cloud=self.cloud, **options)
        self.fatal: list[str] = []
        self.clock: Any = Hasty(speed) if speed != 1 else REACTOR
        self.link = Nucleus(
            self.clock,
            self.path,
            "token",
            self.fatal.append,
            calls=calls,
            timeout=timeout if timeout is not None else 10.0 * speed,
            random=Random(1),
        )
        self._there = False

    async def up(self) -> None:
        """Both are there."""
        await self.appear()
        self.link.startService()
        await self.link.when_connected()

    async def appear(self) -> None:
        self._there = True
        await self.nucleus.start()

    async def vanish(self) -> None:
        self._there = False
        await self.nucleus.stop()

    async def down(self) -> None:
        if self.link.running:
            await self.link.stopService()
        if self._there:
            await self.vanish()
        assert self.nucleus.connections == self.nucleus.in_flight == 0
