"""How much of what a GX offers the catalogue knows, and whether its codes mean what they say elsewhere.

``python tools/coverage.py ATTRIBUTES.csv SERVICES.json`` takes Victron's list of Modbus attributes (dbus_modbustcp) and
the services of its Node-RED palette, and prints for each service how many paths are mapped by a field, ignored
(``catalog/ignored.csv``) and missing, then every code whose text is another there than here. What differs for a reason
stands in ``explained.csv`` (``*`` for any service, path or code). Exit status 1 where a path is missing or a
difference is not explained.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from victron_twin.catalog import Catalog, Field, Kind, load
from victron_twin.catalog.model import PLACEHOLDER, fill

HERE = Path(__file__).parent
EXPLAINED_COLUMNS = ["service", "path", "code", "ours", "theirs", "why"]

#: Paths of the palette that never arrive: stand-ins for several, and misspelt ones.
NEVER = frozenset(
    {
        "/Alarms/{alarm}",
        "/Alarms/{phase}/{alarm}",
        "/Bms/{bms}",
        "/Energy/{energy}",
        "/Ac/Out/{phase}}/V",
        "/Settings/DynamicEss/BatteryDishargeLimit",
    }
)
#: A service that the palette spells otherwise.
SPELT = {"accharger": "charger"}

_CODE = re.compile(r"(-?\d+|0x[0-9a-fA-F]+)(?:-(\d+))?")
#: Rules that show a code as it is, or not at all.
_PASSING = ("", "first", "on_off", "unless_zero")
_BOOLEAN = {0: "false", 1: "true"}


@dataclass
class Point:
    """One path of a service, with the texts that the lists give its codes."""

    service: str
    path: str
    lists: set[str] = field(default_factory=set)
    codes: dict[int, set[str]] = field(default_factory=dict)

    @property
    def is_setting(self) -> bool:
        return self.service == "settings" or "/Settings/" in self.path


@dataclass(frozen=True)
class Difference:
    """A code whose text is another in a list. ``ours`` is empty where the catalogue does not have the code."""

    service: str
    path: str
    code: int
    ours: str
    theirs: str


Points = dict[tuple[str, str], Point]


def read_attributes(file: Path, points: Points) -> None:
    """``com.victronenergy.SERVICE,/Path,type,unit or enum,...`` without a header; gaps are named RESERVED."""
    for row in csv.reader(file.read_text(encoding="utf-8").splitlines()):
        service, path, _, unit = row[:4]
        if path.startswith("/"):
            texts = dict(part.split("=", 1) for part in unit.split(";") if "=" in part)
            _add(points, service.removeprefix("com.victronenergy."), path, file.name, texts)


def read_services(file: Path, points: Points) -> None:
    """``{node: {service: [{path, type, enum?}]}}``."""
    for node in json.loads(file.read_text(encoding="utf-8")).values():
        for service, paths in node.items():
            for row in paths if isinstance(paths, list) else ():
                _add(points, SPELT.get(service, service), row["path"], file.name, row.get("enum", {}))


def _add(points: Points, service: str, path: str, name: str, texts: Mapping[str, str]) -> None:
    """``texts`` by code; one can stand for several: ``51-52``."""
    point = points.setdefault((service, path), Point(service, path))
    point.lists.add(name)
    for codes, text in texts.items():
        if found := _CODE.fullmatch(codes.strip()):
            first = int(found[1], 0)
            for code in range(first, int(found[2] or first) + 1):
                point.codes.setdefault(code, set()).add(text.strip())


class Coverage:
    """The catalogue against the points of the lists."""

    def __init__(self, catalog: Catalog, points: Iterable[Point]) -> None:
        self._catalog = catalog
        self._first = {p.name: p.first for p in catalog.placeholders.values()}
        self._sources = {s for shadow in catalog.shadows for f in catalog.fields(shadow) for s in f.sources}
        self.never = [p for p in points if p.path in NEVER]
        rest = [p for p in points if p.path not in NEVER]
        self.mapped = {id(p): fields for p in rest if (fields := self._fields(p))}
        self.ignored = {id(p): why for p in rest if id(p) not in self.mapped and (why := self._reason(p)) is not None}
        self.points = rest

    def _fields(self, point: Point) -> tuple[Field, ...]:
        """The fields that a path feeds; of one with placeholders those of any path that it can mean."""
        if "{" not in point.path:
            found = tuple(f for f, _ in self._catalog.match(point.service, point.path))
            return found or self._catalog.helpers(point.service, point.path)
        meant = _meant(point.path)
        there = {fill(s.path, self._first) for s in self._sources if s.service == point.service}
        there |= {PLACEHOLDER.sub(first, point.path) for first in self._first.values()}
        found = tuple(f for path in there if meant.fullmatch(path) for f, _ in self._catalog.match(point.service, path))
        return tuple(dict.fromkeys(found))

    def _reason(self, point: Point) -> str | None:
        reason = self._catalog.ignored.reason(point.service, PLACEHOLDER.sub("0", point.path))
        meant = _meant(point.path)
        for row in self._catalog.ignored if reason is None and "{" in point.path else ():
            if row.service in ("*", point.service) and meant.fullmatch(fill(row.path, self._first)):
                return row.reason
        return reason

    def missing(self) -> Iterator[Point]:
        return (p for p in self.points if id(p) not in self.mapped and id(p) not in self.ignored)

    def differences(self) -> Iterator[Difference]:
        for point in self.points:
            fields = self.mapped.get(id(point), ())
            for code, texts in sorted(point.codes.items()) if fields else ():
                ours = [self._text(f, code) for f in fields if f.rule in _PASSING] or [f"(rule {fields[0].rule})"]
                for theirs in sorted(texts):
                    if not any(_same(text, theirs) for text in ours):
                        yield Difference(point.service, point.path, code, ours[0], theirs)

    def _text(self, row: Field, code: int) -> str:
        if row.kind in (Kind.ENUM, Kind.BITS):
            return self._catalog.enum(row.enum).get(code, "").removesuffix(f" ({code})")
        return _BOOLEAN.get(code, "") if row.kind is Kind.BOOLEAN else f"({row.kind.value})"


def _meant(path: str) -> re.Pattern[str]:
    """The paths that one with placeholders of the palette's own can mean."""
    return re.compile("[^/]+".join(re.escape(part) for part in re.split(r"\{\w+\}", path)))


def _same(ours: str, theirs: str) -> bool:
    """Equal but for case, blanks, hyphens and the like, and the number that an error's text may begin with."""
    return _plain(ours) == _plain(theirs)


def _plain(text: str) -> str:
    text = re.sub(r"^(ve\.bus )?(err(or)?\s*)?#?\d+\s*[:-]\s*", "", text.casefold())
    return re.sub(r"[^a-z0-9%+<>]", "", text)


class Explained:
    """The differences that have a reason."""

    def __init__(self, file: Path) -> None:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            self._rows = list(reader)
        if reader.fieldnames != EXPLAINED_COLUMNS or not all(row["why"] for row in self._rows):
            raise SystemExit(f"{file}: the header must be {','.join(EXPLAINED_COLUMNS)}, and why is never empty")
        self._used: set[int] = set()

    def why(self, difference: Difference) -> str | None:
        for n, row in enumerate(self._rows):
            wanted = (difference.service, difference.path, str(difference.code))
            if (
                all(row[c] in ("*", w) for c, w in zip(("service", "path", "code"), wanted, strict=True))
                and row["ours"] in ("*", difference.ours)
                and (row["theirs"] == "*" or _same(row["theirs"], difference.theirs))
            ):
                self._used.add(n)
                return row["why"]
        return None

    @property
    def unused(self) -> list[dict[str, str]]:
        return [row for n, row in enumerate(self._rows) if n not in self._used]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def tally(coverage: Coverage) -> Iterator[str]:
    """The table: a line a service, and the totals."""
    counts: dict[str, Counter[str]] = {}
    for point in coverage.points:
        what = "mapped" if id(point) in coverage.mapped else "ignored" if id(point) in coverage.ignored else "missing"
        for name in (point.service, "total", *(f"total of {n}" for n in point.lists)):
            counts.setdefault(name, Counter()).update([what] if point.is_setting else [what, f"measured {what}"])
    yield f"{'service':28}{'mapped':>8}{'ignored':>9}{'missing':>9}{'measured, mapped':>20}"
    for name in sorted(counts, key=lambda n: (n.startswith("total"), n)):
        n = counts[name]
        whole = sum(n[f"measured {what}"] for what in ("mapped", "ignored", "missing"))
        share = f"{n['measured mapped']}/{whole} {_percent(n['measured mapped'], whole)}"
        yield f"{name:28}{n['mapped']:8}{n['ignored']:9}{n['missing']:9}{share:>20}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("attributes", type=Path, metavar="ATTRIBUTES.csv")
    parser.add_argument("services", type=Path, metavar="SERVICES.json")
    parser.add_argument("--catalog", type=Path, help="the folder of another catalogue than the package's")
    parser.add_argument("--explained", type=Path, default=HERE / "explained.csv")
    parser.add_argument("--only", metavar="SERVICES", help="names of services, separated by commas")
    options = parser.parse_args(arguments)

    points: Points = {}
    read_attributes(options.attributes, points)
    read_services(options.services, points)
    only = options.only.split(",") if options.only else ()
    coverage = Coverage(
        load(options.catalog), [p for (service, _), p in sorted(points.items()) if not only or service in only]
    )
    explained = Explained(options.explained)

    print("\n".join(tally(coverage)))
    if coverage.never:
        print(f"\nnever arrive: {', '.join(p.service + p.path for p in coverage.never)}")
    missing = list(coverage.missing())
    print("".join(f"\nmissing: {p.service}{p.path}" for p in missing))
    differences = [(d, explained.why(d)) for d in coverage.differences()]
    unexplained = [d for d, why in differences if why is None]
    for d in unexplained:
        print(f"differs: {d.service}{d.path} {d.code}: ours {d.ours!r}, theirs {d.theirs!r}")
    for row in explained.unused if not only else ():
        print(f"note: explained.csv explains what does not differ: {','.join(row.values())}")
    explains = len(differences) - len(unexplained)
    print(f"\n{len(missing)} missing, {len(unexplained)} differences not explained, {explains} explained")
    return 1 if missing or unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
