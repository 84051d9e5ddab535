"""The names of fields as the tree of keys that they make in a document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Union

from .model import PLACEHOLDER, Field

#: Keys to fields, or to further keys. A key may hold placeholders: ``l{phase}``.
Tree = dict[str, Union["Tree", Field]]


class Clash(ValueError):
    """Two fields want the same key for different things."""


def template(text: str, patterns: Mapping[str, str], *, named: bool = True) -> str:
    """The regular expression of a text with placeholders: a group for each, of its name if ``named``."""
    out, at = [], 0
    for found in PLACEHOLDER.finditer(text):
        out += [re.escape(text[at : found.start()]), f"({f'?P<{found[1]}>' if named else '?:'}{patterns[found[1]]})"]
        at = found.end()
    return "".join((*out, re.escape(text[at:])))


def insert(tree: Tree, field: Field, patterns: Mapping[str, str]) -> None:
    """Put a field in its place. Raises Clash where a key, or one that could be the same, stands for something else."""
    *above, last = field.name.split(".")
    for key in above:
        _alone(tree, key, field, patterns)
        inner = tree.setdefault(key, {})
        if isinstance(inner, Field):
            raise Clash(f"field {field.name!r} stands below the field {inner.name!r}")
        tree = inner
    _alone(tree, last, field, patterns)
    if last in tree:
        other = tree[last]
        if isinstance(other, Field):
            raise Clash(f"field {field.name!r} is there twice")
        raise Clash(f"field {field.name!r} has the name of an object that holds other fields")
    tree[last] = field


def _alone(tree: Tree, key: str, field: Field, patterns: Mapping[str, str]) -> None:
    for other in tree:
        if other != key and _may_be_one(other, key, patterns):
            raise Clash(f"field {field.name!r}: the key {key!r} can be the same as {other!r} of another field")


def _may_be_one(one: str, other: str, patterns: Mapping[str, str]) -> bool:
    if not PLACEHOLDER.search(one):
        one, other = other, one
    if not PLACEHOLDER.search(one):
        return False
    if not PLACEHOLDER.search(other):
        return re.fullmatch(template(one, patterns), other) is not None
    (start, *_, end), (other_start, *_, other_end) = _literals(one), _literals(other)
    return _extend(start, other_start) and _extend(end[::-1], other_end[::-1])


def _literals(text: str) -> list[str]:
    """What stands before, between and behind the placeholders."""
    return re.split(r"\{\w+\}", text)


def _extend(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
