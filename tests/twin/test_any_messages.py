"""Whatever a GX sends, in whatever order: the documents are valid, small enough, and say what was heard last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import CATALOG
from tests.twin.test_twin import PORTAL, START
from victron_twin.catalog.model import Layout, fill
from victron_twin.catalog.schema import schemas
from victron_twin.twin.devices import HOLD
from victron_twin.twin.flat import Flat, nest
from victron_twin.twin.ledger import REPORTED_LIMIT, Ledger
from victron_twin.twin.primary import SETTLE, Key
from victron_twin.twin.twin import Twin

VALIDATORS = {name: jsonschema.Draft202012Validator(made) for name, made in schemas(CATALOG).items()}

#: What these rules show depends on what was before: a counter that falls to 0, a panel at dusk, an energy.
REMEMBERING = {"counter", "ratio", "efficiency"}


def _topics() -> list[tuple[str, str]]:
    first = {p.name: p.first for p in CATALOG.placeholders.values()}
    sources = (s for name in CATALOG.shadows for field in CATALOG.fields(name) for s in field.sources)
    return sorted({(s.service, fill(s.path, first)) for s in sources})


TOPICS = _topics()
INSTANCES = {s: ("0", "1", "288") for k in CATALOG.shadows.values() for s in k.services}
SINGLE = {"system": ("0",), "settings": ("0",), "platform": ("0",), "hub4": ("0",)}

NUMBERS = st.one_of(
    st.integers(-10, 300), st.integers(), st.floats(), st.sampled_from([0, 1, 252, 245, 864000, 57.0499992371, -0.0])
)
VALUES = st.one_of(NUMBERS, st.none(), st.booleans(), st.text(max_size=20), st.just("x" * 300), st.just([1, None]))
PAYLOADS = st.one_of(
    VALUES.map(
        lambda value: orjson.dumps({"value": value}, option=orjson.OPT_PASSTHROUGH_SUBCLASS) if _fits(value) else b""
    ),
    NUMBERS.filter(lambda n: abs(n) < 2**53 and n == n).map(lambda n: orjson.dumps({"value": n})),
    st.sampled_from(
        [b"", b"{", b'{"value":NaN}', b'{"v":1}', b"[]", b'{"value":null}', b'{"value":1,"min":null,"max":5}']
    ),
)


def _fits(value: Any) -> bool:
    return not isinstance(value, int) or abs(value) < 2**53


@st.composite
def messages(draw: st.DrawFn) -> list[tuple[str, bytes, float]]:
    topics = draw(st.lists(st.sampled_from(TOPICS), min_size=1, max_size=12))
    said = []
    for _ in range(draw(st.integers(1, 40))):
        service, path = draw(st.sampled_from(topics))
        instance = draw(st.sampled_from(SINGLE.get(service) or INSTANCES[service]))
        said.append((f"N/{PORTAL}/{service}/{instance}{path}", draw(PAYLOADS), draw(st.sampled_from([0.0, 0.5, 11.0]))))
    return said


def twin(remembered: Mapping[str, Key] | None = None) -> Twin:
    made = Twin(CATALOG, lambda trouble, where, value: None, remembered=remembered)
    made.portal = PORTAL
    return made


def shown(twin: Twin, now: float) -> dict[str, Flat]:
    """The documents when all holds are over and all primaries are settled, without what time or memory gives."""
    twin.sheets(now)
    twin.sheets(now + HOLD + SETTLE)
    sheets = twin.sheets(now + 3 * (HOLD + SETTLE))
    return {
        name: {
            path: value
            for path, value in sheet.values.items()
            if path[-1] not in ("since", "lastUpdate", "missing")
            and (path not in sheet.fields or sheet.fields[path].rule not in REMEMBERING)
        }
        for name, sheet in sheets.items()
    }


@settings(max_examples=150, deadline=None)
@given(messages())
def test_documents_are_valid_and_say_what_was_heard_last(said: list[tuple[str, bytes, float]]) -> None:
    heard, now = twin(), START
    heard.settle()
    last: dict[str, bytes] = {}
    for topic, payload, later in said:
        now += later
        heard.receive(topic.encode(), payload, now)
        last.pop(topic, None)
        last[topic] = payload
        for name, sheet in heard.sheets(now).items():
            _check(name, Ledger().wanted(sheet))
    fresh = twin(heard.primaries)
    fresh.settle()
    for topic, payload in last.items():
        fresh.receive(topic.encode(), payload, now)
    assert _alike(shown(heard, now), shown(fresh, now), heard)


def _alike(one: dict[str, Flat], other: dict[str, Flat], heard: Twin) -> bool:
    """The same; but what a device had that has left the bus is kept by who has seen it."""
    for name in one.keys() | other.keys():
        gone = {
            place
            for device, place in heard.placed(CATALOG.shadows[name])
            if not device.connected or any(not slot.raw for slot in device.slots.values())
        }
        mine, others = one.get(name, {}), other.get(name, {})
        for path in mine.keys() | others.keys():
            if any(path[: len(place)] == place for place in gone):
                continue
            assert mine.get(path) == others.get(path), (name, path)
    return True


def _check(name: str, values: Flat) -> None:
    document = nest(values)
    assert len(orjson.dumps(document)) <= REPORTED_LIMIT
    assert _depth(document) <= 6
    error = next(VALIDATORS[name].iter_errors(document), None)
    assert error is None, f"{name}: {error.message} at {list(error.absolute_path)}" if error else ""


def _depth(section: Any) -> int:
    return 1 + max(map(_depth, section.values()), default=0) if isinstance(section, dict) else 0


def test_every_topic_is_tried() -> None:
    services = {service for k in CATALOG.shadows.values() if k.layout is not Layout.OWN for service in k.services}
    assert {service for service, _ in TOPICS} & services
