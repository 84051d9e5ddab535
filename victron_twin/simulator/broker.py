"""A small MQTT 3.1.1 broker without sockets, as the one in a GX behaves: bytes in, bytes out, a clock.

Like a GX's it delivers with QoS 0, delivers twice where two subscriptions of a client overlap, keeps no
sessions, loses messages of a reader that is 8 MiB behind, and writes what one turn of the reactor brought in
one piece.
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from victron_twin.simulator import frames
from victron_twin.simulator.connection import Connection, Link
from victron_twin.simulator.filters import matches
from victron_twin.simulator.frames import Message
from victron_twin.simulator.policy import Login, Open, Policy, Verdict

__all__ = ["Broker", "Connection", "Link", "Login", "Open", "Policy", "Verdict"]

#: Topics whose subscribers are remembered.
ROUTES_LIMIT = 50_000


class Broker:
    """The clients, what they subscribed to, and the retained messages."""

    def __init__(self, clock: IReactorTime, policy: Policy) -> None:
        self.clock = clock
        self.policy = policy
        self.clients: dict[str, Connection] = {}
        self._links: dict[Connection, None] = {}  # not a set: their order must not depend on addresses
        self._retained: dict[str, bytes] = {}
        self._routes: dict[str, tuple[bytes, list[Connection]]] = {}
        self._waiting: list[Connection] = []
        self._flushing: IDelayedCall | None = None
        self._named = 0

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Every link that is open, logged in or not; ``clients`` has those that are, by client id."""
        return tuple(self._links)

    def attach(self, link: Link) -> Connection:
        """A new link; what comes over it goes to the connection's ``received`` and ``lost``."""
        connection = Connection(self, link)
        self._links[connection] = None
        return connection

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """A message of the GX itself. A retained one stays for those who subscribe later; empty, it clears."""
        if retain and payload:
            self._retained[topic] = payload
        elif retain:
            self._retained.pop(topic, None)
        route = self._routes.get(topic)
        prefix, subscribers = self._route(topic) if route is None else route
        if subscribers:
            data = frames.publish(prefix, payload)
            for subscriber in subscribers:
                subscriber.deliver(data)

    def flush(self) -> None:
        """Write what waits, now. It goes by itself at the end of the turn."""
        if self._flushing is not None:
            if self._flushing.active():
                self._flushing.cancel()
            self._flushing = None
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            connection.flush()

    def drop_clients(self) -> None:
        """Close every link, as a restart does; no wills are published."""
        for connection in self.connections:
            connection.close("dropped", will=False)

    # What connections call.

    def wake(self, connection: Connection) -> None:
        """Flush this connection at the end of the turn."""
        self._waiting.append(connection)
        if self._flushing is None:
            self._flushing = self.clock.callLater(0, self.flush)

    def enter(self, connection: Connection, client_id: str) -> None:
        """Logged in; an older connection of the same client has to go."""
        older = self.clients.get(client_id)
        self.clients[client_id] = connection
        if older is not None:
            older.close("the same client id connected again")

    def leave(self, connection: Connection) -> None:
        """The connection is closed."""
        self._links.pop(connection, None)
        if self.clients.get(connection.client_id) is connection:
            del self.clients[connection.client_id]
        self.reroute()

    def reroute(self) -> None:
        """Subscriptions have changed."""
        self._routes.clear()

    def take(self, message: Message) -> None:
        """A client's message."""
        if self.policy.allows(message.topic):
            self.publish(message.topic, message.payload, message.retain)
            self.policy.received(message.topic, message.payload)

    def retained(self, wanted: str) -> Iterator[tuple[str, bytes]]:
        """The retained messages on topics that the filter takes in."""
        return ((t, payload) for t, payload in self._retained.items() if matches(wanted, t))

    def new_client_id(self) -> str:
        self._named += 1
        return f"auto-{self._named}"

    def _route(self, topic: str) -> tuple[bytes, list[Connection]]:
        if len(self._routes) >= ROUTES_LIMIT:
            self._routes.clear()
        subscribers = [c for c in self._links for wanted in c.subscriptions if matches(wanted, topic)]
        route = self._routes[topic] = (frames.text(topic), subscribers)
        return route
