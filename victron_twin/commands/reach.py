"""Whether the cloud can be heard: who holds something on a distant will must know when that has fallen silent."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from victron_twin.shadows.cloud_view import CloudView
from victron_twin.shadows.sync import ShadowSync

#: While something is held and nothing was heard of the cloud for so long, it is asked, in s.
ASK = 60.0


class Reach:
    """``timeout``: how long (s) the cloud may be out of reach before what is held is let go of."""

    def __init__(self, clock: IReactorTime, sync: ShadowSync, cloud: CloudView | None, timeout: float) -> None:
        self.timeout = timeout
        self._clock = clock
        self._sync = sync
        self._cloud = cloud
        self._since = clock.seconds()

    @property
    def away(self) -> float:
        """For how long nothing was heard of the cloud, in s; at the most since the start."""
        heard = self._sync.answered if self._cloud is None else self._cloud.heard
        return self._clock.seconds() - max(self._since, heard or 0.0)

    @property
    def adrift(self) -> str:
        """Why nothing may be held any longer, an empty text where it may."""
        return f"the cloud was out of reach for {self.timeout:.0f} s" if self.away >= self.timeout else ""

    def ask(self, thing: str) -> None:
        """Something of this thing is held: hear of the cloud, where its silence may mean that it has nothing to say.

        A backend that is the cloud answers each time that the shadow is read.
        """
        if self._cloud is not None and self.away >= ASK:
            self._cloud.ask(thing)
