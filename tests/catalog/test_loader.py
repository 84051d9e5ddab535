"""A wrong table is refused with the file, the line and what is wrong; a new device needs rows only."""

from __future__ import annotations

from pathlib import Path

import pytest

from victron_twin.catalog import CatalogError, load
from victron_twin.catalog.loader import FIELD_COLUMNS

GOOD = {
    "field": "level",
    "path": "/Level",
    "title": "Level",
    "kind": "number",
    "decimals": "1",
    "cadence": "normal",
    "priority": "9",
}
TABLES = {
    "placeholders.csv": "name,pattern,first,title\nphase,[1-3],1,AC phase\nrelay,[0-9],0,Relay\n",
    "shadows.csv": "name,title,layout,services,helpers\n"
    "victron-tank,Tanks,devices,tank,hub4\nvictron-io,Inputs,mixed,switch meteo,\nvictron-twin,Own,own,twin,\n",
    "products.csv": "product_id,name,rated_a\n0xA057,SmartSolar,50\n",
    "enums/codes.csv": "enum,code,label\nswitch,0,Off\nswitch,1,On\ndouble,0,Same\ndouble,1,Same\n",
    "enums/bits.csv": "enum,code,label\nreason,0x1,Power\nreason,0x8,Remote\n",
}


def folder(tmp_path: Path, *fields: dict[str, str], service: str = "tank", **tables: str) -> Path:
    """A catalogue with one table of fields; ``tables`` replaces others by the name of the file."""
    lines = [",".join(FIELD_COLUMNS), *(",".join(row.get(c, "") for c in FIELD_COLUMNS) for row in fields)]
    texts = {**TABLES, f"fields/{service}.csv": "\n".join(lines) + "\n", **tables}
    for name, text in texts.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return tmp_path


def test_a_new_device_is_rows_only(tmp_path: Path) -> None:
    relay = {"field": "relays.{relay}.state", "path": "/Relay/{relay}/State", "kind": "enum", "enum": "switch"}
    catalog = load(folder(tmp_path, GOOD, {**GOOD, "decimals": "", **relay}, service="meteo"))
    assert [f.name for f in catalog.fields("victron-io")] == ["level", "relays.{relay}.state"]
    [(field, binding)] = catalog.match("meteo", "/Relay/2/State")
    assert (field.shadow, field.service, dict(binding)) == ("victron-io", "meteo", {"relay": "2"})


def test_what_the_component_makes_itself_has_no_path(tmp_path: Path) -> None:
    catalog = load(folder(tmp_path, {**GOOD, "path": ""}, service="twin"))
    assert [f.sources for f in catalog.fields("victron-twin")] == [()]
    assert not catalog.uses("twin")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "float"}, "unknown kind 'float'"),
        ({"cadence": "soon"}, "unknown cadence 'soon'"),
        ({"kind": "enum", "decimals": "", "enum": "nosuch"}, "unknown enum 'nosuch'"),
        ({"kind": "enum", "decimals": ""}, "an enum is wanted"),
        ({"kind": "enum", "decimals": "", "enum": "reason"}, "'reason' is a bit mask"),
        ({"kind": "bits", "decimals": "", "enum": "switch"}, "'switch' is no bit mask"),
        ({"kind": "enum", "decimals": "", "enum": "double", "writable": "yes"}, "has a text twice"),
        ({"decimals": ""}, "decimals are wanted for kind number"),
        ({"decimals": "one"}, "decimals 'one' is no integer"),
        ({"kind": "text"}, "decimals are wanted for kind number"),
        ({"kind": "text", "decimals": "", "deadband": "1"}, "no meaning for kind text"),
        ({"deadband": "-1"}, "deadband is below 0"),
        ({"deadband": "x"}, "deadband 'x' is no number"),
        ({"min": "5", "max": "4"}, "min is above max"),
        ({"writable": "true"}, "writable 'true' must be yes or empty"),
        ({"priority": "10"}, "priority must be 0 to 9"),
        ({"priority": ""}, "priority must be 0 to 9"),
        ({"priority": "8", "required": "yes"}, "9 where required"),
        ({"title": ""}, "title is empty"),
        ({"field": "Level"}, "no lowerCamelCase name"),
        ({"field": "a..b"}, "no lowerCamelCase name"),
        ({"field": "a.b.c.d.e"}, "more than 4 parts"),
        ({"field": "commands.level"}, "the twin's own names"),
        ({"field": "deviceInstance"}, "the twin's own names"),
        ({"path": ""}, "path is empty"),
        ({"path": "Level"}, "neither /A/B nor service/A/B"),
        ({"path": "nosuch/Level"}, "unknown service 'nosuch'"),
        ({"path": "/Level /Level", "rule": "first"}, "is there twice"),
        ({"path": "/Level /Remaining"}, "several paths need a rule"),
        ({"kind": "object", "decimals": ""}, "an object needs a rule"),
        ({"path": "/Ac/L{phase}"}, "does not have the placeholders of the field's name"),
        ({"field": "l{phase}"}, "no path has the placeholders"),
        ({"field": "l{phase}", "path": "/L{phase} /L{phase}/{relay}", "rule": "sum"}, "does not have the placeholders"),
        ({"field": "l{line}", "path": "/L{line}"}, "unknown placeholder {line}"),
        ({"field": "l{phase}", "path": "/L{phase}/{phase}"}, "each placeholder stands once"),
        ({"field": "l{phase}{", "path": "/L{phase}"}, "each placeholder stands once"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, change: dict[str, str], why: str) -> None:
    where = folder(tmp_path, {**GOOD, "field": "first", "path": "/First"}, {**GOOD, **change})
    with pytest.raises(CatalogError) as caught:
        load(where)
    assert str(caught.value).startswith("fields/tank.csv:3: ")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("level", "level", "is there twice"),
        ("pv", "pv.power", "stands below the field 'pv'"),
        ("pv.power", "pv", "has the name of an object"),
        ("relays.{relay}.state", "relays.0.function", "can be the same as '{relay}'"),
        ("relays.0.function", "relays.{relay}.state", "can be the same as '0'"),
        ("l{phase}.power", "l{relay}.voltage", "can be the same"),
    ],
)
def test_names_that_clash(tmp_path: Path, one: str, other: str, why: str) -> None:
    def row(name: str) -> dict[str, str]:
        return {
            **GOOD,
            "field": name,
            "path": "/" + "/".join(name.title().split(".")).replace("{P", "{p").replace("{R", "{r"),
        }

    with pytest.raises(CatalogError, match=r"^fields/tank\.csv:3: ") as caught:
        load(folder(tmp_path, row(one), row(other)))
    assert why in str(caught.value)


def test_templates_that_differ_behind_the_placeholder_do_not_clash(tmp_path: Path) -> None:
    names = ["in{phase}ToOut", "in{phase}ToInverter", "out"]
    catalog = load(folder(tmp_path, *({**GOOD, "field": n, "path": "/" + n} for n in names)))
    assert [f.name for f in catalog.fields("victron-tank")] == names


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("placeholders.csv", "name,pattern,first,title\nphase,(,1,x\n", ":2: pattern '('"),
        ("placeholders.csv", "name,pattern,first,title\nphase,.*,1,x\n", ":2: pattern '.*' has groups, or admits"),
        ("placeholders.csv", "name,pattern,first,title\nphase,[1-3],0,x\n", ":2: first '0' does not match"),
        ("placeholders.csv", "name,pattern,title\n", ":1: the header must be name,pattern,first,title"),
        ("shadows.csv", "name,title,layout,services,helpers\na,A,round,tank,\n", ":2: unknown layout 'round'"),
        (
            "shadows.csv",
            "name,title,layout,services,helpers\na,A,own,tank,\nb,B,own,tank,\n",
            ":3: service 'tank' feeds a",
        ),
        (
            "shadows.csv",
            "name,title,layout,services,helpers\na,A,own,tank,\na,A,own,io,\n",
            ":3: shadow 'a' is there twice",
        ),
        ("shadows.csv", "name,title,layout,services,helpers\na,A,own,tank\n", ":2: 4 cells instead of 5"),
        ("enums/codes.csv", "enum,code,label\nx,0,A\nx,0,B\n", ":3: code 0 of x is there twice"),
        ("enums/codes.csv", "enum,code,label\nx,0,A\nx,0x1,B\n", ":3: x: the codes of a mask"),
        ("enums/bits.csv", "enum,code,label\nx,0x3,A\n", ":2: x: the codes of a mask"),
        ("enums/codes.csv", "enum,code,label\nx,,A\n", ":2: code is empty"),
        ("enums/codes.csv", 'enum,code,label\nx,0,"A\n', ": unexpected end"),
        ("products.csv", "product_id,name,rated_a\n0xA057,MPPT,\n", ":2: each product id stands once"),
        ("error_ids.csv", "id,label\nhatz:e-1.0,A\nhatz:e-1.0,B\n", ":3: id 'hatz:e-1.0' is there twice"),
        ("error_ids.csv", "id,label\nhatz:w-1.0,A\n", ":2: id 'hatz:w-1.0' must match"),
        ("fields/lamp.csv", "", ": no shadow in shadows.csv"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, name: str, text: str, why: str) -> None:
    with pytest.raises(CatalogError) as caught:
        load(folder(tmp_path, GOOD, **{name: text}))
    assert name in str(caught.value)
    assert why in str(caught.value)


def test_what_is_left_out_on_purpose(tmp_path: Path) -> None:
    rows = (
        "tank,/Raw,of no use\ntank,/Relay/{relay}/Name,later\n*,/Mgmt/*,the GX's own\nev,/*,no device\ntank,/*,rest\n"
    )
    catalog = load(folder(tmp_path, GOOD, **{"ignored.csv": f"service,path,reason\n{rows}"}))
    assert [f"{row.service}{row.path}" for row in catalog.ignored][:2] == ["tank/Raw", "tank/Relay/{relay}/Name"]
    reasons = {
        ("tank", "/Raw"): "of no use",
        ("tank", "/Relay/3/Name"): "later",
        ("tank", "/Mgmt/Process/Name"): "the GX's own",
        ("switch", "/Mgmt/ProcessName"): "the GX's own",
        ("ev", "/Soc"): "no device",
        ("tank", "/Raw/Unit"): "rest",
        ("switch", "/Raw"): None,
        ("switch", "/Mgmt"): None,
    }
    assert {point: catalog.ignored.reason(*point) for point in reasons} == reasons


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("tank,/Raw,", "reason is empty"),
        ("tank,Raw,x", "path 'Raw' must match"),
        (",/Raw,x", "service is empty"),
        ("tank,/L{line},x", "unknown placeholder {line}"),
        ("tank,/Level,x", "tank/Level is mapped by a field: tank/Level"),
        ("tank,/L{phase}/Power,x", "is mapped by a field: tank/L1/Power"),
        ("tank,/Relay/0/State,x", "is mapped by a field: tank/Relay/{relay}/State"),
        ("tank,/Raw,x\ntank,/Raw,y", "tank/Raw is there twice"),
    ],
)
def test_a_wrong_omission_is_named(tmp_path: Path, row: str, why: str) -> None:
    relay = {**GOOD, "field": "relays.{relay}.level", "path": "/Relay/{relay}/State"}
    power = {**GOOD, "field": "power", "path": "/L1/Power"}
    where = folder(tmp_path, GOOD, relay, power, **{"ignored.csv": f"service,path,reason\n{row}\n"})
    with pytest.raises(CatalogError, match=r"^ignored\.csv:[23]: ") as caught:
        load(where)
    assert why in str(caught.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    where = folder(tmp_path, GOOD)
    (where / "products.csv").unlink()
    with pytest.raises(CatalogError, match=r"products\.csv"):
        load(where)
