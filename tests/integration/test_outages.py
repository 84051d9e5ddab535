"""What breaks between a GX and the service, with real processes and a broker that is not ours.

Each time the shadows come to what the GX is, and meanwhile the service says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.task import deferLater

from tests.asynchronous import asynchronous
from tests.bridge import Bridge, StillGX
from tests.comparison import compare
from tests.gx.certificates import Identity
from tests.mosquitto import HOST, Mosquitto
from tests.service import Service
from tests.support import CATALOG, needs
from victron_twin.simulator.site import Site

pytestmark = [pytest.mark.integration, needs("mosquitto", "mosquitto_passwd")]

PASSWORD, ANOTHER = "first-5e1f-password", "second-9c2b-password"

CONFIG = """
[gx]
host = "{host}"
port = {port}
trust = "tofu"
username = "gx"
password_file = "{password}"

[cadence]
normal = 1
slow = 1
batch = 0.5
"""


async def eventually(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait for a condition; the reactor runs meanwhile, and with it the GX."""
    clock = IReactorTime(reactor)
    end = clock.seconds() + seconds
    while not condition():
        assert clock.seconds() < end, f"it did not come in {seconds:.0f} s: {what}"
        await deferLater(clock, 0.1)


class World:
    """A GX behind mosquitto with TLS and a password, and the service; both are processes, the GX's plugin is here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mosquitto = Mosquitto(folder, Identity("venus.local").write(folder), password=PASSWORD)
        clock = IReactorTime(reactor)
        site = Site.van(Random(1), time=clock.seconds())
        self.gx = StillGX(clock, site, Random(2), password=None)
        self.bridge = Bridge(IReactorFromThreads(reactor), self.gx, self.mosquitto)
        self.password_file = folder / "password"
        self.tell_password(PASSWORD)
        self.config = folder / "twin.toml"
        self.config.write_text(CONFIG.format(host=HOST, port=self.mosquitto.port, password=self.password_file))
        self.config.chmod(0o600)
        self.service = self._service()
        self.logs: list[str] = []

    def _service(self) -> Service:
        return Service(self.folder, "--config", str(self.config))

    def __enter__(self) -> World:
        self.mosquitto.start()
        self.bridge.start()
        self.service.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.service.__exit__(None, None, None)
        self.bridge.stop()
        self.mosquitto.stop()
        files = [path for path in self.folder.glob("state/**/*") if path.is_file()]
        written = [self.log(), *(path.read_bytes().decode(errors="replace") for path in files)]
        assert not any(password in text for text in written for password in (PASSWORD, ANOTHER))

    def restart_service(self) -> None:
        """A new process in the same state folder."""
        self.logs.append(self.service.log.read_text())
        self.service.__exit__(None, None, None)
        self.service = self._service()
        self.service.__enter__()

    def tell_password(self, password: str) -> None:
        """Write the service's password file."""
        self.password_file.write_text(password + "\n")
        self.password_file.chmod(0o600)

    def log(self) -> str:
        """What the service has logged until now, in all its processes."""
        return "".join([*self.logs, self.service.log.read_text()])

    def reported(self, name: str) -> Mapping[str, Any]:
        _, document = self.service.get(f"/things/victron-twin/shadow?name={name}")
        found: Mapping[str, Any] = (document or {}).get("state", {}).get("reported", {})
        return found

    async def says(self, *texts: str) -> None:
        """Until /health and the shadow of the twin itself say what is wrong; the log has said it, once."""

        def said() -> bool:
            status, health = self.service.get("/health")
            places = [" ".join((health or {}).get("problems", [])), str(self.reported("victron-twin").get("problem"))]
            return status == 503 and all(text in place for text in texts for place in places)

        try:
            await eventually(said, f"/health and victron-twin say {texts}")
        except AssertionError as late:
            seen = self.service.get("/health"), self.reported("victron-twin")
            raise AssertionError(f"{late}, and not {seen}\n{self.log()}") from None
        lines = [line for line in self.log().splitlines() if all(text in line for text in texts)]
        assert [" error " in line for line in lines] == [True], lines

    async def converges(self) -> None:
        """Until the shadows say what the GX is, and the service says that all is well."""
        self.gx.still = True
        found: list[str] = []

        def same() -> bool:
            found[:] = compare(self.gx.site.values(), self.reported, CATALOG).differences
            return not found and self.service.get("/health")[0] == 200 and self.problem() == ""

        try:
            await eventually(same, "the shadows are as the GX", 60.0)
        except AssertionError:
            raise AssertionError("\n".join([str(self.service.get("/health")), *found, self.log()])) from None
        assert self.service.get("/health")[1]["problems"] == []
        assert "Traceback" not in self.log()
        self.gx.still = False

    def problem(self) -> str | None:
        found: str | None = self.reported("victron-twin").get("problem", "")
        return found

    def shown_as_gone(self) -> bool:
        return self.reported("victron-battery").get("connected") is False


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


@asynchronous
async def test_the_broker_is_killed_and_comes_back(world: World) -> None:
    await world.converges()
    world.mosquitto.kill()
    await world.says("connection refused")
    world.mosquitto.start()
    await world.converges()


@asynchronous
async def test_the_broker_is_frozen_for_a_while(world: World) -> None:
    await world.converges()
    world.mosquitto.freeze()
    await world.says("the GX is silent")
    await eventually(world.shown_as_gone, "nothing is shown as live")
    world.mosquitto.thaw()
    await world.converges()


@asynchronous
async def test_the_broker_comes_back_empty_and_the_gx_later(world: World) -> None:
    await world.converges()
    world.bridge.stop()
    world.mosquitto.restart()
    await world.says("the GX is silent")
    world.bridge.start()
    await world.converges()


@asynchronous
async def test_another_certificate_is_refused_until_its_pin_is_removed(world: World) -> None:
    await world.converges()
    pins = world.folder / "state" / "pins.json"
    old = pins.read_text().split('"')[3]
    new = Identity("venus.local")
    new.write(world.folder)
    world.mosquitto.restart()
    peer = f"{HOST}:{world.mosquitto.port}"
    await world.says(peer, f"{new.sha256} instead of {old}")
    assert f"remove the line of {peer} from {pins}, or set VICTRON_TRUST=pin:{new.sha256}" in world.log()
    assert old in pins.read_text()
    pins.write_text("{}")
    world.restart_service()
    await world.converges()
    assert new.sha256 in pins.read_text()


@asynchronous
async def test_the_password_is_changed_and_changed_back(world: World) -> None:
    await world.converges()
    world.mosquitto.set_password(ANOTHER)
    await world.says("not authorised", "gx.password")
    world.tell_password(ANOTHER)
    await world.converges()
    world.tell_password(PASSWORD)
    world.mosquitto.set_password(PASSWORD)
    await world.converges()


@asynchronous
async def test_the_service_is_killed_and_starts_while_there_is_no_gx(world: World) -> None:
    await world.converges()
    version = world.service.get("/things/victron-twin/shadow?name=victron-battery")[1]["version"]
    world.service.process.kill()
    world.mosquitto.kill()
    world.restart_service()
    await world.says("connection refused")
    await eventually(world.shown_as_gone, "nothing is shown as live")
    assert world.reported("victron-battery")["deviceInstance"] == 512
    world.mosquitto.start()
    await world.converges()
    assert world.service.get("/things/victron-twin/shadow?name=victron-battery")[1]["version"] > version
