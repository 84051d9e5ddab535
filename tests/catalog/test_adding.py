"""docs/adding-a-device.md does what it says: its lines, put into the tables, make the document that it shows."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from victron_twin.catalog import Catalog, load
from victron_twin.catalog.commands import ANY, Class
from victron_twin.catalog.reference import reference
from victron_twin.catalog.schema import schemas
from victron_twin.twin.flat import Path as Leaf
from victron_twin.twin.twin import Twin

PAGE = (Path(__file__).parents[2] / "docs" / "adding-a-device.md").read_text(encoding="utf-8")


def blocks(language: str) -> dict[str, str]:
    """The code blocks of the page by the name that stands beside their language."""
    found = re.findall(rf"^```{language} (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return dict(found)


def edit(file: Path, lines: str) -> None:
    """Lines are added to a table; of shadows each stands once, so that one replaces what was there."""
    if not file.exists():
        file.write_text(lines, encoding="utf-8")
        return
    rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"))))
    new = list(csv.reader(io.StringIO(lines)))
    if file.name == "shadows.csv":
        by_name = {row[0]: row for row in new}
        rows, new = [by_name.get(row[0], row) for row in rows], []
    with file.open("w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows(rows + new)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The package's catalogue with the edits of the page."""
    folder = tmp_path_factory.mktemp("edited") / "catalog"
    with as_file(files("victron_twin.catalog")) as own:
        shutil.copytree(own, folder)
    for name, lines in blocks("csv").items():
        edit(folder / name, lines)
    return load(folder)


def nested(leaves: dict[Leaf, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for path, value in leaves.items():
        inner = made
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = value
    return made


def test_the_document_is_the_one_on_the_page(catalog: Catalog) -> None:
    troubles: list[object] = []
    twin = Twin(catalog, lambda *trouble: troubles.append(trouble))
    twin.portal = "c0619ab2d3e4"
    for topic, value in json.loads(blocks("json")["topics"]).items():
        payload = json.dumps({"value": value}).encode()
        twin.receive(f"N/c0619ab2d3e4/{topic}".encode(), payload, 1000.0)
    twin.settle()
    document = nested(dict(twin.sheets(1000.0)["victron-io"].values))
    Draft202012Validator(schemas(catalog)["victron-io"]).validate(document)
    own = {"connected": True, "since": "1970-01-01T00:16:40Z", "deviceInstance": 3}
    [(name, fields)] = json.loads(blocks("json")["document"]).items()
    assert document["devices"] == {name: fields | own}
    assert troubles == []


def test_what_can_be_written(catalog: Catalog) -> None:
    mode = catalog.commands.of("victron-io", "mode", "watermaker")
    interval = catalog.commands.of("victron-io", "flushInterval", "watermaker")
    assert mode is not None
    assert (mode.kind, mode.guards) == (Class.SETTING, ())
    assert interval is not None
    assert interval.guards == (ANY,)
    assert catalog.commands.of("victron-io", "flow", "watermaker") is None


def test_nothing_that_it_sends_is_forgotten(catalog: Catalog) -> None:
    for topic in json.loads(blocks("json")["topics"]):
        path = topic.removeprefix("watermaker/3")
        assert catalog.match("watermaker", path) or catalog.ignored.reason("watermaker", path)


def test_the_reference_has_it(catalog: Catalog) -> None:
    row = "| `flow` | l/min | Water that it makes | number | 0 to 100 | | normal, 0.2 | `watermaker/FlowRate` |"
    assert row in reference(catalog).splitlines()
    assert (
        "| `flushInterval` | h | Hours between two flushes | integer | 24 to 336 | setting; guarded: all |"
        in reference(catalog)
    )
