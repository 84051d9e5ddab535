"""docs/catalogue.md, made from the catalogue: every field of every shadow, what may be written, the texts of the enums.

``python -m victron_twin.catalog.reference`` writes it anew; a test says when it is due.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .catalog import Catalog
from .loader import load
from .model import Field, Layout, ShadowKind, fill

HEAD = """\
# The catalogue

Made from the tables in `victron_twin/catalog/` by `python -m victron_twin.catalog.reference`: do not edit it here.
[adding-a-device.md](adding-a-device.md) says how to add to it; the same is served as JSON Schema at
`/schema/<shadow>.json`.

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


def reference(catalog: Catalog) -> str:
    """The whole document."""
    return "\n".join(_lines(catalog)) + "\n"


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
    first = {p.name: p.first for p in catalog.placeholders.values()}
    command = catalog.commands.of(field.shadow, fill(field.name, first), field.service) if field.writable else None
    if command is None:
        return ""
    parts = [command.kind.value]
    if command.guards:
        guarded = [
            ("all" if g.value == "*" else g.value)
            + (f" unless {g.field} is {' or '.join(g.unless)}" if g.field else "")
            for g in command.guards
        ]
        parts.append(f"guarded: {', '.join(guarded)}")
    if command.needs:
        parts.append("needs " + ", ".join(_code(f"{n.source}={n.value}") for n in command.needs))
    return "; ".join(parts)


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    columns = list(head)
    for cells in (columns, ["---"] * len(columns), *rows):
        yield "|".join(["", *(f" {cell} ".replace("|", "\\|") if cell else " " for cell in cells), ""])


if __name__ == "__main__":
    from pathlib import Path

    (Path(__file__).parents[2] / "docs" / "catalogue.md").write_text(reference(load()), encoding="utf-8")
