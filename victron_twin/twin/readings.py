"""From the payload of a message to a value of a field, or to the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeGuard

import orjson

from victron_twin.catalog import Catalog
from victron_twin.catalog.model import Field, Kind

#: A value as it stands in a shadow. None: the GX says there is none.
Value = str | int | float | bool | None

#: The longest payload that is read as a value. The GX passes 200 kB; the longest seen of a catalogued path is 60 bytes.
LONGEST = 4096
#: Numbers beyond are no readings, and not every reader of JSON has them.
LARGEST = 2.0**53
#: Of what is passed on without a table.
RAW_DECIMALS = 4
#: The longest text that is shown.
LONGEST_TEXT = 256


class Trouble(str, Enum):
    """Why a message gives no value; the label of a counter."""

    TOPIC = "topic"  #: a topic of another form
    NOT_JSON = "not-json"
    NOT_A_NUMBER = "not-a-number"  #: NaN or an infinity
    NO_VALUE = "no-value"  #: JSON without a "value"
    OVERSIZED = "oversized"
    IMPLAUSIBLE = "implausible"  #: outside the range that the field can have
    TYPE = "type"  #: a value of a type that the field does not have


class Unreadable(ValueError):
    """A message that gives no value."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.value)
        self.trouble = trouble


def decode(payload: bytes) -> dict[str, Any]:
    """``{"value": X, "min"?: ..., "max"?: ...}`` of a payload that is not empty."""
    if len(payload) > LONGEST:
        raise Unreadable(Trouble.OVERSIZED)
    try:
        read = orjson.loads(payload)
    except ValueError:
        numeric = any(word in payload for word in (b"NaN", b"nan", b"Infinity", b"inf"))
        raise Unreadable(Trouble.NOT_A_NUMBER if numeric else Trouble.NOT_JSON) from None
    if type(read) is not dict or "value" not in read:
        raise Unreadable(Trouble.NO_VALUE)
    return read


def is_number(raw: object) -> TypeGuard[int | float]:
    """A finite int or float; a bool is none. The two flip all the time on one topic."""
    return type(raw) is int or (type(raw) is float and math.isfinite(raw))


def fit(raw: object, field: Field, catalog: Catalog, bounded: bool = True) -> Value:
    """The value as the field shows it: rounded, a code as its text. None stays None.

    Raises Unreadable where it is no value of this field, or (``bounded``) lies outside the field's range: a MultiPlus
    without a sensor says -273 degrees.
    """
    if raw is None:
        return None
    kind = field.kind
    if kind is Kind.RAW:
        return _raw(raw)
    if is_number(raw):
        if abs(raw) > LARGEST or (bounded and not _possible(raw, field)):
            raise Unreadable(Trouble.IMPLAUSIBLE)
        if kind is Kind.NUMBER:
            return rounded(raw, field.decimals or 0)
        if kind is Kind.INTEGER:
            return round(raw)
        if kind is Kind.BOOLEAN and raw in (0, 1):
            return bool(raw)
        if kind is Kind.ENUM and raw == int(raw):
            return catalog.text(field.enum, int(raw))
        if kind is Kind.BITS and raw == int(raw):
            return bits(int(raw), catalog.enum(field.enum))
    elif kind is Kind.TEXT and type(raw) is str:
        if len(raw) > LONGEST_TEXT:
            raise Unreadable(Trouble.OVERSIZED)
        return raw
    elif kind is Kind.BOOLEAN and type(raw) is bool:
        return raw
    raise Unreadable(Trouble.TYPE)


def _raw(raw: object) -> Value:
    """A value of a path that no table has: float32 noise is rounded, and a text must be short."""
    if isinstance(raw, bool):
        return raw
    if is_number(raw) and abs(raw) <= LARGEST:
        return rounded(raw, RAW_DECIMALS)
    if isinstance(raw, str) and len(raw) <= LONGEST_TEXT:
        return raw
    raise Unreadable(Trouble.OVERSIZED if isinstance(raw, str) else Trouble.TYPE)


def _possible(number: float, field: Field) -> bool:
    """Within the range of the field."""
    return (field.minimum is None or number >= field.minimum) and (field.maximum is None or number <= field.maximum)


def bits(mask: int, names: Mapping[int, str]) -> str:
    """The names of the bits that are set, "None" where none is."""
    texts = [text for bit, text in sorted(names.items()) if bit and mask & bit == bit]
    return ", ".join(texts) or "None"


def rounded(number: float, decimals: int) -> int | float:
    """Rounded, an integer where nothing stands behind the point, and never -0."""
    result = round(float(number), decimals) + 0.0
    return int(result) if result.is_integer() else result
