"""What more devices cost: CPU time a message of ten GX with 3,000 topics each, beside one GX with 60 topics.

    python benchmarks/sites.py [--seconds 120] [--speed 4] [--rounds 3]

Each GX says what it does once, and then 50 messages a second on at most 164 of its topics, in 5 writes of 10 messages,
whatever its size: a recorded GX of 2,113 topics says 49 a second on 162 to 164 of them, in 4.8 groups a second. Beside
what every GX tells of itself, the topics are numbers that the catalogue knows: those of two devices for the small GX,
those of 120 devices of all kinds for a large one.

Three figures, each CPU time by the messages that were heard in it:

- *the message*: in this process, splitting the stream into frames, and the twin that takes them;
- *with the looks*: that, and what is done each second with what has changed: the twin's documents, and the ledgers'
  looks at them as the sync does it, with a backend that does nothing;
- *the process*: a whole process with all the services of a real one: TLS, link, twin, commands, the sync with its own
  cadences, and shadows on the disk. Its clock runs faster than the real one, by ``--speed``, so that messages, writes,
  looks and flushes keep their proportions to each other; it is counted once the pictures are complete and no device
  is new any more. What is the process's own and not one GX's is shared by ten GX.

Memory a topic is what this process grows by for the twins and the ledgers of ten GX.

Judged is the process, for that is what a user pays for: exit status 1 where a message of ten GX needs more than 1.2
times as much as one of one.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

from ingest import HOST, RECORD, publish

from victron_twin.catalog import Catalog, load
from victron_twin.catalog.model import Cadence, Kind, Layout, fill
from victron_twin.gx.frames import Frames
from victron_twin.simulator.listener import gx_certificate
from victron_twin.twin.ledger import Ledger
from victron_twin.twin.twin import Twin

RATE = 50
WRITES = 5
ACTIVE = 164
START = 1_718_877_600.0
MOST = 1.2
#: A device that is new is looked at for 120 s; by then the first documents are written too.
SETTLED = 130
SMALL, LARGE = (1, 60), (10, 3000)

#: What every GX tells of itself; without the three services it is no GX.
ITSELF = {
    "system/0/Serial": b'"c0619ab2d300"',
    "settings/0/Settings/SystemSetup/SystemName": b'"site"',
    "platform/0/Device/Model": b'"GX"',
}


def names(catalog: Catalog) -> list[str]:
    """``battery/{}/Dc/0/Voltage`` of every number that the catalogue knows of devices, shadow by shadow."""
    first = {p.name: p.first for p in catalog.placeholders.values()}
    found: dict[str, None] = {}
    for name, kind in catalog.shadows.items():
        for field in catalog.fields(name) if kind.layout is not Layout.OWN else ():
            for source in field.sources if field.kind is Kind.NUMBER else ():
                if source.service == field.service and source.service not in ("system", "systembattery"):
                    found[f"{source.service}/{{}}{fill(source.path, first)}"] = None
    return list(found)


class Site:
    """What one GX says."""

    def __init__(self, catalog: Catalog, number: int, topics: int, seed: int) -> None:
        self.portal = f"c0619ab2d3{number:02d}"
        self._random = Random(seed * 100 + number)
        known = names(catalog)
        self.topics = [known[n % len(known)].format(n // len(known)) for n in range(topics - len(ITSELF))]
        self._active = self._random.sample(self.topics, min(ACTIVE, len(self.topics)))

    def everything(self) -> bytes:
        itself = [publish(self._topic(topic), b'{"value":%s}' % value) for topic, value in ITSELF.items()]
        return b"".join([*itself, *(self._say(topic, 12.5) for topic in self.topics)])

    def write(self) -> bytes:
        """What comes at once: a fifth of what is said in a second."""
        random = self._random
        return b"".join(
            self._say(random.choice(self._active), round(random.uniform(10, 15), 2)) for _ in range(RATE // WRITES)
        )

    def second(self) -> bytes:
        return b"".join(self.write() for _ in range(WRITES))

    def _say(self, topic: str, value: float) -> bytes:
        return publish(self._topic(topic), b'{"value":%.10g}' % value)

    def _topic(self, topic: str) -> bytes:
        return f"N/{self.portal}/{topic}".encode()


# In this process.


class Hearer:
    """The twin of one GX, and what the backend holds of it."""

    def __init__(self, catalog: Catalog, site: Site) -> None:
        self._twin = Twin(catalog, lambda trouble, where, value: None)
        self._twin.portal = site.portal
        self._frames = Frames()
        self._ledgers: dict[str, Ledger] = {}
        self.hear(site.everything(), START)
        self._twin.settle()
        self.look(START)

    def hear(self, data: bytes, now: float) -> None:
        receive = self._twin.receive
        for message in self._frames.feed(data):
            if isinstance(message, tuple) and len(message) == 3:
                receive(message[0], message[1], now)

    def look(self, now: float) -> None:
        """What the sync does for each cadence; what is due counts as acknowledged."""
        for name, sheet in self._twin.sheets(now).items():
            ledger = self._ledgers.setdefault(name, Ledger())
            wanted = ledger.wanted(sheet)
            if ledger.due(sheet, wanted, Cadence.CRITICAL) or (
                int(now) % 10 == 0 and ledger.due(sheet, wanted, Cadence.NORMAL)
            ):
                patch = ledger.patch(wanted)
                if patch is not None:
                    ledger.accept(patch, ledger.version + 1)


def in_process(catalog: Catalog, gxs: int, topics: int, seed: int, seconds: int) -> tuple[float, float]:
    """CPU microseconds a message: as such, and with the looks."""
    sites = [Site(catalog, number, topics, seed) for number in range(gxs)]
    hearers = [Hearer(catalog, site) for site in sites]
    said = [[site.second() for _ in range(seconds)] for site in sites]
    gc.collect()
    hearing = looking = 0.0
    for second in range(seconds):
        now = START + SETTLED + second
        began = time.process_time()
        for hearer, data in zip(hearers, said, strict=True):
            hearer.hear(data[second], now)
        heard = time.process_time()
        for hearer in hearers:
            hearer.look(now)
        hearing += heard - began
        looking += time.process_time() - heard
    count = gxs * seconds * RATE / 1e6
    return hearing / count, (hearing + looking) / count


def memory(catalog: Catalog) -> float:
    """Bytes a topic."""

    def resident() -> int:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    gxs, topics = LARGE
    sites = [Site(catalog, number, topics, 0) for number in range(gxs)]
    gc.collect()
    before = resident()
    hearers = [Hearer(catalog, site) for site in sites]
    gc.collect()
    return (resident() - before) / (topics * len(hearers))


# The whole process: brokers here, the services in a child.


@contextmanager
def broker(
    context: ssl.SSLContext, site: Site, writes: list[bytes], period: float, go: threading.Event
) -> Iterator[int]:
    """A GX behind TLS for one client: its port. It answers, and from ``go`` on it writes each ``period``."""
    listener = socket.create_server((HOST, 0))
    over = threading.Event()
    everything = site.everything()
    prefix = f"N/{site.portal}/".encode()

    def answer(frame: bytes) -> bytes:
        """What is said to a frame of the client's."""
        kind = frame[0] & 0xF0
        if kind == 0x10:
            return b"\x20\x02\x00\x00"
        if kind == 0x80:
            return b"\x90\x03" + frame[2:4] + b"\x00"
        return b"\xd0\x00" if kind == 0xC0 else b""

    def asked(topic: bytes, payload: bytes) -> bytes:
        """What is said to a publish: all there is, where a keepalive asks for it."""
        options = json.loads(payload or b"{}").get("keepalive-options", [])
        for option in options if topic.endswith(b"/keepalive") else ():
            if isinstance(option, dict):
                return everything + publish(prefix + b"full_publish_completed", json.dumps(option).encode())
        return b""

    def serve() -> None:
        with listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as client:
            frames, due, number = Frames(), 0.0, 0
            while not over.is_set():
                client.settimeout(max(0.001, due - time.monotonic()) if due else 0.2)
                try:
                    data = client.recv(65536)
                except TimeoutError:
                    data = b""
                    if not due:
                        client.sendall(publish(prefix + b"heartbeat", b'{"value":0}'))
                else:
                    if not data:
                        return
                for frame in frames.feed(data):
                    said = answer(frame) if isinstance(frame, bytes) else asked(frame[0], bytes(frame[1]))
                    for start in range(0, len(said), RECORD):
                        client.sendall(said[start : start + RECORD])
                if go.is_set() and not due:
                    due = time.monotonic() + period * Random(site.portal).random()
                while due and time.monotonic() >= due:
                    client.sendall(writes[number % len(writes)])
                    number += 1
                    due += period

    def guarded() -> None:
        with suppress(OSError):  # a client that has enough goes without a word
            serve()

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        thread.join()
        listener.close()


class Fast:
    """The reactor with a clock that can be made faster than the real one."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._speed = 1.0
        self._since: float = reactor.seconds()
        self._at = START

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def hurry(self, speed: float) -> None:
        self._at, self._since, self._speed = self.seconds(), self._reactor.seconds(), speed

    def seconds(self) -> float:
        now: float = self._reactor.seconds()
        return self._at + (now - self._since) * self._speed

    def callLater(self, delay: float, call: Any, *args: Any, **named: Any) -> Any:
        return self._reactor.callLater(delay / self._speed, call, *args, **named)


def client(ports: list[int], seconds: float, speed: float) -> None:
    """All services for these GX; prints what they needed as JSON."""
    from twisted.internet import reactor as real
    from zope.interface import directlyProvides, providedBy

    from victron_twin.commands.journal import Journal
    from victron_twin.commands.switch import Switch
    from victron_twin.config import Config
    from victron_twin.core import build
    from victron_twin.gx.backoff import Backoff
    from victron_twin.gx.connect import GXEndpoint
    from victron_twin.gx.endpoint import Credentials
    from victron_twin.gx.pins import Pins
    from victron_twin.gx.trust import Trust
    from victron_twin.primaries import Primaries
    from victron_twin.shadows.local import LocalBackend
    from victron_twin.worker import ThreadWorker

    reactor: Any = Fast(real)
    directlyProvides(reactor, providedBy(real))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = "".join(
            f'[[gx]]\nhost = "{HOST}"\nport = {port}\nportal_id = "c0619ab2d3{number:02d}"\n'
            f'thing_name = "site-{number}"\n'[: None if number else -len('thing_name = "site-0"\n')]
            for number, port in enumerate(ports)
        )
        (folder / "twin.toml").write_text(f'state_dir = "{folder}"\n{tables}')
        core = build(
            reactor,
            Config.load({"config": str(folder / "twin.toml")}, {}, folder=folder),
            load(),
            lambda gx: (
                GXEndpoint(reactor, HOST, gx.port, Trust("insecure"), Pins(None), Credentials, "sites"),
                Backoff(Random(1)),
            ),
            LocalBackend(folder / "shadows.sqlite", reactor, ThreadWorker(real, "store")),
            Primaries(folder / "primaries.json"),
            Journal(folder / "commands.sqlite", ThreadWorker(real, "journal")),
            Switch(folder / "commands.off"),
            sys.exit,
        )

        def counted() -> tuple[float, int, int, float]:
            messages = sum(gx.status.messages for gx in core.gxs)
            updates = sum(shadow.updates for shadow in core.sync.shadows())
            return time.process_time(), messages, updates, reactor.seconds()

        def wait() -> None:
            if all(gx.live for gx in core.gxs):
                print("live", flush=True)
                reactor.hurry(speed)
                reactor.callLater(SETTLED, begin)
            else:
                reactor.callLater(0.2, wait)

        def begin() -> None:
            reactor.callLater(seconds, end, *counted())

        def end(*before: float) -> None:
            cpu, messages, updates, took = (now - then for now, then in zip(counted(), before, strict=True))
            print(json.dumps({"cpu": cpu, "messages": messages, "updates": updates, "seconds": took}))
            core.root.stopService().addBoth(lambda _: real.stop())

        core.root.startService()
        wait()
        real.run()


def process(catalog: Catalog, gxs: int, topics: int, seed: int, seconds: float, speed: float) -> dict[str, float]:
    """What a process needs that keeps these GX: CPU ``cpu`` in s, ``messages``, ``updates`` of shadows, ``seconds``."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        gx_certificate(folder / "certificate.pem", folder / "key.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        ports, go = [], threading.Event()
        for number in range(gxs):
            site = Site(catalog, number, topics, seed)
            writes = [site.write() for _ in range(round((seconds + SETTLED) * WRITES))]
            ports.append(stack.enter_context(broker(context, site, writes, 1 / WRITES / speed, go)))
        command = [
            sys.executable,
            __file__,
            "--seconds",
            str(seconds),
            "--speed",
            str(speed),
            "--ports",
            *map(str, ports),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            go.set()
            found: dict[str, float] = json.loads(child.stdout.readline())
    rate = found["messages"] / found["seconds"] / gxs
    if abs(rate / RATE - 1) > 0.05:
        raise SystemExit(f"the machine is too busy: {rate:.1f} messages a second and GX instead of {RATE}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="of the GX's time that are counted")
    parser.add_argument("--speed", type=float, default=4, help="of the process's clock")
    parser.add_argument("--rounds", type=int, default=3, help="of which the best counts")
    parser.add_argument("--ports", type=int, nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ports:
        client(given.ports, given.seconds, given.speed)
        return 0
    catalog = load()
    print(f"memory a topic: {memory(catalog):.0f} bytes", flush=True)
    costs: dict[str, tuple[float, float]] = {}
    rows = [(list[float](), list[float]()) for _ in range(3)]
    for seed in range(given.rounds):
        for side, (gxs, topics) in enumerate((SMALL, LARGE)):
            inside = in_process(catalog, gxs, topics, seed, 1200 // gxs)
            found = process(catalog, gxs, topics, seed, given.seconds, given.speed)
            for row, cost in zip(rows, (*inside, found["cpu"] / found["messages"] * 1e6), strict=True):
                row[side].append(cost)
            print(
                f"  {gxs} GX: {found['updates'] / found['seconds'] / gxs:.2f} updates a second and GX", file=sys.stderr
            )
    print("us a message        one GX, 60 topics   ten GX, 3,000 topics each")
    for name, (one, ten) in zip(("the message", "with the looks", "the process"), rows, strict=True):
        costs[name] = min(one), min(ten)
        print(f"{name:<20}{min(one):>17.2f}   {min(ten):>25.2f}   {min(ten) / min(one):.2f} x")
    one_cost, ten_cost = costs["the process"]
    return 0 if ten_cost <= MOST * one_cost else 1


if __name__ == "__main__":
    sys.exit(main())
