"""A device that comes back under another instance is the same one, where that is certain."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import CATALOG
from tests.twin.test_twin import Bench


class Site(Bench):
    def __init__(self) -> None:
        self.moves: list[tuple[Any, Any]] = []
        super().__init__(CATALOG, moved=lambda old, new: self.moves.append((old, new)))

    def charger(self, instance: int, serial: str | None = "HQ2", name: str = "", power: float = 100.0) -> None:
        at = f"solarcharger/{instance}"
        self.hear(f"{at}/Yield/Power", power)
        self.hear(f"{at}/State", 3)
        self.hear(f"{at}/ProductId", 41033)
        self.hear(f"{at}/Mgmt/Connection", "VE.Direct")
        self.hear(f"{at}/CustomName", name)
        if serial is not None:
            self.hear(f"{at}/Serial", serial)

    def leave(self, instance: int) -> None:
        self.raw(f"solarcharger/{instance}/State", b"")


@pytest.fixture
def site() -> Site:
    site = Site()
    site.charger(279, "HQ1")
    site.charger(280, "HQ2")
    site.twin.settle()
    assert site.shadow("victron-solarcharger")["devices"].keys() == {"280"}
    return site


def test_by_its_serial_number(site: Site) -> None:
    site.leave(280)
    site.now += 600
    assert site.shadow("victron-solarcharger")["devices"]["280"]["connected"] is False
    site.charger(288, "HQ2", power=150.0)
    devices = site.shadow("victron-solarcharger")["devices"]
    assert devices.keys() == {"288"}
    assert devices["288"]["pv"]["power"] == 150
    assert site.moves == [(("solarcharger", "280"), ("solarcharger", "288"))]


def test_the_primary_stays_at_the_top(site: Site) -> None:
    site.leave(279)
    site.now += 60
    site.charger(300, "HQ1", power=42.0)
    solar = site.shadow("victron-solarcharger")
    assert (solar["deviceInstance"], solar["pv"]["power"], solar["devices"].keys()) == (300, 42, {"280"})
    assert site.changes[-1] == ("solarcharger", ("solarcharger", "279"), ("solarcharger", "300"))


def test_a_topic_of_the_old_instance_is_another_device(site: Site) -> None:
    site.leave(280)
    site.charger(288, "HQ2")
    site.shadow("victron-solarcharger")
    site.charger(280, "HQ9", power=7.0)
    devices = site.shadow("victron-solarcharger")["devices"]
    assert devices.keys() == {"280", "288"}
    assert devices["280"]["pv"]["power"] == 7


def test_two_of_a_serial_at_once_are_two(site: Site) -> None:
    site.charger(288, "HQ2")
    assert site.shadow("victron-solarcharger")["devices"].keys() == {"280", "288"}
    assert site.moves == []


def test_without_a_serial_the_name_decides_and_no_name_is_no_guess() -> None:
    for name, known in (("Roof", True), ("", False)):
        site = Site()
        site.charger(279, "HQ1")
        site.charger(280, None, name)
        site.twin.settle()
        site.shadow("victron-solarcharger")
        site.leave(280)
        site.charger(281, None, name)
        assert site.shadow("victron-solarcharger")["devices"].keys() == ({"281"} if known else {"280", "281"})


def test_moved_while_the_service_was_down(site: Site) -> None:
    before = site.shadow("victron-solarcharger")
    again = Site()
    again.twin.restore("victron-solarcharger", before)
    again.charger(279, "HQ1")
    again.charger(288, "HQ2")
    again.twin.settle()
    assert again.shadow("victron-solarcharger")["devices"].keys() == {"280", "288"}
    again.twin.prune(again.now - 1, again.now)
    assert again.shadow("victron-solarcharger")["devices"].keys() == {"288"}
