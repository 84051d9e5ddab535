"""The whole tree of services on a simulated clock, joined in memory to a simulated GX and a real store; or to models of
Greengrass' Shadow Manager and of the cloud behind it.

A process is killed by forgetting it: its clock stops, its connections break, its files stay as they are.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import paho.mqtt.client as paho
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.task import Clock
from zope.interface import implementer

from tests.emulators.cloud import Cloud
from tests.emulators.shadow_manager import ShadowManager
from tests.simulation.backends import FaultyBackend, ModelBackend
from tests.support import CATALOG
from victron_twin.commands.journal import Journal
from victron_twin.commands.switch import Switch
from victron_twin.config import Config, GXConfig
from victron_twin.core import Core, build
from victron_twin.gx.backoff import Backoff
from victron_twin.gx.endpoint import Credentials, SessionEndpoint
from victron_twin.primaries import Primaries
from victron_twin.shadows.backend import Messenger, ShadowBackend
from victron_twin.shadows.cloud_view import CloudSide
from victron_twin.shadows.local import LocalBackend
from victron_twin.simulator.broker import Broker
from victron_twin.simulator.gx import GX
from victron_twin.simulator.memory import BrokerEndpoint
from victron_twin.simulator.site import Site
from victron_twin.worker import InlineWorker, Worker

START = 1_718_877_600.0  # a June morning
PASSWORD = "secret"
THING = "victron-twin"


@implementer(IReactorTime)
class ProcessClock:
    """The world's time as one process sees it: when that is killed, none of its calls comes any more."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: set[IDelayedCall] = set()
        self._dead = False

    def seconds(self) -> float:
        return self._clock.seconds()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> IDelayedCall:
        def run() -> None:
            self._calls.discard(call)
            if not self._dead:
                callable(*args, **kwargs)

        call = self._clock.callLater(delay, run)
        self._calls.add(call)
        return call

    def getDelayedCalls(self) -> list[IDelayedCall]:
        return [call for call in self._calls if call.active()]

    def kill(self) -> None:
        self._dead = True


@dataclass(frozen=True, slots=True)
class Keeper:
    """What keeps the shadows of a process: how that is killed, and what looks at the cloud, if it is not the end."""

    backend: ShadowBackend
    kill: Callable[[], None]
    cloud: CloudSide | None = None


class Process:
    """One run of the service in a state folder."""

    def __init__(self, world: World, **options: str) -> None:
        self.clock = ProcessClock(world.clock)
        self._keeper = world.keeper(self.clock)
        self.store = self._keeper.backend
        self.backend = FaultyBackend(self.clock, self.store)
        self.network = BrokerEndpoint(self.clock, world.broker)
        self.fatal: list[str] = []
        config = Config.load({}, {"VICTRON_TWIN_STATE_DIR": str(world.folder), **options})
        self.core: Core = build(
            self.clock,
            config,
            CATALOG,
            lambda gx: self._connect(world, gx),
            self.backend,
            Primaries(world.folder / "primaries.json"),
            Journal(world.folder / "commands.sqlite", world.worker()),
            Switch(world.folder / "commands.off"),
            self.fatal.append,
            self._keeper.cloud,
            self.backend if isinstance(self.store, Messenger) else None,
        )
        self.core.root.startService()

    def _connect(self, world: World, gx: GXConfig) -> tuple[IStreamClientEndpoint, Backoff]:
        backoff = Backoff(Random(world.random.random()))
        session = SessionEndpoint(
            self.clock,
            self.network,
            lambda: Credentials("", world.password),
            client_id="twin",
            timeout=gx.connect_timeout,
        )
        return backoff.watch(session), backoff

    def kill(self) -> None:
        """As kill -9 does: nothing is said, nothing is written."""
        self.clock.kill()
        for transport in self.network.transports:
            transport.cut()
        self._keeper.kill()
        self.core.commands.journal._close()


class World:
    """A GX, a folder, and the process that is running.

    ``worker`` makes those which a process reads and writes its files with.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        period: float = 20.0,
        firmware: str = "v3.70",
        site: Callable[..., Site] = Site.van,
        worker: Callable[[], Worker] = InlineWorker,
        **options: str,
    ) -> None:
        self.worker = worker
        self.clock = Clock()
        self.clock.advance(START)
        self.began = START
        self.random = Random(seed)
        self.folder = folder
        self.password: str | None = PASSWORD
        self.options = options
        self.site = site(Random(seed), time=START, firmware=firmware)
        self.gx = GX(self.clock, self.site, Random(seed + 1), password=PASSWORD, period=period)
        self.broker = Broker(self.clock, self.gx)
        self.gx.start(self.broker)
        self.furnish()
        self.process = Process(self, **options)

    def furnish(self) -> None:
        """What is there beside the GX before the first process is."""

    def keeper(self, clock: IReactorTime) -> Keeper:
        """The store of the folder, opened anew for each process."""
        self.local = LocalBackend(self.folder / "shadows.sqlite", clock, self.worker())
        return Keeper(self.local, self.local._file.close)  # the kernel closes it

    def run(self, seconds: float) -> None:
        """Let time pass, from one thing that happens to the next."""
        end = self.clock.seconds() + seconds
        while True:
            calls = self.clock.calls  # in the order of their times
            coming = calls[0].getTime() if calls else end
            if not calls or coming > end:
                break
            self.advance(coming)
        self.advance(end)

    def advance(self, to: float) -> None:
        """Let what is due until then happen at once."""
        self.clock.advance(max(0.0, to - self.clock.seconds()))

    def step(self, count: int) -> int:
        """Let so many calls of the running process happen, one after the other; how many there were within 10 s."""
        end = self.clock.seconds() + 10.0
        for done in range(count):
            coming = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            if coming > end:
                return done
            self.advance(coming)
        return count

    def restart(self) -> None:
        """Kill the process, and start it again from its folder."""
        self.process.kill()
        self.process = Process(self, **self.options)

    def stop(self) -> None:
        stopped = self.process.core.root.stopService()
        self.run(10)
        assert stopped.called
        self.gx.stop()

    def shadow(self, name: str) -> dict[str, Any]:
        """The document that the store holds; an empty one where there is none."""
        found: list[Any] = []
        self.process.store.get(THING, name).addBoth(found.append)
        return found[0] if isinstance(found[0], dict) else {}

    def desire(self, name: str, **fields: Any) -> None:
        """What a cloud application asks for."""
        self.update(name, {"state": {"desired": fields}})

    def update(self, name: str, request: dict[str, Any]) -> None:
        self.process.store.update(THING, name, request).addErrback(lambda failure: failure.raiseException())

    def steps(self) -> list[dict[str, Any]]:
        """The audit log, oldest first."""
        found: list[Any] = []
        self.process.core.commands.journal.steps(500).addCallback(found.extend)
        return found[::-1]

    def result(self, name: str, field: str) -> dict[str, Any]:
        """``reported.commands.<field>``."""
        return dict(self.reported(name).get("commands", {}).get(field, {}))

    def reported(self, name: str) -> dict[str, Any]:
        return dict(self.shadow(name).get("state", {}).get("reported", {}))


class CloudWorld(World):
    """A world with a nucleus: its Shadow Manager keeps the shadows and syncs them to the cloud; both outlive processes.

    What a cloud application asks for is asked of the cloud. ``verified``: the process looks at the cloud's documents.
    """

    def __init__(self, folder: Path, seed: int, verified: bool = True, **options: Any) -> None:
        self.verified = verified
        super().__init__(folder, seed, **options)

    def furnish(self) -> None:
        self.cloud = Cloud(self.clock, Random(self.random.random()))
        self.manager = ShadowManager(self.clock, self.cloud)
        self.messages: list[tuple[str, bytes]] = []

    def keeper(self, clock: IReactorTime) -> Keeper:
        self.model = ModelBackend(self.manager, self.cloud, self.messages)
        return Keeper(self.model, self.model.kill, self.model if self.verified else None)

    def restart_nucleus(self) -> None:
        """It forgets what it was about to sync, and the process has to connect again."""
        self.manager.restart()
        self.model.reconnect()

    def shadow(self, name: str) -> dict[str, Any]:
        return self.manager.document(THING, name)

    def update(self, name: str, request: dict[str, Any]) -> None:
        self.cloud.update(THING, name, request)

    def cloud_reported(self, name: str) -> dict[str, Any]:
        """``reported`` as the cloud has it."""
        return dict(self.cloud.stored(THING, name).reported.values)


W = TypeVar("W", bound=World)


@contextmanager
def running(made: W) -> Iterator[W]:
    """A world, until its service has stopped in peace."""
    restore = simulate_paho(made.clock)
    try:
        yield made
        made.stop()
    finally:
        restore()
        gc.collect()  # what nobody waits for is told of here, not in a later test


def simulate_paho(clock: IReactorTime) -> Callable[[], None]:
    """paho reads its time from a module global; what is returned puts it back."""
    real = paho.time_func
    paho.time_func = clock.seconds

    def restore() -> None:
        paho.time_func = real

    return restore
