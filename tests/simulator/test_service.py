"""The simulated GX behind real ports, with mosquitto's own clients."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import CannotListenError
from twisted.internet.utils import getProcessOutputAndValue

from tests.asynchronous import asynchronous, wait
from tests.support import needs
from victron_twin.simulator.gx import GX
from victron_twin.simulator.listener import CertificateError
from victron_twin.simulator.service import SimulatedGX, simulated_gx
from victron_twin.simulator.sites import SITES

PORTAL = "c0619abcdef0"
Make = Callable[..., SimulatedGX]

pytestmark = pytest.mark.integration


def van() -> GX:
    return simulated_gx(_reactor(), password="right", portal_id=PORTAL, seed=1)


def _reactor() -> Any:
    return reactor


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes services, and stops them after the test."""
    made = []

    def make(**options: Any) -> SimulatedGX:
        options.setdefault("folder", tmp_path)
        service = SimulatedGX(_reactor(), options.pop("gx", None) or van(), **options)
        made.append(service)
        service.startService()
        return service

    yield make
    for service in made:
        wait(service.stopService())


async def mosquitto(program: str, port: int, *arguments: str, certificate: Path | None = None) -> tuple[bytes, int]:
    """Run one of mosquitto's clients; its output and exit status."""
    tls = ("--cafile", str(certificate), "--insecure") if certificate is not None else ()
    address = ("-h", "127.0.0.1", "-p", str(port), "-u", "u", "-P", "right")
    run: Any = getProcessOutputAndValue
    out, _, code = await run(program, (*address, *tls, *arguments), env=dict(os.environ))
    return out, code


@needs("mosquitto_sub", "mosquitto_pub")
@pytest.mark.parametrize("site", SITES)
@asynchronous
async def test_mosquittos_clients_see_a_gx_over_tls_and_keep_it_alive(make: Make, site: str) -> None:
    service = make(gx=simulated_gx(_reactor(), site, password="right", portal_id=PORTAL, seed=1), port=0)
    port = (await service.whenListening()).tls
    assert port is not None

    out, code = await mosquitto(
        "mosquitto_sub", port, "-t", "N/+/system/0/Serial", "-C", "1", "-W", "20", certificate=service.certificate
    )
    assert (code, json.loads(out)) == (0, {"value": PORTAL})

    gx: Any = service.gx
    wanted = len(gx.site.values())
    arguments = ("-t", f"N/{PORTAL}/#", "-F", "%t", "-C", str(wanted + 50), "-W", "30")
    listening = mosquitto("mosquitto_sub", port, *arguments, certificate=service.certificate)
    keeping = mosquitto(
        *("mosquitto_pub", port, "-t", f"R/{PORTAL}/keepalive", "-m", "", "--repeat", "3", "--repeat-delay", "0.5"),
        certificate=service.certificate,
    )
    (heard, _), _ = await gatherResults([Deferred.fromCoroutine(listening), Deferred.fromCoroutine(keeping)])
    topics = set(heard.decode().split())
    assert {f"N/{PORTAL}/{topic}" for topic in gx.site.values()} <= topics | {f"N/{PORTAL}/system/0/Serial"}


@needs("mosquitto_sub")
@asynchronous
async def test_plain_too_if_asked_and_a_wrong_password_is_refused(make: Make) -> None:
    service = make(port=None, plain_port=0)
    listening = await service.whenListening()
    assert listening.tls is None
    assert listening.plain is not None
    assert not service.certificate.exists()
    service.gx.password = "another"
    out, code = await mosquitto("mosquitto_sub", listening.plain, "-t", "#", "-W", "10")
    assert (out, code) == (b"", 5)


@asynchronous
async def test_a_taken_port_fails_with_its_reason_and_leaves_nothing_open(make: Make) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        service = make(port=0, plain_port=other.getsockname()[1])
        with pytest.raises(CannotListenError):
            await service.whenListening()
        assert not service.gx.alive


@asynchronous
async def test_the_certificate_stays_and_a_spoilt_one_is_named(make: Make) -> None:
    first = make(port=0)
    await first.whenListening()
    pin = first.pin
    assert len(bytes.fromhex(pin)) == 32
    again = make(port=0)
    await again.whenListening()
    assert again.pin == pin
    first.certificate.write_text("spoilt")
    spoilt = make(port=0)
    with pytest.raises(CertificateError, match=r"certificate\.pem"):
        await spoilt.whenListening()


@asynchronous
async def test_it_can_be_stopped_at_once_and_started_again(make: Make) -> None:
    service = make(port=0)
    await service.stopService()
    service.startService()
    assert (await service.whenListening()).tls is not None
    await service.stopService()
    await service.stopService()


def test_each_seed_is_another_van() -> None:
    one, same, other = (simulated_gx(_reactor(), password=None, portal_id=PORTAL, seed=seed) for seed in (1, 1, 2))
    topic = "solarcharger/279/History/Daily/5/Yield"
    assert one.value(topic) == same.value(topic) != other.value(topic)
