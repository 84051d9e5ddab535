"""One name of a mixed shadow is a field of each of its services, and each is written in its own way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import CATALOG
from victron_twin.catalog import Catalog, CatalogError, load
from victron_twin.catalog.commands import ANY
from victron_twin.catalog.loader import FIELD_COLUMNS

from .test_loader import GOOD, folder

MODE = {**GOOD, "field": "mode", "path": "/Mode", "kind": "enum", "decimals": "", "enum": "switch", "writable": "yes"}
HEAD = "shadow,field,class,wire,needs,guarded\n"


def mixed(tmp_path: Path, *commands: str, switch: dict[str, str] = MODE) -> Catalog:
    """Two services of victron-io with a mode, that of the meteo over another enum."""
    more = "enums/more.csv"
    where = folder(tmp_path, {**MODE, "enum": "weather"}, service="meteo")
    (where / more).write_text("enum,code,label\nweather,0,Dry\nweather,1,Wet\n", encoding="utf-8")
    lines = [",".join(FIELD_COLUMNS), ",".join(switch.get(c, "") for c in FIELD_COLUMNS)]
    (where / "fields" / "switch.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (where / "commands.csv").write_text(HEAD + "\n".join(commands) + "\n", encoding="utf-8")
    return load(where)


def test_a_row_counts_for_every_service(tmp_path: Path) -> None:
    catalog = mixed(tmp_path, "victron-io,mode,setting,integer,/Ready=1,")
    for service, enum in {"switch": "switch", "meteo": "weather"}.items():
        command = catalog.commands.of("victron-io", "mode", service)
        assert command is not None
        assert (command.field.service, command.field.enum, command.needs[0].source.service) == (service, enum, service)
    assert catalog.commands.of("victron-io", "mode", "nosuch") is None
    assert catalog.commands.of("victron-io", "mode") is not None


def test_a_row_for_one_service(tmp_path: Path) -> None:
    catalog = mixed(tmp_path, "victron-io,meteo/mode,action,integer,,Wet", "victron-io,mode,setting,integer,,")
    kinds = {s: c.kind.value for s in ("switch", "meteo") if (c := catalog.commands.of("victron-io", "mode", s))}
    assert kinds == {"switch": "setting", "meteo": "action"}


def test_a_service_whose_field_is_read_only_has_no_command(tmp_path: Path) -> None:
    catalog = mixed(tmp_path, "victron-io,mode,setting,integer,,", switch={**MODE, "writable": ""})
    assert catalog.commands.of("victron-io", "mode", "switch") is None
    assert catalog.commands.of("victron-io", "mode", "meteo") is not None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("victron-io,switch/mode,setting,integer,,", "no row for victron-io meteo/mode"),
        ("victron-io,nosuch/mode,setting,integer,,", "commands.csv:2: field 'mode' is no field of 'nosuch'"),
        ("victron-io,level,setting,integer,,", "commands.csv:2: field 'level' is no field of 'victron-io'"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(CatalogError) as caught:
        mixed(tmp_path, line)
    assert why in str(caught.value)


LEVEL = {**GOOD, "writable": "yes", "min": "0"}


@pytest.mark.parametrize(("guarded", "refused"), [("", True), ("5", True), ("* unless mode=On", True), ("*", False)])
def test_a_number_without_bounds_is_guarded_whatever_its_value(tmp_path: Path, guarded: str, refused: bool) -> None:
    where = folder(tmp_path, LEVEL, service="meteo")
    (where / "commands.csv").write_text(f"{HEAD}victron-io,level,setting,double,,{guarded}\n", encoding="utf-8")
    if refused:
        with pytest.raises(CatalogError, match="meteo/level is a number without min and max"):
            load(where)
    else:
        command = load(where).commands.of("victron-io", "level")
        assert command is not None
        assert [guard.covers("5") for guard in command.guards] == [True]


@pytest.mark.parametrize(
    ("service", "path", "stored"),
    [
        ("settings", "/Settings/SystemSetup/MaxChargeCurrent", True),
        ("solarcharger", "/Settings/ChargeCurrentLimit", True),
        ("vebus", "/Devices/0/Settings/PowerAssistEnabled", True),
        ("switch", "/SwitchableOutput/1/Settings/Type", True),
        ("vebus", "/CustomName", True),
        ("tank", "/Capacity", True),
        ("vebus", "/Mode", False),
        ("vebus", "/Ac/In/1/CurrentLimit", False),
        ("system", "/Relay/0/State", False),
        ("hub4", "/Overrides/Setpoint", False),
    ],
)
def test_what_is_kept_in_flash(service: str, path: str, stored: bool) -> None:
    assert CATALOG.commands.is_stored(service, path) is stored


@pytest.mark.parametrize(
    "never",
    [
        r"/Link/",
        r"Absorption|Float|Equali[sz]ation",
        r"^vebus/(BatteryOperationalLimits|BatterySense|ExtraBatteryCurrent|Hub/ChargeVoltage|Soc$)",
        r"/BatteryLife/(SocLimit|Flags|DischargedTime)|/DynamicEss/Schedule/",
        r"GridCode",
        r"/Debug/|^settings/Settings/Devices/|DeviceInstance",
        r"(?i)password|pincode|token|^platform/(Network|Security)/|/Settings/(Modem|Ble)/",
        r"^(dc)?genset/Start$|/Accumulated|/LastServiceReset",
    ],
)
def test_what_docs_say_cannot_be_written(never: str) -> None:
    """docs/commands.md, "What cannot be written"."""
    written = [str(source) for s in CATALOG.shadows for f in CATALOG.fields(s) if f.writable for source in f.sources]
    assert [path for path in written if re.search(never, path)] == []


def test_what_docs_say_is_guarded_whatever_its_value() -> None:
    """docs/commands.md, the end of the same section."""
    paths = (
        r"BatteryVoltageSetting|NominalVoltage|RestoreDefaults|InverterOutputVoltage|dcgenset/Settings/ChargeVoltage"
    )
    rows = [
        row
        for shadow in CATALOG.shadows
        for field in CATALOG.fields(shadow)
        if field.writable and re.search(paths, str(field.sources[0]))
        for row in CATALOG.commands.rows(field).values()
    ]
    assert len(rows) == 8
    assert all(row.guards == (ANY,) for row in rows)
