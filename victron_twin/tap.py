"""``twistd victron-twin``: the options, and all services put together for a real process."""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Callable
from typing import Any, ClassVar

from twisted.application.service import IService, MultiService
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized

from . import __version__, logs
from .catalog import load
from .catalog.schema import schemas
from .commands.journal import Journal
from .config import Config, ConfigError, GXConfig
from .config.keys import option_flags, option_parameters
from .core import Core, build
from .exits import Exits
from .gx.backoff import Backoff
from .gx.connect import gx_endpoint
from .gx.pins import Pins
from .metrics import registry
from .primaries import Primaries
from .shadows.backend import ShadowBackend
from .shadows.choice import choose
from .shadows.local import LocalBackend
from .simulator.child import demo_gx
from .state import StateError, StateFolder
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
    config: Config

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

    def postOptions(self) -> None:
        try:
            self.config = Config.load(self, os.environ)
        except ConfigError as error:
            raise SystemExit(f"victron-twin: {error}") from None

    def observer(self) -> ILogObserver | None:
        """Our log in place of twistd's; None where twistd was given a logger or a file."""
        twistd = self.parent
        if twistd is not None and (twistd.get("logger") or twistd.get("logfile")):
            return None
        return logs.observer(sys.stdout, self.config.log_format, self.config.log_level)


class Root(MultiService):
    """The top of the tree: brings its log to the application."""

    def __init__(self, observer: ILogObserver | None) -> None:
        super().__init__()
        self._observer = observer

    def setServiceParent(self, parent: Any) -> None:
        super().setServiceParent(parent)
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)


def makeService(options: Options) -> IService:
    """The whole service. Ends the process with one line where it cannot begin."""
    from twisted.internet import reactor

    try:
        root = Root(options.observer())
        assemble(reactor, options.config).setServiceParent(root)
    except (StateError, ConfigError) as error:
        raise SystemExit(f"victron-twin: {error}") from None
    return root


def assemble(reactor: Any, config: Config) -> MultiService:
    """The tree of services of one process. Raises StateError and ConfigError."""
    state = StateFolder.claim(config.state_dir)
    exits = Exits(reactor)
    root = MultiService()
    exits.setServiceParent(root)
    if config.demo:
        simulated, config = demo_gx(reactor, config)
        simulated.setServiceParent(root)
    journal = state.path / "demo" if config.demo else state.path
    for gx in config.gx:
        if gx.password_secret is not None:
            raise ConfigError("gx.password_secret needs Greengrass, which is not in this version: use gx.password_file")
    name, reason = choose(config.backend, os.environ, config.iotcore.endpoint)
    if name != "local":
        raise ConfigError(f"backend: {name} ({reason}) is not in this version yet: set backend = local")
    backend: ShadowBackend = LocalBackend(state.path / "shadows.sqlite", reactor, ThreadWorker(reactor, "shadow store"))
    core = build(
        reactor,
        config,
        load(),
        connector(reactor, config),
        backend,
        Primaries(state.path / "primaries.json"),
        Journal(journal / "commands.sqlite", ThreadWorker(reactor, "journal")),
        exits.fatal,
    )
    core.root.setServiceParent(root)
    web(reactor, config, core, exits.fatal).setServiceParent(root)
    if config.manhole is not None:
        from .manhole import Manhole, namespace  # takes long, and old ones warn of old ciphers

        Manhole(reactor, config, namespace(root, core), exits.fatal).setServiceParent(root)
    for warning in config.warnings:
        log.warn("{warning}", warning=warning)
    log.info("Victron Twin {version}: the backend is {name} ({reason})", version=__version__, name=name, reason=reason)
    return root


def connector(reactor: Any, config: Config) -> Callable[[GXConfig], tuple[IStreamClientEndpoint, Backoff]]:
    """How a GX of the configuration is reached."""
    pins = Pins(config.state_dir / "pins.json")

    def connect(gx: GXConfig) -> tuple[IStreamClientEndpoint, Backoff]:
        backoff = Backoff(random.SystemRandom())
        return gx_endpoint(reactor, gx, pins, backoff, f"victron-twin-{config.thing_name}"), backoff

    return connect


def web(reactor: Any, config: Config, core: Core, fatal: Callable[[str], None]) -> WebService:
    """The local web server: in the demo open, else what changes something needs the token."""
    live = Live(reactor, Pieces(core.catalog, core.health, core.sources))
    access = Access(None if config.demo else load_token(config.state_dir / "token"), socket.gethostname())
    pages = Pages(
        core.health, registry(core.health, core.bad_input), live, schemas(core.catalog), core.commands.journal
    )
    plane = DataPlane(core.sync.backend, reactor)
    site = guarded_site(plane.beside(pages.app.resource()), access)
    return WebService(reactor, config.http, site, live, fatal)
