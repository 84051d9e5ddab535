"""Requests whose bodies are bounded while they are read."""

from __future__ import annotations

from twisted.web.server import Request

#: What a route may be given, in bytes. Of a longer body one byte more is kept: by that the route knows.
MAX_BODY = 128 * 1024
#: Whoever goes on beyond this is cut off.
MAX_ARRIVED = 64 * MAX_BODY


class BoundedRequest(Request):
    """Twisted itself reads a whole body, however long, before a route sees the request."""

    _arrived = 0

    def handleContentChunk(self, data: bytes) -> None:
        room = max(MAX_BODY + 1 - self._arrived, 0)
        super().handleContentChunk(data[:room])
        self._arrived += len(data)
        if self._arrived > MAX_ARRIVED:
            self.channel.loseConnection()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        # Bodies are JSON whatever they are said to be: a form's fields would be taken for those of the query.
        self.requestHeaders.removeHeader(b"Content-Type")
        super().requestReceived(command, path, version)
