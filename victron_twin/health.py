"""Whether all is well: the links, the shadows on their way, and what is wrong in words."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from victron_twin.gx.service import GXService
from victron_twin.shadows.cloud_view import CloudView
from victron_twin.shadows.sync import ShadowSync
from victron_twin.twin.readings import Trouble

#: An update that waits longer for its acknowledgement makes the service unhealthy, in s.
LONGEST_WAIT = 60.0
#: Kinds and places of bad input that are remembered, so that each is logged once.
MOST_TOLD = 1_000


class BadInput:
    """Counts what a GX sent that is no value, by kind, and logs each kind and place once."""

    _log = Logger()

    def __init__(self) -> None:
        self.counts: Counter[Trouble] = Counter()
        self._told: set[tuple[Trouble, str]] = set()

    def __call__(self, trouble: Trouble, where: str, value: object) -> None:
        self.counts[trouble] += 1
        if (trouble, where) not in self._told and len(self._told) < MOST_TOLD:
            self._told.add((trouble, where))
            shown = reprlib.repr(value)
            self._log.warn("Bad input ({trouble}) at {where}: {value}", trouble=trouble.value, where=where, value=shown)


class Health:
    """Looks at the services; holds no state of its own but the start.

    A GX is live from the end of its first full publish after a connection or a gap: while it is still filling, what
    is not there yet could be taken for gone.
    """

    def __init__(
        self,
        clock: IReactorTime,
        version: str,
        gxs: list[GXService],
        sync: ShadowSync,
        cloud: CloudView | None = None,
        commands: Callable[[], str] = lambda: "off",
    ) -> None:
        """``commands`` tells what the cloud may do: the mode, or ``off (by hand)``."""
        self._clock = clock
        self.started = clock.seconds()
        self.version = version
        self.gxs = gxs
        self.sync = sync
        self.cloud = cloud
        self._commands = commands

    def uptime(self) -> float:
        """Seconds since the start."""
        return self._clock.seconds() - self.started

    def healthy(self) -> bool:
        """Every GX is live, and no update waits too long for its acknowledgement."""
        return all(gx.live for gx in self.gxs) and self.sync.waiting() <= LONGEST_WAIT

    def last_cloud_sync(self) -> float | None:
        """When the cloud last took an update, in epoch seconds; None where that is not known."""
        if self.cloud is not None:
            return self.cloud.last_sync
        return self.sync.acknowledged if self.sync.backend.is_cloud else None

    def problems(self) -> list[str]:
        """What is wrong, in words."""
        return [f"{gx.status.host}: {gx.status.problem}" for gx in self.gxs if gx.status.problem] + sorted(
            {f"{s.name}: {s.problem}" for s in self.sync.shadows() if s.problem}
        )

    def report(self) -> dict[str, Any]:
        """The body of /health; the first five names are the mission's."""
        return {
            "mqttConnected": all(gx.status.connected for gx in self.gxs),
            "lastDataReceived": _milliseconds(max((gx.status.last_received or 0.0 for gx in self.gxs), default=0.0)),
            "activeShadows": sorted({s.name for s in self.sync.shadows() if s.ledger.version}),
            "connectionAttempts": sum(gx.status.attempts for gx in self.gxs),
            "uptime": int(self.uptime() * 1000),
            "time": _milliseconds(self._clock.seconds()),
            "healthy": self.healthy(),
            "version": self.version,
            "backend": self.sync.backend.name,
            "commands": self._commands(),
            "lastCloudSync": _milliseconds(self.last_cloud_sync()),
            "oldestUnacknowledged": round(self.sync.waiting(), 1),
            "problems": self.problems(),
            "gx": [
                {
                    "host": gx.status.host,
                    "portalId": gx.twin.portal,
                    "connected": gx.status.connected,
                    "state": gx.status.state,
                    "lastDataReceived": _milliseconds(gx.status.last_received),
                    "problem": gx.status.problem,
                }
                for gx in self.gxs
            ],
        }


def _milliseconds(moment: float | None) -> int | None:
    return int(moment * 1000) if moment else None
