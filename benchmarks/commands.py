"""How long a desire takes: from the delta handed over to the W/ on the wire, and to the status that is acknowledged.

    python benchmarks/commands.py [--settings 200]

A simulated GX (TLS, a password; its bus takes 1 to 45 ms for a write, as a real one's does), the service with the local
backend, and a bare paho client are processes of their own. Settings of the service and writes of the client alternate:
what the machine does besides hits both. The client also sees the service's W/ on the wire. The service is started in
turn with a journal that is synced to the disk and with one that is not.

    W/ on the wire   the service: from the delta that the backend tells of until the client receives the W/
                     paho: from its publish until it receives its own W/
    reported         the service: from the delta until the backend has acknowledged the status applied
                     paho: from its publish until it receives the GX's echo

Exit status 1 where a median of the service, its journal not synced, is more than 3 times paho's of publish to echo.
"""

from __future__ import annotations

import argparse
import itertools
import json
import queue
import random
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

HOST, PORTAL, PASSWORD = "127.0.0.1", "c0619ab2d3e4", "secret"
THING, SHADOW = "victron-twin", "victron-vebus"
MOST = 3.0
PATIENCE = 30.0
#: Times the service is started with each journal.
STARTS = 4
#: What the service is asked for, in turn: field, value, and the path that is written.
SETTINGS = [
    ("mode", "Charger Only", "vebus/276/Mode"),
    ("currentLimit", 12.5, "vebus/276/Ac/In/1/CurrentLimit"),
    ("mode", "On", "vebus/276/Mode"),
    ("currentLimit", 20.0, "vebus/276/Ac/In/1/CurrentLimit"),
]
#: What paho writes: a point of another shadow.
POINT, VALUES = "solarcharger/279/Mode", (4, 1)

#: To the W/ on the wire, and to the end; in s.
Taken = tuple[float, float]


# The bare client: writes, and tells when it received what.


def client(port: int) -> None:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    received: queue.SimpleQueue[tuple[str, Any, float]] = queue.SimpleQueue()
    ready: queue.SimpleQueue[None] = queue.SimpleQueue()

    def message(_: paho.Client, __: Any, message: paho.MQTTMessage) -> None:
        at = time.monotonic()
        received.put((message.topic, json.loads(message.payload or b"{}").get("value"), at))

    def next_of(topic: str, value: Any, since: float) -> float:
        while True:
            got = received.get(timeout=PATIENCE)
            if got[0] == topic and got[1] == value and got[2] >= since:
                return got[2]

    mqtt = paho.Client(CallbackAPIVersion.VERSION2)
    mqtt.username_pw_set("bare", PASSWORD)
    mqtt.tls_set(cert_reqs=ssl.CERT_NONE)
    mqtt.tls_insecure_set(True)
    mqtt.on_message = message
    mqtt.on_connect = lambda mqtt, *_: mqtt.subscribe([(f"W/{PORTAL}/#", 0), (f"N/{PORTAL}/{POINT}", 0)])
    mqtt.on_subscribe = lambda *_: ready.put(None)
    mqtt.connect(HOST, port)
    mqtt.loop_start()
    ready.get(timeout=PATIENCE)
    print("{}", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "value" in asked:
            payload = json.dumps({"value": asked["value"]})
            since = time.monotonic()
            mqtt.publish(f"W/{PORTAL}/{POINT}", payload)
            wire = next_of(f"W/{PORTAL}/{POINT}", asked["value"], since)
            print(json.dumps([wire - since, next_of(f"N/{PORTAL}/{POINT}", asked["value"], since) - since]), flush=True)
        else:
            topic, since = f"W/{PORTAL}/{asked['written']}", asked["since"]
            while (got := received.get(timeout=PATIENCE))[0] != topic or got[2] < since:
                pass
            print(json.dumps(got[2]), flush=True)


# The service: executes, and tells when the delta was handed over, and when the status was acknowledged.


def service(port: int, folder: Path, synced: bool) -> None:
    from twisted.internet import reactor as installed
    from twisted.internet.defer import Deferred
    from twisted.internet.stdio import StandardIO
    from twisted.internet.task import deferLater
    from twisted.protocols.basic import LineOnlyReceiver

    from victron_twin.catalog import load
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
    from victron_twin.shadows.backend import Delta, Document
    from victron_twin.shadows.local import LocalBackend
    from victron_twin.worker import ThreadWorker

    reactor: Any = installed

    class Backend(LocalBackend):
        """Tells of the moment at which an update of a field's status is acknowledged."""

        field = ""
        settled: Deferred[float] | None = None

        def update(self, thing: str, shadow: str, request: Mapping[str, Any]) -> Deferred[Document]:
            commands = request["state"].get("reported", {}).get("commands", {})
            return super().update(thing, shadow, request).addCallback(self._acknowledged, commands)

        def _acknowledged(self, document: Document, commands: Mapping[str, Any]) -> Document:
            if self.field in commands and self.settled is not None:
                settled, self.settled = self.settled, None
                settled.callback(time.monotonic())
            return document

    backend = Backend(folder / "shadows.sqlite", reactor, ThreadWorker(reactor, "store"))
    deltas: list[float] = []

    def delta(delta: Delta) -> None:
        deltas.append(time.monotonic())

    backend.watch(delta)  # before the service does: it is told first
    endpoint = GXEndpoint(
        reactor, HOST, port, Trust("insecure"), Pins(None), lambda: Credentials("", PASSWORD), "service"
    )
    core = build(
        reactor,
        Config.load({}, {"VICTRON_VRM_ID": PORTAL, "VICTRON_TWIN_COMMANDS": "all"}),
        load(),
        lambda gx: (endpoint, Backoff(random.Random(1))),
        backend,
        Primaries(folder / "primaries.json"),
        Journal(folder / "commands.sqlite", ThreadWorker(reactor, "journal"), sync=synced),
        Switch(folder / "commands.off"),
        sys.exit,
    )

    root: Any = core.root
    standard_io: Any = StandardIO

    async def desire(field: str, value: Any) -> None:
        settled: Deferred[float] = Deferred()
        backend.field, backend.settled = field, settled
        deltas.clear()
        await backend.update(THING, SHADOW, {"state": {"desired": {field: value}}})
        reported = await settled.addTimeout(PATIENCE, reactor)
        # The service's own updates meanwhile make further deltas; the first one is that of the desire.
        document = await backend.get(THING, SHADOW)
        result = document["state"]["reported"]["commands"][field]
        if (result["status"], result["value"]) != ("applied", value) or "delta" in document["state"]:
            raise SystemExit(f"{field} = {value} became {result}")
        print(json.dumps([deltas[0], reported]), flush=True)

    async def begin() -> None:
        while not (core.gxs[0].live and any(s.name == SHADOW and s.updates for s in core.sync.shadows())):
            await deferLater(reactor, 0.1)
        print("{}", flush=True)

    def failed(failure: Any) -> None:
        failure.printTraceback()
        reactor.stop()

    class Asked(LineOnlyReceiver):
        delimiter = b"\n"

        def lineReceived(self, line: bytes) -> None:
            asked = json.loads(line)
            Deferred.fromCoroutine(desire(asked["field"], asked["value"])).addErrback(failed)

        def connectionLost(self, reason: Any = None) -> None:
            root.stopService().addBoth(lambda _: reactor.stop())

    root.startService()
    standard_io(Asked())
    Deferred.fromCoroutine(begin()).addErrback(failed)
    reactor.run()


# Measuring.


class Child:
    """One of the above in a process of its own: answers each line with a line."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, __file__, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Child:
        self.answer()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def ask(self, **what: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a process has ended before its time")
        return json.loads(line)


@contextmanager
def simulated_gx(folder: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "victron_twin.cli", "simulate", "--port", str(port), "--password", PASSWORD]
    command += ["--portal-id", PORTAL, "--folder", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection((HOST, port)).close()
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def alternate(bare: Child, ours: Child, numbers: Iterable[int], chance: random.Random) -> Iterator[tuple[Taken, Taken]]:
    for number in numbers:
        time.sleep(chance.uniform(0.05, 0.15))
        wire, echo = bare.ask(value=VALUES[number % len(VALUES)])
        time.sleep(chance.uniform(0.1, 0.2))  # the service keeps 0.1 s between two messages to the GX
        field, value, path = SETTINGS[number % len(SETTINGS)]
        delta, reported = ours.ask(field=field, value=value)
        yield (wire, echo), (bare.ask(written=path, since=delta) - delta, reported - delta)


def measure(count: int, folder: Path) -> dict[str, list[Taken]]:
    taken: dict[str, list[Taken]] = {"paho": [], "unsynced": [], "synced": []}
    chance, numbers = random.Random(1), itertools.count()
    with simulated_gx(folder) as port, Child("--client", "paho", "--port", str(port)) as bare:
        for start in range(STARTS):
            for journal in ("unsynced", "synced"):
                state = folder / f"{journal}-{start}"
                state.mkdir()
                with Child("--client", journal, "--port", str(port), "--folder", str(state)) as ours:
                    for paho, service in alternate(bare, ours, itertools.islice(numbers, count // STARTS), chance):
                        taken["paho"].append(paho)
                        taken[journal].append(service)
    return taken


def p99(values: list[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


def show(taken: dict[str, list[Taken]]) -> bool:
    """Print a table; whether the medians are good enough."""
    print(f"{len(taken['synced'])} settings with each journal, {len(taken['paho'])} writes of paho; in ms")
    print(f"{'':30}{'W/ on the wire':>22}{'reported (paho: echo)':>26}")
    print(f"{'':30}{'median':>13}{'p99':>9}{'median':>17}{'p99':>9}")
    figures: dict[str, list[float]] = {
        who: [figure(list(column)) * 1e3 for column in zip(*taken[who], strict=True) for figure in (median, p99)]
        for who in taken
    }

    def row(name: str, values: list[float], form: str) -> None:
        wire, wire99, end, end99 = (format(value, form) for value in values)
        print(f"{name:30}{wire:>13}{wire99:>9}{end:>17}{end99:>9}")

    bare, unsynced, synced = (figures[who] for who in ("paho", "unsynced", "synced"))
    times = [ours / echo for ours, echo in zip(unsynced, bare[2:] * 2, strict=True)]
    row("bare paho", bare, ".1f")
    row("the service", synced, ".1f")
    row("with a journal not synced", unsynced, ".1f")
    row("which is, in paho's echoes", times, ".2f")
    row("what the journal's syncs cost", [a - b for a, b in zip(synced, unsynced, strict=True)], ".1f")
    return max(times[0], times[2]) <= MOST


def main() -> None:
    parser = argparse.ArgumentParser(description="From a delta to the wire and to reported, beside a bare paho client")
    parser.add_argument("--settings", type=int, default=200, help="with each journal")
    parser.add_argument("--client", choices=["paho", "synced", "unsynced"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client == "paho":
        client(given.port)
    elif given.client:
        service(given.port, given.folder, given.client == "synced")
    else:
        with tempfile.TemporaryDirectory() as folder:
            fine = show(measure(given.settings, Path(folder)))
        sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
