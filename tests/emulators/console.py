"""The emulated nucleus as a process, to try the service against it: it says what to export, and takes commands.

``python -m tests.emulators.nucleus --socket /tmp/nucleus.sock``, then ``help``. Each command is answered with one line,
a mistake with one that begins with ``error:``. At the end of its input it ends.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from victron_twin.twin.shadow import Refused

from .access import Control
from .cloud import Cloud
from .nucleus import COMPONENT, NucleusEmulator
from .shadow_manager import ShadowManager

#: Of the component's own version of the nucleus, which it only reads.
GGC_VERSION = "2.18.0"
REGION = "eu-central-1"


class Console(LineOnlyReceiver):
    """One method a command; its documentation is what ``help`` says."""

    delimiter = b"\n"

    def __init__(self, nucleus: NucleusEmulator, cloud: Cloud, shadows: ShadowManager | None, thing: str) -> None:
        self._nucleus = nucleus
        self._cloud = cloud
        self._shadows = shadows
        self._thing = thing
        self.ended: Deferred[None] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        word, _, rest = line.decode(errors="replace").strip().partition(" ")
        command = getattr(self, f"do_{word}", None)
        if not word:
            return
        try:
            answer = command(rest.strip()) if command is not None else f"error: no command {word}; try help"
        except (ValueError, Refused) as error:
            answer = f"error: {error}"
        print(answer or "done", flush=True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.ended.called:
            self.ended.callback(None)

    def do_help(self, _: str) -> str:
        """help"""
        return "; ".join(sorted(getattr(self, name).__doc__ for name in dir(self) if name.startswith("do_")))

    def do_desire(self, rest: str) -> str:
        """desire SHADOW {"mode": "Off"}: in the cloud"""
        shadow, _, desired = rest.partition(" ")
        answer = self._cloud.update(self._thing, shadow, {"state": {"desired": json.loads(desired)}})
        return f"version {answer['version']}"

    def do_show(self, shadow: str) -> str:
        """show SHADOW: the document here and in the cloud"""
        here = self._shadows.document(self._thing, shadow) if self._shadows is not None else None
        there = self._cloud.get(self._thing, shadow) if shadow in self._cloud.named(self._thing) else {}
        return json.dumps({"local": here, "cloud": there})

    def do_shadows(self, _: str) -> str:
        """shadows: their names in the cloud"""
        return json.dumps(self._cloud.named(self._thing))

    def do_messages(self, _: str) -> str:
        """messages: what came on topics that are no shadow's, by topic and text"""
        return json.dumps([(topic, payload.decode()) for topic, payload in self._nucleus.proxy.messages])

    def do_configure(self, patch: str) -> str:
        """configure {"cadence": {"normal": 5}}: a deployment's merge; null removes"""
        self._nucleus.configure(json.loads(patch))
        return json.dumps(self._nucleus.configuration)

    def do_secret(self, rest: str) -> str:
        """secret ARN TEXT: in the cloud"""
        arn, _, value = rest.partition(" ")
        self._nucleus.secrets[arn] = value
        return ""

    def do_states(self, _: str) -> str:
        """states: what the component reported"""
        return json.dumps(self._nucleus.states)

    def do_status(self, _: str) -> str:
        """status: numbers, and what Shadow Manager's rules or small buffers lost"""
        nucleus = self._nucleus
        return json.dumps(
            {
                "connections": nucleus.connections,
                "connected": nucleus.connected,
                "requests": nucleus.answered,
                "mostInFlight": nucleus.most_in_flight,
                "ratesExceeded": nucleus.rates_exceeded,
                "lost": self._shadows.lost if self._shadows is not None else [],
                "oversized": nucleus.oversized + nucleus.proxy.lost,
                "settled": self._shadows is None or self._shadows.settled(),
                "deferred": nucleus.deferred,
                "updated": nucleus.updated,
            }
        )

    def do_drop(self, _: str) -> None:
        """drop: close all connections"""
        self._nucleus.drop()

    def do_stall(self, _: str) -> None:
        """stall: read and send nothing"""
        self._nucleus.stalled = True

    def do_refuse(self, _: str) -> None:
        """refuse: accept connections and close them"""
        self._nucleus.refusing = True

    def do_resume(self, _: str) -> None:
        """resume: neither stall nor refuse any more"""
        self._nucleus.refusing = self._nucleus.stalled = False

    def do_token(self, token: str) -> None:
        """token TEXT: another one, for connections from now on"""
        self._nucleus.token = token

    def do_offline(self, _: str) -> None:
        """offline: the cloud is away"""
        self._cloud.online = False

    def do_online(self, _: str) -> None:
        """online: the cloud is there"""
        self._cloud.online = True

    def do_deaf(self, _: str) -> None:
        """deaf: lose the subscriptions to IoT Core without a word"""
        self._nucleus.lose_iot_core_subscriptions()

    def do_update(self, deployment: str) -> None:
        """update [ID]: an update of the component is due"""
        self._nucleus.component_update(deployment or "deployment")

    def do_quit(self, _: str) -> None:
        """quit"""
        self.connectionLost(Failure(ConnectionDone()))


def main() -> None:
    react(lambda reactor: Deferred.fromCoroutine(_run(reactor, _arguments(sys.argv[1:]))))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.nucleus", description=__doc__)
    parser.add_argument("--socket", required=True, metavar="PATH")
    parser.add_argument("--token", default="token")
    parser.add_argument("--thing", default="victron-twin")
    parser.add_argument("--lite", action="store_true", help="behave as nucleus lite, which has no Shadow Manager")
    parser.add_argument("--no-shadow-manager", action="store_true")
    parser.add_argument("--unlimited", action="store_true", help="take requests on shadows at any rate")
    parser.add_argument("--configuration", metavar="FILE.json", type=Path, help="the component's")
    parser.add_argument("--recipe", metavar="FILE.yaml", type=Path, help="allow what its accessControl does, no more")
    return parser.parse_args(words)


async def _run(reactor: Any, arguments: argparse.Namespace) -> None:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    cloud = Cloud(reactor)
    shadows = None if arguments.no_shadow_manager or arguments.lite else ShadowManager(reactor, cloud)
    if shadows is not None:
        shadows.limited = not arguments.unlimited
    nucleus = NucleusEmulator(
        reactor,
        arguments.socket,
        shadow_manager=shadows,
        cloud=cloud,
        token=arguments.token,
        lite=arguments.lite,
        configuration=json.loads(arguments.configuration.read_text()) if arguments.configuration is not None else None,
        access=_access(arguments.recipe) if arguments.recipe is not None else None,
    )
    nucleus.recording = nucleus.proxy.recording = False
    await nucleus.start()
    console = Console(nucleus, cloud, shadows, arguments.thing)
    reactor.addSystemEventTrigger("before", "shutdown", nucleus.stop)
    for name, value in {
        "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": Path(arguments.socket).absolute(),
        "SVCUID": arguments.token,
        "AWS_IOT_THING_NAME": arguments.thing,
        "AWS_REGION": REGION,
        "GGC_VERSION": GGC_VERSION,
    }.items():
        print(f"export {name}={value}")
    print(f"A nucleus with {COMPONENT} listens; quit ends it, help says more.", flush=True)
    StandardIO(console)
    await console.ended


def _access(recipe: Path) -> Control:
    import yaml

    control: Control = yaml.safe_load(recipe.read_text())["ComponentConfiguration"]["DefaultConfiguration"][
        "accessControl"
    ]
    return control
