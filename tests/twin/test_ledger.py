"""The ledger against the shadow service's own rules: what it sends makes reported what the twin says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support import CATALOG, size
from victron_twin.catalog.model import Cadence
from victron_twin.twin import shadow
from victron_twin.twin.flat import Flat, flatten, nest
from victron_twin.twin.ledger import REPORTED_LIMIT, TOGETHER_LIMIT, Ledger
from victron_twin.twin.sheet import Sheet

ROW = CATALOG.fields("victron-battery")[0]


def sheet(values: Flat, **row: Any) -> Sheet:
    return Sheet(values, {path: replace(ROW, **row) for path in values})


def due(ledger: Ledger, sheet: Sheet) -> bool:
    return any(ledger.due(sheet, sheet.values, cadence) for cadence in Cadence)


class Store:
    """A shadow as the service keeps it."""

    def __init__(self) -> None:
        self.shadow = shadow.NEVER
        self.requests: list[dict[str, Any]] = []

    def take(self, ledger: Ledger, wanted: Flat) -> None:
        for _ in range(3):
            patch = ledger.patch(wanted)
            if patch is None:
                return
            request = patch.request(ledger.version)
            self.requests.append(request)
            self.shadow, answer = shadow.update(self.shadow, shadow.read(request), 1)
            assert ledger.accept(patch, answer["version"])
        raise AssertionError("more than a patch to set and one to remove")

    @property
    def reported(self) -> dict[str, Any]:
        return dict(shadow.document(self.shadow, 1)["state"].get("reported", {}))


keys = st.sampled_from(["a", "b", "c"])
scalars = st.one_of(st.integers(-5, 5), st.booleans(), st.text("xyz", max_size=3))


def sections(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    inner = scalars if depth == 0 else st.one_of(scalars, sections(depth - 1).filter(bool))
    return st.dictionaries(keys, inner, max_size=3)


@given(st.lists(sections(2), min_size=1, max_size=6))
def test_reported_becomes_what_the_twin_says_by_whatever_way(documents: list[dict[str, Any]]) -> None:
    ledger, store = Ledger(), Store()
    for document in documents:
        store.take(ledger, flatten(document))
        assert flatten(store.reported) == flatten(document) == ledger.acknowledged


def objects(value: Any) -> list[dict[str, Any]]:
    return [value, *(o for v in value.values() for o in objects(v))] if isinstance(value, dict) else []


@given(st.lists(sections(2), min_size=1, max_size=6))
def test_no_update_breaks_a_rule_of_shadow_manager(documents: list[dict[str, Any]]) -> None:
    ledger, store = Ledger(), Store()
    for document in documents:
        store.take(ledger, flatten(document))
    for request in store.requests:
        reported = request["state"]["reported"]
        assert all(objects(reported)), "an empty object deletes"
        leaves = [None if v is None else 0 for v in flatten(reported).values()]
        assert len(set(leaves)) == 1, "removals stand alone"
        assert request is not store.requests[0] or None not in leaves, "a first write with nulls stores them"


def test_below_the_deadband_nothing_is_due_but_it_rides_along() -> None:
    ledger = Ledger()
    ledger.load({"state": {"reported": {"voltage": 12.0, "current": 1.0}}, "version": 7})
    small = sheet({("voltage",): 12.04, ("current",): 1.0}, deadband=0.05)
    assert not due(ledger, small)
    large = sheet({("voltage",): 12.05, ("current",): 1.01}, deadband=0.05)
    assert due(ledger, large)
    patch = ledger.patch(large.values)
    assert patch is not None
    assert patch.set == {("voltage",): 12.05, ("current",): 1.01}


def test_a_slow_drift_is_seen_against_what_was_acknowledged() -> None:
    ledger = Ledger()
    ledger.load({"state": {"reported": {"voltage": 12.0}}, "version": 7})
    drift = [sheet({("voltage",): 12 + step / 100}, deadband=0.05) for step in range(8)]
    assert [due(ledger, each) for each in drift] == [False] * 5 + [True] * 3


def test_each_cadence_looks_at_its_own_fields() -> None:
    ledger = Ledger()
    ledger.load({"state": {"reported": {"voltage": 12.0}}, "version": 7})
    changed = sheet({("voltage",): 13.0}, cadence=Cadence.SLOW)
    assert [ledger.due(changed, changed.values, c) for c in Cadence] == [False, False, True, False]


def test_last_update_never_causes_a_write() -> None:
    ledger = Ledger()
    ledger.load({"state": {"reported": {"lastUpdate": "2024-01-15T14:30:00Z"}}, "version": 7})
    later = Sheet({("lastUpdate",): "2024-01-15T14:31:00Z"}, {})
    assert not due(ledger, later)


def test_true_is_not_one() -> None:
    ledger = Ledger()
    ledger.load({"state": {"reported": {"a": 1}}, "version": 1})
    assert ledger.patch({("a",): True}) is not None
    assert ledger.patch({("a",): 1.0}) is None


def test_a_settled_desire_follows_what_is_reported() -> None:
    ledger = Ledger()
    ledger.load({"state": {"reported": {"mode": "On"}, "desired": {"mode": "On"}}, "version": 3})
    patch = ledger.patch({("mode",): "Off"})
    assert patch is not None
    assert patch.request(ledger.version) == {
        "state": {"reported": {"mode": "Off"}, "desired": {"mode": "Off"}},
        "version": 3,
    }


def test_a_new_desire_is_not_overwritten_by_a_change_at_the_panel() -> None:
    ledger = Ledger()
    ledger.load({"state": {"reported": {"mode": "On"}, "desired": {"mode": "Charger Only"}}, "version": 3})
    patch = ledger.patch({("mode",): "Off"})
    assert patch is not None
    assert patch.request(ledger.version) == {"state": {"reported": {"mode": "Off"}}}
    settled = ledger.patch({("mode",): "Off"}, [("mode",)])
    assert settled is not None
    assert settled.desired == {("mode",): "Off"}


def test_a_write_by_somebody_else_is_noticed() -> None:
    ledger = Ledger()
    ledger.load({"state": {"reported": {"a": 1}}, "version": 4})
    patch = ledger.patch({("a",): 2})
    assert patch is not None
    assert ledger.accept(patch, 5)
    patch = ledger.patch({("a",): 3})
    assert patch is not None
    assert not ledger.accept(patch, 7)


def crowd(count: int) -> Sheet:
    values: Flat = {("devices", str(n // 10), f"field{n % 10}"): "x" * 50 for n in range(count)}
    rows = {path: replace(ROW, priority=int(path[2][5:])) for path in values}
    return Sheet({**values, ("connected",): True}, rows)


def test_a_document_that_grows_too_large_loses_its_least_fields_and_names_them() -> None:
    ledger, large = Ledger(), crowd(150)
    wanted = ledger.wanted(large)
    assert size(wanted) <= REPORTED_LIMIT
    assert ("connected",) in wanted
    lost = {path[2] for path in ledger.left_out}
    kept = {path[2] for path in wanted if len(path) == 3}
    assert max(lost) <= min(kept) or len(lost & kept) <= 1
    assert ledger.names_left_out()[0].startswith("devices.")
    few = crowd(20)
    assert ledger.wanted(few) == few.values
    assert not ledger.left_out


def test_a_field_that_was_left_out_does_not_come_and_go() -> None:
    ledger = Ledger()
    ledger.wanted(crowd(120))
    before = set(ledger.left_out)
    sheet = crowd(120)
    sheet.values[("devices", "0", "field9")] = "x" * 20
    ledger.wanted(sheet)
    assert ledger.left_out == before


def test_reported_makes_room_for_what_is_desired() -> None:
    ledger = Ledger()
    ledger.load({"state": {"desired": {"note": "x" * 4000}}, "version": 1})
    wanted = ledger.wanted(crowd(150))
    assert size(wanted) + ledger.desired_size <= TOGETHER_LIMIT
    assert nest(wanted)["connected"] is True


def test_what_is_gone_is_removed_first_where_the_document_is_full() -> None:
    """Else what is to be set would be refused as too large, for ever."""
    ledger, store = Ledger(), Store()
    before: Flat = {("old", str(n)): "x" * 100 for n in range(50)}
    store.take(ledger, before)
    after: Flat = {("new", str(n)): "x" * 100 for n in range(50)}
    store.take(ledger, after)
    assert store.reported == nest(after)
    assert [list(request["state"]["reported"]) for request in store.requests] == [["old"], ["old"], ["new"]]


KEYS = st.sampled_from(["state", "a", "b"])
DESIRED = st.dictionaries(KEYS, st.recursive(st.integers(), lambda inner: st.dictionaries(KEYS, inner, max_size=2)))


@given(DESIRED, st.data())
def test_what_is_cleared_is_gone_and_the_rest_stays(desired: dict[str, Any], data: st.DataObject) -> None:
    leaves = flatten(desired)
    paths = data.draw(st.lists(st.sampled_from(sorted(leaves)), unique=True)) if leaves else []
    held, _ = shadow.update(shadow.NEVER, shadow.read({"state": {"desired": desired}}), 0)
    ledger = Ledger()
    ledger.load(shadow.document(held, 0))
    request, rest = ledger.clearing(paths)
    if not paths:
        assert not request
        return
    held, answer = shadow.update(held, shadow.read(request), 0)
    ledger.cleared(request, answer["version"])
    assert flatten(ledger.desired) == flatten(held.desired.values)
    if rest:
        assert not ledger.desired  # a state of the top goes with the whole section
        held, _ = shadow.update(held, shadow.read({"state": {"desired": nest(rest)}}), 0)
    else:
        assert ("state",) not in paths or not held.desired.values
    assert flatten(held.desired.values) == {path: value for path, value in leaves.items() if path not in paths}


def test_an_empty_object_is_cleared_where_that_is_something() -> None:
    ledger = Ledger()
    ledger.load({"state": {"desired": {"setpoints": {}, "mode": "On"}}, "version": 3})
    assert ledger.clearing([("setpoints",)], empties=False) == ({}, {})
    assert ledger.clearing([("setpoints",)]) == ({"state": {"desired": {"setpoints": None}}, "version": 3}, {})
