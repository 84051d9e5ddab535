"""``twistd victron-twin``: the options, and all services put together for a real process."""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized

from . import __version__
from .catalog import Catalog, load
from .catalog.schema import schemas
from .commands.audit import Kept
from .commands.journal import Journal
from .commands.switch import Switch
from .config import Config, ConfigError, GXConfig
from .config.keys import option_flags, option_parameters
from .core import Core, build, check_fields
from .exits import Exits
from .greengrass.configuration import ComponentConfiguration
from .greengrass.lifecycle import Lifecycle
from .greengrass.nucleus import Nucleus
from .greengrass.secrets import Secrets
from .gx.backoff import Backoff
from .gx.connect import gx_endpoint
from .gx.pins import Pins
from .logs import Log
from .metrics import registry
from .primaries import Primaries
from .shadows.backend import Messenger, ShadowBackend
from .shadows.choice import SOCKET, TOKEN, choose, sdk_is_there, under_greengrass
from .shadows.cloud_view import CloudSide
from .shadows.greengrass import GreengrassBackend
from .shadows.iotcore import IoTCoreTransport
from .shadows.local import LocalBackend
from .shadows.pace import Pace
from .shadows.proxy import ProxyTransport
from .shadows.topics import TopicBackend
from .shadows.transport import Transport
from .simulator.child import demo_gx
from .state import StateError, StateFolder
from .supervisor import Supervisor
from .web.access import Access, guarded_site, load_token
from .web.dataplane import DataPlane
from .web.live import Live
from .web.pieces import Pieces
from .web.server import WebService
from .web.site import Pages
from .worker import ThreadWorker

log = Logger()


class Options(usage.Options):
    """The command line of ``twistd victron-twin``; each option is in the file and the environment too."""

    synopsis = "[options]"
    longdesc = "A digital twin of a Victron Energy site in AWS IoT device shadows."
    optParameters: ClassVar = option_parameters()
    optFlags: ClassVar = option_flags()

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"victron-twin {__version__}")
        sys.exit(0)

    def parseOptions(self, options: Any = None) -> None:
        # twistd would print all options, and the error in the last line.
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise SystemExit(f"victron-twin: {error}: see twistd victron-twin --help") from None

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            raise usage.UsageError(f"{arguments[0]!r} is no option")

    def load(self, component: Mapping[str, Any] | None = None) -> Config:
        """The configuration, with what Greengrass has for the component. Raises ConfigError."""
        return Config.load(self, os.environ, component)

    def log(self) -> Log | None:
        """Our log in place of twistd's; None where twistd was given a logger or a file."""
        twistd = self.parent
        if twistd is not None and (twistd.get("logger") or twistd.get("logfile")):
            return None
        return Log(sys.stdout, "human", "info")


class Root(MultiService):
    """The top of the tree: brings its log to the application, and stops its services one after the other.

    The last one first: what the others need until their end comes first.
    """

    def __init__(self, observer: ILogObserver | None) -> None:
        super().__init__()
        self._observer = observer

    def setServiceParent(self, parent: Any) -> None:
        super().setServiceParent(parent)
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)

    def stopService(self) -> Deferred[None]:
        self.running = 0
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for service in reversed(list(self)):
            stopped = service.stopService()
            if isinstance(stopped, Deferred):
                await stopped


def makeService(options: Options) -> IService:
    """The whole service. Ends the process with one line where it cannot begin."""
    from twisted.internet import reactor

    try:
        return assemble(reactor, options)
    except (StateError, ConfigError) as error:
        raise SystemExit(f"victron-twin: {error}") from None


def assemble(reactor: Any, options: Options) -> Root:
    """The tree of services of one process. Raises StateError and ConfigError.

    Under Greengrass the services are made when the nucleus has given the component's configuration.
    """
    observer = options.log()
    root = Root(observer)
    exits = Exits(reactor)
    exits.setServiceParent(root)
    site = Site(reactor, os.environ, load(), root, observer)

    def checked(component: Mapping[str, Any] | None) -> Config:
        config = options.load(component)
        check_fields(config, site.catalog)
        return config

    supervisor = Supervisor(reactor, checked, site, exits.fatal)
    if under_greengrass(os.environ) and (sdk_is_there() or options.load().backend != "local"):
        if not sdk_is_there():
            choose("greengrass", os.environ, None)  # says what is missing
        nucleus = Nucleus(reactor, os.environ[SOCKET], os.environ[TOKEN], exits.fatal)
        site.nucleus, site.secrets = nucleus, Secrets(nucleus)
        site.lifecycle = Lifecycle(reactor, nucleus, site.busy)
        exits.before_fatal(site.lifecycle.errored)
        for service in (nucleus, site.lifecycle, supervisor, ComponentConfiguration(reactor, nucleus, supervisor.take)):
            service.setServiceParent(root)
    else:
        supervisor.begin()
        supervisor.setServiceParent(root)
    return root


@dataclass
class Site:
    """Makes the services of a configuration for a :class:`~victron_twin.supervisor.Supervisor`."""

    reactor: Any
    environ: Mapping[str, str]
    catalog: Catalog
    root: MultiService
    log: Log | None = None
    nucleus: Nucleus | None = None
    secrets: Secrets | None = None
    lifecycle: Lifecycle | None = None
    core: Core | None = None
    _state: StateFolder | None = None
    _chosen: dict[str, tuple[str, str]] = field(default_factory=dict)

    def busy(self) -> bool:
        """Whether a command is under way."""
        return self.core is not None and self.core.commands.busy()

    def prepare(self, config: Config) -> Deferred[None]:
        return Deferred.fromCoroutine(self._prepare(config))

    async def _prepare(self, config: Config) -> None:
        """``auto`` is decided once, by who answers at the start."""
        name, reason = self._choice(config)
        if self.nucleus is None or name != "greengrass" or config.backend != "auto":
            return
        if not await GreengrassBackend(self.reactor, self.nucleus, Pace(self.reactor)).probe():
            self._chosen["auto"] = "greengrass-mqtt", f"{reason}, and no Shadow Manager answers"

    def _choice(self, config: Config) -> tuple[str, str]:
        if config.backend not in self._chosen:
            self._chosen[config.backend] = choose(config.backend, self.environ, config.iotcore.endpoint)
        return self._chosen[config.backend]

    def adjust(self, config: Config) -> None:
        if self.log is not None:
            self.log.adjust(config.log_format, config.log_level)
        if self.core is not None:
            self.core.adjust(config)

    def make(self, config: Config, part: str, fatal: Callable[[str], None]) -> IService | None:
        if part == "core":
            self.adjust(config)
            return self._make_core(config, fatal)
        if self.core is None:
            raise AssertionError("the core comes first")
        if part == "web":
            return web(self.reactor, config, self.core, fatal)
        if config.manhole is None:
            return None
        from .manhole import Manhole, namespace  # takes long, and old ones warn of old ciphers

        return Manhole(self.reactor, config, namespace(self.root, self.core), fatal)

    def _make_core(self, config: Config, fatal: Callable[[str], None]) -> MultiService:
        reactor = self.reactor
        if self._state is None or self._state.path != config.state_dir:
            before, self._state = self._state, StateFolder.claim(config.state_dir)
            if before is not None:
                before.release()
        group = MultiService()
        journal = config.state_dir
        if config.demo:
            simulated, config = demo_gx(reactor, config)
            simulated.setServiceParent(group)
            journal = config.state_dir / "demo"
        name, reason = self._choice(config)
        if self.secrets is None and any(gx.password_secret is not None for gx in config.gx):
            raise ConfigError("gx.password_secret needs Greengrass: use gx.password_file")
        backend = keeper(name, reactor, config, frozenset(self.catalog.shadows), self.nucleus)
        self.core = core = build(
            reactor,
            config,
            self.catalog,
            self._connector(config),
            backend,
            Primaries(config.state_dir / "primaries.json"),
            Journal(
                journal / "commands.sqlite",
                ThreadWorker(reactor, "journal"),
                Kept(config.audit.max_bytes, config.audit.max_age),
            ),
            Switch(config.state_dir / "commands.off"),
            fatal,
            backend if isinstance(backend, CloudSide) else None,
            backend if isinstance(backend, Messenger) else None,
        )
        core.root.setServiceParent(group)
        lifecycle = self.lifecycle
        if lifecycle is not None:
            core.sync.when_open().addCallback(lambda _: lifecycle.running_now())
        for warning in config.warnings:
            log.warn("{warning}", warning=warning)
        log.info(
            "Victron Twin {version}: the backend is {name} ({reason})", version=__version__, name=name, reason=reason
        )
        return group

    def _connector(self, config: Config) -> Callable[[GXConfig], tuple[IStreamClientEndpoint, Backoff]]:
        """How a GX of the configuration is reached."""
        pins = Pins(config.state_dir / "pins.json")
        ask = self.secrets.password if self.secrets is not None else None

        def connect(gx: GXConfig) -> tuple[IStreamClientEndpoint, Backoff]:
            backoff = Backoff(random.SystemRandom())
            client = f"victron-twin-{config.thing_name}"
            return gx_endpoint(self.reactor, gx, pins, backoff, client, ask), backoff

        return connect


def keeper(name: str, reactor: Any, config: Config, names: frozenset[str], nucleus: Nucleus | None) -> ShadowBackend:
    """The backend of a name that was chosen; ``names`` are our shadows. Raises ConfigError."""
    if name == "local":
        return LocalBackend(config.state_dir / "shadows.sqlite", reactor, ThreadWorker(reactor, "shadow store"))
    transport: Transport
    if name == "iotcore":
        core = config.iotcore
        if core.endpoint is None or core.certificate is None or core.key is None:
            raise ConfigError("iotcore.endpoint, iotcore.certificate and iotcore.key are needed")
        transport = IoTCoreTransport(reactor, core.endpoint, config.thing_name, core.certificate, core.key, core.ca)
    elif nucleus is None:
        raise ConfigError(f"backend: {name} needs Greengrass")
    elif name == "greengrass":
        return GreengrassBackend(reactor, nucleus, Pace(reactor))
    else:
        transport = ProxyTransport(nucleus)
    return TopicBackend(transport, reactor, names, random.SystemRandom())


def web(reactor: Any, config: Config, core: Core, fatal: Callable[[str], None]) -> WebService:
    """The local web server: in the demo open, else what changes something needs the token."""
    live = Live(reactor, Pieces(core.catalog, core.health, core.sources))
    access = Access(None if config.demo else load_token(config.state_dir / "token"), socket.gethostname())
    pages = Pages(
        core.health,
        registry(core.health, core.bad_input),
        live,
        schemas(core.catalog),
        core.commands,
        open_to_all=config.demo,
    )
    plane = DataPlane(core.sync.backend, reactor)
    site = guarded_site(plane.beside(pages.app.resource()), access)
    return WebService(reactor, config.http, site, live, fatal)
