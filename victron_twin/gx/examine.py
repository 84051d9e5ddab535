"""The link to a GX looked at step by step, from its name to its devices; nothing is changed on either side.

It is the same endpoint that the service uses, under a client id of its own: with the same the GX would drop the
service.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

import orjson
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, TimeoutError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThreadPool

from victron_twin.checks import Check, Fault

from .connect import GXEndpoint, login
from .endpoint import LOGIN_PATIENCE
from .errors import (
    CertificateChanged,
    CertificateRejected,
    ConnectTimeout,
    HandshakeFailed,
    HandshakeTimeout,
    LoginCut,
    LoginRefused,
    LoginTimeout,
    PinStoreError,
    ProtocolError,
    Refused,
)
from .trust import fingerprint
from .visit import Visit

#: The oldest Venus OS that is supported.
OLDEST_FIRMWARE = (3, 20)
FIRMWARE = ("platform", "0", "/Firmware/Installed/Version")

#: A retained message comes with the answer to the subscription, in s.
RETAINED = 5.0
#: A full publish takes 0.1 s; so long each one is waited for, in s, and so many are asked for.
ROUND, ROUNDS = 2.0, 5

#: What went wrong in a few words (none: the error's own), and what to do where the error does not say so. The first
#: that fits.
CAUSES: Sequence[tuple[type[Exception], str, str]] = (
    (ConnectTimeout, "connection timed out", "is the GX switched on and in this network, and no firewall between?"),
    (HandshakeTimeout, "no TLS handshake in time", "is there a GX at this port? Restart it if so"),
    (HandshakeFailed, "", "a GX without TLS is VICTRON_TRUST=plaintext, on port 1883"),
    (CertificateChanged, "certificate changed", ""),
    (CertificateRejected, "certificate rejected", ""),
    (PinStoreError, "pins cannot be read", ""),
    (LoginTimeout, "no answer to the login", "is there a GX at this port? Restart it if so"),
    (
        LoginRefused,
        "login refused",
        "set VICTRON_MQTT_PASSWORD to it; a GX takes no new logins for a day after 150 different wrong passwords, "
        "and none but tokens if its MQTT is set so",
    ),
    (Refused, "login refused", ""),
)


class _Hang(Protocol):
    """A connection that is only made."""

    transport: Any


class _Once(Factory):
    noisy = False

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def buildProtocol(self, addr: Any) -> Any:
        return self._make()


async def _name(visit: Visit) -> str:
    """Twisted's own resolver asks getaddrinfo in a thread too, but keeps its reason to itself."""
    host, reactor = visit.gx.host, visit.reactor
    try:
        found = await deferToThreadPool(
            reactor, reactor.getThreadPool(), socket.getaddrinfo, host, visit.gx.port, 0, socket.SOCK_STREAM
        )
    except socket.gaierror as error:
        raise Fault(
            "name does not resolve",
            f"{host} does not resolve: {error.strerror}",
            "set VICTRON_HOST=<ip of the GX>; names that end in .local need mDNS on this machine",
        ) from None
    addresses = ", ".join(dict.fromkeys(str(address[0]) for *_, address in found))
    return f"{host} is an address" if addresses == host else f"{host} is {addresses}"


async def _tcp(visit: Visit) -> str:
    gx = visit.gx
    endpoint = HostnameEndpoint(visit.reactor, gx.host, gx.port, gx.connect_timeout)
    hang = cast("_Hang", await endpoint.connect(_Once(_Hang)))
    peer = hang.transport.getPeer().host
    hang.transport.abortConnection()
    return f"connected to {peer} port {gx.port}"


async def _tls(visit: Visit) -> str:
    """TLS and login are one step of the endpoint: what comes after the handshake is left for the next check."""
    gx = visit.gx
    known = visit.trust.kind == "tofu" and visit.pins.get(gx.host, gx.port) is not None
    client_id = f"victron-twin-doctor-{secrets.token_hex(4)}"
    endpoint = GXEndpoint(
        visit.reactor, gx.host, gx.port, visit.trust, visit.pins, login(gx), client_id, gx.connect_timeout
    )
    try:
        await endpoint.connect(_Once(lambda: visit))
    except (LoginTimeout, LoginCut, ProtocolError, Refused) as error:
        visit.refused = error
    if visit.trust.kind == "plaintext":
        return "no TLS, as gx.trust says"
    if visit.trust.kind == "insecure":
        return "TLS; the certificate is not checked, as gx.trust says"
    if visit.trust.kind != "tofu":
        return f"the certificate is trusted ({visit.trust.kind})"
    if known:
        return "the certificate is the one that is remembered"
    certificate = None if visit.refused else visit.session.peer_certificate
    seen = f": SHA-256 {fingerprint(certificate)}" if certificate is not None else ""
    return f"no certificate is remembered yet; the service will keep the one that it sees first{seen}"


async def _login(visit: Visit) -> str:
    if visit.refused is not None:
        raise visit.refused
    return f"accepted{f' as {visit.gx.username}' if visit.gx.username else ''}"


async def _portal(visit: Visit) -> str:
    await visit.session.subscribe("N/+/system/0/Serial")
    await visit.until(lambda: visit.portals, RETAINED)
    wanted, found = visit.gx.portal_id, visit.portals
    if not wanted and not found:
        raise Fault(
            "no portal id",
            "the GX does not tell its portal id (no retained N/+/system/0/Serial)",
            "is this a GX? If so set VICTRON_VRM_ID (on the GX: Settings > VRM online portal > VRM Portal ID)",
        )
    if wanted and found and wanted not in found:
        raise Fault(
            "wrong portal id",
            f"gx.portal_id is {wanted}, but this GX has {found[0]}",
            f"set VICTRON_VRM_ID={found[0]}, or leave it out",
        )
    visit.portal = wanted or found[0]
    return visit.portal if found else f"{visit.portal}, as configured; the GX does not tell its own"


async def _keepalive(visit: Visit) -> str:
    """Asked again while more comes: firmware before 3.50 does not tell when all is said, and too much is not heard."""
    echo = secrets.token_hex(4)
    asked = orjson.dumps({"keepalive-options": [{"full-publish-completed-echo": echo}]})
    await visit.session.subscribe(f"N/{visit.portal}/#")
    before = visit.messages
    for _ in range(ROUNDS):
        known = len(visit.values)
        visit.session.publish(f"R/{visit.portal}/keepalive", asked)
        await visit.until(lambda: any(echo.encode() in told for told in visit.completed) and _complete(visit), ROUND)
        if _complete(visit) and (visit.completed or known == len(visit.values)):
            break
    if visit.messages == before:
        raise Fault(
            "keepalive not answered",
            f"the GX publishes nothing within {ROUNDS * ROUND:g} s of a keepalive",
            "restart its MQTT (switch it off and on) or the GX itself",
        )
    return f"answered with {len(visit.values)} values"


def _complete(visit: Visit) -> bool:
    """Just after a boot a full publish can end with a seventh of what there is."""
    return {"system", "settings", "platform"} <= {service for service, _, _ in visit.values}


async def _firmware(visit: Visit) -> str:
    payload = visit.values.get(FIRMWARE, b"")
    try:
        version = str(orjson.loads(payload)["value"])
    except (ValueError, TypeError, KeyError):
        version = ""
    number = re.match(r"v?(\d+)\.(\d+)", version)
    if number is None:
        raise Fault(
            "firmware not known",
            f"the GX does not tell its firmware ({'/'.join(FIRMWARE[:2]) + FIRMWARE[2]})",
            "ask again when it has been up for some minutes",
        )
    if (int(number[1]), int(number[2])) < OLDEST_FIRMWARE:
        oldest = "{}.{}".format(*OLDEST_FIRMWARE)
        raise Fault(
            "firmware too old",
            f"Venus OS {version} is older than {oldest}",
            "update it: Settings > Firmware, on the GX",
        )
    return f"Venus OS {version}"


def _devices(visit: Visit) -> set[tuple[str, str]]:
    """The services that are there: those with a value. Zero bytes are of one that has left."""
    return {(service, instance) for (service, instance, _), payload in visit.values.items() if payload}


async def _services(visit: Visit) -> str:
    counts = Counter(service for service, _ in _devices(visit))
    if "system" not in counts:
        raise Fault(
            "no services", "the GX publishes, but no system service", "ask again when it has been up for a minute"
        )
    return ", ".join(f"{count} {service}" for service, count in sorted(counts.items()))


async def _primaries(visit: Visit) -> str:
    there = _devices(visit)
    for service, instance in visit.gx.primary.items():
        if (service, str(instance)) not in there:
            others = sorted(n for kind, n in there if kind == service)
            found = f"there is {', '.join(others)}" if others else f"there is no {service} at all"
            raise Fault(
                "configured primary is not there",
                f"gx.primary.{service} is {instance}, but {found}",
                "is the device on and connected? Else set it to one that is there, or leave it out",
            )
    configured = ", ".join(f"{service} {instance}" for service, instance in visit.gx.primary.items())
    return f"{configured} {'are' if len(visit.gx.primary) > 1 else 'is'} there" if configured else "none is configured"


def checks(connect_timeout: float = 30.0) -> Sequence[Check[Visit]]:
    """The checks of one GX, in their order. ``connect_timeout`` in s, as in its configuration."""
    connecting = connect_timeout + 2.0  # their own time-out says more
    return (
        Check("name", _name),
        Check("TCP", _tcp, ("name",), connecting),
        Check("TLS", _tls, ("TCP",), connecting + max(connect_timeout, LOGIN_PATIENCE)),
        Check("login", _login, ("TLS",)),
        Check("portal id", _portal, ("login",)),
        Check("keepalive", _keepalive, ("portal id",)),
        Check("firmware", _firmware, ("keepalive",)),
        Check("services", _services, ("keepalive",)),
        Check("primary", _primaries, ("services",)),
    )


def explain(error: Exception) -> Fault:
    """What an error of the link means, and what to do."""
    for kind, cause, remedy in CAUSES:
        if isinstance(error, kind):
            meaning = f": {Refused.MEANING.get(error.code, error.code)}" if isinstance(error, Refused) else ""
            return Fault(cause + meaning or str(error), str(error), remedy)
    if isinstance(error, TimeoutError):
        return explain(ConnectTimeout("no TCP connection in time"))
    if isinstance(error, ConnectError) and isinstance(error.osError, int):
        cause = os.strerror(error.osError)
        cause = cause[:1].lower() + cause[1:]
        return Fault(
            cause,
            cause,
            "is the address the GX's, and is its MQTT on (Settings > Services, or Integrations)? "
            "MQTT without TLS is VICTRON_TRUST=plaintext, on port 1883",
        )
    return Fault(str(error) or type(error).__name__)
