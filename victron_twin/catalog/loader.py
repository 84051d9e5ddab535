"""From the tables to a Catalog. Whatever is wrong in them is said with the file and the line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING

from .catalog import Catalog, Codes, Placeholder
from .commands import read_commands
from .ignored import read_ignored
from .model import NUMERIC, PLACEHOLDER, Cadence, CatalogError, Field, Kind, Layout, ShadowKind, Source
from .names import Clash, Tree, insert
from .tables import Row, read

if TYPE_CHECKING:
    from importlib.abc import Traversable

SHADOW_COLUMNS = ("name", "title", "layout", "services", "helpers")
PLACEHOLDER_COLUMNS = ("name", "pattern", "first", "title")
ENUM_COLUMNS = ("enum", "code", "label")
ERROR_ID_COLUMNS = ("id", "label")
PRODUCT_COLUMNS = ("product_id", "name", "rated_a")
#: The enums of this file show their codes too; 0 is no error.
ERRORS = "errors.csv"
FIELD_COLUMNS = (
    "field",
    "path",
    "rule",
    "unit",
    "title",
    "kind",
    "decimals",
    "enum",
    "writable",
    "min",
    "max",
    "cadence",
    "deadband",
    "required",
    "priority",
)

#: What the twin puts at the top of a document, or of a device in it, itself.
RESERVED = frozenset(
    {"connected", "since", "deviceInstance", "source", "lastUpdate", "missing", "devices", "commands", "raw"}
)

#: Shadow Manager takes six objects within each other: reported, devices, <instance>, and three of a field's name.
MOST_PARTS = 4

_PATH = r"([a-z][a-z0-9]*)?((/[A-Za-z0-9_{}]+)+)"
_SEGMENT = re.compile(r"([a-z0-9]|\{)[A-Za-z0-9{}_]*")
_CODED = (Kind.ENUM, Kind.BITS)


def load(folder: Traversable | None = None) -> Catalog:
    """Read the catalogue that comes with the package, or the one in a folder of the same form.

    Raises CatalogError, which names the file, the line and what is wrong.
    """
    return _Loader(files(__package__) if folder is None else folder).catalog()


class _Loader:
    def __init__(self, folder: Traversable) -> None:
        self._folder = folder
        self._placeholders = self._read_placeholders()
        self._patterns = {p.name: p.pattern for p in self._placeholders.values()}
        self._shadows = self._read_shadows()
        self._home = {service: s for s in self._shadows for service in s.services}
        self._lenders = frozenset(self._home) | {h for s in self._shadows for h in s.helpers}
        self._enums = self._read_enums()

    def catalog(self) -> Catalog:
        fields = self._folder / "fields"
        there = {f.name for f in fields.iterdir() if f.name.endswith(".csv")}
        for name in sorted(there - {f"{service}.csv" for service in self._home}):
            raise CatalogError(f"fields/{name}: no shadow in shadows.csv is fed by a service of this name")
        read_fields = [
            field
            for service, shadow in self._home.items()
            if f"{service}.csv" in there
            for field in self._read_fields(fields / f"{service}.csv", service, shadow)
        ]
        by_shadow: dict[str, list[Field]] = {}
        for field in read_fields:
            by_shadow.setdefault(field.shadow, []).append(field)
        first = {p.name: p.first for p in self._placeholders.values()}
        commands = read_commands(self._folder, by_shadow, self._patterns, first)
        ignored = read_ignored(self._folder, read_fields, self._patterns, first)
        return Catalog(
            self._shadows,
            read_fields,
            self._enums,
            self._placeholders,
            self._read_products(),
            self._read_error_ids(),
            commands,
            ignored,
        )

    def _read_placeholders(self) -> Mapping[str, Placeholder]:
        placeholders: dict[str, Placeholder] = {}
        for row in read(self._folder / "placeholders.csv", "placeholders.csv", PLACEHOLDER_COLUMNS):
            name, pattern, first = row.text("name", r"[a-z]\w*"), row.text("pattern"), row.text("first")
            if name in placeholders:
                raise row.wrong(f"placeholder {name!r} is there twice")
            try:
                compiled = re.compile(pattern)
            except re.error as error:
                raise row.wrong(f"pattern {pattern!r}: {error}") from None
            if compiled.groups or any(compiled.fullmatch(bad) for bad in ("", ".", "/")):
                raise row.wrong(f"pattern {pattern!r} has groups, or admits nothing, a dot or a slash")
            if not compiled.fullmatch(first):
                raise row.wrong(f"first {first!r} does not match {pattern}")
            placeholders[name] = Placeholder(name, pattern, first, row.text("title"))
        return placeholders

    def _read_shadows(self) -> list[ShadowKind]:
        shadows: dict[str, ShadowKind] = {}
        fed: dict[str, str] = {}
        for row in read(self._folder / "shadows.csv", "shadows.csv", SHADOW_COLUMNS):
            name = row.text("name", r"[a-z0-9-]{1,64}")
            if name in shadows:
                raise row.wrong(f"shadow {name!r} is there twice")
            row.text("services")
            for service in row.words("services"):
                if service in fed:
                    raise row.wrong(f"service {service!r} feeds {fed[service]} already")
                fed[service] = name
            layout = row.choice("layout", Layout)
            shadows[name] = ShadowKind(name, row.text("title"), layout, row.words("services"), row.words("helpers"))
        return list(shadows.values())

    def _read_enums(self) -> Mapping[str, Codes]:
        texts: dict[str, dict[int, str]] = {}
        masks: dict[str, bool] = {}
        for file in sorted((self._folder / "enums").iterdir(), key=lambda f: f.name):
            if not file.name.endswith(".csv"):
                continue
            for row in read(file, f"enums/{file.name}", ENUM_COLUMNS):
                name, code, label = row.text("enum", r"[a-z]\w*"), row.integer("code"), row.text("label")
                is_bit = row.cells["code"].startswith("0x")
                if code is None:
                    raise row.wrong("code is empty")
                if code in texts.setdefault(name, {}):
                    raise row.wrong(f"code {code} of {name} is there twice")
                if masks.setdefault(name, is_bit) != is_bit or (is_bit and code.bit_count() != 1):
                    raise row.wrong(f"{name}: the codes of a mask are single bits written as 0x.., of an enum decimal")
                # What a manual or a forum says of an error, it says of its number.
                texts[name][code] = f"{label} ({code})" if file.name == ERRORS and code else label
        return {name: Codes(codes, masks[name]) for name, codes in texts.items()}

    def _read_error_ids(self) -> Mapping[str, str]:
        """A catalogue without ``error_ids.csv`` has no text for any."""
        file = self._folder / "error_ids.csv"
        labels: dict[str, str] = {}
        for row in read(file, "error_ids.csv", ERROR_ID_COLUMNS) if file.is_file() else ():
            identity = row.text("id", r"[a-z]+:e-[0-9.]+")
            if identity in labels:
                raise row.wrong(f"id {identity!r} is there twice")
            labels[identity] = row.text("label")
        return labels

    def _read_products(self) -> Mapping[int, float]:
        rated: dict[int, float] = {}
        for row in read(self._folder / "products.csv", "products.csv", PRODUCT_COLUMNS):
            product, amperes = row.integer("product_id"), row.number("rated_a")
            if product is None or product in rated or not amperes or amperes < 0:
                raise row.wrong("each product id stands once, with a rated current above 0")
            row.text("name")
            rated[product] = amperes
        return rated

    def _read_fields(self, file: Traversable, service: str, shadow: ShadowKind) -> list[Field]:
        tree: Tree = {}
        fields = []
        for row in read(file, f"fields/{file.name}", FIELD_COLUMNS):
            field = self._field(row, service, shadow)
            try:
                insert(tree, field, self._patterns)
            except Clash as clash:
                raise row.wrong(str(clash)) from None
            fields.append(field)
        return fields

    def _field(self, row: Row, service: str, shadow: ShadowKind) -> Field:
        kind = row.choice("kind", Kind)
        deadband, priority = row.number("deadband"), row.integer("priority")
        field = Field(
            shadow=shadow.name,
            service=service,
            name=self._name(row, shadow),
            sources=self._sources(row, service, shadow),
            rule=row.text("rule", r"[a-z0-9_]*"),
            unit=row.cells["unit"],
            title=row.text("title"),
            kind=kind,
            decimals=row.integer("decimals"),
            enum=row.cells["enum"],
            writable=row.flag("writable"),
            minimum=row.number("min"),
            maximum=row.number("max"),
            cadence=row.choice("cadence", Cadence),
            deadband=0.0 if deadband is None else deadband,
            required=row.flag("required"),
            priority=-1 if priority is None else priority,
        )
        self._check_sources(row, field)
        self._check_values(row, field)
        return field

    def _name(self, row: Row, shadow: ShadowKind) -> str:
        name = row.text("field")
        if shadow.layout is not Layout.OWN and name.count(".") >= MOST_PARTS:
            raise row.wrong(f"field {name!r}: more than {MOST_PARTS} parts make a document of several devices too deep")
        for segment in name.split("."):
            if not _SEGMENT.fullmatch(segment):
                raise row.wrong(f"field {name!r}: {segment!r} is no lowerCamelCase name")
        if name.split(".")[0] in RESERVED:
            raise row.wrong(f"field {name!r}: {name.split('.')[0]!r} is one of the twin's own names")
        return name

    def _sources(self, row: Row, service: str, shadow: ShadowKind) -> tuple[Source, ...]:
        sources = []
        for text in row.words("path"):
            parts = re.fullmatch(_PATH, text)
            if parts is None:
                raise row.wrong(f"path {text!r} is neither /A/B nor service/A/B")
            source = Source(parts[1] or service, parts[2])
            if source.service not in self._lenders:
                raise row.wrong(f"path {text!r}: unknown service {source.service!r}")
            if source in sources:
                raise row.wrong(f"path {text!r} is there twice")
            sources.append(source)
        if not sources and shadow.layout is not Layout.OWN:
            raise row.wrong("path is empty")
        return tuple(sources)

    def _check_sources(self, row: Row, field: Field) -> None:
        wanted = set(field.placeholders)
        for name in (*field.placeholders, *(p for s in field.sources for p in s.placeholders)):
            if name not in self._placeholders:
                raise row.wrong(f"unknown placeholder {{{name}}}: it must be in placeholders.csv")
        for text in (field.name, *(s.path for s in field.sources)):
            found = PLACEHOLDER.findall(text)
            if len(found) != len(set(found)) or "{" in PLACEHOLDER.sub("", text) or "}" in PLACEHOLDER.sub("", text):
                raise row.wrong(f"{text!r}: each placeholder stands once, as {{name}}")
        for source in field.sources:
            if source.placeholders and set(source.placeholders) != wanted:
                raise row.wrong(f"path {source.path!r} does not have the placeholders of the field's name")
        if wanted and field.sources and not any(s.placeholders for s in field.sources):
            raise row.wrong("no path has the placeholders of the field's name")
        if len(field.sources) > 1 and not field.rule:
            raise row.wrong("several paths need a rule")
        if field.rule and not field.sources:
            raise row.wrong("a rule needs a path")
        if field.kind is Kind.RAW:
            raise row.wrong("kind raw is for what no table has")
        if field.kind is Kind.OBJECT and not field.rule:
            raise row.wrong("an object needs a rule")

    def _check_values(self, row: Row, field: Field) -> None:
        numeric = field.kind in NUMERIC
        if (field.kind is Kind.NUMBER) is (field.decimals is None):
            raise row.wrong("decimals are wanted for kind number, and only there")
        if (field.kind in _CODED) is not bool(field.enum):
            raise row.wrong("an enum is wanted for the kinds enum and bits, and only there")
        if field.enum:
            codes = self._enums.get(field.enum)
            if codes is None:
                raise row.wrong(f"unknown enum {field.enum!r}")
            if codes.is_mask is not (field.kind is Kind.BITS):
                raise row.wrong(f"{field.enum!r} is {'a' if codes.is_mask else 'no'} bit mask")
            if field.writable and len(set(codes.texts.values())) < len(codes.texts):
                raise row.wrong(f"{field.enum!r} has a text twice, so that a desired text is not clear")
        if not numeric and (field.minimum is not None or field.maximum is not None or field.deadband):
            raise row.wrong(f"min, max and deadband have no meaning for kind {field.kind.value}")
        if field.deadband < 0:
            raise row.wrong("deadband is below 0")
        if field.minimum is not None and field.maximum is not None and field.minimum > field.maximum:
            raise row.wrong("min is above max")
        if field.writable and not field.sources:
            raise row.wrong("what has no path is not writable")
        if not 0 <= field.priority <= 9 or (field.required and field.priority != 9):
            raise row.wrong("priority must be 0 to 9, and 9 where required")
