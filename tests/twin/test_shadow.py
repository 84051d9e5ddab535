"""The shadow service's rules: what an update does, what is refused and in which words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from victron_twin.twin import shadow as rules
from victron_twin.twin.shadow import NEVER, Refused, Shadow

NOW = 1_700_000_000


def updated(shadow: Shadow, request: Any, now: int = NOW) -> Shadow:
    return rules.update(shadow, rules.read(request), now)[0]


def after(*states: Any) -> Shadow:
    """The shadow that these updates of ``state`` leave."""
    shadow = NEVER
    for state in states:
        shadow = updated(shadow, {"state": state})
    return shadow


def state(shadow: Shadow) -> Any:
    return rules.document(shadow, NOW)["state"]


def refusal(request: Any, shadow: Shadow = NEVER) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        updated(shadow, request)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param(
            [{"reported": {"a": {"x": 1}}}, {"reported": {"a": {"y": 2}}}], {"a": {"x": 1, "y": 2}}, id="merge"
        ),
        pytest.param([{"reported": {"a": 1, "b": 2}}, {"reported": {"a": None}}], {"b": 2}, id="null removes"),
        pytest.param([{"reported": {"a": 1, "b": None}}], {"a": 1}, id="null is never stored"),
        pytest.param([{"reported": {"a": {"b": None, "c": 1}}}], {"a": {"c": 1}}, id="nor deeper"),
        pytest.param([{"reported": {"a": [1, 2]}}, {"reported": {"a": [3]}}], {"a": [3]}, id="arrays are replaced"),
        pytest.param([{"reported": {"a": 1}}, {"reported": {"a": {"b": 2}}}], {"a": {"b": 2}}, id="object over scalar"),
        pytest.param([{"reported": {"a": {"b": 2}}}, {"reported": {"a": 1}}], {"a": 1}, id="scalar over object"),
        pytest.param([{"reported": {"a": 3}}, {"reported": {"a": {}}}], {"a": {}}, id="an empty object is a value"),
        pytest.param(
            [{"reported": {"a": {"b": 2}}}, {"reported": {"a": {}}}], {"a": {"b": 2}}, id="and removes nothing"
        ),
    ],
)
def test_update_merges(states: list[Any], expected: Any) -> None:
    assert state(after(*states)) == {"reported": expected}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([{"desired": {"a": 1}, "reported": {"a": 1}}, {"desired": None}], {"reported": {"a": 1}}),
        ([{"reported": {"a": 1}}, {"reported": None}], {}),
        ([{"reported": {"a": 1}}, {"reported": {"a": None}}], {}),
        ([{"desired": {}}], {}),
        ([{}], {}),
        ([{"reported": {"a": 1}}, {}], {"reported": {"a": 1}}),
        ([{"desired": {"a": 1}, "reported": {"a": 1}}, None], {}),
    ],
)
def test_section_that_holds_nothing_is_absent(states: list[Any], expected: Any) -> None:
    shadow = after(*states)
    assert state(shadow) == expected
    assert shadow.version == len(states)


@pytest.mark.parametrize(
    ("desired", "reported", "delta"),
    [
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1}, {"a": 1.0}, None),
        ({"a": True}, {"a": 1}, {"a": True}),
        ({"a": 0}, {"a": False}, {"a": 0}),
        ({"a": "1"}, {"a": 1}, {"a": "1"}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3, "d": 4}}, {"a": {"c": 2}}),
        ({"a": [1, 2]}, {"a": [1.0, 2]}, None),
        ({"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 2]}),
        ({"a": [[1]]}, {"a": [[1], [2]]}, {"a": [[1]]}),
        ({"a": [{"b": 1}]}, {"a": [{"b": True}]}, {"a": [{"b": 1}]}),
        ({"a": {}}, {"b": 1}, {"a": {}}),
        ({"a": {}}, {"a": {"b": 1}}, None),
        ({"a": {"b": 1}}, {"a": 5}, {"a": {"b": 1}}),
        ({"a": 1}, {"a": 1, "b": 2}, None),
    ],
)
def test_delta_is_what_is_desired_and_not_reported(desired: Any, reported: Any, delta: Any) -> None:
    shadow = after({"desired": desired}, {"reported": reported})
    assert state(shadow).get("delta") == delta


def test_document_and_answer_have_the_services_form() -> None:
    first, answer = rules.update(NEVER, rules.read({"state": {"desired": {"a": {"b": 1}}}, "clientToken": "t"}), NOW)
    assert answer == {
        "state": {"desired": {"a": {"b": 1}}},
        "metadata": {"desired": {"a": {"b": {"timestamp": NOW}}}},
        "version": 1,
        "timestamp": NOW,
        "clientToken": "t",
    }
    second = updated(first, {"state": {"reported": {"x": [1, {"y": 2}]}}, "other": "is ignored"}, NOW + 5)
    assert rules.document(second, NOW + 9) == {
        "state": {
            "desired": {"a": {"b": 1}},
            "reported": {"x": [1, {"y": 2}]},
            "delta": {"a": {"b": 1}},
        },
        "metadata": {
            "desired": {"a": {"b": {"timestamp": NOW}}},
            "reported": {"x": [{"timestamp": NOW + 5}, {"y": {"timestamp": NOW + 5}}]},
        },
        "version": 2,
        "timestamp": NOW + 9,
    }


def test_metadata_is_renewed_for_what_is_sent_even_where_it_is_the_same() -> None:
    shadow = updated(after({"reported": {"a": 1, "b": 2}}), {"state": {"reported": {"a": 1}}}, NOW + 7)
    assert rules.document(shadow, NOW)["metadata"] == {
        "reported": {"a": {"timestamp": NOW + 7}, "b": {"timestamp": NOW}}
    }


@pytest.mark.parametrize(
    ("sent", "metadata"),
    [
        (None, {"timestamp": NOW}),
        ({"desired": None}, {"desired": {"timestamp": NOW}}),
        ({"reported": {"a": None}}, {"reported": {"a": {"timestamp": NOW}}}),
    ],
)
def test_answer_repeats_the_nulls_that_were_sent(sent: Any, metadata: Any) -> None:
    answer = rules.update(after({"reported": {"a": 1}}), rules.read({"state": sent}), NOW)[1]
    assert answer == {"state": sent, "metadata": metadata, "version": 2, "timestamp": NOW}


def test_versions_go_on_after_a_delete() -> None:
    gone, answer = rules.delete(after({"reported": {"a": 1}}, {"reported": {"a": 2}}), NOW)
    assert answer == {"version": 3, "timestamp": NOW}
    again = updated(gone, {"state": {"reported": {"b": 1}}})
    assert again.version == 4
    assert state(again) == {"reported": {"b": 1}}


@pytest.mark.parametrize("version", [0, 1, 3, 99])
def test_supplied_version_must_be_the_current_one(version: int) -> None:
    shadow = after({"reported": {"a": 1}}, {"reported": {"a": 2}})
    assert updated(shadow, {"state": {}, "version": 2}).version == 3
    assert refusal({"state": {}, "version": version}, shadow) == (409, "Version conflict")


def test_version_of_a_shadow_that_is_not_there_is_zero() -> None:
    gone = rules.delete(after({"reported": {"a": 1}}), NOW)[0]
    for shadow in NEVER, gone:
        assert refusal({"state": {}, "version": 1}, shadow) == (409, "Version conflict")
        assert not updated(shadow, {"state": {}, "version": 0}).deleted
    assert refusal({"state": {}, "version": 2}, gone) == (409, "Version conflict")


def nested(levels: int, leaf: Any = 1) -> Any:
    for _ in range(levels):
        leaf = {"x": leaf}
    return leaf


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "Missing required node: state"),
        ([], "Missing required node: state"),
        (66, "Missing required node: state"),
        ({"state": 1}, "State node must be an object"),
        ({"state": []}, "State node must be an object"),
        ({"state": {"desired": 1}}, "Desired node must be an object"),
        ({"state": {"reported": [1]}}, "Reported node must be an object"),
        ({"state": {"delta": {}}}, "State contains an invalid node: 'delta'"),
        ({"state": {}, "version": "1"}, "Invalid version"),
        ({"state": {}, "version": 1.0}, "Invalid version"),
        ({"state": {}, "version": True}, "Invalid version"),
        ({"state": {}, "version": -1}, "Invalid version"),
        ({"state": {}, "clientToken": 1}, "Invalid clientToken"),
        ({"state": {}, "clientToken": "x" * 65}, "Invalid clientToken"),
        ({"state": {}, "clientToken": "ä" * 33}, "Invalid clientToken"),
        ({"state": {"desired": {"a": [1, None]}}}, "Arrays may not contain null"),
        ({"state": {"desired": {"a": [{"b": None}]}}}, "Arrays may not contain null"),
        ({"state": {"desired": nested(9)}}, "JSON contains too many levels of nesting; maximum is 8"),
        ({"state": {"desired": nested(7, [[1]])}}, "JSON contains too many levels of nesting; maximum is 8"),
    ],
)
def test_malformed_requests_are_refused_in_the_services_words(request_: Any, message: str) -> None:
    assert refusal(request_) == (400, message)


def test_limits_are_inclusive() -> None:
    updated(NEVER, {"state": {"desired": nested(8)}})
    updated(NEVER, {"state": {}, "clientToken": "x" * 64, "version": None})
    updated(NEVER, {"state": {}, "clientToken": "ä" * 32})


def test_size_counts_both_sections_and_no_metadata() -> None:
    overhead = len('{"a":""}')
    shadow = after({"desired": {"a": "x" * (4000 - overhead)}})
    rest = rules.MAX_STATE - 4000 - overhead
    full = updated(shadow, {"state": {"reported": {"a": "x" * rest}}})
    too_much = {"state": {"reported": {"a": "x" * (rest + 1)}}}
    assert refusal(too_much, shadow) == (413, "The payload exceeds the maximum size allowed")
    # One character of two bytes in place of one of one.
    assert refusal({"state": {"reported": {"a": "x" * (rest - 1) + "ä"}}}, shadow)[0] == 413
    # What is removed in the same update makes room.
    updated(full, {"state": {"desired": None, "reported": {"b": "x" * 3000}}})


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", 400, "Payload contains invalid json"),
        (b"{", 400, "Payload contains invalid json"),
        (b"{'a': 1}", 400, "Payload contains invalid json"),
        (b'{"a": 1, "a": 2}', 400, "Payload contains invalid json"),
        (b'{"a": NaN}', 400, "Payload contains invalid json"),
        (b'{"a": -Infinity}', 400, "Payload contains invalid json"),
        (b'{"a": 1e999}', 400, "Payload contains invalid json"),
        (b'{"a": ' + b"9" * 5000 + b"}", 400, "Payload contains invalid json"),
        (b'{"a": "\xff"}', 415, "Unsupported documented encoding; supported encoding is UTF-8"),
        (b"[" * 100_000, 400, "JSON contains too many levels of nesting; maximum is 8"),
    ],
)
def test_body_that_is_no_json_is_refused(body: bytes, code: int, message: str) -> None:
    with pytest.raises(Refused) as caught:
        rules.parse(body)
    assert (caught.value.code, caught.value.message) == (code, message)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2}, b"x"])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(Refused, match="invalid json"):
        rules.compact({"state": {"reported": {"a": value}}})


@pytest.mark.parametrize(
    ("thing", "shadow"),
    [("", ""), ("x" * 129, ""), ("a/b", ""), ("ä", ""), ("a b", ""), ("t", "x" * 65), ("t", "a/b"), ("t", "a\n")],
)
def test_names_of_another_form_are_refused(thing: str, shadow: str) -> None:
    with pytest.raises(Refused, match="failed to satisfy constraint") as caught:
        rules.check_names(thing, shadow)
    assert caught.value.code == 400


def test_names_of_the_right_form_are_accepted() -> None:
    for thing, shadow in (("x" * 128, ""), ("a:B_9-", "x" * 64), ("t", "$package")):
        rules.check_names(thing, shadow)


# Properties

KEYS = st.sampled_from(["a", "b", "c", "timestamp"])
LEAVES = st.one_of(
    st.booleans(), st.integers(-2, 2), st.floats(-2, 2).map(lambda f: f + 0.0), st.sampled_from(["", "ä"])
)


def objects(leaves: st.SearchStrategy[Any], levels: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    inner: st.SearchStrategy[Any] = st.one_of(leaves, st.lists(LEAVES, max_size=2))
    for _ in range(levels):
        inner = st.one_of(leaves, st.dictionaries(KEYS, inner, max_size=3))
    return st.dictionaries(KEYS, inner, max_size=3)


VALUES = objects(LEAVES)
PATCHES = objects(st.one_of(st.none(), LEAVES))
STATES = st.fixed_dictionaries({}, optional={"desired": st.none() | PATCHES, "reported": st.none() | PATCHES})


def leaves_of(value: Any, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    """Every leaf and every empty container by its path."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = {p: leaf for key, inner in children for p, leaf in leaves_of(inner, (*path, key)).items()}
    return found or {path: value}


@given(st.lists(STATES, max_size=5))
def test_every_document_is_json_whose_times_have_the_shape_of_its_values(states: list[Any]) -> None:
    shadow = after(*states)
    document = json.loads(rules.compact(rules.document(shadow, NOW)))
    assert document["version"] == len(states)
    for section in shadow.desired, shadow.reported:
        values, times = leaves_of(section.values), leaves_of(section.times)
        assert values.keys() == times.keys()
        assert None not in values.values()
    assert document["state"].keys() - {"delta"} == document["metadata"].keys()


@given(st.lists(STATES, max_size=4), PATCHES)
def test_an_update_twice_is_the_update_once_but_for_the_version(states: list[Any], patch: Any) -> None:
    once = updated(after(*states), {"state": {"reported": patch}})
    twice = updated(once, {"state": {"reported": patch}})
    assert (twice.desired, twice.reported, twice.version) == (once.desired, once.reported, once.version + 1)


@given(VALUES, PATCHES)
def test_an_update_touches_only_the_fields_it_names(values: Any, patch: Any) -> None:
    before = after({"reported": values})
    then = updated(before, {"state": {"reported": patch}}, NOW + 1).reported
    for key in before.reported.values.keys() - patch.keys():
        assert then.values[key] == before.reported.values[key]
        assert then.times[key] == before.reported.times[key]
    assert then.values.keys() <= before.reported.values.keys() | patch.keys()


@given(VALUES, VALUES)
def test_reporting_the_delta_ends_it(desired: Any, reported: Any) -> None:
    shadow = after({"desired": desired, "reported": reported})
    delta = rules.delta(shadow)
    assert not rules.delta(updated(shadow, {"state": {"reported": delta}}))
    # and nothing that is desired was lost on the way
    assert leaves_of(delta).keys() <= leaves_of(desired).keys() | {()}


@given(STATES, STATES)
def test_an_update_changes_no_value_that_others_hold(first: Any, second: Any) -> None:
    shadow = after(first)
    before = rules.compact(rules.document(shadow, NOW))
    updated(shadow, {"state": second}, NOW + 1)
    assert rules.compact(rules.document(shadow, NOW)) == before
