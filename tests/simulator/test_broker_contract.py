"""What clients rely on, held against our broker and against mosquitto: ours must not share our own bugs.

The clients are not ours either: paho, driven by hand without its thread; mosquitto's own programs; and bytes.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.mosquitto import Mosquitto
from tests.simulator import mqtt
from tests.simulator.mqtt import Frame, connack, connect, publish, subscribe
from tests.support import needs
from victron_twin.simulator.frames import Packet, Reader
from victron_twin.simulator.listener import gx_certificate

pytestmark = pytest.mark.integration

HOST = "127.0.0.1"
PATIENCE = 15.0
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Server:
    """Where a broker listens; ``certificate`` if it does so with TLS."""

    port: int
    certificate: Path | None

    def arguments(self) -> list[str]:
        """For mosquitto's clients."""
        login = ["-h", HOST, "-p", str(self.port), "-u", "gx", "-P", "secret"]
        return login + (["--cafile", str(self.certificate), "--insecure"] if self.certificate else [])


@contextlib.contextmanager
def ours(*files: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "tests.simulator.broker_process", *map(str, files)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        try:
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@contextlib.contextmanager
def theirs(directory: Path, *files: Path) -> Iterator[int]:
    with Mosquitto(directory, tls=(files[0], files[1]) if files else None) as mosquitto:
        yield mosquitto.port


@pytest.fixture(
    scope="module",
    params=[
        "ours",
        "ours with TLS",
        pytest.param("mosquitto", marks=needs("mosquitto", "mosquitto_passwd")),
        pytest.param("mosquitto with TLS", marks=needs("mosquitto", "mosquitto_passwd")),
    ],
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("broker")
    files: tuple[Path, ...] = ()
    if request.param.endswith("with TLS"):
        files = directory / "certificate.pem", directory / "key.pem"
        gx_certificate(*files)
    with ours(*files) if request.param.startswith("ours") else theirs(directory, *files) as port:
        yield Server(port, files[0] if files else None)


COUNTER = itertools.count()


@pytest.fixture
def topic() -> str:
    """The root of a tree of topics that no other test uses."""
    return f"t{next(COUNTER)}"


Heard = tuple[str, bytes, bool]


@dataclass
class Client:
    """paho, turned by hand."""

    server: Server
    client_id: str = ""
    password: str = "secret"
    keepalive: int = 60
    will: tuple[str, bytes] | None = None
    heard: list[Heard] = field(default_factory=list, repr=False)
    answered: list[tuple[str, int]] = field(default_factory=list, repr=False)
    code: str | None = None
    lost: bool = False

    def __post_init__(self) -> None:
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2, self.client_id, protocol=paho.MQTTv311, reconnect_on_failure=False
        )
        self.paho.username_pw_set("gx", self.password)
        if self.will is not None:
            self.paho.will_set(*self.will)
        if self.server.certificate is not None:
            context = ssl.create_default_context(cafile=str(self.server.certificate))
            context.check_hostname = False
            self.paho.tls_set_context(context)
        self.paho.on_connect = self._connected
        self.paho.on_disconnect = self._lost
        self.paho.on_message = lambda c, u, m: self.heard.append((m.topic, bytes(m.payload), m.retain))
        self.paho.on_publish = lambda c, u, mid, reason, properties: self.answered.append(("publish", mid))
        self.paho.on_subscribe = lambda c, u, mid, reasons, properties: self.answered.append(("subscribe", mid))
        self.paho.on_unsubscribe = lambda c, u, mid, reasons, properties: self.answered.append(("unsubscribe", mid))
        self.paho.connect(HOST, self.server.port, self.keepalive)
        until(lambda: self.code is not None, self)

    def _connected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.code = reason.getName()

    def _lost(self, *details: Any) -> None:
        self.lost = True

    def turn(self) -> bool:
        """Read and write what can be; whether anything came of it."""
        before = len(self.heard), len(self.answered)
        self.paho.loop(0)
        return before != (len(self.heard), len(self.answered))

    def subscribe(self, *filters: str) -> Client:
        _, mid = self.paho.subscribe([(f, 0) for f in filters])
        until(lambda: ("subscribe", mid) in self.answered, self)
        return self

    def unsubscribe(self, *filters: str) -> None:
        _, mid = self.paho.unsubscribe(list(filters))
        until(lambda: ("unsubscribe", mid) in self.answered, self)

    def publish(self, topic: str, payload: bytes, qos: int = 0, retain: bool = False) -> None:
        """Done when the broker has it, as far as the QoS tells."""
        mid = self.paho.publish(topic, payload, qos, retain).mid
        until(lambda: ("publish", mid) in self.answered, self)

    def close(self) -> None:
        self.paho.disconnect()
        until(lambda: self.lost, self)

    def vanish(self) -> None:
        """End the stream without a word of MQTT."""
        stream = self.paho.socket()
        assert isinstance(stream, socket.socket)
        stream.shutdown(socket.SHUT_RDWR)


def until(condition: Callable[[], bool], *clients: Client) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        came = [client.turn() for client in clients]
        if not any(came):
            time.sleep(0.002)


def hears(client: Client, *expected: Heard) -> bool:
    """Whether the client hears exactly this: all of it, and then the end mark it sends itself."""
    end = f"end/{client.client_id}/{next(COUNTER)}"
    until(lambda: len(client.heard) >= len(expected), client)
    client.subscribe(end)
    client.publish(end, b"")
    until(lambda: bool(client.heard) and client.heard[-1][0] == end, client)
    heard, client.heard = client.heard[:-1], []
    return heard == list(expected)


@pytest.fixture
def client(server: Server, topic: str) -> Iterator[Client]:
    client = Client(server, f"client-{topic}")
    assert client.code == "Success"
    yield client
    if not client.lost:
        client.close()


class Raw:
    """Bytes, with TLS if need be."""

    def __init__(self, server: Server) -> None:
        self.stream = socket.create_connection((HOST, server.port), timeout=PATIENCE)
        if server.certificate is not None:
            context = ssl.create_default_context(cafile=str(server.certificate))
            context.check_hostname = False
            self.stream = context.wrap_socket(self.stream)
        self._reader = Reader()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()

    def send(self, data: bytes) -> None:
        self.stream.sendall(data)

    def next(self) -> Frame | None:
        """The next frame; None at the end of the stream. Raises TimeoutError."""
        while (frame := self._reader.next()) is None:
            try:
                data = self.stream.recv(65536)
            except (ConnectionError, ssl.SSLEOFError):
                data = b""
            if not data:
                return None
            self._reader.feed(data)
        return frame


# Login


def test_a_right_login(client: Client) -> None:
    assert client.code == "Success"


def test_a_wrong_password(server: Server) -> None:
    client = Client(server, "wrong", password="wrong")
    assert client.code == "Not authorized"
    until(lambda: client.lost, client)


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_refusal_is_code_5_and_the_end(server: Server, password: str | None) -> None:
    with Raw(server) as raw:
        raw.send(connect("raw", "gx" if password else None, password))
        assert raw.next() == connack(5)
        assert raw.next() is None


def test_the_same_client_id_kicks_the_older(server: Server, client: Client, topic: str) -> None:
    newer = Client(server, client.client_id).subscribe(topic)
    until(lambda: client.lost, client, newer)
    newer.publish(topic, b"1")
    assert hears(newer, (topic, b"1", False))
    newer.close()


def test_two_without_a_client_id(server: Server) -> None:
    with Raw(server) as one, Raw(server) as two:
        for raw in (one, two):
            raw.send(connect("", "gx", "secret"))
            assert raw.next() == connack(0)
        one.send(mqtt.PING)
        assert one.next() == mqtt.PONG


# Subscriptions


def test_retained_at_subscribe(server: Server, client: Client, topic: str) -> None:
    client.publish(f"{topic}/1", b"kept", qos=1, retain=True)
    client.publish(f"{topic}/2", b"not kept", qos=1)
    other = Client(server, f"other-{topic}").subscribe(f"{topic}/+")
    assert hears(other, (f"{topic}/1", b"kept", True))
    client.publish(f"{topic}/1", b"live", qos=1, retain=True)
    assert hears(other, (f"{topic}/1", b"live", False))
    client.publish(f"{topic}/1", b"", qos=1, retain=True)
    assert hears(other, (f"{topic}/1", b"", False))
    other.subscribe(f"{topic}/+")
    assert hears(other)
    other.close()


@pytest.mark.parametrize(
    ("wanted", "sent", "comes"),
    [
        ("{}/a", "{}/a", True),
        ("{}/a", "{}/a/b", False),
        ("{}/a", "{}/A", False),
        ("{}/+", "{}/a", True),
        ("{}/+", "{}", False),
        ("{}/+", "{}/", True),
        ("{}/+", "{}/a/b", False),
        ("{}/+/b", "{}/a/b", True),
        ("{}/+/+/c", "{}//b/c", True),
        ("+/{}", "/{}", True),
        ("{}/#", "{}", True),
        ("{}/#", "{}/a/b/c", True),
        ("{}/a/#", "{}/ab", False),
        ("{}/+/#", "{}/a", True),
        ("{}/+/#", "{}", False),
        ("#", "{}/a", True),
        ("#", "$x/{}", False),
        ("+/{}", "$x/{}", False),
        ("$x/{}", "$x/{}", True),
        ("{}/ä/+", "{}/ä/ß", True),
    ],
)
def test_wildcards(client: Client, topic: str, wanted: str, sent: str, comes: bool) -> None:
    client.subscribe(wanted.format(topic))
    client.publish(sent.format(topic), b"1", qos=1)
    end = f"end/{topic}"
    client.subscribe(end)
    client.publish(end, b"")
    until(lambda: any(t == end for t, _, _ in client.heard), client)
    # mosquitto takes "#" for the end mark's topic too, and may deliver that twice
    assert [t for t, _, _ in client.heard if t != end] == ([sent.format(topic)] if comes else [])


def test_unsubscribed_is_silent(client: Client, topic: str) -> None:
    client.subscribe(f"{topic}/a", f"{topic}/b")
    client.unsubscribe(f"{topic}/a", f"{topic}/never")
    client.publish(f"{topic}/a", b"1")
    client.publish(f"{topic}/b", b"2")
    assert hears(client, (f"{topic}/b", b"2", False))


# Messages


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_each_qos_is_acknowledged_and_delivered_once(client: Client, topic: str, qos: int) -> None:
    client.subscribe(topic)
    client.publish(topic, b"1", qos)
    assert hears(client, (topic, b"1", False))


def test_the_flow_of_qos_2(server: Server, client: Client, topic: str) -> None:
    client.subscribe(topic)
    with Raw(server) as raw:
        raw.send(connect(f"raw-{topic}", "gx", "secret") + publish(topic, b"1", qos=2, identifier=258))
        assert raw.next() == connack(0)
        assert raw.next() == (Packet.PUBREC, 0, b"\1\2")
        raw.send(publish(topic, b"1", qos=2, identifier=258))
        assert raw.next() == (Packet.PUBREC, 0, b"\1\2")
        raw.send(mqtt.release(258))
        assert raw.next() == (Packet.PUBCOMP, 0, b"\1\2")
    assert hears(client, (topic, b"1", False))


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_384, 200_000, 3_000_000])
def test_payloads_of_all_sizes(client: Client, topic: str, size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    client.subscribe(topic)
    client.publish(topic, payload)
    assert hears(client, (topic, payload, False))


def test_ten_thousand_in_order(server: Server, client: Client, topic: str) -> None:
    client.subscribe(f"{topic}/#")
    sender = Client(server, f"sender-{topic}")
    for number in range(10_000):
        sender.paho.publish(f"{topic}/{number % 100}", str(number).encode())
    until(lambda: len(client.heard) >= 10_000, sender, client)
    assert hears(client, *((f"{topic}/{n % 100}", str(n).encode(), False) for n in range(10_000)))
    sender.close()


# The life of a link


def test_fragments(server: Server) -> None:
    with Raw(server) as raw:
        for byte in connect("", "gx", "secret") + mqtt.PING:
            raw.send(bytes((byte,)))
        assert [raw.next(), raw.next()] == [connack(0), mqtt.PONG]


def test_all_at_once(server: Server, topic: str) -> None:
    with Raw(server) as raw:
        raw.send(connect("", "gx", "secret") + subscribe(topic) + publish(topic, b"1") + mqtt.PING)
        heard = [raw.next() for _ in range(4)]
    assert heard[0] == connack(0)
    assert {frame[0] for frame in heard[1:] if frame} == {Packet.SUBACK, Packet.PUBLISH, Packet.PINGRESP}


def test_silence_beyond_the_keepalive_is_the_end(server: Server) -> None:
    with Raw(server) as raw:
        raw.send(connect("", "gx", "secret", keepalive=1))
        assert raw.next() == connack(0)
        assert raw.next() is None


def test_pings_keep_it_alive(server: Server) -> None:
    with Raw(server) as raw:
        raw.send(connect("", "gx", "secret", keepalive=2))
        assert raw.next() == connack(0)
        for _ in range(7):
            time.sleep(0.5)
            raw.send(mqtt.PING)
            assert raw.next() == mqtt.PONG


def test_a_goodbye_is_the_end(server: Server) -> None:
    with Raw(server) as raw:
        raw.send(connect("", "gx", "secret") + mqtt.DISCONNECT)
        assert raw.next() == connack(0)
        assert raw.next() is None


@pytest.mark.parametrize("how", ["vanish", "kicked"])
def test_a_will_when_a_client_goes_without_a_word(server: Server, client: Client, topic: str, how: str) -> None:
    client.subscribe(topic)
    mortal = Client(server, f"mortal-{topic}", will=(topic, b"gone"))
    if how == "vanish":
        mortal.vanish()
    else:
        Client(server, mortal.client_id).close()
    assert hears(client, (topic, b"gone", False))


def test_no_will_after_a_goodbye(server: Server, client: Client, topic: str) -> None:
    client.subscribe(topic)
    Client(server, f"mortal-{topic}", will=(topic, b"gone")).close()
    assert hears(client)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(mqtt.PING, id="no CONNECT"),
        pytest.param(connect("bad", "gx", "secret") * 2, id="two CONNECTs"),
        pytest.param(connect("bad", "gx", "secret") + b"\xf0\x00", id="packet type 15"),
        pytest.param(connect("bad", "gx", "secret") + mqtt.frame(0x20, b"\0\0"), id="a broker's packet"),
        pytest.param(connect("bad", "gx", "secret") + publish("a/+", b""), id="a message to a filter"),
        pytest.param(connect("bad", "gx", "secret") + subscribe("a/#/b"), id="no filter"),
        pytest.param(connect("bad", "gx", "secret") + mqtt.frame(0x36, b"\0\1a\0\1"), id="QoS 3"),
        pytest.param(connect("bad", "gx", "secret") + mqtt.frame(0x30, b"\0\xffa"), id="a topic beyond its frame"),
        pytest.param(connect("bad", "gx", "secret") + b"\x30\xff\xff\xff\xff\x01", id="a length of five bytes"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
    ],
)
def test_malformed_is_the_end_of_that_link_alone(server: Server, client: Client, topic: str, bad: bytes) -> None:
    with Raw(server) as raw:
        raw.send(bad)
        while (frame := raw.next()) is not None:
            assert frame[0] is Packet.CONNACK
    client.subscribe(topic)
    client.publish(topic, b"1")
    assert hears(client, (topic, b"1", False))


# mosquitto's own clients


@needs("mosquitto_sub", "mosquitto_pub")
def test_mosquittos_clients(server: Server, client: Client, topic: str) -> None:
    client.publish(f"{topic}/serial", b"abc", qos=1, retain=True)
    command = ["mosquitto_sub", *server.arguments(), "-t", f"{topic}/#", "-v", "-C", "1001", "-W", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as sub:
        assert sub.stdout is not None
        first = sub.stdout.readline()
        lines = "".join(f"{n}\n" for n in range(1000)).encode()
        for qos in ("0", "1", "2"):
            pub = ["mosquitto_pub", *server.arguments(), "-t", f"{topic}/{qos}", "-q", qos]
            many = [*pub, "-l"] if qos == "0" else [*pub, "-m", "not counted"]
            subprocess.run(many, input=lines, check=True, timeout=PATIENCE)
        rest, _ = sub.communicate(timeout=PATIENCE + 10)
    assert first == f"{topic}/serial abc\n".encode()
    assert rest == b"".join(f"{topic}/0 {n}\n".encode() for n in range(1000))


@needs("mosquitto_pub")
def test_mosquittos_clients_are_refused(server: Server) -> None:
    wrong = ["wrong" if a == "secret" else a for a in server.arguments()]
    done = subprocess.run(
        ["mosquitto_pub", *wrong, "-t", "a", "-m", "1"], check=False, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 5
    assert "not authorised" in done.stderr
