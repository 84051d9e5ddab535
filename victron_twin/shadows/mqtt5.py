"""The door to awsiotsdk's MQTT 5 client: what comes through it comes in the reactor's thread, in order.

The client calls back in a thread of its own, so every callback only hands over. The SDK is an extra: it is imported
here, inside functions, and nothing of it is made before ``start``: it must not be used before a fork.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from victron_twin.config import ConfigError

from .backend import Unauthorized, Unavailable

PORT = 8883
#: In s. A link that is dead is found dead within the two together. AWS IoT takes no shorter keep alive.
KEEP_ALIVE, PING_TIMEOUT = 30, 10
#: What is not acknowledged by then has failed, in s.
ACKNOWLEDGED = 8
#: Between attempts to connect, in s: up to these, by chance. After a connection that lasted for the first of them it
#: begins anew: awscrt (0.36) confuses that time with the first wait, so they are the same.
FIRST_WAIT, LONGEST_WAIT = 2, 15
#: The client may take so long to end, in s.
GOODBYE = 2.0
#: Reason codes from here on are refusals.
REFUSALS = 128

#: What may be done about it, by words in the name that the SDK has for an error.
_REMEDIES = {
    "TIMEOUT": "look at the network",
    "DNS": "look at iotcore.endpoint and the network",
    "REFUSED": "look at iotcore.endpoint",
    "TLS": "look at iotcore.ca, and whether the certificate is active in AWS IoT",
    "HANGUP": "the certificate must be active in AWS IoT, and its policy must allow iot:Connect on client/{client}",
    "SOCKET_CLOSED": "the certificate must be active in AWS IoT",
}


class Mqtt5:
    """One client, which connects again by itself, each time with a clean session.

    ``endpoint`` is a host or ``host:port``, ``client`` the client id, the files are PEM. ``up`` is called at each
    connection, ``down`` with the reason when it is lost or there was none, ``message`` with topic and payload.
    Deferreds fail with Unavailable, and with Unauthorized where the broker refuses.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        endpoint: str,
        client: str,
        certificate: Path,
        key: Path,
        ca: Path | None,
        *,
        up: Callable[[], None],
        down: Callable[[str], None],
        message: Callable[[str, bytes], None],
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._id = client
        self._certificate = certificate
        self._key = key
        self._ca = ca
        self._up = up
        self._down = down
        self._message = message
        self._client: Any = None
        self._stopped: Deferred[None] = Deferred()
        self._ending: dict[Deferred[None], Any] = {}

    def start(self) -> None:
        """Connect, and stay connected. Raises ConfigError where a file cannot be used."""
        check_files(self._certificate, self._key, self._ca)
        self._stopped = Deferred()
        self._client = self._build(self._stopped)
        self._client.start()

    def stop(self) -> Deferred[None]:
        """Disconnect; nothing is called any more."""
        # To let go of a client that is still at it crashes the process (awscrt 0.36).
        client = self._ending[self._stopped] = self._client
        self._client = None
        client.stop()
        return self._stopped.addTimeout(GOODBYE, self._reactor).addErrback(self._left_open)

    def publish(self, topic: str, payload: bytes) -> Deferred[None]:
        """At least once; fires when it is acknowledged."""
        from awscrt.mqtt5 import PublishPacket, QoS  # type: ignore[import-untyped]  # it has no types

        packet = PublishPacket(topic=topic, payload=payload, qos=QoS.AT_LEAST_ONCE)
        what = f"iot:Publish on topic/{topic}"
        return self._done(self._client.publish(packet)).addCallback(lambda done: self._allow(done.puback, what))

    def subscribe(self, filters: Sequence[str]) -> Deferred[None]:
        """At most eight."""
        from awscrt.mqtt5 import QoS, SubscribePacket, Subscription

        packet = SubscribePacket(subscriptions=[Subscription(each, QoS.AT_LEAST_ONCE) for each in filters])
        what = f"iot:Subscribe on topicfilter/{filters[0]} and iot:Receive on its topics"
        return self._done(self._client.subscribe(packet)).addCallback(lambda suback: self._allow(suback, what))

    def unsubscribe(self, filters: Sequence[str]) -> Deferred[None]:
        from awscrt.mqtt5 import UnsubscribePacket

        return self._done(self._client.unsubscribe(UnsubscribePacket(topic_filters=list(filters))))

    def _build(self, stopped: Deferred[None]) -> Any:
        from awscrt.exceptions import AwsCrtError  # type: ignore[import-untyped]  # it has no types
        from awscrt.io import (  # type: ignore[import-untyped]  # it has no types
            ClientBootstrap,
            DefaultHostResolver,
            EventLoopGroup,
        )
        from awscrt.mqtt5 import (
            ClientOperationQueueBehaviorType,
            ClientSessionBehaviorType,
            ExponentialBackoffJitterMode,
        )
        from awsiot.mqtt5_client_builder import mtls_from_path  # type: ignore[import-untyped]  # it has no types

        group = EventLoopGroup(num_threads=1)
        host, _, port = self._endpoint.partition(":")
        hand_over = self._reactor.callFromThread
        try:
            return mtls_from_path(
                str(self._certificate),
                str(self._key),
                ca_filepath=str(self._ca) if self._ca is not None else None,
                endpoint=host,
                port=int(port or PORT),
                client_id=self._id,
                client_bootstrap=ClientBootstrap(group, DefaultHostResolver(group)),
                session_behavior=ClientSessionBehaviorType.CLEAN,
                # What cannot be sent now is said anew later, as things are then.
                offline_queue_behavior=ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
                keep_alive_interval_sec=KEEP_ALIVE,
                ping_timeout_ms=PING_TIMEOUT * 1000,
                connack_timeout_ms=ACKNOWLEDGED * 1000,
                ack_timeout_sec=ACKNOWLEDGED,
                retry_jitter_mode=ExponentialBackoffJitterMode.FULL,
                min_reconnect_delay_ms=FIRST_WAIT * 1000,
                max_reconnect_delay_ms=LONGEST_WAIT * 1000,
                min_connected_time_to_reset_reconnect_delay_ms=FIRST_WAIT * 1000,
                on_publish_received=lambda data: hand_over(self._received, data.publish_packet),
                on_lifecycle_connection_success=lambda data: hand_over(self._connected),
                on_lifecycle_connection_failure=lambda data: hand_over(
                    self._not_connected, data.connack_packet, data.exception
                ),
                on_lifecycle_disconnection=lambda data: hand_over(
                    self._disconnected, data.disconnect_packet, data.exception
                ),
                on_lifecycle_stopped=lambda data: hand_over(self._ended, stopped),
            )
        except AwsCrtError as error:
            raise ConfigError(f"iotcore.certificate, iotcore.key or iotcore.ca cannot be used: {error}") from None

    def _done(self, future: Future[Any]) -> Deferred[Any]:
        """What a future brings, in the reactor's thread."""
        done: Deferred[Any] = Deferred()

        def fire() -> None:
            error = future.exception()
            if error is None:
                done.callback(future.result())
            else:
                done.errback(Unavailable(f"{self._endpoint} did not acknowledge: {_text(error)}"))

        future.add_done_callback(lambda _: self._reactor.callFromThread(fire))
        return done

    def _allow(self, packet: Any, what: str) -> None:
        codes = packet.reason_codes if hasattr(packet, "reason_codes") else [packet.reason_code]
        refusals = [code for code in codes if code is not None and code >= REFUSALS]
        if refusals:
            raise Unauthorized(f"{self._endpoint} refuses it ({_name(refusals[0])}): the policy must allow {what}")

    def _received(self, packet: Any) -> None:
        if self._client is not None:
            self._message(packet.topic, packet.payload or b"")

    def _connected(self) -> None:
        if self._client is not None:
            self._up()

    def _not_connected(self, connack: Any, error: BaseException) -> None:
        if connack is None:
            self._lost(f"{self._endpoint} cannot be connected to ({_text(error)}){self._remedy(error)}")
        else:
            remedy = f"the certificate's policy must allow iot:Connect on client/{self._id}"
            self._lost(f"{self._endpoint} refuses the connection ({_name(connack.reason_code)}): {remedy}")

    def _disconnected(self, disconnect: Any, error: BaseException) -> None:
        if disconnect is None:
            policy = "if that goes on, look at the network and at the certificate's policy"
            self._lost(f"the connection to {self._endpoint} was lost ({_text(error)}): {policy}")
        elif _name(disconnect.reason_code) == "SESSION_TAKEN_OVER":
            self._lost(f"another client connected to {self._endpoint} as {self._id}: each must have its own thing_name")
        else:
            self._lost(f"{self._endpoint} ended the connection ({_name(disconnect.reason_code)})")

    def _lost(self, reason: str) -> None:
        if self._client is not None:
            self._down(reason)

    def _remedy(self, error: BaseException) -> str:
        name = getattr(error, "name", "")
        return next((f": {text.format(client=self._id)}" for word, text in _REMEDIES.items() if word in name), "")

    def _ended(self, stopped: Deferred[None]) -> None:
        self._ending.pop(stopped, None)
        if not stopped.called:
            stopped.callback(None)

    def _left_open(self, failure: Failure) -> None:
        failure.trap(TimeoutError)
        self._log.warn("The connection to {endpoint} did not end in time; it is left.", endpoint=self._endpoint)


def check_files(certificate: Path, key: Path, ca: Path | None) -> None:
    """Whether the files are a certificate, its key and other certificates. Raises ConfigError."""
    public = _load("iotcore.certificate", certificate, load_pem_x509_certificate).public_key()
    private = _load("iotcore.key", key, lambda data: load_pem_private_key(data, None))
    if private.public_key() != public:
        raise ConfigError(f"iotcore.key: {key} does not belong to iotcore.certificate {certificate}")
    if ca is not None:
        _load("iotcore.ca", ca, load_pem_x509_certificate)


def _load(name: str, path: Path, load: Callable[[bytes], Any]) -> Any:
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{name}: {path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):  # a TypeError: it is encrypted
        raise ConfigError(f"{name}: {path} must be in PEM form, without a password") from None


def _name(code: Any) -> str:
    return str(getattr(code, "name", code))


def _text(error: BaseException) -> str:
    return str(getattr(error, "message", None) or error).rstrip(".")
