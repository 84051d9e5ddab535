"""What no table has is passed on where it was asked for, secrets never."""

from __future__ import annotations

import jsonschema
import pytest

from tests.support import CATALOG
from tests.twin.test_twin import Bench
from victron_twin.catalog.schema import schemas
from victron_twin.catalog.secrets import is_secret
from victron_twin.twin.readings import Trouble


def test_as_it_is_on_the_bus_and_valid() -> None:
    bench = Bench(CATALOG, raw=lambda service, path: service == "settings" or path.startswith("/Custom"))
    bench.battery()
    bench.hear("battery/512/CustomReading", 57.0499992371)
    bench.hear("battery/513/CustomReading", True)
    bench.hear("settings/0/Settings/Odd/Name", "text")
    bench.hear("settings/0/Settings/Services/AccessPointPassword", "geheim")
    bench.hear("settings/0/Settings/SystemSetup/SystemName", "van")
    bench.twin.settle()
    assert bench.shadow("victron-battery")["raw"] == {"CustomReading": 57.05}
    assert bench.shadow("victron-battery")["devices"]["513"]["raw"] == {"CustomReading": True}
    settings = bench.shadow("victron-settings")
    assert settings["raw"] == {"Settings/Odd/Name": "text"}
    assert settings["systemName"] == "van"
    made = schemas(CATALOG)
    for name in ("victron-battery", "victron-settings"):
        jsonschema.validate(bench.shadow(name), made[name])


def test_only_what_was_asked_for() -> None:
    bench = Bench(CATALOG)
    bench.battery()
    bench.hear("battery/512/CustomReading", 1)
    bench.twin.settle()
    assert "raw" not in bench.shadow("victron-battery")


def test_lists_are_counted_and_left_out() -> None:
    bench = Bench(CATALOG, raw=lambda service, path: True)
    bench.battery()
    bench.hear("battery/512/Odd", [1, 2])
    bench.twin.settle()
    assert "raw" not in bench.shadow("victron-battery")
    assert (Trouble.TYPE, "battery/512 raw.Odd") in bench.troubles


@pytest.mark.parametrize(
    "path",
    ["/Settings/LoadSheddingApi/Token", "/Security/Api", "/Tokens/Users", "/Settings/Modem/PIN", "/Foo/MyApiKey"],
)
def test_secrets(path: str) -> None:
    assert is_secret(path)


def test_what_only_sounds_like_one_is_none() -> None:
    assert not is_secret("/Settings/System/TimeZone")
    assert not is_secret("/Alarms/LowVoltage")
