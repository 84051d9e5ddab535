"""The listening side of the local web server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Site

from .live import Live


class WebService(MultiService):
    """Listens where the configuration says (``http``); ``fatal`` ends the process where that cannot be."""

    _log = Logger()

    def __init__(self, reactor: Any, http: str, site: Site, live: Live, fatal: Callable[[str], None]) -> None:
        super().__init__()
        self._http = http
        self._endpoint = serverFromString(reactor, http)
        self._site = site
        self._fatal = fatal
        self._port: IListeningPort | None = None
        live.setServiceParent(self)

    def startService(self) -> None:
        super().startService()
        # Twisted's own service for this logs a taken port with a traceback, and runs on.
        maybeDeferred(self._endpoint.listen, self._site).addCallbacks(self._listening, self._failed)

    def _listening(self, port: IListeningPort) -> None:
        self._port = port
        address = port.getHost()
        self._log.info(
            "The page is at http://{host}:{port}/",
            host=getattr(address, "host", "?"),
            port=getattr(address, "port", "?"),
        )

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        why = str(error.socketError) if isinstance(error, CannotListenError) else failure.getErrorMessage()
        self._fatal(f"http: {self._http} cannot be listened on ({why}): set http (VICTRON_TWIN_HTTP) to a free port")

    async def _stop(self) -> None:
        stopped: Deferred[None] = super().stopService()
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        await stopped

    def stopService(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._stop())
