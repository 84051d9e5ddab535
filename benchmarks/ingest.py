"""What a message costs: CPU time of whole client processes, each taking the same messages over TLS.

    python benchmarks/ingest.py [--messages 100000]

The messages are those of the simulated van. They come from two brokers: mosquitto, which writes one TLS record for each
message, and one that fills its records, as the broker of a GX does. A client's start and handshake are not counted:
they are measured in runs with a single message, and taken off.

Exit status 1 where, with mosquitto as the broker, the whole path costs more than twice what mosquitto_sub does, or more
than paho's loop with json. With full records mosquitto_sub, which is C, needs less for a message than a call of a
Python function does; that table is for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from victron_twin.gx.frames import Frames
from victron_twin.simulator.listener import gx_certificate
from victron_twin.simulator.site import Site

HOST = "127.0.0.1"
PORTAL = "c0619ab2d3e4"
FILTER = f"N/{PORTAL}/#"
RECORD = 16384
START = 1_718_877_600.0


# The messages.


def publish(topic: bytes, payload: bytes) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + payload
    low, high = len(body) & 0x7F, len(body) >> 7
    return bytes([0x30, low] if not high else [0x30, low | 0x80, high]) + body


def messages(count: int) -> list[bytes]:
    """As the van sends them: all its values once, then what changes, a second after the other."""
    site = Site.van(Random(1), time=START, portal_id=PORTAL)
    changed: list[str] = list(site.values())
    made: list[bytes] = []
    while len(made) < count:
        for topic in changed:
            payload = json.dumps({"value": site.value(topic)}, separators=(",", ":")).encode()
            made.append(publish(f"N/{PORTAL}/{topic}".encode(), payload))
        site.advance(site.time + 1.0)
        for device in site.devices:
            site.refresh(device)
        changed = site.take_changes()
    return made[:count]


# The brokers: each yields its port and a function that sends frames to whoever subscribes next.

Send = Callable[[list[bytes]], None]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def mosquitto(folder: Path, certificate: Path, key: Path) -> Iterator[tuple[int, Send]]:
    """mosquitto, and a publisher that is faster than it."""
    tls, plain, log = free_port(), free_port(), folder / "mosquitto.log"
    config = folder / "mosquitto.conf"
    config.write_text(
        f"per_listener_settings false\nallow_anonymous true\nmax_queued_messages 0\nuser root\n"
        f"log_dest file {log}\nlog_type subscribe\nlog_type error\n"
        f"listener {tls} {HOST}\ncertfile {certificate}\nkeyfile {key}\nlistener {plain} {HOST}\n"
    )
    log.touch()
    process = subprocess.Popen(["mosquitto", "-c", str(config)], stderr=subprocess.DEVNULL)
    known = 0

    def send(frames: list[bytes]) -> None:
        nonlocal known
        while (seen := log.read_text().count(FILTER)) == known:
            time.sleep(0.01)
        known = seen
        with socket.create_connection((HOST, plain)) as publisher:
            publisher.sendall(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02me")
            publisher.recv(4)
            publisher.sendall(b"".join(frames))
            publisher.sendall(b"\xe0\x00")
            while publisher.recv(1024):
                pass

    try:
        while True:
            try:
                socket.create_connection((HOST, plain)).close()
                break
            except OSError:
                time.sleep(0.01)
        yield tls, send
    finally:
        process.terminate()
        process.wait()


@contextmanager
def full_records(folder: Path, certificate: Path, key: Path) -> Iterator[tuple[int, Send]]:
    """Just enough of a broker to be subscribed to, which writes as much at once as a TLS record holds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server((HOST, 0))

    def send(frames: list[bytes]) -> None:
        with context.wrap_socket(listener.accept()[0], server_side=True) as client:
            splitter, subscribed = Frames(), False
            while not subscribed:
                for frame in splitter.feed(client.recv(65536)):
                    if not isinstance(frame, bytes):
                        continue
                    if frame[0] == 0x10:
                        client.sendall(b"\x20\x02\x00\x00")
                    elif frame[0] == 0x82:
                        client.sendall(b"\x90\x03" + frame[2:4] + b"\x00")
                        subscribed = FILTER.encode() in frame
            record = bytearray()
            for frame in frames:
                if len(record) + len(frame) > RECORD:
                    client.sendall(record)
                    record.clear()
                record += frame
            client.sendall(record)
            try:
                while client.recv(1024):
                    pass
            except OSError:  # a client that has enough goes without a word
                pass

    try:
        yield listener.getsockname()[1], send
    finally:
        listener.close()


# The clients: each ends after `count` messages.


def with_paho(port: int, count: int) -> None:
    """A bare loop: paho and json."""
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    seen = 0

    def received(client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        nonlocal seen
        json.loads(message.payload)
        seen += 1
        if seen == count:
            client.disconnect()

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.tls_set(cert_reqs=ssl.CERT_NONE)
    client.tls_insecure_set(True)
    client.on_message = received
    client.on_connect = lambda client, *_: client.subscribe(FILTER)
    client.connect(HOST, port)
    client.loop_forever()


def endpoint(reactor: Any, port: int) -> Any:
    from victron_twin.gx.connect import GXEndpoint
    from victron_twin.gx.endpoint import Credentials
    from victron_twin.gx.pins import Pins
    from victron_twin.gx.trust import Trust

    return GXEndpoint(reactor, HOST, port, Trust("insecure"), Pins(None), Credentials, "ingest")


def with_session(port: int, count: int) -> None:
    """Our link alone: every message is counted."""
    from twisted.internet import reactor
    from twisted.internet.protocol import Factory

    class Counter:
        seen = 0

        def makeConnection(self, session: Any) -> None:
            session.subscribe(FILTER)

        def messageReceived(self, topic: bytes, payload: bytes, retained: bool) -> None:
            self.seen += 1
            if self.seen == count:
                reactor.stop()

        def connectionLost(self, reason: Any) -> None: ...

    factory: Any = Factory()
    factory.buildProtocol = lambda address: Counter()
    endpoint(reactor, port).connect(factory)
    reactor.run()


def with_twin(port: int, count: int) -> None:
    """The whole path: link, service and twin, and all that it shows written to shadows on the disk at its cadences."""
    from twisted.internet import reactor

    from victron_twin.catalog import load
    from victron_twin.commands.journal import Journal
    from victron_twin.commands.switch import Switch
    from victron_twin.config import Config
    from victron_twin.core import build
    from victron_twin.gx.backoff import Backoff
    from victron_twin.primaries import Primaries
    from victron_twin.shadows.local import LocalBackend
    from victron_twin.worker import ThreadWorker

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        core = build(
            reactor,
            Config.load({}, {"VICTRON_VRM_ID": PORTAL}),
            load(),
            lambda gx: (endpoint(reactor, port), Backoff(Random(1))),
            LocalBackend(folder / "shadows.sqlite", reactor, ThreadWorker(reactor, "store")),
            Primaries(folder / "primaries.json"),
            Journal(folder / "commands.sqlite", ThreadWorker(reactor, "journal")),
            Switch(folder / "commands.off"),
            sys.exit,
        )
        (gx,) = core.gxs
        gx.twin.settle()  # there is no GX behind that would tell that its picture is complete

        def look() -> None:
            if gx.status.messages < count:
                reactor.callLater(0.02, look)
            else:
                core.root.stopService().addBoth(lambda _: reactor.stop())

        core.root.startService()
        look()
        reactor.run()


CLIENTS: dict[str, Callable[[int, int], None]] = {"paho": with_paho, "session": with_session, "twin": with_twin}
NAMES = {
    "mosquitto_sub": "mosquitto_sub",
    "paho": "paho + json",
    "session": "the link alone",
    "twin": "the whole path",
}


# Measuring.


def cpu(client: str, port: int, send: Send, frames: list[bytes], ca: Path) -> float:
    """The CPU seconds of a client process that takes these frames."""
    count = str(len(frames))
    if client == "mosquitto_sub":
        command = ["mosquitto_sub", "-h", HOST, "-p", str(port), "--cafile", str(ca), "--insecure"]
        command += ["-t", FILTER, "-C", count]
    else:
        command = [sys.executable, __file__, "--client", client, "--port", str(port), "--messages", count]
    sender = threading.Thread(target=send, args=(frames,), daemon=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    sender.start()
    status = process.wait()
    if status:
        raise SystemExit(f"{client} failed with status {status}")
    sender.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(frames: list[bytes], folder: Path) -> bool:
    """Print a table; whether the whole path is cheap enough."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    gx_certificate(certificate, key)
    fine = []
    for title, broker in [("one message in a TLS record (mosquitto)", mosquitto), ("full TLS records", full_records)]:
        costs: dict[str, float] = {}
        with broker(folder, certificate, key) as (port, send):
            for client in NAMES:
                base = min(cpu(client, port, send, frames[:1], certificate) for _ in range(3))
                costs[client] = (cpu(client, port, send, frames, certificate) - base) / len(frames) * 1e6
        print(f"{title}, {len(frames)} messages")
        for client, cost in costs.items():
            print(f"  {NAMES[client]:16} {cost:7.2f} us   {cost / costs['mosquitto_sub']:5.2f} x mosquitto_sub")
        fine.append(costs["twin"] <= 2 * costs["mosquitto_sub"] and costs["twin"] < costs["paho"])
    return fine[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time for each message, of several clients")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        CLIENTS[given.client](given.port, given.messages)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # mosquitto may drop its rights
        fine = measure(messages(given.messages), Path(folder))
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
