"""A simulated GX device: the van's bus behind a GX's MQTT plugin, in time."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from random import Random
from typing import Any

import orjson
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from victron_twin.simulator.bus import Range, Value
from victron_twin.simulator.plugin import Plugin, Publisher, device_of
from victron_twin.simulator.policy import Login, Verdict
from victron_twin.simulator.site import Site

_MQTT = "settings/0/Settings/Services/MqttLocal"
_FIRMWARE = "platform/0/Firmware/Installed/Version"
#: The first Venus OS that says when a full publish is complete.
_COMPLETES_FROM = (3, 50)


class GX(Plugin):
    """A GX on which a site's devices are; a :class:`~victron_twin.simulator.policy.Policy` for a broker.

    Every device measures once in each ``period`` seconds; the site's time runs ``speed`` times as fast as the clock.
    With ``boot`` the plugin finds the devices only in the course of so many seconds after :meth:`start`.

    :ivar writes: the last writes that clients asked for, taken or not: ``(clock's seconds, topic, value)``.
    """

    def __init__(
        self,
        clock: IReactorTime,
        site: Site,
        random: Random,
        *,
        password: str | None,
        speed: float = 1.0,
        period: float = 1.0,
        boot: float = 0.0,
    ) -> None:
        super().__init__(clock, random, portal_id=site.portal_id, password=password, boot=boot)
        self.site = site
        self.speed = speed
        self.completes = firmware(str(site.value(_FIRMWARE))) >= _COMPLETES_FROM
        self.writes: deque[tuple[float, str, Value]] = deque(maxlen=10_000)
        self._ranges: dict[str, Range] = {}
        self._turn = 0
        self._moved = clock.seconds()
        self._period = period
        self._ticks = LoopingCall(self.tick)
        self._ticks.clock = clock

    def start(self, broker: Publisher) -> None:
        """Begin to serve, and let the site's time run."""
        self._moved = self.clock.seconds()
        self.site.take_changes()
        super().start(broker)
        ticking = self._ticks.start(self._period / len(self.site.devices))
        ticking.addErrback(lambda reason: self.log.failure("the site stands still", reason))

    def stop(self) -> None:
        """Serve no more; the site's time stands."""
        if self._ticks.running:
            self._ticks.stop()
        super().stop()

    def tick(self) -> None:
        """Let the site's time come up with the clock, and the next device measure."""
        now = self.clock.seconds()
        self.site.advance(self.site.time + (now - self._moved) * self.speed)
        self._moved = now
        devices = self.site.devices
        self.site.refresh(devices[self._turn % len(devices)])
        self._turn += 1
        self.flush()

    def flush(self) -> None:
        """Announce what changed on the bus; a tick does it by itself."""
        changes = self.site.take_changes()
        self.changed(changes)
        if _MQTT in changes and self.value(_MQTT) == 0 and self._broker is not None:
            self._broker.drop_clients()

    def value(self, topic: str) -> Value:
        """The truth: the value at ``battery/512/Dc/0/Voltage``. Raises KeyError where there is none."""
        return self.site.value(topic)

    def remove(self, service: str, instance: int) -> None:
        """A device leaves the bus: ``remove("battery", 512)``."""
        topics = self.site.remove(f"{service}/{instance}")
        if f"{service}/{instance}" not in self._unscanned:
            self.gone(topics)
        self.flush()

    def restore(self, service: str, instance: int) -> None:
        """The device is back."""
        self.site.restore(f"{service}/{instance}")
        self.scanned(f"{service}/{instance}")
        self.flush()

    def login(self, login: Login) -> Verdict:
        """Policy: nobody gets in while MQTT is off, or open to tokens only."""
        return super().login(login) if self.value(_MQTT) == 1 else self._logins.refusal()

    def topics(self) -> Iterable[str]:
        """What is on the bus."""
        return (service.key + path for service in self.site.bus for path in service.values)

    def payload(self, topic: str) -> bytes | None:
        """``{"value":13.21}``, or ``{"max":100.0,"min":0.0,"value":10.0}`` with a range known since the scan."""
        found = self.site.bus.find(topic)
        if found is None:
            return None
        said: dict[str, Any] = {}
        if topic in self._ranges:
            said["min"], said["max"] = self._ranges[topic]
        said["value"] = found[0][found[1]]
        return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)

    def scanned(self, device: str) -> None:
        """Ranges are read now and kept: what is added later shows none until the next start."""
        self._ranges = {topic: limits for topic, limits in self._ranges.items() if device_of(topic) != device}
        self._ranges |= {topic: limits for topic, limits in self.site.ranges.items() if device_of(topic) == device}

    def write(self, topic: str, value: Value) -> None:
        """Do what a client asks, as far as the device takes it."""
        self.writes.append((self.clock.seconds(), topic, value))
        self.site.write(topic, value)
        self.flush()


def firmware(version: str) -> tuple[int, int]:
    """``v3.70~12`` as numbers that compare; (0, 0) where it is no version."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
