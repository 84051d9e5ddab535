"""What more devices cost: CPU time a message of ten GX with 3,000 topics each, beside one GX with 60 topics.

    python benchmarks/sites.py [--seconds 120]

Each GX says what it does once, and then 50 messages a second, most of them on the few topics that move all the time, as
a real one does (49 a second on 164 of 2,113 topics). Counted is what a message costs as such: decoding its frame, and
the twin. Beside it stands the same with what is done each second whether messages come or not: a look at every
document against what was acknowledged, and at 50 messages a second that is the larger part; a site of 3,000 topics has
seven times as many documents to look at as one of 60. Memory a topic is what the process grew by.

Exit status 1 where ten GX need more than 1.2 times as much for a message as one.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import time
from collections.abc import Iterator
from random import Random

from victron_twin.catalog import Catalog, load
from victron_twin.catalog.model import Cadence, Kind, Layout, fill
from victron_twin.gx.frames import Frames
from victron_twin.twin.ledger import Ledger
from victron_twin.twin.twin import Twin

RATE = 50
ACTIVE = 164
START = 1_718_877_600.0
MOST = 1.2


def publish(topic: str, payload: bytes) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic.encode() + payload
    low, high = len(body) & 0x7F, len(body) >> 7
    return bytes([0x30, low] if not high else [0x30, low | 0x80, high]) + body


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
    """One GX: its topics, what it says, and the twin that hears it."""

    def __init__(self, catalog: Catalog, number: int, topics: int, seed: int) -> None:
        self.portal = f"c0619ab2d3{number:02d}"
        self._random = Random(seed)
        known = names(catalog)
        self.topics = [known[n % len(known)].format(n // len(known)) for n in range(topics)]
        self._active = self._random.sample(self.topics, min(ACTIVE, topics))
        self.twin = Twin(catalog, lambda trouble, where, value: None)
        self.twin.portal = self.portal
        self._frames = Frames()
        self._ledgers: dict[str, Ledger] = {}

    def everything(self) -> bytes:
        return b"".join(self._say(topic, 12.5) for topic in self.topics)

    def second(self) -> bytes:
        return b"".join(
            self._say(self._random.choice(self._active), round(self._random.uniform(10, 15), 2)) for _ in range(RATE)
        )

    def _say(self, topic: str, value: float) -> bytes:
        return publish(f"N/{self.portal}/{topic}", b'{"value":%.10g}' % value)

    def hear(self, data: bytes, now: float) -> None:
        receive = self.twin.receive
        for message in self._frames.feed(data):
            if isinstance(message, tuple) and len(message) == 3:
                receive(message[0], message[1], now)

    def look(self, now: float) -> None:
        """What the sync does for each cadence; what is due counts as acknowledged."""
        for name, sheet in self.twin.sheets(now).items():
            ledger = self._ledgers.setdefault(name, Ledger())
            wanted = ledger.wanted(sheet)
            if ledger.due(sheet, wanted, Cadence.CRITICAL) or (
                int(now) % 10 == 0 and ledger.due(sheet, wanted, Cadence.NORMAL)
            ):
                patch = ledger.patch(wanted)
                if patch is not None:
                    ledger.accept(patch, ledger.version + 1)


def measure(sites: list[Site], seconds: int) -> tuple[float, float]:
    """CPU microseconds a message, after the first full publish: as such, and with the looks at the documents."""
    for site in sites:
        site.hear(site.everything(), START)
        site.twin.settle()
        site.look(START)
    said = [[site.second() for _ in range(seconds)] for site in sites]
    gc.collect()
    hearing = looking = 0.0
    for second in range(seconds):
        began = time.process_time()
        for site, data in zip(sites, said, strict=True):
            site.hear(data[second], START + second + 1)
        heard = time.process_time()
        for site in sites:
            site.look(START + second + 1)
        hearing += heard - began
        looking += time.process_time() - heard
    count = len(sites) * seconds * RATE / 1e6
    return hearing / count, (hearing + looking) / count


def memory() -> int:
    """Bytes, as the process has them now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def rounds(catalog: Catalog, seconds: int) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    for seed in range(3):
        one = measure([Site(catalog, 0, 60, seed)], seconds * 10)
        ten = measure([Site(catalog, n, 3000, seed) for n in range(10)], seconds)
        yield one, ten


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120, help="of the ten GX's messages")
    seconds = parser.parse_args().seconds
    catalog = load()
    gc.collect()
    before = memory()
    sites = [Site(catalog, n, 3000, n) for n in range(10)]
    for site in sites:
        site.hear(site.everything(), START)
        site.twin.settle()
        site.look(START)
    gc.collect()
    print(f"memory a topic: {(memory() - before) / 30_000:.0f} bytes")
    del sites
    found = list(rounds(catalog, seconds))
    print("us a message        one GX, 60 topics   ten GX, 3,000 topics each")
    for which, name in enumerate(("the message", "and documents")):
        one, ten = (min(each[side][which] for each in found) for side in (0, 1))
        print(f"{name:<20}{one:>17.2f}   {ten:>25.2f}   {ten / one:.2f} x")
    one, ten = (min(each[side][0] for each in found) for side in (0, 1))
    return 0 if ten <= MOST * one else 1


if __name__ == "__main__":
    sys.exit(main())
