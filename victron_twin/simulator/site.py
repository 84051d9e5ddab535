"""A site with a GX, as a pure model: time and chance come in as arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from victron_twin.simulator.build import Van
from victron_twin.simulator.bus import Bus, Range, Service, Value
from victron_twin.simulator.estate import Estate
from victron_twin.simulator.rules import ALIASES
from victron_twin.simulator.world import World
from victron_twin.simulator.writes import Refused, check, setting

#: The longest time that the electricity is taken as constant, seconds.
_STRIDE = 10.0


@dataclass(frozen=True)
class Action:
    """Something that a write made happen, once: ``Action(1.7e9, "vebus/276/RedetectSystem", 1)``."""

    at: float
    topic: str
    value: Value


class Site:
    """What stands on the bus of a GX, and the world behind it.

    :meth:`advance` lets time pass, :meth:`refresh` has one device put what it measures on the bus, and
    :meth:`take_changes` names the topics that were signalled since. Topics are without ``N/<portal id>/``.

    :ivar actions: the actions that writes made happen, oldest first.
    """

    def __init__(self, bus: Bus, world: World) -> None:
        self.bus = bus
        self.world = world
        self.actions: list[Action] = []
        self._lapses: dict[str, tuple[float, Value]] = {}
        self.advance(self.time + 1.0)
        for device in self.devices:
            self.refresh(device)
        self.take_changes()

    @classmethod
    def van(
        cls,
        random: Random,
        *,
        time: float,
        hour: float | None = None,
        portal_id: str = "c0619ab2d3e4",
        firmware: str = "v3.70",
    ) -> Site:
        """A van with a 280 Ah battery, 640 W of solar on two chargers, and a MultiPlus; no shore power.

        ``time`` is epoch seconds; ``hour`` the local solar hour then (12 is noon), two hours after sunrise unless
        given: daylight, and more is used than the sun gives. The sun's year is that of ``time``.
        """
        world = Van(random, time=time, hour=hour, portal_id=portal_id, firmware=firmware)
        return cls(world.bus, world)

    @classmethod
    def large(
        cls,
        random: Random,
        *,
        time: float,
        hour: float | None = None,
        portal_id: str = "c0619ab2d3e4",
        firmware: str = "v3.70",
    ) -> Site:
        """A house, a barn and a boat with one of every kind of device, on the grid; the arguments as of :meth:`van`.

        Three batteries, five solar chargers, three Quattros on three phases with the grid and a generator, and what
        else a GX knows: about 3,000 topics.
        """
        world = Estate(random, time=time, hour=hour, portal_id=portal_id, firmware=firmware)
        return cls(world.bus, world)

    @property
    def time(self) -> float:
        """Epoch seconds, the site's own: they may run faster than the world's."""
        return self.world.time

    @property
    def portal_id(self) -> str:
        """``system/0/Serial``."""
        return str(self.bus["system/0"].values["/Serial"])

    @property
    def devices(self) -> tuple[str, ...]:
        """Who measures something, in the order in which they should be refreshed: ``("battery/512", ...)``."""
        return tuple(self.world.turns)

    @property
    def hour(self) -> float:
        """The local solar hour."""
        return self.world.hour

    @property
    def ranges(self) -> dict[str, Range]:
        """What the site publishes as ``min`` and ``max``, by topic."""
        return {service.key + path: limits for service in self.bus for path, limits in service.ranges.items()}

    def advance(self, to: float) -> None:
        """Let time pass until ``to``, epoch seconds; nothing is put on the bus but what falls back by itself."""
        while self.time < to:
            self.world.advance(min(_STRIDE, to - self.time))
        for topic in [topic for topic, (at, _) in self._lapses.items() if at <= self.time]:
            _, rest = self._lapses.pop(topic)
            found = self.bus.find(topic)
            if found is not None:
                found[0].put(found[1], rest)

    def refresh(self, device: str) -> None:
        """Have a device put what it measures on the bus."""
        self.world.turns[device]()

    def take_changes(self) -> list[str]:
        """The topics that were signalled since the last call, oldest first."""
        return self.bus.take_changes()

    def value(self, topic: str) -> Value:
        """The value at ``battery/512/Dc/0/Voltage``. Raises KeyError where there is none."""
        found = self.bus.find(topic)
        if found is None:
            raise KeyError(topic)
        return found[0][found[1]]

    def values(self) -> Mapping[str, Value]:
        """All that stands on the bus, by topic."""
        return self.bus.values()

    # what people and the world do

    def plug_in(self) -> None:
        """Connect shore power, or the grid."""
        self.world.connect(True)

    def unplug(self) -> None:
        """Take shore power away, or the grid."""
        self.world.connect(False)

    def panel(self, topic: str, value: Value) -> None:
        """Set a value as a person at the GX's own panel, or another process, does: nothing is checked."""
        service, path = self._at(topic)
        self._put(service, path, value)

    def force(self, topic: str, value: Value) -> None:
        """Show a value whatever the device measures, until :meth:`release`."""
        service, path = self._at(topic)
        service.forced[path] = value
        service.changed.append(path)

    def release(self, topic: str) -> None:
        """Show what the device measures again."""
        service, path = self._at(topic)
        if path in service.forced:
            del service.forced[path]
            service.changed.append(path)

    def add_setting(self, path: str, value: Value, limits: Range | None = None) -> None:
        """A setting that was not there before: ``add_setting("/Settings/New", 1, (0, 5))``."""
        service = self.bus["settings/0"]
        if limits is not None:
            service.ranges[path] = limits
        service.put(path, value)

    def remove(self, device: str) -> list[str]:
        """Take a device off the bus; the topics that are gone."""
        service = self.bus[device]
        if not service.present:
            return []
        service.present = False
        service.changed.clear()
        self._mapping(service, None)
        return [service.key + path for path in service.values]

    def restore(self, device: str) -> None:
        """Bring a device back; each of its topics is signalled."""
        service = self.bus[device]
        if not service.present:
            service.present = True
            service.changed = list(service.values)
            self._mapping(service, service.name)

    def write(self, topic: str, value: Value) -> bool:
        """Write as a client of the GX does; whether it was taken. What is refused changes nothing."""
        found = self.bus.find(topic)
        if found is None:
            return False
        service, path = found
        try:
            if service.kind == "settings":
                self._put(service, path, setting(service.values[path], value, service.ranges.get(path)))
                return True
            it = service.rules.get(path)
            if it is None:
                return False
            value = check(self.bus, service, path, value, it)
        except Refused:
            return False
        if it.lapses is not None:
            _, rest = self._lapses.get(topic, (0.0, service.values[path]))
            self._lapses[topic] = self.time + it.lapses, rest
        if it.action:
            self.actions.append(Action(self.time, topic, value))
            self.world.act(service, path, value)
        else:
            self._put(service, path, value)
        return True

    def _at(self, topic: str) -> tuple[Service, str]:
        found = self.bus.find(topic)
        if found is None:
            raise KeyError(topic)
        return found

    def _put(self, service: Service, path: str, value: Value) -> None:
        service.put(path, value)
        alias = ALIASES.get(service.kind + path)
        if alias is not None:
            service.put(alias, value)
        self.world.wrote(service, path)

    def _mapping(self, service: Service, name: str | None) -> None:
        self.bus["system/0"].put(f"/ServiceMapping/com_victronenergy_{service.kind}_{service.instance}", name)
