"""The model of Shadow Manager: each rule by which it loses data, its limits, and its way to the cloud."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from victron_twin.twin.flat import flatten
from victron_twin.twin.ledger import Ledger

from .cloud import Cloud, prefix
from .shadow_manager import Refused, ShadowManager

THING, NAME = "thing", "victron-battery"
TOPIC = prefix(THING, NAME)


class Core:
    """A core device: a cloud, a Shadow Manager on a clock, and the local deltas."""

    def __init__(self, synced: list[tuple[str, str]] | None = None) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.cloud = Cloud(self.clock)
        self.manager = ShadowManager(self.clock, self.cloud, synced)
        self.deltas: list[dict[str, Any]] = []
        self.manager.listen(lambda thing, shadow, payload: self.deltas.append(json.loads(payload)))
        self.now()

    def now(self) -> None:
        """What happens at once."""
        for _ in range(20):
            self.clock.advance(0)

    def update(self, **state: Any) -> dict[str, Any]:
        return self.manager.update(THING, NAME, {"state": state})

    def decide(self, version: int, **state: Any) -> dict[str, Any]:
        return self.manager.update(THING, NAME, {"state": state, "version": version})

    def report(self, *patches: dict[str, Any]) -> None:
        """Each on its way to the cloud before the next."""
        for patch in patches:
            self.update(reported=patch)
            self.now()

    @property
    def local(self) -> dict[str, Any]:
        return dict(self.manager.document(THING, NAME).get("state", {}))

    @property
    def reported(self) -> Any:
        return self.local.get("reported")

    @property
    def remote(self) -> dict[str, Any]:
        """The cloud's state."""
        found = self.cloud.get(THING, NAME) if (THING, NAME) in self.cloud.shadows() else {"state": {}}
        return dict(found["state"])

    def refused(self, error: str, **state: Any) -> str:
        with pytest.raises(Refused) as caught:
            self.update(**state)
        assert caught.value.error == error
        return caught.value.message


@pytest.fixture
def core() -> Core:
    return Core()


class TestStore:
    def test_update_and_document(self, core: Core) -> None:
        answer = core.manager.update(
            THING, NAME, b'{"state": {"reported": {"a": {"x": 1, "y": [1]}, "b": 2}}, "clientToken": "t"}'
        )
        stamp = {"timestamp": 1_700_000_000}
        assert answer == {
            "state": {"reported": {"a": {"x": 1, "y": [1]}, "b": 2}},
            "metadata": {"reported": {"a": {"x": stamp, "y": [stamp]}, "b": stamp}},
            "version": 1,
            "timestamp": 1_700_000_000,
            "clientToken": "t",
        }
        core.clock.advance(10)
        core.update(reported={"a": {"x": 2}, "b": None})
        later = {"timestamp": 1_700_000_010}
        assert core.manager.get(THING, NAME) == {
            "state": {"reported": {"a": {"x": 2, "y": [1]}}},
            "metadata": {"reported": {"a": {"x": later, "y": [stamp]}}},
            "version": 2,
            "timestamp": 1_700_000_010,
        }
        assert core.manager.named(THING) == [NAME]
        assert core.manager.lost == []

    def test_what_is_not_there(self, core: Core) -> None:
        for request in core.manager.get, core.manager.delete:
            with pytest.raises(Refused, match="No shadow exists with name: victron-battery") as caught:
                request(THING, NAME)
            assert caught.value.error == "ResourceNotFoundError"

    @pytest.mark.parametrize("names", [("a b", NAME), ("", NAME), ("x" * 129, NAME), (THING, "$x"), (THING, "x" * 65)])
    def test_names(self, core: Core, names: tuple[str, str]) -> None:
        with pytest.raises(Refused, match="must match pattern") as caught:
            core.manager.update(*names, {"state": {"reported": {"a": 1}}})
        assert caught.value.error == "InvalidArgumentsError"

    def test_levels(self, core: Core) -> None:
        six = {"2": {"3": {"4": {"5": {"6": {"7": 8}}}}}}
        core.update(reported=six)
        assert "maximum is 6" in core.refused("InvalidArgumentsError", reported={"1": six})

    def test_size(self, core: Core) -> None:
        core.update(reported={"a": "x" * 4000}, desired={"b": "x" * 4000})
        assert "maximum size" in core.refused("InvalidArgumentsError", reported={"c": "x" * 200})
        assert core.reported.keys() == {"a"}

    @pytest.mark.parametrize(
        "request_",
        [{}, {"state": 5}, {"state": {"reported": 5}}, {"state": {"other": {}}}, {"state": {}, "clientToken": 1}],
    )
    def test_malformed(self, core: Core, request_: Any) -> None:
        with pytest.raises(Refused) as caught:
            core.manager.update(THING, NAME, request_)
        assert caught.value.error == "InvalidArgumentsError"

    def test_no_json(self, core: Core) -> None:
        with pytest.raises(Refused) as caught:
            core.manager.update(THING, NAME, b"{")
        assert caught.value.error == "ServiceError"

    def test_a_version_that_is_not_the_current_one(self, core: Core) -> None:
        core.decide(1, reported={"a": 1})
        core.decide(1, reported={"a": 2})
        with pytest.raises(Refused, match="Version conflict") as caught:
            core.decide(1, reported={"a": 3})
        assert caught.value.error == "ConflictError"
        assert core.reported == {"a": 2}

    @pytest.mark.parametrize("version", [0, 2])
    def test_a_first_write_with_another_version_than_1(self, core: Core, version: int) -> None:
        with pytest.raises(Refused, match="Invalid version") as caught:
            core.decide(version, reported={"a": 1})
        assert caught.value.error == "InvalidArgumentsError"

    def test_after_a_delete_the_version_is_1_here_and_goes_on_in_the_cloud(self, core: Core) -> None:
        core.report({"a": 1}, {"a": 2})
        assert core.manager.delete(THING, NAME)["version"] == 2
        core.now()
        assert core.remote == {}
        assert core.update(reported={"b": 1})["version"] == 1
        core.now()
        assert core.cloud.get(THING, NAME)["version"] == 4
        assert core.remote == {"reported": {"b": 1}}

    def test_a_delta_at_each_update_while_there_is_one_and_none_at_the_start(self, core: Core) -> None:
        core.update(reported={"mode": "On"})
        core.update(desired={"mode": "Off"})
        core.update(reported={"n": 1})
        assert [(d["version"], d["state"]) for d in core.deltas] == [(2, {"mode": "Off"}), (3, {"mode": "Off"})]
        later: list[bytes] = []
        core.manager.listen(lambda thing, shadow, payload: later.append(payload))
        assert later == []
        core.update(reported={"mode": "Off"})
        assert len(core.deltas) == 2

    def test_desired_alone_is_the_delta(self, core: Core) -> None:
        core.update(desired={"a": 1.0, "b": 2})
        core.update(reported={"a": 1})
        assert [d["state"] for d in core.deltas] == [{"a": 1.0, "b": 2}, {"b": 2}]

    def test_twenty_requests_a_second_for_a_thing(self, core: Core) -> None:
        for n in range(20):
            core.update(reported={"n": n})
        assert core.refused("ServiceError", reported={"n": 20}) == "Too Many Requests"
        core.manager.update("another", NAME, {"state": {"reported": {"n": 20}}})
        assert core.manager.named(THING) == [NAME]
        core.clock.advance(1)
        core.update(reported={"n": 21})
        core.manager.limited = False
        for n in range(100):
            core.update(reported={"n": n})

    def test_two_hundred_requests_a_second_in_all(self, core: Core) -> None:
        for n in range(200):
            core.manager.update(f"thing-{n}", NAME, {"state": {"reported": {"n": n}}})
        assert core.refused("ServiceError", reported={"n": 20}) == "Too Many Requests"


class TestLosses:
    """What each row of the table of losses does, here and in the cloud; and that it is told."""

    def lost(self, core: Core, *words: str) -> None:
        core.now()
        assert len(core.manager.lost) == 1, core.manager.lost
        assert all(word in core.manager.lost[0] for word in (f"{THING}/{NAME}", *words))

    @pytest.mark.parametrize("section", ["reported", "desired"])
    def test_an_empty_section_deletes_it(self, core: Core, section: str) -> None:
        core.update(**{section: {"a": 1}})
        core.now()
        core.update(**{section: {}})
        assert core.local == {}
        self.lost(core, f"an empty {section} deletes")
        assert core.remote[section] == {"a": 1}

    def test_an_empty_object_deletes(self, core: Core) -> None:
        core.report({"a": {"x": 1}, "b": 1}, {"a": {}})
        assert core.reported == {"b": 1}
        self.lost(core, "reported.a is an empty object")
        assert core.remote["reported"] == {"a": {"x": 1}, "b": 1}

    @pytest.mark.parametrize("old", [1, "text", {"x": 1}])
    def test_a_scalar_or_an_object_never_becomes_an_array(self, core: Core, old: Any) -> None:
        core.report({"a": old})
        core.refused("ServiceError", reported={"a": [1]})
        self.lost(core, "reported.a becomes an array")
        core.refused("ServiceError", reported={"a": [1], "b": 1})
        assert core.reported == {"a": old}
        assert core.manager.document(THING, NAME)["version"] == 1
        core.report({"a": None}, {"a": [1]}, {"a": [2, 3]})
        assert core.reported == core.remote["reported"] == {"a": [2, 3]}

    def test_clearing_a_desired_key_that_is_not_there(self, core: Core) -> None:
        core.update(desired={"a": 1}, reported={"a": 2})
        core.now()
        core.deltas.clear()
        core.refused("ServiceError", desired={"x": None, "a": 3})
        self.lost(core, "desired has no x")
        assert core.manager.document(THING, NAME)["version"] == 2
        assert core.local["desired"] == {"a": 3}
        assert core.deltas == []
        assert core.remote["desired"] == {"a": 1}

    def test_clearing_a_reported_key_that_is_not_there_does_nothing(self, core: Core) -> None:
        core.report({"a": 1}, {"x": None})
        assert core.manager.document(THING, NAME)["version"] == 2
        assert core.manager.lost == []

    @pytest.mark.parametrize("section", ["reported", "desired"])
    def test_nulls_of_a_first_write_are_stored(self, core: Core, section: str) -> None:
        core.update(**{section: {"a": None, "b": 1}})
        assert core.local[section] == {"a": None, "b": 1}
        self.lost(core, f"{section}.a is null in the first write")
        assert core.remote[section] == {"b": 1}

    @pytest.mark.parametrize("nothing", [None, {}])
    def test_a_state_that_is_nothing_loses_the_patch(self, core: Core, nothing: Any) -> None:
        core.report({"state": "Bulk", "a": 1}, {"state": nothing, "a": 2})
        assert core.reported == {"state": "Bulk", "a": 1}
        self.lost(core, "state that is nothing", "the patch is lost")

    @pytest.mark.parametrize("section", ["reported", "desired"])
    @pytest.mark.parametrize("nothing", [None, {}])
    def test_a_state_that_is_nothing_wipes_a_section_without_one(self, core: Core, section: str, nothing: Any) -> None:
        core.update(**{section: {"a": 1, "b": {"state": 1}}})
        core.now()
        core.update(**{section: {"b": {"state": None}, "c": 1}})
        assert section in core.local
        core.now()
        core.update(**{section: {"state": nothing, "a": 2}})
        assert section not in core.local
        self.lost(core, "state that is nothing", "wiped")

    def test_a_null_while_an_earlier_update_waits(self, core: Core) -> None:
        core.manager.sync.latency = 1
        core.update(reported={"a": 1, "b": 1})
        core.clock.advance(1)
        core.update(reported={"b": 2})  # under way
        core.update(reported={"c": 1})  # waits
        core.update(reported={"a": None})
        assert core.reported == {"b": 2, "c": 1}
        self.lost(core, '"a": null', "waited to be synced")
        core.clock.pump([1, 1, 1])
        assert core.manager.settled()
        assert core.remote["reported"] == {"a": 1, "b": 2, "c": 1}
        core.report({"a": None})
        core.clock.pump([1, 1])
        assert core.remote["reported"]["a"] == 1, "to send the null again does nothing"
        core.cloud.update(THING, NAME, {"state": {"desired": {"z": 1}}})
        core.cloud.online = False
        core.now()
        core.cloud.online = True
        core.clock.pump([1, 1])
        assert core.reported["a"] == 1, "the next full sync writes it back"

    def test_such_a_value_is_repaired_by_set_wait_null(self, core: Core) -> None:
        self.test_a_null_while_an_earlier_update_waits(core)
        core.update(reported={"a": 5})
        core.clock.pump([1, 1])
        core.update(reported={"a": None})
        core.clock.pump([1, 1])
        assert "a" not in core.reported
        assert "a" not in core.remote["reported"]

    def test_a_null_while_the_last_update_is_under_way_arrives(self, core: Core) -> None:
        core.manager.sync.latency = 1
        core.update(reported={"a": 1, "b": 1})
        core.update(reported={"a": None})
        core.clock.pump([1, 1])
        assert core.remote["reported"] == core.reported == {"b": 1}
        assert core.manager.lost == []

    def test_a_null_whose_loss_makes_no_difference_is_none(self, core: Core) -> None:
        core.manager.sync.latency = 1
        core.update(reported={"b": 1})
        core.update(reported={"a": 1})
        core.update(reported={"a": None})
        core.clock.pump([1, 1, 1])
        assert core.remote["reported"] == core.reported == {"b": 1}
        assert core.manager.lost == []

    def test_a_section_removed_and_written_anew_before_it_was_synced(self, core: Core) -> None:
        core.update(desired={"a": 1, "b": 1})
        core.now()
        core.manager.sync.latency = 1
        core.update(desired={"c": 1})
        core.update(desired=None)
        core.update(desired={"b": 1})
        self.lost(core, '"desired": {"b": 1}', '"desired": null')
        core.clock.pump([1, 1])
        assert core.local["desired"] == {"b": 1}
        assert core.remote["desired"] == {"a": 1, "b": 1, "c": 1}

    def test_an_array_with_null_is_accepted_here_and_refused_in_the_cloud(self, core: Core) -> None:
        core.report({"b": 1})
        core.update(reported={"a": [1, None], "b": 2})
        assert core.reported == {"a": [1, None], "b": 2}
        core.now()
        assert [line.split(": ")[1][:30] for line in core.manager.lost] == [
            "reported.a is an array with nu",
            'the cloud refuses {"reported"',
        ]
        assert core.remote["reported"] == {"b": 1}
        assert core.manager.settled()

    def test_an_object_that_was_a_scalar_before_it_was_synced(self, core: Core) -> None:
        core.report({"a": {"x": 1, "y": 1}})
        core.manager.sync.latency = 1
        core.update(reported={"b": 1})
        core.update(reported={"a": 1})
        core.update(reported={"a": {"x": 1}})
        self.lost(core, '"a": {"x": 1}')
        core.clock.pump([1, 1])
        assert core.reported == {"a": {"x": 1}, "b": 1}
        assert core.remote["reported"] == {"a": {"x": 1, "y": 1}, "b": 1}

    def test_a_shadow_made_anew_before_its_delete_was_synced(self, core: Core) -> None:
        core.report({"a": 1})
        core.manager.sync.latency = 1
        core.update(reported={"a": 2})
        core.manager.delete(THING, NAME)
        core.update(reported={"b": 1})
        self.lost(core, '"b": 1')
        core.clock.pump([1, 1])
        assert core.reported == {"b": 1}
        assert core.remote == {}


class TestSync:
    def test_only_what_is_listed(self) -> None:
        core = Core(synced=[(THING, NAME)])
        core.cloud.update(THING, "other", {"state": {"desired": {"a": 1}}})
        core.report({"a": 1})
        core.manager.update(THING, "third", {"state": {"reported": {"a": 1}}})
        core.now()
        assert core.cloud.named(THING) == ["other", NAME]
        assert core.manager.named(THING) == ["third", NAME]

    def test_one_thread_takes_shadows_in_turn_and_merges_what_waits(self, core: Core) -> None:
        core.manager.sync.latency = 1
        for n in range(5):
            for name in ("a", "b"):
                core.manager.update(THING, name, {"state": {"reported": {"n": n}}})
        assert not core.manager.settled()
        versions = []
        for _ in range(5):
            versions.append([core.cloud.stored(THING, name).version for name in ("a", "b")])
            core.clock.advance(1)
        assert versions == [[0, 0], [1, 0], [1, 1], [2, 1], [2, 1]] or versions[-1] == [2, 1]
        assert core.manager.settled()
        assert all(core.cloud.get(THING, name)["state"] == {"reported": {"n": 4}} for name in ("a", "b"))

    def test_periodic(self, core: Core) -> None:
        core.manager.sync.period = 60
        core.clock.advance(5)
        core.update(reported={"a": 1})
        core.cloud.update(THING, "commands", {"state": {"desired": {"x": 1}}})
        core.update(reported={"b": 1})
        core.clock.advance(14)
        assert core.remote == {}
        core.clock.advance(60)
        core.now()
        assert core.remote == {"reported": {"a": 1, "b": 1}}
        assert core.manager.document(THING, "commands")["state"]["desired"] == {"x": 1}
        assert core.cloud.get(THING, NAME)["version"] == 1

    def test_a_desire_in_the_cloud_comes_down_and_makes_a_delta(self, core: Core) -> None:
        core.report({"mode": "On"})
        core.cloud.update(THING, NAME, {"state": {"desired": {"mode": "Off"}}})
        core.now()
        assert core.local["desired"] == {"mode": "Off"}
        assert [d["state"] for d in core.deltas] == [{"mode": "Off"}]
        core.update(desired={"mode": "On"})
        core.now()
        assert core.remote == core.local == {"reported": {"mode": "On"}, "desired": {"mode": "On"}}

    def test_a_shadow_that_is_only_in_the_cloud_comes_down(self) -> None:
        clock = Clock()
        cloud = Cloud(clock)
        cloud.update(THING, NAME, {"state": {"desired": {"a": 1}}})
        manager = ShadowManager(clock, cloud)
        clock.pump([0, 0, 0])
        assert manager.get(THING, NAME)["state"]["desired"] == {"a": 1}

    def test_both_sides_have_changed_while_a_call_is_under_way(self, core: Core) -> None:
        core.update(reported={"a": 1, "x": 1}, desired={"d": 1, "e": 1})
        core.now()
        core.manager.sync.latency = 1
        core.update(reported={"a": 2, "x": None}, desired={"d": 2, "e": 2})
        core.cloud.update(THING, NAME, {"state": {"reported": {"a": 3}, "desired": {"d": 3}}})
        core.clock.pump([0, 1, 1, 1, 1])
        assert core.manager.settled()
        assert core.remote == core.local
        assert core.local["reported"] == {"a": 2}
        assert core.local["desired"] == {"d": 3, "e": 2}
        assert core.manager.lost == []

    def test_after_a_time_without_link_reported_is_as_here_and_desired_as_in_the_cloud(self, core: Core) -> None:
        core.update(reported={"a": 1, "b": 1}, desired={"d": 1, "e": 1})
        core.manager.update(THING, "quiet", {"state": {"reported": {"a": 1}}})
        core.now()
        core.cloud.online = False
        core.update(reported={"a": 2}, desired={"d": 2, "e": 2})
        core.cloud.update(THING, NAME, {"state": {"reported": {"a": 3, "b": 3}, "desired": {"d": 3}}})
        core.cloud.update(THING, "quiet", {"state": {"desired": {"x": 1}}})
        core.now()
        assert not core.manager.settled()
        assert core.local["desired"] == {"d": 2, "e": 2}
        core.cloud.online = True
        core.now()
        assert core.manager.settled()
        assert core.remote == core.local
        assert core.local["reported"] == {"a": 2, "b": 3}
        assert core.local["desired"] == {"d": 3, "e": 2}
        assert core.manager.document(THING, "quiet")["state"]["desired"] == {"x": 1}

    def test_a_null_without_link_is_lost_if_it_is_not_the_first_update(self, core: Core) -> None:
        core.report({"a": 1, "b": 1})
        core.cloud.online = False
        core.update(reported={"a": None})
        core.cloud.online = True
        core.now()
        assert core.remote["reported"] == {"b": 1}
        assert core.manager.lost == []
        core.cloud.online = False
        core.update(reported={"c": 1})
        core.update(reported={"b": None})
        core.cloud.online = True
        core.now()
        assert core.remote["reported"] == {"b": 1, "c": 1}
        assert len(core.manager.lost) == 1

    def test_a_call_that_the_link_breaks_is_made_again(self, core: Core) -> None:
        core.manager.sync.latency = 1
        core.update(reported={"a": 1})
        core.clock.advance(0.5)
        core.cloud.online = False
        core.clock.advance(1)
        assert core.remote == {}
        core.cloud.online = True
        core.clock.advance(1)
        assert core.remote["reported"] == {"a": 1}

    def test_a_failure_skips_the_update_for_good(self, core: Core) -> None:
        core.report({"a": 1, "b": 1})
        core.manager.sync.fail_next(THING, NAME)
        core.report({"a": 2}, {"b": 2}, {"c": 3})
        assert core.remote["reported"] == {"a": 1, "b": 2, "c": 3}
        assert core.reported == {"a": 2, "b": 2, "c": 3}
        assert core.manager.sync.skipped == [f'{THING}/{NAME}: 403 for UP {{"reported": {{"a": 2}}}}']
        assert core.manager.lost == []

    @pytest.mark.parametrize("code", [429, 500, 503])
    def test_a_failure_that_passes_is_waited_for(self, core: Core, code: int) -> None:
        core.manager.sync.fail_next(THING, NAME, 2, code)
        core.report({"a": 1})
        core.clock.advance(2.9)
        core.manager.update(THING, "other", {"state": {"reported": {"a": 1}}})
        assert core.cloud.shadows() == []
        core.clock.pump([0.2, 6])
        core.now()
        assert core.remote["reported"] == {"a": 1}
        assert core.cloud.named(THING) == ["other", NAME]
        assert core.manager.sync.skipped == []

    def test_a_shadow_deleted_in_the_cloud_goes(self, core: Core) -> None:
        core.report({"a": 1})
        core.cloud.delete(THING, NAME)
        core.now()
        assert core.manager.named(THING) == []
        core.report({"b": 1})
        assert core.remote == {"reported": {"b": 1}}
        core.cloud.online = False
        core.cloud.delete(THING, NAME)
        core.cloud.online = True
        core.now()
        assert core.manager.named(THING) == []

    def test_a_shadow_deleted_in_the_cloud_while_it_changed_here_is_made_anew(self, core: Core) -> None:
        core.report({"a": 1})
        core.cloud.online = False
        core.cloud.delete(THING, NAME)
        core.update(reported={"b": 1})
        core.cloud.online = True
        core.now()
        assert core.remote == core.local == {"reported": {"a": 1, "b": 1}}

    def test_a_shadow_deleted_here_without_link(self, core: Core) -> None:
        core.report({"a": 1})
        core.cloud.online = False
        core.manager.delete(THING, NAME)
        core.cloud.online = True
        core.now()
        assert core.remote == {}

    def test_a_restart_forgets_the_queue_and_compares_all(self, core: Core) -> None:
        core.report({"a": 1, "b": 1})
        core.manager.sync.latency = 1
        core.update(reported={"a": 2})
        core.update(reported={"b": None})
        core.manager.restart()
        core.clock.pump([1, 1])
        assert core.manager.settled()
        assert core.remote["reported"] == core.reported == {"a": 2}

    def test_nobody_waits_for_ever(self, core: Core) -> None:
        core.report({"a": 1})
        assert core.clock.getDelayedCalls() == []


scalars = st.one_of(st.integers(-5, 5), st.booleans(), st.text("xyz", max_size=3))


def sections(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """A key is always that of a scalar, or always that of an object, as it is in the catalogue."""
    flat = st.dictionaries(st.sampled_from(["a", "b", "c"]), scalars, max_size=3)
    if depth == 0:
        return flat
    inner = st.dictionaries(st.sampled_from(["x", "y"]), sections(depth - 1).filter(bool), max_size=2)
    return st.builds(dict.__or__, flat, inner)


@given(
    documents=st.lists(sections(2), min_size=1, max_size=6),
    latency=st.sampled_from([0.0, 1.0]),
    links=st.lists(st.booleans(), max_size=6),
    wishes=st.lists(sections(1), max_size=3),
)
def test_what_a_ledger_writes_arrives_in_the_cloud(
    documents: list[dict[str, Any]], latency: float, links: list[bool], wishes: list[dict[str, Any]]
) -> None:
    """Sets whenever they come, deletes alone and only once all before has arrived."""
    core = Core()
    core.manager.sync.latency = latency
    core.manager.limited = False
    ledger = Ledger()

    def settle() -> None:
        core.cloud.online = True
        while not core.manager.settled():
            core.clock.advance(0.5)

    for number, document in enumerate(documents):
        core.cloud.online = number >= len(links) or links[number]
        if number < len(wishes) and wishes[number]:
            core.cloud.update(THING, NAME, {"state": {"desired": wishes[number]}})
        while (patch := ledger.patch(flatten(document))) is not None:
            if patch.remove:
                settle()
            answer = core.manager.update(THING, NAME, patch.request(ledger.version))
            ledger.accept(patch, answer["version"])
            if patch.remove:
                settle()
    settle()
    core.clock.pump([1] * 5)
    assert core.manager.lost == []
    assert flatten(core.remote.get("reported", {})) == flatten(core.local.get("reported", {}))
    assert flatten(core.local.get("reported", {})) == flatten(documents[-1])
    assert flatten(core.remote.get("desired", {})) == flatten(core.local.get("desired", {}))
