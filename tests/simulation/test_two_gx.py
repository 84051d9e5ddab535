"""Two GX in one process: each has a thing of its own."""

from __future__ import annotations

from pathlib import Path
from random import Random

from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock

from tests.simulation.world import PASSWORD, START, simulate_paho
from tests.support import CATALOG
from victron_twin.commands.journal import Journal
from victron_twin.commands.switch import Switch
from victron_twin.config import Config, GXConfig
from victron_twin.core import build
from victron_twin.gx.backoff import Backoff
from victron_twin.gx.endpoint import Credentials, SessionEndpoint
from victron_twin.primaries import Primaries
from victron_twin.shadows.local import LocalBackend
from victron_twin.simulator.broker import Broker
from victron_twin.simulator.gx import GX
from victron_twin.simulator.memory import BrokerEndpoint
from victron_twin.simulator.site import Site
from victron_twin.worker import InlineWorker

TWO = """
state_dir = "."
[[gx]]
host = "van"
[[gx]]
host = "boat"
"""


def test_each_further_gx_has_a_thing_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "twin.toml").write_text(TWO)
    clock = Clock()
    clock.advance(START)
    networks = {}
    for number, (host, portal) in enumerate((("van", "c0619ab00001"), ("boat", "c0619ab00002"))):
        site = Site.van(Random(number), time=START, portal_id=portal)
        gx = GX(clock, site, Random(number), password=PASSWORD, period=5)
        broker = Broker(clock, gx)
        gx.start(broker)
        networks[host] = BrokerEndpoint(clock, broker)

    def connect(gx: GXConfig) -> tuple[IStreamClientEndpoint, Backoff]:
        login = Credentials("", PASSWORD)
        return SessionEndpoint(clock, networks[gx.host], lambda: login, client_id="twin"), Backoff(Random(1))

    fatal: list[str] = []
    store = LocalBackend(tmp_path / "shadows.sqlite", clock, InlineWorker())
    config = Config.load({"config": "twin.toml"}, {}, folder=tmp_path)
    core = build(
        clock,
        config,
        CATALOG,
        connect,
        store,
        Primaries(tmp_path / "primaries.json"),
        Journal(tmp_path / "commands.sqlite", InlineWorker()),
        Switch(tmp_path / "commands.off"),
        fatal.append,
    )
    restore = simulate_paho(clock)
    try:
        core.root.startService()
        clock.pump([0.1] * 300)
        for thing, portal in (("victron-twin", "c0619ab00001"), ("victron-twin-c0619ab00002", "c0619ab00002")):
            document = store.get(thing, "victron-system").result
            assert isinstance(document, dict)
            assert document["state"]["reported"]["portalId"] == portal
            store.update(thing, "victron-solarcharger", {"state": {"desired": {"mode": "Off"}}})
        clock.pump([0.1] * 50)
        for thing in ("victron-twin", "victron-twin-c0619ab00002"):
            document = store.get(thing, "victron-solarcharger").result
            assert isinstance(document, dict)
            assert document["state"]["reported"]["commands"]["mode"]["status"] == "applied"
        stopped = core.root.stopService()
        clock.pump([0.1] * 50)
        assert stopped.called
        assert not fatal
    finally:
        restore()
