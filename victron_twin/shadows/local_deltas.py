"""The deltas that Shadow Manager publishes on the nucleus's local topics.

One subscription for each shadow: the access control stands in the form ``$aws/things/*/shadow/name/victron-*/...``,
which no topic filter with wildcards of MQTT's matches, and one for all shadows of all things would be more than the
component needs. Shadow Manager publishes at every accepted update while a delta exists, our own included, and nothing
when one subscribes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from victron_twin.greengrass.errors import IpcError, Problem
from victron_twin.greengrass.nucleus import Nucleus, Subscription
from victron_twin.twin import shadow as rules
from victron_twin.twin.shadow import Refused

from .backend import CLASSIC, Delta, Unavailable
from .refusals import PUBSUB, refusal
from .watchers import Watchers

#: The nucleus answers a subscription within, in s.
TIMEOUT = 10.0
#: After a lost link the subscriptions come back one by one: what they missed is told of once, after so long, in s.
TOGETHER = 0.5

Key = tuple[str, str]


def resource(thing: str, shadow: str) -> str:
    """What access control calls a shadow, and what its topics begin with."""
    return f"$aws/things/{thing}/shadow" + (f"/name/{shadow}" if shadow != CLASSIC else "")


@dataclass(slots=True)
class _Seen:
    version: int
    timestamp: int


class LocalDeltas:
    """Subscribes to a shadow's deltas when it is first asked for, and tells the watchers of each version once."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, nucleus: Nucleus) -> None:
        self._clock = clock
        self._nucleus = nucleus
        self._watchers = Watchers()
        self._subscriptions: dict[Key, Subscription] = {}
        self._ready: set[Key] = set()
        self._seen: dict[Key, _Seen] = {}
        self._losing: IDelayedCall | None = None
        self._strange: set[Key] = set()

    def watch(self, listener: Callable[[Delta], None], missed: Callable[[], None]) -> Callable[[], None]:
        """As the backend's."""
        return self._watchers.add(listener, missed)

    def heard(self, thing: str, shadow: str) -> bool:
        """Whether the deltas of a shadow come, or are known to be refused."""
        return (thing, shadow) in self._ready

    async def hear(self, thing: str, shadow: str) -> None:
        """Have them come from now on. Raises Unavailable where the nucleus does not answer in time.

        One that refuses is told of in the log: reported can be written, though what is desired is seen at times only.
        """
        key = thing, shadow
        if key not in self._subscriptions:
            topic = f"{resource(thing, shadow)}/update/delta"
            self._subscriptions[key] = self._nucleus.subscribe(
                "subscribe_to_topic", lambda event: self._event(key, event), self._lose, topic=topic
            )
        ready: Deferred[None] = self._subscriptions[key].ready
        try:
            await ready.addTimeout(TIMEOUT, self._clock)
        except IpcError as error:
            self._refused(error, key)
        except TimeoutError:
            raise Unavailable(f"no subscription to the deltas of {shadow} within {TIMEOUT:.0f} s") from None
        self._ready.add(key)

    def known(self, thing: str, shadow: str, version: int) -> None:
        """A shadow has this version: one lower than that of a delta was made anew; 0: it is not there."""
        seen = self._seen.get((thing, shadow))
        if seen is not None and version < seen.version:
            del self._seen[thing, shadow]

    def stop(self) -> None:
        """End all subscriptions. Those to come begin anew."""
        for subscription in self._subscriptions.values():
            subscription.close()
        self._subscriptions.clear()
        self._ready.clear()
        if self._losing is not None:
            self._losing.cancel()
            self._losing = None

    def _refused(self, error: IpcError, key: Key) -> None:
        if error.problem is Problem.UNREACHABLE:
            raise Unavailable(error.message)
        why = refusal(error, PUBSUB, "SubscribeToTopic", f"{resource(*key)}/update/delta").message
        self._log.error("What is desired of {shadow} is not heard of: {why}", shadow=key[1], why=why)

    def _event(self, key: Key, event: Any) -> None:
        try:
            body = rules.parse(event.binary_message.message)
            state, version, timestamp = dict(body["state"]), int(body["version"]), int(body.get("timestamp", 0))
            token = body.get("clientToken")
        except (Refused, AttributeError, KeyError, TypeError, ValueError):
            if key not in self._strange:
                self._strange.add(key)
                self._log.warn("What came as a delta of {shadow} is none; it is ignored.", shadow=key[1])
            return
        seen = self._seen.get(key)
        if seen is not None and version <= seen.version:
            if timestamp <= seen.timestamp:
                return
            self._lose()  # it was deleted and made anew: whoever keeps its version has to read it
        self._seen[key] = _Seen(version, timestamp)
        self._watchers.tell(Delta(*key, state, version, token if isinstance(token, str) else ""))

    def _lose(self) -> None:
        if self._losing is None:
            self._losing = self._clock.callLater(TOGETHER, self._lost)

    def _lost(self) -> None:
        self._losing = None
        self._watchers.missed()
