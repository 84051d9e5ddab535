"""AWS IoT Core directly, with MQTT 5 and mutual TLS: subscriptions that are there again after each connection."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from victron_twin.config import ConfigError
from victron_twin.twin.ledger import REPORTED_LIMIT

from .backend import Unauthorized, Unavailable
from .mqtt5 import Mqtt5

#: AWS IoT's limits: bytes of a message, filters of one SUBSCRIBE.
LARGEST = 128 * 1024
FILTERS_AT_ONCE = 8
#: A SUBSCRIBE that was not acknowledged is sent again after this, in s.
PAUSE = 1.0
#: A connection that lasted so long is worth a word when it is lost, even if it was the same the last time; in s.
LASTING = 60.0


@dataclass(eq=False, slots=True)
class _Wish:
    """Filters that are not subscribed to yet."""

    filters: Sequence[str]
    granted: Deferred[None] = field(default_factory=Deferred)


class IoTCoreTransport:
    """A :class:`~victron_twin.shadows.transport.Transport`.

    ``endpoint`` is a host or ``host:port``, ``client`` the MQTT client id (the thing's name: policies are written for
    it), the files are PEM. ``reactor`` is the real one. ``start`` fails with a ConfigError where a file cannot be used.
    """

    name = "iotcore"
    reported_limit = REPORTED_LIMIT
    largest = LARGEST
    _log = Logger()

    def __init__(
        self, reactor: Any, endpoint: str, client: str, certificate: Path, key: Path, ca: Path | None = None
    ) -> None:
        self.problem = f"not connected to {endpoint} yet"
        self._reactor = reactor
        self._endpoint = endpoint
        self._mqtt = Mqtt5(
            reactor, endpoint, client, certificate, key, ca, up=self._up, down=self._down, message=self._message
        )
        self._running = False
        self._session = 0  #: counts connections
        self._ready = False  #: connected, and all is subscribed to
        self._kept: dict[str, None] = {}
        self._wishes: list[_Wish] = []
        self._since = 0.0  #: when it was ready
        self._told = ""  #: why it was lost, as the log has it
        self._news = True  #: the log does not have it that it is there
        self._on_message: Callable[[str, bytes], None]
        self._on_again: Callable[[], None]

    def start(self, on_message: Callable[[str, bytes], None], on_again: Callable[[], None]) -> Deferred[None]:
        self._on_message = on_message
        self._on_again = on_again
        try:
            self._mqtt.start()
        except ConfigError:
            return fail()
        self._running = True
        return succeed(None)

    def stop(self) -> Deferred[None]:
        if not self._running:
            return succeed(None)
        self._running = self._ready = False
        self._session += 1
        self.problem = "the connection was closed"
        wishes, self._wishes = self._wishes, []
        for wish in wishes:
            wish.granted.errback(Unavailable(self.problem))
        self._kept.clear()
        return self._mqtt.stop()

    def publish(self, topic: str, payload: bytes) -> Deferred[None]:
        return self._mqtt.publish(topic, payload) if self._ready else fail(Unavailable(self.problem))

    def subscribe(self, filters: Sequence[str]) -> Deferred[None]:
        if not self._running:
            return fail(Unavailable(self.problem))
        wish = _Wish(filters)
        wish.granted = Deferred(lambda _: self._wishes.remove(wish))
        self._wishes.append(wish)
        if self._ready:
            self._run(self._grant(wish))
        return wish.granted

    def unsubscribe(self, filters: Sequence[str]) -> None:
        there = [each for each in filters if each in self._kept]
        for each in there:
            del self._kept[each]
        if there and self._ready:
            self._mqtt.unsubscribe(there).addErrback(self._not_unsubscribed)

    def _not_unsubscribed(self, failure: Failure) -> None:
        """The next connection does without."""
        self._log.debug("{filters}", filters=failure.getErrorMessage())

    def _up(self) -> None:
        self._session += 1
        self._run(self._restore(self._session))

    def _down(self, reason: str) -> None:
        self._session += 1
        if self._ready and self._reactor.seconds() - self._since >= LASTING:
            self._told = ""
        if reason != self._told:
            self._news = True
            self._log.warn("{reason}; trying on.", reason=reason)
        self._ready = False
        self._told = self.problem = reason

    def _message(self, topic: str, payload: bytes) -> None:
        self._on_message(topic, payload)

    async def _restore(self, session: int) -> None:
        """Subscribe to all that was subscribed to before; only then may anything be asked."""
        again = list(self._kept)
        for part in _parts(again):
            await self._make_again(part, session)
        if session != self._session:
            return
        self._ready, self.problem, self._since = True, "", self._reactor.seconds()
        if self._news:
            self._news = False
            self._log.info("Connected to {endpoint}.", endpoint=self._endpoint)
        for wish in list(self._wishes):
            self._run(self._grant(wish))
        if again:
            self._on_again()

    async def _make_again(self, filters: Sequence[str], session: int) -> None:
        try:
            await self._make(filters, session)
        except Unauthorized as error:  # it was allowed before
            self._log.error("{why}", why=error.message)

    async def _grant(self, wish: _Wish) -> None:
        """Where the connection ends meanwhile, the next one does it."""
        refused = None
        try:
            if not await self._make(wish.filters, self._session):
                return
        except Unauthorized as error:
            refused = error
        if wish not in self._wishes:
            return
        self._wishes.remove(wish)
        if refused is not None:
            wish.granted.errback(refused)
        else:
            self._kept.update(dict.fromkeys(wish.filters))
            wish.granted.callback(None)

    async def _make(self, filters: Sequence[str], session: int) -> bool:
        """Whether they are subscribed to; False: that connection is gone. Raises Unauthorized."""
        for part in _parts(filters):
            while session == self._session and not await self._subscribed(part):
                await deferLater(self._reactor, PAUSE)
        return session == self._session

    async def _subscribed(self, filters: Sequence[str]) -> bool:
        try:
            await self._mqtt.subscribe(filters)
        except Unavailable:
            return False
        return True

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        Deferred.fromCoroutine(work).addErrback(
            lambda failure: self._log.failure("the subscriptions of AWS IoT Core", failure=failure)
        )


def _parts(filters: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(filters), FILTERS_AT_ONCE):
        yield filters[start : start + FILTERS_AT_ONCE]
