"""paho's MQTT client as a state machine only: what it takes for a socket gives it one frame at a time."""

from __future__ import annotations

from typing import Any

import paho.mqtt.client as paho
from twisted.internet.interfaces import ITransport


class FrameSocket:
    """What paho takes for its socket: hands it one frame at a time and writes to the transport.

    It must count as true, since paho tests it for truth.
    """

    def __init__(self, transport: ITransport) -> None:
        self._transport = transport
        self._frame = b""
        self.writable = True

    def offer(self, frame: bytes) -> None:
        self._frame = frame

    def recv(self, size: int) -> bytes:
        if not self._frame:
            raise BlockingIOError
        taken, self._frame = self._frame[:size], self._frame[size:]
        return taken

    def send(self, data: bytes) -> int:
        if not self.writable:
            raise BlockingIOError
        self._transport.write(bytes(data))
        return len(data)

    def close(self) -> None:
        """paho lets go of it; what becomes of the transport is the session's decision."""

    def fileno(self) -> int:
        return -1

    def setblocking(self, flag: bool) -> None: ...


class FrameClient(paho.Client):
    """paho without sockets of its own; this is the one place where it would dial."""

    stream: FrameSocket

    def _create_socket_connection(self) -> Any:
        return self.stream

    def holds(self) -> bool:
        """Whether it still has its stream: it lets go after a goodbye, a malformed frame, a ping without answer."""
        return self.socket() is not None
