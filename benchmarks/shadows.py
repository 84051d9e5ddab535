"""What an update of a shadow costs through the greengrass backend, beside the bare SDK.

    python benchmarks/shadows.py [--updates 5000]

Both write the same updates to the same emulated nucleus, which is a process of its own, with the limits of rates
lifted: 32 shadows, one update of each in flight. The bare client is awsiotsdk's alone, pipelined: a thread that sends,
and the SDK's that counts the answers. Both make the JSON of each request and read that of its answer, with orjson.

Each client is a process of its own. They take turns, and of each its best run counts, which others disturbed least.
The CPU time is that of the client's process, all its threads.

Exit status 1 where the backend has less than 0.8 of the bare client's updates a second. On two idle cores the emulator
is what limits both; what the backend itself costs shows in the CPU time.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.emulators.process import NucleusProcess  # noqa: E402 - it is found only now

THING = "van"
TOKEN = "token"
SHADOWS = 32
ROUNDS = 7
#: Of each client's updates, the first that are not counted.
WARM_UP = 500
LEAST = 0.8


def updates(count: int) -> list[tuple[str, dict[str, Any]]]:
    """As a battery's, with the leaves that a write usually has."""
    random = Random(1)
    made = []
    for number in range(count):
        reported = {
            "voltage": round(random.uniform(12, 14), 2),
            "current": round(random.uniform(-80, 80), 1),
            "power": round(random.uniform(-1000, 1000)),
            "soc": round(random.uniform(20, 100), 1),
            "timeToGo": random.randrange(80_000),
            "consumedAmphours": round(random.uniform(-200, 0), 1),
            "lastUpdate": f"2026-06-20T12:{number // 60 % 60:02}:{number % 60:02}Z",
            "devices": {"290": {"voltage": round(random.uniform(12, 14), 2), "temperature": 21.5}},
        }
        made.append((f"victron-{number % SHADOWS}", {"state": {"reported": reported}}))
    return made


Result = tuple[float, float]


class Stopwatch:
    """Seconds and CPU seconds for each update, from the end of the warm-up on."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._done = 0
        self._began: Result = (0.0, 0.0)
        self.result: Result | None = None

    def one(self) -> bool:
        """An update was answered; whether it was the last."""
        self._done += 1
        if self._done == WARM_UP:
            gc.collect()
            gc.freeze()  # what the start left is no part of what an update costs
            self._began = time.perf_counter(), time.process_time()
        if self._done == WARM_UP + self._count:
            wall, cpu = self._began
            self.result = (time.perf_counter() - wall) / self._count, (time.process_time() - cpu) / self._count
        return self.result is not None


def with_sdk(socket: str, count: int) -> Result:
    """The SDK alone."""
    from awsiot import greengrasscoreipc  # type: ignore[import-untyped]  # it has no types
    from awsiot.greengrasscoreipc.clientv2 import (  # type: ignore[import-untyped]  # it has no types
        GreengrassCoreIPCClientV2,
    )

    client = GreengrassCoreIPCClientV2(
        client=greengrasscoreipc.connect(ipc_socket=socket, authtoken=TOKEN), executor=None
    )
    free = [threading.Semaphore(1) for _ in range(SHADOWS)]
    watch = Stopwatch(count)
    done = threading.Event()

    def answered(future: Any, number: int) -> None:
        assert orjson.loads(future.result().payload)["version"]
        free[number].release()
        if watch.one():
            done.set()

    for number, (shadow, request) in enumerate(updates(WARM_UP + count)):
        which = number % SHADOWS
        free[which].acquire()
        payload = orjson.dumps(request)
        future = client.update_thing_shadow_async(thing_name=THING, shadow_name=shadow, payload=payload)
        future.add_done_callback(lambda future, which=which: answered(future, which))
    done.wait()
    assert watch.result is not None
    return watch.result


def with_backend(socket: str, count: int) -> Result:
    """The backend, as the sync uses it."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from victron_twin.greengrass.nucleus import Nucleus
    from victron_twin.shadows.greengrass import GreengrassBackend
    from victron_twin.shadows.pace import Pace

    clock: Any = reactor
    nucleus = Nucleus(reactor, socket, TOKEN, sys.exit)
    backend = GreengrassBackend(clock, nucleus, Pace(clock, None, None))
    watch = Stopwatch(count)
    todo = updates(WARM_UP + count)

    async def write(which: int) -> None:
        for shadow, request in todo[which::SHADOWS]:
            answer = await backend.update(THING, shadow, request)
            assert answer["version"]
            if watch.one():
                await backend.stop()
                await nucleus.stopService()
                clock.stop()

    async def begin() -> None:
        nucleus.startService()
        await backend.start()
        for which in range(SHADOWS):
            Deferred.fromCoroutine(write(which)).addErrback(fail)

    def fail(failure: Any) -> None:
        failure.printTraceback()
        clock.stop()

    clock.callWhenRunning(lambda: Deferred.fromCoroutine(begin()).addErrback(fail))
    clock.run()
    if watch.result is None:
        raise SystemExit(1)
    return watch.result


CLIENTS: dict[str, Callable[[str, int], Result]] = {"sdk": with_sdk, "backend": with_backend}
NAMES = {"sdk": "awsiotsdk alone", "backend": "the backend"}


# Measuring.


def run(client: str, socket: str, count: int) -> Result:
    command = [sys.executable, __file__, "--client", client, "--socket", socket, "--updates", str(count)]
    seconds, cpu = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return seconds, cpu


def measure(count: int, socket: str) -> float:
    """Print a table; the share of the bare client's updates a second that the backend has."""
    results: dict[str, list[Result]] = {client: [] for client in CLIENTS}
    with NucleusProcess(Path(socket), "--unlimited") as nucleus:
        nucleus.ask("offline")  # what Shadow Manager syncs is no part of this
        for _ in range(ROUNDS):
            for client, runs in results.items():
                runs.append(run(client, socket, count))
    seconds = {client: min(each[0] for each in runs) for client, runs in results.items()}
    cpu = {client: min(each[1] for each in runs) for client, runs in results.items()}
    print(f"{count} updates, {SHADOWS} in flight, the best of {ROUNDS} runs")
    for client, name in NAMES.items():
        print(f"  {name:16} {1 / seconds[client]:7.0f} updates/s   {cpu[client] * 1e6:6.0f} us of CPU each")
    share = seconds["sdk"] / seconds["backend"]
    print(f"  updates/s {share:.2f} of the SDK's alone (at least {LEAST}), CPU {cpu['backend'] / cpu['sdk']:.2f} times")
    return share


def main() -> None:
    os.chdir(ROOT)
    parser = argparse.ArgumentParser(description="Updates a second through the greengrass backend and the bare SDK")
    parser.add_argument("--updates", type=int, default=5000)
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--socket", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        print(json.dumps(CLIENTS[given.client](given.socket, given.updates)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            share = measure(given.updates, str(Path(folder) / "socket"))
        sys.exit(0 if share >= LEAST else 1)


if __name__ == "__main__":
    main()
