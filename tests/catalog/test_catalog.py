"""From a D-Bus path to the fields it feeds, and from a code to its text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import CATALOG
from victron_twin.catalog import Catalog, Field
from victron_twin.catalog.model import fill

FIELDS = [f for shadow in CATALOG.shadows for f in CATALOG.fields(shadow) if f.sources]


@pytest.fixture
def catalog() -> Catalog:
    return CATALOG


def test_a_literal_path(catalog: Catalog) -> None:
    assert [(f.name, dict(b)) for f, b in catalog.match("battery", "/Dc/0/Voltage")] == [("voltage", {}), ("power", {})]


def test_a_template(catalog: Catalog) -> None:
    found = [(fill(f.name, b), dict(b)) for f, b in catalog.match("solarcharger", "/Pv/1/P")]
    assert found == [("pv.trackers.1.current", {"tracker": "1"}), ("pv.trackers.1.power", {"tracker": "1"})]


def test_one_path_for_several_fields(catalog: Catalog) -> None:
    names = {fill(f.name, b) for f, b in catalog.match("vebus", "/Ac/In/1/CurrentLimit")}
    assert names == {"currentLimit", "input1.currentLimit"}


def test_a_path_of_another_service(catalog: Catalog) -> None:
    [(field, _)] = catalog.match("platform", "/Firmware/Installed/Version")
    assert (field.shadow, field.service, field.name) == ("victron-system", "system", "firmware")
    assert catalog.uses("platform")


def test_a_helper_is_no_match(catalog: Catalog) -> None:
    path = "/Ac/Consumption/NumberOfPhases"
    assert catalog.match("system", path) == ()
    assert [f.name for f in catalog.helpers("system", path)] == ["ac.consumption.l{phase}"]
    assert catalog.helpers("system", "/Dc/Battery/Voltage") == ()


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("battery", "/Nothing"),
        ("nosuch", "/Dc/0/Voltage"),
        ("system", "/Ac/Consumption/L4/Power"),
        ("solarcharger", "/Pv/1/P/"),
        ("solarcharger", "/Pv/10/P"),
        ("solarcharger", "/Pv/1/P\n"),
        ("battery", ""),
    ],
)
def test_what_is_no_match(catalog: Catalog, service: str, path: str) -> None:
    assert catalog.match(service, path) == ()


@given(st.sampled_from(FIELDS), st.data())
def test_every_source_leads_back_to_its_field(field: Field, data: st.DataObject) -> None:
    binding = {
        name: data.draw(st.from_regex(CATALOG.patterns[name], fullmatch=True), label=name)
        for name in field.placeholders
    }
    for source in field.sources:
        path = source.bound(binding).path
        if binding and not source.placeholders:
            assert field in CATALOG.helpers(source.service, path)
        else:
            assert (field, binding) in [(f, dict(b)) for f, b in CATALOG.match(source.service, path)]


@given(st.sampled_from(sorted({f.service for f in FIELDS})), st.text())
def test_any_path_is_looked_up_without_an_error(service: str, path: str) -> None:
    for found, binding in CATALOG.match(service, path):
        assert any(source.bound(binding).path == path for source in found.sources)


def test_texts(catalog: Catalog) -> None:
    assert catalog.text("charge_state", 252) == "External control"
    assert catalog.text("charge_state", 4711) == "Unknown (4711)"
    assert catalog.text("charge_state", -1) == "Unknown (-1)"
    assert catalog.enum("vebus_mode") == {
        1: "Charger Only",
        2: "Inverter Only",
        3: "On",
        4: "Off",
        251: "Passthrough",
    }
    assert catalog.enum("device_off_reason")[0x8000] == "Active alarm"
    assert list(catalog.enum("ess_mode").values()) == [
        "Optimised with BatteryLife",
        "Optimised without BatteryLife",
        "Keep batteries charged",
        "External control",
    ]


def test_errors_that_their_makers_number(catalog: Catalog) -> None:
    assert catalog.error_text("fischerpanda:e-7") == "Oil pressure too low (fischerpanda:e-7)"
    assert catalog.error_text("fischerpanda:w-7") == "Oil pressure too low (fischerpanda:w-7)"
    assert catalog.error_text("nosuch:e-7") == "Unknown (nosuch:e-7)"
