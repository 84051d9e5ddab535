"""The stored schemas are those of the tables, are valid, and hold for documents."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from tests.support import CATALOG
from victron_twin.catalog import Catalog, Field, Kind, load
from victron_twin.catalog.model import Layout, fill
from victron_twin.catalog.schema import schemas, text

from .test_loader import GOOD, folder

SCHEMAS = schemas(CATALOG)
ALIVE = {"connected": True, "since": "2024-01-15T14:30:00Z", "deviceInstance": 512}


def example(field: Field, catalog: Catalog) -> object:
    whole = 3 if field.maximum is None else min(3, int(field.maximum))
    value: dict[Kind, object] = {
        Kind.TEXT: "x",
        Kind.INTEGER: whole,
        Kind.BOOLEAN: True,
        Kind.NUMBER: field.minimum or 1.5,
    }
    if field.enum:
        return next(iter(catalog.enum(field.enum).values()))
    return value[field.kind]


def document(shadow: str, service: str = "") -> dict[str, Any]:
    """Every field of a shadow, or of one of its services, with an example."""
    made: dict[str, Any] = {}
    first = {p.name: p.first for p in CATALOG.placeholders.values()}
    for field in CATALOG.fields(shadow):
        if service not in ("", field.service):
            continue
        *above, last = fill(field.name, first).split(".")
        inner = made
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = example(field, CATALOG)
    return made


def check(shadow: str, reported: object) -> None:
    Draft202012Validator(SCHEMAS[shadow]).validate(reported)


def test_stored_schemas_are_up_to_date() -> None:
    stored = files("victron_twin.catalog") / "schema"
    there = {f.name: f.read_text(encoding="utf-8") for f in stored.iterdir()}
    assert there == {f"{name}.json": text(made) for name, made in SCHEMAS.items()}, (
        "python -m victron_twin.catalog.schema writes them anew"
    )


@pytest.mark.parametrize("shadow", SCHEMAS)
def test_schemas_are_valid(shadow: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[shadow])


@pytest.mark.parametrize("shadow", [s for s in SCHEMAS if s != "victron-twin"])
def test_documents_with_every_field(shadow: str) -> None:
    kind = CATALOG.shadows[shadow]
    services = [s for s in kind.services if document(shadow, s)]
    command = {"status": "applied", "value": "On", "reason": "", "id": "", "at": "2024-01-15T14:30:00Z"}
    made: dict[str, Any] = {"lastUpdate": "2024-01-15T14:30:00Z", "commands": {"devices.280.mode": command}}
    if kind.layout is Layout.PRIMARY:
        fields = document(shadow)
        made |= {**ALIVE, **fields, "missing": "", "source": "system/0/Dc/Battery"}
        made["devices"] = {"280": {**ALIVE, **fields}, "text-instance": ALIVE}
    elif kind.layout is Layout.MIXED:
        made["devices"] = {f"{service}-280": {**ALIVE, **document(shadow, service)} for service in services}
    else:
        made["devices"] = {"280": {**ALIVE, **document(shadow)}, "text-instance": ALIVE}
    check(shadow, made)


def test_the_components_own_document() -> None:
    check("victron-twin", {**document("victron-twin"), "lastUpdate": "2024-01-15T14:30:00Z"})


def test_unknown_codes_are_admitted() -> None:
    check("victron-solarcharger", {**ALIVE, "state": "Unknown (245)"})
    check("victron-solarcharger", {**ALIVE, "state": "Unknown"})


@pytest.mark.parametrize(
    ("shadow", "fields"),
    [
        ("victron-battery", {"voltage": "13"}),
        ("victron-battery", {"voltage": None}),
        ("victron-battery", {"soc": 101}),
        ("victron-battery", {"alarms": {"lowVoltage": "Low"}}),
        ("victron-battery", {"nosuch": 1}),
        ("victron-battery", {"devices": {"256": {"voltage": 13.1}}}),
        ("victron-battery", {"devices": {"256": {**ALIVE, "voltage": "13"}}}),
        ("victron-vebus", {"input3": {"currentLimit": 1}}),
        ("victron-vebus", {"devices": {"1": {**ALIVE, "input1": {"currentLimit": 101}}}}),
        ("victron-vebus", {"commands": {"mode": {"status": "done"}}}),
        ("victron-system", {"ac": {"consumption": {"l4": 0}}}),
        ("victron-system", {"relays": {"0": {"state": True}}}),
    ],
)
def test_what_is_no_such_document(shadow: str, fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        check(shadow, {**ALIVE, **fields})


def test_connected_and_since_are_always_there() -> None:
    for gone in ("connected", "since"):
        with pytest.raises(ValidationError):
            check("victron-gps", {k: v for k, v in ALIVE.items() if k != gone})


def test_what_a_field_says_of_itself() -> None:
    battery = SCHEMAS["victron-battery"]["properties"]
    assert battery["voltage"] == {
        "title": "Battery voltage",
        "type": "number",
        "x-unit": "V",
        "minimum": -1,
        "maximum": 1000,
        "readOnly": True,
        "x-dbus": "battery/Dc/0/Voltage",
    }
    vebus = SCHEMAS["victron-vebus"]
    assert vebus["properties"]["mode"]["readOnly"] is False
    assert vebus["properties"]["mode"]["x-codes"]["1"] == "Charger Only"
    limit = vebus["patternProperties"]["^input(?:[12])$"]["properties"]["currentLimit"]
    assert (limit["minimum"], limit["maximum"], limit["x-dbus"]) == (0, 100, "vebus/Ac/In/{input}/CurrentLimit")
    charger = SCHEMAS["victron-solarcharger"]["properties"]
    assert charger["deviceOffReason"]["x-bits"]["0x8000"] == "Active alarm"
    assert charger["pv"]["properties"]["current"]["x-dbus"] == ["solarcharger/Yield/Power", "solarcharger/Pv/V"]


def test_devices_and_mixed_layouts(tmp_path: Path) -> None:
    where = folder(tmp_path, GOOD, service="meteo")
    (where / "fields" / "tank.csv").write_text((where / "fields" / "meteo.csv").read_text(), encoding="utf-8")
    made = schemas(load(where))
    level = {**ALIVE, "level": 1.5}
    Draft202012Validator(made["victron-tank"]).validate({"devices": {"20": level}})
    Draft202012Validator(made["victron-io"]).validate({"devices": {"meteo-20": level}})
    for wrong in ({"level": 1.5}, {"devices": {"switch-20": level}}, {"devices": {"20": level}}):
        with pytest.raises(ValidationError):
            Draft202012Validator(made["victron-io"]).validate(wrong)
    assert json.loads(text(made["victron-io"])) == made["victron-io"]
