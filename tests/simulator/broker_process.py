"""Our broker as a process of its own: ``python -m tests.simulator.broker_process [CERTIFICATE KEY]``.

It says its port in one line and lives until its standard input ends. Like the mosquitto of the tests it lets
in ``gx`` with ``secret``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.python.failure import Failure

from victron_twin.simulator.broker import Broker, Login, Open, Verdict
from victron_twin.simulator.listener import serve, server_tls


class Password(Open):
    def login(self, login: Login) -> Verdict:
        right = (login.username, login.password) == ("gx", b"secret")
        return Verdict(True) if right else Verdict(False, 0.2)


class Parent(Protocol):
    def __init__(self) -> None:
        self.gone: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)


async def main(reactor: Any, *files: str) -> None:
    tls = server_tls(*map(Path, files)) if files else None
    parent = Parent()
    StandardIO(parent, reactor=reactor)
    listening: Any = await serve(reactor, Broker(reactor, Password()), tls=tls, port=0)
    print(listening.getHost().port, flush=True)
    await parent.gone


if __name__ == "__main__":
    react(main, sys.argv[1:])
