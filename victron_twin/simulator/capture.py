"""``victron-twin capture FILE``: what a GX says, recorded to a file."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import orjson
from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall, react
from twisted.logger import Logger, globalLogBeginner
from twisted.python import usage
from twisted.python.failure import Failure

from victron_twin import arguments, logs
from victron_twin.config import Config, ConfigError, GXConfig
from victron_twin.config.keys import CONFIG_OPTION, option_parameters
from victron_twin.gx.backoff import Backoff
from victron_twin.gx.connect import gx_endpoint
from victron_twin.gx.pins import Pins
from victron_twin.gx.service import FIRST_ANSWER, KEEPALIVE, SUPPRESS
from victron_twin.gx.session import Session
from victron_twin.gx.trust import fingerprint

from .recording import Recorder, opened

#: Those of the service's options that matter here; the environment and the file count as always.
OPTIONS = (CONFIG_OPTION, "gx-host", "gx-port", "portal-id", "gx-trust", "state-dir")
#: Seconds between the lines that say how far it is, where there is no terminal to write them over one another.
LINE = 10.0


class Options(usage.Options):
    synopsis = "[options] FILE"
    longdesc = (
        "Records what a GX says as JSON lines, gzip where FILE ends in .gz, until Ctrl-C; secrets are masked. It takes "
        "the service's configuration (of several GX the first is recorded) and can run beside it. FILE is played back "
        "by: victron-twin replay FILE"
    )
    optParameters: ClassVar = [
        *(row for row in option_parameters() if row[0] in OPTIONS),
        ["seconds", None, None, "How long to record [until Ctrl-C].", arguments.positive],
    ]
    config: Config

    def parseArgs(self, file: str = "") -> None:
        if not file:
            raise usage.UsageError("FILE is missing")
        self["file"] = Path(file)

    def postOptions(self) -> None:
        try:
            self.config = Config.load(self, os.environ)
        except ConfigError as error:
            raise SystemExit(f"victron-twin: {error}") from None


class Capture:
    """Keeps a GX publishing and writes what it says: the listener of one session after the other.

    ``failed`` is called with a message where it can come to nothing.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        recorder: Recorder,
        backoff: Backoff,
        gx: GXConfig,
        failed: Callable[[str], object],
    ) -> None:
        self._topics: set[bytes] = set()
        self._clock = clock
        self._began = clock.seconds()
        self._recorder = recorder
        self._backoff = backoff
        self._where = f"{gx.host}:{gx.port}"
        self._portal_id = gx.portal_id
        self._failed = failed
        self._session: Session | None = None
        self._keeping = LoopingCall(self._keep_alive)
        self._keeping.clock = clock

    def stop(self) -> None:
        """What comes from now on is not written."""
        self._session = None
        if self._keeping.running:
            self._keeping.stop()

    def progress(self) -> str:
        """How far it is, in a line."""
        seconds = self._clock.seconds() - self._began
        return f"{seconds:.0f} s: {self._recorder.count:,} messages on {len(self._topics):,} topics"

    # the session

    def makeConnection(self, session: Session) -> None:
        self._session = session
        certificate = session.peer_certificate
        pin = f"its certificate has the SHA-256 {fingerprint(certificate)}" if certificate else "without TLS"
        print(f"Connected to the GX at {self._where}: {pin}", flush=True)
        self._recorder.event("connected")
        self._subscribe("N/+/system/0/Serial")
        if self._portal_id is not None:
            self._open(self._portal_id)
        self._clock.callLater(FIRST_ANSWER, self._check)

    def messageReceived(self, topic: bytes, payload: bytes, retained: bool) -> None:
        if self._session is None:
            return
        if topic.endswith(b"/system/0/Serial") and not self._named(topic.split(b"/")[1].decode("utf-8", "replace")):
            return
        self._topics.add(topic)
        self._recorder.messageReceived(topic, payload, retained)

    def connectionLost(self, reason: Failure) -> None:
        if self._session is None:
            return
        self.stop()
        self._recorder.event("lost", why=reason.getErrorMessage())
        self._backoff.failed(reason)
        self._log.warn("the connection is lost, and tried again: {why}", why=reason.getErrorMessage())

    # within

    def _named(self, portal_id: str) -> bool:
        """Who this GX is; false where it is not the one that was meant."""
        if self._portal_id is None:
            self._portal_id = portal_id
            self._open(portal_id)
        if portal_id != self._portal_id:
            self._failed(
                f"gx.portal_id is {self._portal_id}, but the GX there has {portal_id}: "
                f"set VICTRON_VRM_ID={portal_id}, or leave it out"
            )
        return portal_id == self._portal_id

    def _open(self, portal_id: str) -> None:
        self._subscribe(f"N/{portal_id}/#")
        options = {"keepalive-options": [{"full-publish-completed-echo": "capture"}]}
        self._publish(orjson.dumps(options))
        self._keeping.start(KEEPALIVE, now=False).addErrback(self.broken)

    def _subscribe(self, wanted: str) -> None:
        if self._session is not None:
            self._session.subscribe(wanted).addErrback(self.broken)

    def _keep_alive(self) -> None:
        self._publish(SUPPRESS)

    def _publish(self, payload: bytes) -> None:
        if self._session is not None:
            self._session.publish(f"R/{self._portal_id}/keepalive", payload)

    def _check(self) -> None:
        if self._topics:
            self._backoff.healthy()
        elif self._session is not None:
            self._failed(
                "the GX does not tell its portal id (no retained N/+/system/0/Serial): set VICTRON_VRM_ID"
                if self._portal_id is None
                else f"nothing is published under the portal id {self._portal_id}: is VICTRON_VRM_ID right?"
            )

    def broken(self, failure: Failure) -> None:
        """What was under way for the recording has failed."""
        if self._session is not None:
            self._failed(failure.getErrorMessage())


def main(options: usage.Options) -> int:
    """Record until it is enough; the exit status."""
    globalLogBeginner.beginLoggingTo([logs.observer(sys.stderr, "human", "warn")], redirectStandardIO=False)
    path: Path = options["file"]
    try:
        file = opened(path, "x")
    except FileExistsError:
        raise SystemExit(f"victron-twin: {path} is there already: give another name, or remove it") from None
    except OSError as error:
        raise SystemExit(f"victron-twin: {path} cannot be written: {error.strerror}") from None

    def run(reactor: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(_record(reactor, options, Recorder(reactor, file)))

    react(run)
    return 0


async def _record(reactor: Any, options: Any, recorder: Recorder) -> None:
    """The whole life of a recording. What goes wrong ends it as a SystemExit with a line that says why."""
    gx, file = options.config.gx[0], options["file"]
    enough: Deferred[None] = Deferred()
    ended: Deferred[None] = Deferred()

    def fire(why: str) -> None:
        if not enough.called:
            enough.errback(SystemExit(f"victron-twin: {why}")) if why else enough.callback(None)

    def end(why: str = "") -> Deferred[None]:
        reactor.callLater(0, fire, why)  # not from within the client, which is to be stopped then
        return ended

    def connected(_: object) -> None:
        if options["seconds"] is not None:
            reactor.callLater(options["seconds"], end)

    reactor.addSystemEventTrigger("before", "shutdown", end)
    backoff = Backoff(random.SystemRandom())
    pins = Pins(options.config.state_dir / "pins.json", read_only=True)
    endpoint = gx_endpoint(reactor, gx, pins, backoff, f"victron-twin-capture-{os.getpid()}")
    capture = Capture(reactor, recorder, backoff, gx, end)
    client = ClientService(endpoint, _Listeners(capture), retryPolicy=lambda _: backoff.delay(), clock=reactor)
    progress = LoopingCall(lambda: _show(capture.progress()))
    try:
        client.startService()
        client.whenConnected(failAfterFailures=1).addCallbacks(
            connected, lambda failure: end(f"{gx.host}: {failure.getErrorMessage()}")
        )
        progress.start(1.0 if sys.stdout.isatty() else LINE, now=False).addErrback(capture.broken)
        await enough
    finally:
        progress.stop()
        capture.stop()
        await client.stopService()
        recorder.close()
        if not recorder.count:
            file.unlink()
        ended.callback(None)
    _show(f"{capture.progress()}, in {file}\n")


def _show(line: str) -> None:
    """On a terminal over the line before."""
    terminal = sys.stdout.isatty()
    print(f"\r{line}" if terminal else line.rstrip("\n"), end="" if terminal else "\n", flush=True)


class _Listeners(Factory):
    noisy = False

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    def buildProtocol(self, addr: Any) -> Any:
        return self._capture
