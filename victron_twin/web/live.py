"""What the page follows: the state of everything, in pieces, each sent when it has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

#: Gives the pieces by name; each is anything that is JSON. The event that brings one is called by its name's part
#: before the slash.
MakePieces = Callable[[], Mapping[str, Any]]

#: How often the pieces are compared, in s.
TICK = 1.0
#: A comment this often keeps proxies and the browser from giving up on a quiet stream, in ticks.
COMMENT_EVERY = 15
#: Whoever takes nothing for this long has gone without saying so, in ticks.
MOST_SKIPPED = 120
#: Pages that may follow at once.
MOST_FOLLOWERS = 32


@implementer(IPushProducer)
class _Follower:
    """One open stream. While the reader is slow nothing is queued: it gets the newest of each piece later."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._sent: dict[str, bytes] = {}
        self._paused = False
        self.skipped = 0
        self.ended: Deferred[bytes] = Deferred()

    def offer(self, pieces: Mapping[str, bytes]) -> None:
        """Send what the reader does not have, if it takes anything now."""
        if self._paused:
            self.skipped += 1
            return
        self.skipped = 0
        for name, data in pieces.items():
            if self._sent.get(name) != data:
                self._sent[name] = data
                event = name.partition("/")[0].encode()
                self._request.write(b"event: %s\ndata: %s\n\n" % (event, data))

    def comment(self) -> None:
        if not self._paused:
            self._request.write(b": still here\n\n")

    def end(self) -> None:
        self.stopProducing()
        if not self.ended.called:
            self._request.unregisterProducer()
            self.ended.callback(b"")

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False

    def stopProducing(self) -> None:
        self._paused = True


class Live(Service):
    """Server-sent events to every page that is open."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, pieces: MakePieces) -> None:
        self._pieces = pieces
        self._followers: set[_Follower] = set()
        self._tick = LoopingCall(self._compare)
        self._tick.clock = clock
        self._ticks = 0
        self._broken = False

    def startService(self) -> None:
        super().startService()
        self._tick.start(TICK, now=False).addErrback(self._stopped)

    def stopService(self) -> None:
        super().stopService()
        if self._tick.running:
            self._tick.stop()
        for follower in tuple(self._followers):
            self._end(follower)

    def follow(self, request: Request) -> Deferred[bytes] | None:
        """Answer a request with the stream until the reader leaves or the service stops. None: it cannot be now."""
        if not self.running or len(self._followers) >= MOST_FOLLOWERS:
            return None
        follower = _Follower(request)
        request.setHeader(b"Content-Type", b"text/event-stream")
        request.setHeader(b"Cache-Control", b"no-store")
        request.registerProducer(follower, True)
        self._followers.add(follower)
        request.notifyFinish().addErrback(lambda _: self._followers.discard(follower))
        follower.offer(self._encoded())
        return follower.ended

    def _compare(self) -> None:
        if not self._followers:
            return
        self._ticks += 1
        pieces = self._encoded()
        for follower in tuple(self._followers):
            follower.offer(pieces)
            if follower.skipped > MOST_SKIPPED:
                self._end(follower)
            elif self._ticks % COMMENT_EVERY == 0:
                follower.comment()

    def _encoded(self) -> dict[str, bytes]:
        """The pieces as they are sent; none where they cannot be made, which is told once and ends nothing."""
        try:
            encoded = {name: orjson.dumps(piece) for name, piece in self._pieces().items()}
        except Exception:  # noqa: BLE001 - the page is no reason to stop, nor is it when it is well again
            if not self._broken:
                self._broken = True
                self._log.failure("What the page shows could not be put together")
            return {}
        self._broken = False
        return encoded

    def _end(self, follower: _Follower) -> None:
        self._followers.discard(follower)
        follower.end()

    def _stopped(self, failure: Failure) -> None:
        self._log.failure("the live stream has stopped", failure=failure)
