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
from twisted.web.http import Request
from zope.interface import implementer

#: The pieces by name, ``health`` or ``shadow/<thing>/<name>``; each anything that is JSON. The event that brings a
#: piece is called by the name's part before the slash.
Pieces = Callable[[], Mapping[str, Any]]

#: How often the pieces are compared, in s.
TICK = 1.0
#: A comment this often keeps proxies and the browser from giving up on a quiet stream, in ticks.
COMMENT_EVERY = 15
#: Pages that may follow at once.
MOST_FOLLOWERS = 32


@implementer(IPushProducer)
class _Follower:
    """One open stream. While the reader is slow nothing is queued: it gets the newest of each piece later."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.ended: Deferred[bytes] = Deferred(lambda _: self.stopProducing())
        self._sent: dict[str, bytes] = {}
        self._paused = False

    def offer(self, pieces: Mapping[str, bytes]) -> None:
        if self._paused:
            return
        for name, data in pieces.items():
            if self._sent.get(name) != data:
                self._sent[name] = data
                event = name.partition("/")[0].encode()
                self._request.write(b"event: %s\ndata: %s\n\n" % (event, data))

    def comment(self) -> None:
        if not self._paused:
            self._request.write(b": still here\n\n")

    def end(self) -> None:
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

    def __init__(self, clock: IReactorTime, pieces: Pieces) -> None:
        self._pieces = pieces
        self._followers: set[_Follower] = set()
        self._tick = LoopingCall(self._compare)
        self._tick.clock = clock
        self._ticks = 0

    def startService(self) -> None:
        super().startService()
        self._tick.start(TICK).addErrback(self._stopped)

    def stopService(self) -> None:
        super().stopService()
        if self._tick.running:
            self._tick.stop()
        for follower in tuple(self._followers):
            follower.end()
        self._followers.clear()

    def _stopped(self, failure: Failure) -> None:
        self._log.failure("the live stream has stopped", failure=failure)

    def follow(self, request: Request) -> Deferred[bytes] | None:
        """Answer a request with the stream until the reader leaves or the service stops. None: too many follow."""
        if len(self._followers) >= MOST_FOLLOWERS:
            return None
        follower = _Follower(request)
        request.setHeader(b"Content-Type", b"text/event-stream")
        request.setHeader(b"Cache-Control", b"no-store")
        request.registerProducer(follower, True)
        self._followers.add(follower)
        request.notifyFinish().addErrback(lambda _: self._followers.discard(follower))
        follower.offer(self._encoded())
        return follower.ended

    def _encoded(self) -> dict[str, bytes]:
        return {name: orjson.dumps(piece) for name, piece in self._pieces().items()}

    def _compare(self) -> None:
        self._ticks += 1
        if not self._followers:
            return
        pieces = self._encoded()
        for follower in self._followers:
            follower.offer(pieces)
            if self._ticks % COMMENT_EVERY == 0:
                follower.comment()
