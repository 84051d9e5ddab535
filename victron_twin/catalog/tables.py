"""Reading the catalogue's CSV files: rows that know where they stand, and cells that say what is wrong with them."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from .model import CatalogError

if TYPE_CHECKING:
    from importlib.abc import Traversable

_E = TypeVar("_E", bound=Enum)
_HEX = re.compile(r"0x[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table. Every reader of a cell raises CatalogError with the file and the line."""

    where: str
    cells: Mapping[str, str]

    def wrong(self, why: str) -> CatalogError:
        return CatalogError(f"{self.where}: {why}")

    def text(self, column: str, pattern: str = ".+") -> str:
        """A cell that must not be empty, or must have a form."""
        cell = self.cells[column]
        if not re.fullmatch(pattern, cell):
            raise self.wrong(f"{column} {cell!r} must match {pattern}" if cell else f"{column} is empty")
        return cell

    def words(self, column: str) -> tuple[str, ...]:
        return tuple(self.cells[column].split())

    def flag(self, column: str) -> bool:
        """``yes``, or empty."""
        cell = self.cells[column]
        if cell not in ("", "yes"):
            raise self.wrong(f"{column} {cell!r} must be yes or empty")
        return cell == "yes"

    def number(self, column: str) -> float | None:
        cell = self.cells[column]
        if not cell:
            return None
        if not re.fullmatch(r"-?\d+(\.\d+)?", cell):
            raise self.wrong(f"{column} {cell!r} is no number")
        return float(cell)

    def integer(self, column: str) -> int | None:
        """A decimal or ``0x`` hexadecimal integer."""
        cell = self.cells[column]
        if not cell:
            return None
        if _HEX.fullmatch(cell):
            return int(cell, 16)
        if not re.fullmatch(r"-?\d+", cell):
            raise self.wrong(f"{column} {cell!r} is no integer")
        return int(cell)

    def choice(self, column: str, choices: type[_E]) -> _E:
        cell = self.cells[column]
        try:
            return choices(cell)
        except ValueError:
            allowed = ", ".join(str(c.value) for c in choices)
            raise self.wrong(f"unknown {column} {cell!r}: it must be one of {allowed}") from None


def read(file: Traversable, name: str, columns: Sequence[str]) -> list[Row]:
    """The rows of a CSV file in UTF-8 whose header is exactly ``columns``; ``name`` is what errors call it."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{name}: {error}") from None
    reader = csv.reader(lines, strict=True)
    rows: list[Row] = []
    try:
        for cells in reader:
            where = f"{name}:{reader.line_num}"
            if reader.line_num == 1:
                if cells != list(columns):
                    raise CatalogError(f"{where}: the header must be {','.join(columns)}")
            elif cells and len(cells) != len(columns):
                raise CatalogError(f"{where}: {len(cells)} cells instead of {len(columns)}")
            elif cells:
                rows.append(Row(where, dict(zip(columns, (c.strip() for c in cells), strict=True))))
    except csv.Error as error:
        raise CatalogError(f"{name}:{reader.line_num}: {error}") from None
    return rows
