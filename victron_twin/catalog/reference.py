"""Two pages, made from the catalogue: docs/catalogue.md and docs/writable.md.

The first has every field of every shadow and the texts of the enums, the second what can be written and within which
bounds. ``python -m victron_twin.catalog.reference`` writes them anew; a test says when it is due.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from .catalog import Catalog
from .commands import Class, Command
from .loader import load
from .model import NUMERIC, Field, Kind, Layout, ShadowKind

HEAD = """\
# The catalogue

Made from the tables in `victron_twin/catalog/` by `python -m victron_twin.catalog.reference`: do not edit it here.
[adding-a-device.md](adding-a-device.md) says how to add to it, [writable.md](writable.md) lists what can be written;
the same is served as JSON Schema at `/schema/<shadow>.json`.

- **field**: dotted name in the shadow. `{phase}` and the like are placeholders, see [below](#placeholders). A shadow
  of several devices has its fields under `devices.<instance>`, one of several services under
  `devices.<service>-<instance>`.
- **range**: of a field that can be desired what is accepted, where the GX itself does not publish other bounds; of any
  other what is possible, beyond which a reading is no value.
- **desired**: how it can be written. A *setting* is a plain value; an *action* is done once and a *setpoint* is held
  until it expires, both desired as `{"value": ..., "id": ..., "expires": ...}`. *Guarded* values are not in the default
  allow-list. *Needs* are values of other paths without which the device does not take a write.
- **cadence**: how soon a change is worth a write of its own, and from which difference on.
- **D-Bus**: the path on the GX, the topic without portal id and instance.
"""

LAYOUTS = {
    Layout.PRIMARY: "The primary device at the top, further ones under `devices.<instance>`.",
    Layout.DEVICES: "All devices under `devices.<instance>`.",
    Layout.MIXED: "All devices under `devices.<service>-<instance>`.",
    Layout.OWN: "The component's own.",
}
COLUMNS = ("field", "unit", "what it is", "values", "range", "desired", "cadence", "D-Bus")

WRITABLE_HEAD = """\
# What can be written

Made from the tables in `victron_twin/catalog/` by `python -m victron_twin.catalog.reference`: do not edit it here.
[commands.md](commands.md) says how to desire a value and what becomes of it, [catalogue.md](catalogue.md) what each
field is.

- **field**: dotted name in the shadow, with [placeholders](catalogue.md#placeholders) as `{phase}`. A shadow of several
  devices has its fields under `devices.<instance>`, one of several services under `devices.<service>-<instance>`.
- **class**: a *setting* is a plain value; an *action* is done once and a *setpoint* is held until it expires, both
  desired as `{"value": ..., "id": ..., "expires": ...}`. What it is let go of to is a code, or has the unit of its
  values.
- **values**: texts with their codes, either of which can be desired. A range is the catalogue's and counts where the GX
  publishes none; `commands.limits` can narrow both. *No bounds*: refused until the GX publishes some or
  `commands.limits` gives them.
- **needs**: values of other paths without which the device does not take the write.
- **guarded**: values that the default allow-list does not have; `commands.allow` can name them.
- **flash**: kept in flash, and so written at most `commands.rate` times a minute.
"""
WRITABLE_COLUMNS = ("field", "class", "values", "needs", "guarded", "flash")
#: So many texts of an enum are named; of a longer one the first few.
NAMED, FIRST = 6, 4


def reference(catalog: Catalog) -> str:
    """All of docs/catalogue.md."""
    return "\n".join(_lines(catalog)) + "\n"


def writable(catalog: Catalog) -> str:
    """All of docs/writable.md."""
    return "\n".join(_writable_lines(catalog)) + "\n"


def _lines(catalog: Catalog) -> Iterator[str]:
    yield HEAD
    shadows = [kind for kind in catalog.shadows.values() if catalog.fields(kind.name)]
    yield from (f"- [{kind.name}](#{kind.name}): {kind.title}" for kind in shadows)
    yield "\n[Placeholders](#placeholders), [enums](#enums), [what is left out](#what-is-left-out)"
    for kind in shadows:
        yield from _shadow(catalog, kind)
    yield "\n## Placeholders\n"
    yield from _table(
        ("placeholder", "stands for", "pattern"),
        ((f"`{{{p.name}}}`", p.title, _code(p.pattern)) for p in catalog.placeholders.values()),
    )
    yield "\n## Enums\n\nThe number on the bus and its text in the shadow. Others are shown as `Unknown (245)`."
    for name, codes in sorted(catalog.enums.items()):
        yield f"\n### {name}\n"
        write = hex if codes.is_mask else str
        yield from _table(("code", "text"), ((write(code), text) for code, text in codes.texts.items()))
    yield "\n## What is left out\n\nPaths that no field shows, and why; `*` stands for any text.\n"
    yield from _table(("path", "why"), ((_code(row.service + row.path), row.reason) for row in catalog.ignored))


def _shadow(catalog: Catalog, kind: ShadowKind) -> Iterator[str]:
    yield f"\n## {kind.name}\n\n{kind.title}. {LAYOUTS[kind.layout]}"
    fields = catalog.fields(kind.name)
    services = dict.fromkeys(field.service for field in fields)
    for service in services:
        yield f"\n### {service}\n" if len(services) > 1 else ""
        yield from _table(COLUMNS, (_row(catalog, field) for field in fields if field.service == service))


def _row(catalog: Catalog, field: Field) -> Iterable[str]:
    yield _code(field.name) + (" (required)" if field.required else "")
    yield field.unit
    yield field.title
    yield f"[{field.enum}](#{field.enum})" if field.enum else field.kind.value
    yield _range(field)
    yield _desired(catalog, field)
    yield field.cadence.value + (f", {field.deadband:g}" if field.deadband else "")
    yield ", ".join(_code(str(source)) for source in field.sources)


def _range(field: Field) -> str:
    if field.minimum is None and field.maximum is None:
        return ""
    least = "" if field.minimum is None else f"{field.minimum:.12g}"
    most = "" if field.maximum is None else f"{field.maximum:.12g}"
    return f"{least} to {most}".strip()


def _desired(catalog: Catalog, field: Field) -> str:
    rows = catalog.commands.rows(field) if field.writable else {}
    if not rows:
        return ""
    command = next(iter(rows.values()))
    parts = [command.kind.value + _safe(command)]
    if command.guards:
        parts.append(f"guarded: {_guards(command)}")
    needs = " or ".join(_needs(command) for command in rows.values() if command.needs)
    if needs:
        parts.append(f"needs {needs}")
    return "; ".join(parts)


def _safe(command: Command) -> str:
    """What a setpoint is let go of to."""
    if command.setpoint is None:
        return ""
    return ", left to lapse" if command.setpoint.safe is None else f", let go of to {command.setpoint.safe:g}"


def _guards(command: Command) -> str:
    return ", ".join(
        ("all" if g.value == "*" else g.value) + (f" unless {g.field} is {' or '.join(g.unless)}" if g.field else "")
        for g in command.guards
    )


def _needs(command: Command) -> str:
    return ", ".join(_code(f"{n.source}={n.value}") for n in command.needs)


def _writable_lines(catalog: Catalog) -> Iterator[str]:
    fields = [field for shadow in catalog.shadows for field in catalog.fields(shadow) if field.writable]
    rows = [(name, command) for field in fields for name, command in catalog.commands.rows(field).items()]
    shadows = {shadow: list(own) for shadow, own in groupby(rows, lambda row: row[1].field.shadow)}
    yield WRITABLE_HEAD
    yield from _table(("shadow", *(f"{kind.value}s" for kind in Class)), (_counts(*item) for item in shadows.items()))
    for shadow, found in shadows.items():
        yield f"\n## {shadow}"
        services = dict.fromkeys(command.field.service for _, command in found)
        for service in services:
            yield f"\n### {shadow}, {service}\n" if len(services) > 1 else ""
            own = (row for row in found if row[1].field.service == service)
            yield from _table(WRITABLE_COLUMNS, (_writable_row(catalog, *row) for row in own))


def _counts(shadow: str, found: Iterable[tuple[str, Command]]) -> Iterable[str]:
    kinds = [command.kind for _, command in found]
    return f"[{shadow}](#{shadow})", *(str(kinds.count(kind) or "") for kind in Class)


def _writable_row(catalog: Catalog, name: str, command: Command) -> Iterable[str]:
    field = command.field
    yield _code(name)
    yield command.kind.value + _safe(command)
    yield _values(catalog, field)
    yield _needs(command)
    yield _guards(command)
    written = field.sources[0]  # others are only looked at, or are names of the same
    yield "yes" if catalog.commands.is_stored(written.service, written.path) else ""


def _values(catalog: Catalog, field: Field) -> str:
    if field.enum:
        texts = [f"{text} ({code})" for code, text in catalog.enum(field.enum).items()]
        if len(texts) <= NAMED:
            return ", ".join(texts)
        return f"{', '.join(texts[:FIRST])}, ... ([all {len(texts)}](catalogue.md#{field.enum}))"
    if field.kind is Kind.BOOLEAN:
        return "true, false"
    if field.kind not in NUMERIC:
        return "text"
    bounds = f"{_range(field)} {field.unit}".strip() if None not in (field.minimum, field.maximum) else ""
    whole = "whole, " if field.kind is Kind.INTEGER else ""
    return whole + (bounds or f"no bounds{f' ({field.unit})' if field.unit else ''}")


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    columns = list(head)
    for cells in (columns, ["---"] * len(columns), *rows):
        yield "|".join(["", *(f" {cell} ".replace("|", "\\|") if cell else " " for cell in cells), ""])


if __name__ == "__main__":
    from pathlib import Path

    docs, tables = Path(__file__).parents[2] / "docs", load()
    (docs / "catalogue.md").write_text(reference(tables), encoding="utf-8")
    (docs / "writable.md").write_text(writable(tables), encoding="utf-8")
