"""The services that make a twin, put together from their parts; what differs between a real process and a simulation
is given: clock, endpoints, backend, randomness."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger

from . import __version__
from .catalog import Catalog
from .catalog.model import NUMERIC
from .commands.journal import Journal
from .commands.service import CommandService
from .commands.switch import Switch
from .config import Config, ConfigError, GXConfig
from .gx.backoff import Backoff
from .gx.service import GXService
from .health import BadInput, Health
from .primaries import Primaries
from .shadows.backend import ShadowBackend
from .shadows.cloud_view import CloudSide, CloudView
from .shadows.parts import Cadences
from .shadows.sync import ShadowSync
from .source import SiteSource
from .twin.policy import Policy
from .twin.position import Privacy
from .twin.primary import Key
from .twin.twin import Twin, iso

_log = Logger()

#: Names of fields that were left out, of which as many are shown as fit.
SHOWN = 128

#: Makes the way to one GX: an endpoint that is done after the login, and the backoff that it shares with the service.
Connect = Callable[[GXConfig], tuple[IStreamClientEndpoint, Backoff]]


@dataclass(slots=True)
class Core:
    """The tree of services and what looks into it."""

    root: MultiService
    catalog: Catalog
    gxs: list[GXService]
    sources: dict[str, SiteSource]
    sync: ShadowSync
    health: Health
    bad_input: BadInput
    commands: CommandService
    cloud: CloudView | None

    def adjust(self, config: Config) -> None:
        """Take from a new configuration what needs no new start: cadences and what the cloud may do."""
        self.sync.cadences = cadences(config)
        self.commands.policy = policy(config)


def cadences(config: Config) -> Cadences:
    c = config.cadence
    return Cadences(c.critical, c.normal, c.slow, c.batch)


def policy(config: Config) -> Policy:
    c = config.commands
    return Policy(c.mode, c.allow, c.deny, c.limits, c.rate)


def check_limits(config: Config, catalog: Catalog) -> None:
    """Raises ConfigError for a limit that would bound nothing: whoever wrote it believes that it does."""
    for limit in config.commands.limits:
        shadow, _, name = limit.pattern.partition(".")
        if re.search(r"[*?\[]", limit.pattern):
            known = [kind for kind in catalog.shadows if fnmatchcase(kind, shadow) or "*" in shadow]
            if not known:
                raise ConfigError(f"commands.limits: {limit}: no shadow is called {shadow}")
            continue
        device = re.match(r"devices\.([^.]+)\.", name)
        service = device[1].partition("-")[0] if device and "-" in device[1] else ""
        command = catalog.commands.of(shadow, name[device.end() :] if device else name, service)
        if command is None or command.field.kind not in NUMERIC:
            what = "cannot be written" if command is None else "is no number"
            raise ConfigError(f"commands.limits: {limit}: {limit.pattern} {what}; docs/catalogue.md has what can be")


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether any of the patterns means ``<service>/<D-Bus path>``."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def selection(config: Config) -> Callable[[str, str, str], bool]:
    """Whether a D-Bus path of a service is included: ``battery/*``, ``vebus/Ac/*``."""

    def select(service: str, instance: str, path: str) -> bool:
        name = service + path
        included = not config.include or fits(name, config.include)
        return included and not fits(name, config.exclude)

    return select


def privacy(config: Config) -> Privacy:
    """What is shown of positions."""
    p = config.position
    distance = max(p.deadband, p.distance) if p.privacy == "moved" else p.deadband
    return Privacy(distance, p.decimals if p.privacy == "rounded" else None)


def _moved(thing: str, old: Key, new: Key) -> None:
    _log.info(
        "{thing}: {service}/{old} is {service}/{new} now",
        thing=thing,
        service=new[0],
        old=old[1],
        new=new[1],
    )


def build(
    clock: IReactorTime,
    config: Config,
    catalog: Catalog,
    connect: Connect,
    backend: ShadowBackend,
    primaries: Primaries,
    journal: Journal,
    switch: Switch,
    fatal: Callable[[str], None],
    cloud_side: CloudSide | None = None,
) -> Core:
    """All of it, not yet started. ``fatal`` ends the process with a message.

    ``cloud_side`` is there where the backend itself is not the cloud, but keeps it up to date.
    """
    root = MultiService()
    bad_input = BadInput()
    sync = ShadowSync(clock, backend, cadences(config), frozenset(catalog.shadows), fatal)
    gxs: list[GXService] = []
    sources: dict[str, SiteSource] = {}
    commands = CommandService(clock, sync, journal, policy(config), switch)
    commands.setServiceParent(root)
    sync.setServiceParent(root)
    cloud = CloudView(clock, sync, cloud_side) if cloud_side is not None else None
    if cloud is not None:
        cloud.setServiceParent(root)
    health = Health(clock, __version__, gxs, sync, cloud, lambda: commands.mode)

    def add(one: GXConfig, thing: str, first: bool) -> None:
        configured: dict[str, Key] = {service: (service, str(n)) for service, n in one.primary.items()}
        twin = Twin(
            catalog,
            bad_input,
            select=selection(config),
            moved=partial(_moved, thing),
            privacy=privacy(config),
            raw=lambda service, path: fits(service + path, config.raw),
            configured=configured,
            remembered=primaries.of(thing),
            changed=partial(primaries.changed, thing),
        )
        endpoint, backoff = connect(one)
        gx = GXService(
            clock,
            endpoint,
            twin,
            backoff,
            host=one.host,
            portal_id=one.portal_id,
            max_retries=one.max_retries,
            fatal=fatal,
        )
        source = SiteSource(twin, partial(facts, health, gx), commands)

        def keep(named: str) -> None:
            source.thing = named
            sources[named] = source
            loaded = commands.add(named, gx)
            loaded.addCallbacks(lambda _: sync.add(named, source), lambda failure: fatal(failure.getErrorMessage()))

        if first or one.thing_name:
            keep(thing)
        else:
            gx.when_known(lambda portal: keep(f"{config.thing_name}-{portal}"))
        gx.setServiceParent(root)
        gxs.append(gx)

    for number, one in enumerate(config.gx):
        add(
            one,
            one.thing_name or (config.thing_name if number == 0 else f"{config.thing_name}-{one.host}"),
            number == 0,
        )
    return Core(root, catalog, gxs, sources, sync, health, bad_input, commands, cloud)


def facts(health: Health, gx: GXService, thing: str) -> dict[str, Any]:
    """What victron-twin says beyond what other shadows say, by the names of its fields."""
    shadows = [s for s in health.sync.shadows() if s.thing == thing]
    left_out = (f"{s.name}.{name}" for s in shadows for name in s.ledger.names_left_out())
    return {
        "version": health.version,
        "portalId": gx.twin.portal,
        "gxHost": gx.status.host,
        "gxLink": gx.status.text(),
        "backend": health.sync.backend.name,
        "shadows": " ".join(sorted(s.name for s in shadows)),
        "problem": gx.status.problem,
        "lastCloudSync": iso(synced) if (synced := health.last_cloud_sync()) else None,
        "alarms": 0,
        "droppedFields": " ".join(islice(left_out, SHOWN))[:256],
        "startedAt": iso(health.started),
        "uptime": int(health.uptime()),
    }
