"""JSON Schemas (draft 2020-12) of what stands under ``state.reported`` of each shadow, made from the catalogue.

They are kept at ``schema/<shadow>.json``; ``python -m victron_twin.catalog.schema`` writes them anew. Beside the
standard's words a field has ``x-unit``, ``x-dbus`` (its D-Bus paths as ``battery/Dc/0/Voltage``, one text or a list,
with placeholders in braces), ``x-codes`` (the number on the bus of each text) and ``x-bits`` of a mask.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from .catalog import Catalog
from .loader import load
from .model import PLACEHOLDER, Field, Kind, Layout, ShadowKind
from .names import Tree, insert, template

Schema = dict[str, Any]

_TIME: Schema = {"type": "string", "format": "date-time"}
_DEVICE: Mapping[str, Schema] = {
    "connected": {"title": "The device is on the GX's bus and the GX is heard", "type": "boolean"},
    "since": {"title": "Since when it is connected, or is not", **_TIME},
    "deviceInstance": {"title": "Instance of the device on the GX", "type": ["integer", "string"]},
}
_COMMAND: Schema = {
    "type": "object",
    "properties": {
        "status": {"enum": ["pending", "applied", "rejected", "unconfirmed", "expired", "sent"]},
        "value": {"type": ["string", "number", "boolean"]},
        "reason": {"type": "string"},
        "id": {"type": "string"},
        "at": _TIME,
    },
    "required": ["status", "value", "reason", "id", "at"],
    "additionalProperties": False,
}
_COMMANDS: Schema = {
    "title": "What became of desired values, by dotted field",
    "type": "object",
    "additionalProperties": _COMMAND,
}
_RAW: Schema = {
    "title": "What no table has, by its D-Bus path without the first slash, as it is on the bus",
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}
_LAST_UPDATE: Schema = {"title": "When the newest value was received", **_TIME}
_SOURCE: Schema = {"title": "What stands in for a device that is not there", "type": "string"}
_MISSING: Schema = {"title": "Required fields that are not there, separated by blanks", "type": "string"}


def schemas(catalog: Catalog) -> dict[str, Schema]:
    """The schema of each shadow that has fields."""
    return {name: _schema(catalog, kind) for name, kind in catalog.shadows.items() if catalog.fields(name)}


def text(schema: Schema) -> str:
    """A schema as it is stored."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _schema(catalog: Catalog, kind: ShadowKind) -> Schema:
    head: Schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"/schema/{kind.name}.json",
        "title": kind.title,
    }
    root = _object({}, catalog)
    if kind.layout in (Layout.PRIMARY, Layout.OWN):
        root = _object(_tree(catalog, catalog.fields(kind.name)), catalog)
    if kind.layout is Layout.OWN:
        root["properties"] |= {"lastUpdate": _LAST_UPDATE}
    elif kind.layout is Layout.PRIMARY:
        device = _device(_references(root))
        root = _device(root)
        root["properties"] |= {"source": _SOURCE, "missing": _MISSING}
        root["properties"] |= _common({"additionalProperties": {"$ref": "#/$defs/device"}})
        root["$defs"] = {"device": device}
    else:
        mixed = kind.layout is Layout.MIXED
        tables = {s: [f for f in catalog.fields(kind.name) if f.service == s] for s in kind.services}
        devices = {s: _device(_object(_tree(catalog, fields), catalog)) for s, fields in tables.items() if fields}
        root["properties"] |= _common(
            {
                "patternProperties": {
                    f"^{service}-.+$" if mixed else "^.+$": {"$ref": f"#/$defs/{service}"} for service in devices
                },
                "additionalProperties": False,
            }
        )
        root["$defs"] = devices
    return head | root


def _common(devices: Schema) -> Schema:
    return {
        "lastUpdate": _LAST_UPDATE,
        "commands": _COMMANDS,
        "devices": {"title": "Devices by instance", "type": "object"} | devices,
    }


def _device(fields: Schema) -> Schema:
    return fields | {"properties": {**_DEVICE, "raw": _RAW, **fields["properties"]}, "required": ["connected", "since"]}


def _references(root: Schema) -> Schema:
    """The same object again, by reference to the first."""
    copied: Schema = {"type": "object"}
    for word in ("properties", "patternProperties"):
        copied |= {word: {key: {"$ref": f"#/{word}/{_pointer(key)}"} for key in root.get(word, ())}}
    return copied | {"additionalProperties": False}


def _pointer(key: str) -> str:
    return quote(key.replace("~", "~0").replace("/", "~1"), safe="")


def _tree(catalog: Catalog, fields: Iterable[Field]) -> Tree:
    """The fields as they stand in a document; of those that stand in for others only the first."""
    tree: Tree = {}
    names: set[str] = set()
    for field in fields:
        if field.name not in names:
            names.add(field.name)
            insert(tree, field, catalog.patterns)
    return tree


def _object(tree: Tree, catalog: Catalog) -> Schema:
    fixed: Schema = {}
    templates: Schema = {}
    for key, inner in tree.items():
        made = _field(inner, catalog) if isinstance(inner, Field) else _object(inner, catalog)
        if PLACEHOLDER.search(key):
            templates[f"^{template(key, catalog.patterns, named=False)}$"] = made
        else:
            fixed[key] = made
    made = {"type": "object", "properties": fixed}
    return made | ({"patternProperties": templates} if templates else {}) | {"additionalProperties": False}


def _field(field: Field, catalog: Catalog) -> Schema:
    made: Schema = {"title": field.title} | _values(field, catalog)
    if field.unit:
        made["x-unit"] = field.unit
    for word, bound in (("minimum", field.minimum), ("maximum", field.maximum)):
        if bound is not None:
            made[word] = int(bound) if bound == int(bound) else bound
    made["readOnly"] = not field.writable
    if field.sources:
        paths = [str(source) for source in field.sources]
        made["x-dbus"] = paths[0] if len(paths) == 1 else paths
    return made


def _values(field: Field, catalog: Catalog) -> Schema:
    if field.kind is Kind.ENUM:
        codes = catalog.enum(field.enum)
        known = list(dict.fromkeys(codes.values()))
        return {
            "type": "string",
            "anyOf": [{"enum": known}, {"pattern": r"^Unknown( \(-?\d+\))?$"}],
            "x-codes": {str(code): label for code, label in codes.items()},
        }
    if field.kind is Kind.BITS:
        return {"type": "string", "x-bits": {f"0x{bit:x}": label for bit, label in catalog.enum(field.enum).items()}}
    return {"type": {Kind.TEXT: "string"}.get(field.kind, field.kind.value)}


if __name__ == "__main__":
    from pathlib import Path

    for name, made in schemas(load()).items():
        (Path(__file__).parent / "schema" / f"{name}.json").write_text(text(made), encoding="utf-8")
