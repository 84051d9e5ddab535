"""The services that make a twin, put together from their parts; what differs between a real process and a simulation
is given: clock, endpoints, backend, randomness."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger

from . import __version__
from .catalog import Catalog
from .catalog.commands import Class, Command
from .catalog.model import NUMERIC
from .commands.journal import Journal
from .commands.publisher import Publisher
from .commands.reach import Reach
from .commands.service import CommandService
from .commands.switch import Switch
from .config import Config, ConfigError, GXConfig
from .gx.backoff import Backoff
from .gx.service import GXService
from .health import BadInput, Health
from .primaries import Primaries
from .shadows.backend import Messenger, ShadowBackend
from .shadows.choice import no_cloud
from .shadows.cloud_view import CloudSide, CloudView
from .shadows.parts import Cadences
from .shadows.sync import ShadowSync
from .source import SiteSource
from .twin.aim import RAW
from .twin.policy import Policy
from .twin.position import Privacy
from .twin.primary import Key
from .twin.twin import Twin, iso

_log = Logger()

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
        self.commands.reach.timeout = config.commands.cloud_timeout


def cadences(config: Config) -> Cadences:
    c = config.cadence
    return Cadences(c.critical, c.normal, c.slow, c.batch)


def policy(config: Config) -> Policy:
    c = config.commands
    return Policy(c.mode, c.allow, c.deny, c.limits, c.rate, c.raw, c.enforce)


def check_fields(config: Config, catalog: Catalog) -> None:
    """Raises ConfigError for a limit or a field to be enforced that means none: whoever wrote it believes it does."""
    for limit in config.commands.limits:
        _check_field(
            "commands.limits", limit.pattern, catalog, lambda c: "" if c.field.kind in NUMERIC else "no number"
        )
    for pattern in config.commands.enforce:
        _check_field("commands.enforce", pattern, catalog, lambda c: "" if c.kind is Class.SETTING else "no setting")


def _no_number(command: Command) -> str:
    return "" if command.field.kind in NUMERIC else "no number"


def _no_setting(command: Command) -> str:
    return "" if command.kind is Class.SETTING else "no setting"


def _check_field(key: str, pattern: str, catalog: Catalog, wrong: Callable[[Command], str]) -> None:
    shadow, _, name = pattern.partition(".")
    if re.search(r"[*?\[]", pattern):
        if not any(fnmatchcase(kind, shadow) or "*" in shadow for kind in catalog.shadows):
            raise ConfigError(f"{key}: {pattern}: no shadow is called {shadow}")
        return
    device = re.match(r"devices\.([^.]+)\.", name)
    name = name[device.end() :] if device else name
    if name.startswith(f"{RAW}."):
        return
    service = device[1].partition("-")[0] if device and "-" in device[1] else ""
    command = catalog.commands.of(shadow, name, service)
    problem = "cannot be written" if command is None else f"is {what}" if (what := wrong(command)) else ""
    if problem:
        raise ConfigError(f"{key}: {pattern} {problem}; docs/catalogue.md has what can be")


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
    messenger: Messenger | None = None,
) -> Core:
    """All of it, not yet started. ``fatal`` ends the process with a message. Raises ConfigError.

    ``cloud_side`` is there where the backend itself is not the cloud, but keeps it up to date; ``messenger`` where
    there is a cloud.
    """
    root = MultiService()
    bad_input = BadInput()
    sync = ShadowSync(clock, backend, cadences(config), frozenset(catalog.shadows), fatal)
    gxs: list[GXService] = []
    sources: dict[str, SiteSource] = {}
    cloud = CloudView(clock, sync, cloud_side) if cloud_side is not None else None
    reach = Reach(clock, sync, cloud, config.commands.cloud_timeout)
    commands = CommandService(clock, sync, journal, policy(config), switch, reach)
    commands.setServiceParent(root)
    sync.setServiceParent(root)
    if cloud is not None:
        cloud.setServiceParent(root)
    if config.audit.topic is not None:
        if messenger is None:
            raise no_cloud(backend.name)
        Publisher(clock, journal, messenger, config.audit.topic, config.thing_name).setServiceParent(root)
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
    left_out = [f"{s.name}.{name}" for s in shadows for name in s.ledger.names_left_out()]
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
        "droppedFields": " ".join(left_out)[:256],
        "startedAt": iso(health.started),
        "uptime": int(health.uptime()),
    }
