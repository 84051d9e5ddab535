"""What the MQTT plugin of a GX does, whatever stands behind it.

N topics flow for all clients while one of them keeps alive, and no longer; a keepalive republishes everything
unless it says not to; R answers at any time; W is executed in order with the rest of the bus's traffic.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from victron_twin.simulator.bus import Value
from victron_twin.simulator.logins import Logins
from victron_twin.simulator.payloads import Keepalive, keepalive, written
from victron_twin.simulator.policy import Login, Verdict

#: Seconds that one keepalive lasts, for all clients together.
ALIVE = 60.0
#: Seconds between heartbeats.
BEAT = 3.0
#: Full republishes in a second; more are dropped in silence.
FULL_LIMIT = 3
#: How long the bus takes for a read, a write or the gathering of everything, seconds.
BUS_DELAY = (0.001, 0.045)
SERIAL = "system/0/Serial"


class Publisher(Protocol):
    """What the plugin needs of a broker."""

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None: ...

    def drop_clients(self) -> None: ...


class Plugin(ABC):
    """The policy of a GX's broker. Topics here are without ``N/<portal id>/``: ``battery/512/Dc/0/Voltage``.

    :ivar completes: whether a full publish ends with a message that says so (Venus OS 3.50 and newer).
    :ivar deaf: whether reads, writes and keepalives go unheard, as when the plugin hangs.
    :ivar boot: seconds in which the devices are found after a start; what is asked before has gaps.
    :ivar clock_skew: seconds by which the GX's own clock is ahead of the world's.
    """

    log = Logger()

    def __init__(
        self, clock: IReactorTime, random: Random, *, portal_id: str, password: str | None, boot: float = 0.0
    ) -> None:
        self.clock = clock
        self.random = random
        self.portal_id = portal_id
        self.completes = True
        self.deaf = False
        self.clock_skew = 0.0
        self._logins = Logins(password, random)
        self.boot = boot
        self._broker: Publisher | None = None
        self._alive_until = -math.inf
        self._unscanned: set[str] = set()
        self._full_at: deque[float] = deque(maxlen=FULL_LIMIT)
        self._bus_free = 0.0
        self._waiting: set[IDelayedCall] = set()
        self._heart = LoopingCall(self._beat)
        self._heart.clock = clock

    # what stands behind

    @abstractmethod
    def topics(self) -> Iterable[str]:
        """Every topic that has a value, null included."""

    @abstractmethod
    def payload(self, topic: str) -> bytes | None:
        """What the topic's message says now; None where there is no such topic."""

    @abstractmethod
    def write(self, topic: str, value: Value) -> None:
        """A client's write. Changes that it makes are to be announced by :meth:`changed`."""

    @abstractmethod
    def scanned(self, device: str) -> None:
        """The plugin found a device (``battery/512``) on the bus."""

    # life

    def start(self, broker: Publisher) -> None:
        """Begin to serve; with a ``boot`` time the devices are found one after the other."""
        self._broker = broker
        broker.publish(self._n("keepalive"), b"1")
        devices = sorted({device_of(topic) for topic in self.topics()})
        if self.boot <= 0.0:
            for device in devices:
                self._scan(device)
            return
        self._unscanned = set(devices)
        for device in devices:
            self._call(self.random.uniform(0.2, 1.0) * self.boot, self._scan, device)

    def stop(self) -> None:
        """Serve no more; clients are dropped."""
        for call in tuple(self._waiting):
            call.cancel()
        self._waiting.clear()
        if self._heart.running:
            self._heart.stop()
        self._alive_until = -math.inf
        if self._broker is not None:
            self._broker.drop_clients()
            self._broker.publish(self._n(SERIAL), b"", retain=True)
            self._broker = None

    def restart(self) -> None:
        """What a restart of the broker or the GX does: clients, keepalives and retained messages are forgotten."""
        broker = self._broker
        self.stop()
        if broker is not None:
            self.start(broker)

    @property
    def alive(self) -> bool:
        """Whether N topics flow."""
        return self._broker is not None and self.clock.seconds() < self._alive_until

    @property
    def password(self) -> str | None:
        """The password of the security profile; None lets everybody in."""
        return self._logins.password

    @password.setter
    def password(self, password: str | None) -> None:
        self._logins.password = password

    # towards clients

    def login(self, login: Login) -> Verdict:
        """Policy."""
        return self._logins.judge(self.clock.seconds(), login.password)

    def allows(self, topic: str) -> bool:
        """Policy: only the GX itself speaks on N."""
        return not topic.startswith("N/")

    def received(self, topic: str, payload: bytes) -> None:
        """Policy."""
        kind, _, rest = topic.partition("/")
        portal, _, tail = rest.partition("/")
        if self.deaf or portal != self.portal_id or self._broker is None:
            return
        if kind == "R" and tail in ("keepalive", SERIAL):
            self._keepalive(payload if tail == "keepalive" else b"")
        elif kind == "R":
            self._on_bus(self._answer, tail)
        elif kind == "W":
            self._on_bus(self._write, tail, payload)

    def changed(self, topics: Iterable[str]) -> None:
        """Announce that topics have a new value (or the same again), if somebody keeps alive."""
        if self.alive:
            for topic in topics:
                if not self._unscanned or device_of(topic) not in self._unscanned:
                    self._publish(topic)

    def gone(self, topics: Iterable[str]) -> None:
        """Announce that a device has left: zero bytes on each of its topics, whoever keeps alive or not."""
        if self._broker is not None:
            for topic in topics:
                self._broker.publish(self._n(topic), b"")

    # the machinery

    def _n(self, topic: str) -> str:
        return f"N/{self.portal_id}/{topic}"

    def _publish(self, topic: str) -> None:
        payload = self.payload(topic)
        if payload is not None and self._broker is not None:
            self._broker.publish(self._n(topic), payload, topic == SERIAL)

    def _call(self, delay: float, function: Callable[..., None], *args: Any) -> None:
        def run() -> None:
            self._waiting.discard(call)
            function(*args)

        call = self.clock.callLater(delay, run)
        self._waiting.add(call)

    def _on_bus(self, function: Callable[..., None], *args: Any) -> None:
        """Call when the bus has come to it: after a moment, in the order of asking."""
        now = self.clock.seconds()
        self._bus_free = max(self._bus_free, now + self.random.uniform(*BUS_DELAY))
        self._call(self._bus_free - now, function, *args)

    def _scan(self, device: str) -> None:
        self._unscanned.discard(device)
        self.scanned(device)
        if device == device_of(SERIAL):
            self._publish(SERIAL)
        self.changed([topic for topic in self.topics() if device_of(topic) == device and topic != SERIAL])

    def _keepalive(self, payload: bytes) -> None:
        asked = keepalive(payload)
        now = self.clock.seconds()
        self._alive_until = now + ALIVE
        if asked.suppress:
            self._start_heart()
        elif len(self._full_at) < FULL_LIMIT or now - self._full_at[0] >= 1.0:
            self._full_at.append(now)
            self._on_bus(self._publish_all, asked)

    def _publish_all(self, asked: Keepalive) -> None:
        if not self.alive:
            return
        topics = list(self.topics())
        self.random.shuffle(topics)
        self.changed(topics)
        self._start_heart()
        if self.completes and self._broker is not None and (asked.echo is None or isinstance(asked.echo, str)):
            said: dict[str, Any] = {} if asked.echo is None else {"full-publish-completed-echo": asked.echo}
            said["value"] = self._epoch()
            self._broker.publish(self._n("full_publish_completed"), json.dumps(said, separators=(",", ":")).encode())

    def _start_heart(self) -> None:
        if not self._heart.running:
            self._heart.start(BEAT).addErrback(lambda reason: self.log.failure("no more heartbeats", reason))

    def _beat(self) -> None:
        if self.alive and self._broker is not None:
            self._broker.publish(self._n("heartbeat"), b'{"value":%d}' % self._epoch())
        else:
            self._heart.stop()

    def _epoch(self) -> int:
        return int(self.clock.seconds() + self.clock_skew)

    def _answer(self, tail: str) -> None:
        topics = [tail] if self.payload(tail) is not None else []
        if not topics and tail.count("/") >= 1:
            topics = [topic for topic in self.topics() if topic.startswith(tail + "/")]
        for topic in topics:
            if device_of(topic) not in self._unscanned:
                self._publish(topic)

    def _write(self, tail: str, payload: bytes) -> None:
        try:
            value = written(payload)
        except ValueError:
            return
        if device_of(tail) not in self._unscanned:
            self.write(tail, value)


def device_of(topic: str) -> str:
    """``battery/512`` of ``battery/512/Dc/0/Voltage``."""
    return "/".join(topic.split("/", 2)[:2])
