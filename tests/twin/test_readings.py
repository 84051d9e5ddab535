from __future__ import annotations

import contextlib
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import CATALOG
from victron_twin.catalog import Catalog
from victron_twin.catalog.model import Field, Kind
from victron_twin.twin.readings import Trouble, Unreadable, decode, fit, rounded


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return CATALOG


def row(catalog: Catalog, kind: Kind, decimals: int | None = None, enum: str = "") -> Field:
    some = catalog.fields("victron-battery")[0]
    return replace(some, kind=kind, decimals=decimals, enum=enum, minimum=None, maximum=None)


@pytest.mark.parametrize(
    ("payload", "trouble"),
    [
        (b"hello", Trouble.NOT_JSON),
        (b"{", Trouble.NOT_JSON),
        (b'{"value":NaN}', Trouble.NOT_A_NUMBER),
        (b'{"value":-Infinity}', Trouble.NOT_A_NUMBER),
        (b"12", Trouble.NO_VALUE),
        (b'{"wert":12}', Trouble.NO_VALUE),
        (b'["value"]', Trouble.NO_VALUE),
        (b'{"value":"' + b"x" * 5000 + b'"}', Trouble.OVERSIZED),
    ],
)
def test_names_what_is_wrong_with_a_payload(payload: bytes, trouble: Trouble) -> None:
    with pytest.raises(Unreadable) as error:
        decode(payload)
    assert error.value.trouble is trouble


@given(st.binary(max_size=200))
def test_any_payload_is_a_value_or_a_named_trouble(payload: bytes) -> None:
    with contextlib.suppress(Unreadable):
        assert "value" in decode(payload)


@pytest.mark.parametrize(
    ("kind", "raw", "shown"),
    [
        (Kind.NUMBER, 57.0499992371, 57.05),
        (Kind.NUMBER, -0.001, 0),
        (Kind.NUMBER, 12, 12),
        (Kind.INTEGER, 3479.9997, 3480),
        (Kind.ENUM, 3, "Bulk"),
        (Kind.ENUM, 3.0, "Bulk"),
        (Kind.ENUM, 77, "Unknown (77)"),
        (Kind.BOOLEAN, 1, True),
        (Kind.BOOLEAN, False, False),
        (Kind.TEXT, "Rig boat", "Rig boat"),
        (Kind.NUMBER, None, None),
    ],
)
def test_shows_a_value_as_its_field_does(catalog: Catalog, kind: Kind, raw: object, shown: object) -> None:
    value = fit(raw, row(catalog, kind, 2, "charge_state"), catalog)
    assert value == shown
    assert type(value) is type(shown)


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (Kind.NUMBER, "12.5"),
        (Kind.NUMBER, True),
        (Kind.NUMBER, [1]),
        (Kind.INTEGER, {}),
        (Kind.TEXT, 12),
        (Kind.ENUM, 2.5),
        (Kind.ENUM, "Bulk"),
        (Kind.BOOLEAN, 2),
    ],
)
def test_what_is_no_value_of_the_field_is_never_shown_as_another(catalog: Catalog, kind: Kind, raw: object) -> None:
    with pytest.raises(Unreadable) as error:
        fit(raw, row(catalog, kind, 2, "charge_state"), catalog)
    assert error.value.trouble is Trouble.TYPE


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.integers(0, 6))
def test_rounding_is_idempotent_and_never_minus_zero(number: float, decimals: int) -> None:
    once = rounded(number, decimals)
    assert rounded(once, decimals) == once
    assert math.copysign(1, once) == 1 or once < 0
