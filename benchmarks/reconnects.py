"""Whether a link that is lost again and again costs anything that lasts.

    python benchmarks/reconnects.py [--reconnects 500]

The emulated nucleus, a process of its own, drops the connection so many times; each time the link dials again (its
waits shortened), subscribes to six shadows anew and writes them. Threads, descriptors and memory of this process are
printed as that goes on. Exit status 1 where they are not flat: more threads or descriptors at the end than after the
first fifth, or more than 2 MiB of memory.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.emulators.process import NucleusProcess  # noqa: E402 - it is found only now
from victron_twin.greengrass.nucleus import Nucleus  # noqa: E402
from victron_twin.shadows.greengrass import GreengrassBackend  # noqa: E402
from victron_twin.shadows.pace import Pace  # noqa: E402

REACTOR: Any = reactor
THING = "victron-twin"
SHADOWS = [f"victron-{number}" for number in range(6)]
GROWTH = 2048
SPEED = 200.0


class Hasty:
    """The reactor, with a clock that runs faster."""

    callFromThread = REACTOR.callFromThread

    def seconds(self) -> float:
        return float(REACTOR.seconds()) * SPEED

    def callLater(self, delay: float, function: Callable[..., Any], *args: Any) -> Any:
        return REACTOR.callLater(delay / SPEED, function, *args)


def usage() -> tuple[int, int, int]:
    """Threads, descriptors, KiB of memory."""
    gc.collect()
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return int(status["Threads"]), len(os.listdir("/proc/self/fd")), int(status["VmRSS"].split()[0])


async def lose(nucleus: NucleusProcess, link: Nucleus, backend: GreengrassBackend, count: int) -> bool:
    missed = 0

    def miss() -> None:
        nonlocal missed
        missed += 1

    backend.watch(lambda delta: None, miss)
    link.startService()
    await backend.start()
    print("reconnects  threads  descriptors  memory, KiB")
    samples = []
    for done in range(count + 1):
        await link.when_connected()
        await gatherResults([backend.update(THING, name, {"state": {"reported": {"n": done}}}) for name in SHADOWS])
        if done % (count // 10) == 0:
            samples.append(usage())
            print(f"{done:10}  {samples[-1][0]:7}  {samples[-1][1]:11}  {samples[-1][2]:11}", flush=True)
        if done < count:
            nucleus.ask("drop")
            while link.connected:
                await _turn()
    await backend.stop()
    await link.stopService()
    connected = nucleus.asked("status")["connected"]
    print(f"{connected} connections; {missed} times deltas may have been missed")
    (threads, descriptors, memory), last = samples[2], samples[-1]
    return connected == count + 1 and last[0] <= threads and last[1] <= descriptors and last[2] <= memory + GROWTH


def _turn() -> Deferred[None]:
    turn: Deferred[None] = Deferred()
    REACTOR.callLater(0.001, turn.callback, None)
    return turn


def main() -> None:
    parser = argparse.ArgumentParser(description="Threads, descriptors and memory over many reconnects")
    parser.add_argument("--reconnects", type=int, default=500)
    count = parser.parse_args().reconnects
    os.chdir(ROOT)
    fine: list[bool] = []
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "socket"
        with NucleusProcess(socket, "--unlimited") as nucleus:
            clock: Any = Hasty()
            link = Nucleus(clock, str(socket), "token", sys.exit, timeout=10 * SPEED)
            backend = GreengrassBackend(clock, link, Pace(REACTOR, None, None))

            def end(result: Any) -> None:
                fine.append(result is True)
                if result not in (True, False):
                    result.printTraceback()
                REACTOR.stop()

            REACTOR.callWhenRunning(lambda: Deferred.fromCoroutine(lose(nucleus, link, backend, count)).addBoth(end))
            REACTOR.run()
    sys.exit(0 if fine == [True] else 1)


if __name__ == "__main__":
    main()
