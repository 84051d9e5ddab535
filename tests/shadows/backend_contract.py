"""What every backend has to do: one suite, run by a subclass for each.

A subclass gives a ``backend`` fixture (started, and stopped at its end) and says where its keeper of shadows differs.
Only what all keepers have in common stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.asynchronous import asynchronous, until
from victron_twin.shadows.backend import (
    CLASSIC,
    Conflict,
    Delta,
    InvalidRequest,
    Messenger,
    NotFound,
    ShadowBackend,
    TooLarge,
    Unavailable,
)

NAME = "victron-contract"
#: Every shadow of this suite, for a backend that has to know.
NAMES = NAME, "a-shadow", "b-shadow", "c-shadow"

#: Gives the messages that AWS IoT Core got, by topic and payload, those of shadows left out.
Arrived = Callable[[], list[tuple[str, bytes]]]


class BackendContract:
    #: The version goes on after a delete, as the cloud's does; Shadow Manager starts at 1 again.
    versions_go_on = True
    #: The classic shadow is kept too.
    has_classic = True

    @pytest.fixture
    def thing(self) -> str:
        return "contract-thing"

    @pytest.fixture
    def deltas(self, backend: ShadowBackend) -> Iterator[list[Delta]]:
        seen: list[Delta] = []
        end = backend.watch(seen.append)
        yield seen
        end()

    @asynchronous
    async def test_what_is_not_there(self, backend: ShadowBackend, thing: str) -> None:
        for name in (NAME, CLASSIC) if self.has_classic else (NAME,):
            with pytest.raises(NotFound):
                await backend.get(thing, name)
            with pytest.raises(NotFound):
                await backend.delete(thing, name)
        assert await backend.named_shadows(thing) == []

    @asynchronous
    async def test_an_update_is_answered_with_what_was_sent(self, backend: ShadowBackend, thing: str) -> None:
        answer = await backend.update(thing, NAME, {"state": {"reported": {"a": 1}}, "clientToken": "t-1"})
        now = answer["timestamp"]
        assert isinstance(now, int)
        assert answer == {
            "state": {"reported": {"a": 1}},
            "metadata": {"reported": {"a": {"timestamp": now}}},
            "version": 1,
            "timestamp": now,
            "clientToken": "t-1",
        }
        second = await backend.update(thing, NAME, {"state": {"reported": {"b": 2}}})
        assert (second["version"], second["state"]) == (2, {"reported": {"b": 2}})
        assert "clientToken" not in second

    @asynchronous
    async def test_the_document_is_the_sum_of_the_updates(self, backend: ShadowBackend, thing: str) -> None:
        await backend.update(thing, NAME, {"state": {"reported": {"a": {"x": 1, "y": [1, 2]}, "b": "ä"}}})
        await backend.update(thing, NAME, {"state": {"reported": {"a": {"x": 2, "y": [3]}, "b": None, "c": True}}})
        document = await backend.get(thing, NAME)
        assert document["state"] == {"reported": {"a": {"x": 2, "y": [3]}, "c": True}}
        assert document["version"] == 2
        assert document["metadata"]["reported"].keys() == {"a", "c"}
        assert isinstance(document["metadata"]["reported"]["a"]["x"]["timestamp"], int)

    @asynchronous
    async def test_delta_is_part_of_the_document_while_there_is_one(self, backend: ShadowBackend, thing: str) -> None:
        await backend.update(thing, NAME, {"state": {"reported": {"mode": "On", "limit": 16}}})
        await backend.update(thing, NAME, {"state": {"desired": {"mode": "Off", "limit": 16.0}}})
        assert (await backend.get(thing, NAME))["state"]["delta"] == {"mode": "Off"}
        await backend.update(thing, NAME, {"state": {"reported": {"mode": "Off"}}})
        assert "delta" not in (await backend.get(thing, NAME))["state"]
        await backend.update(thing, NAME, {"state": {"desired": None}})
        assert (await backend.get(thing, NAME))["state"] == {"reported": {"mode": "Off", "limit": 16}}

    @asynchronous
    async def test_version_that_is_not_the_current_one_conflicts(self, backend: ShadowBackend, thing: str) -> None:
        await backend.update(thing, NAME, {"state": {"reported": {"a": 1}}})
        await backend.update(thing, NAME, {"state": {"reported": {"a": 2}}, "version": 1})
        with pytest.raises(Conflict):
            await backend.update(thing, NAME, {"state": {"reported": {"a": 3}}, "version": 1})
        document = await backend.get(thing, NAME)
        assert (document["version"], document["state"]) == (2, {"reported": {"a": 2}})

    @pytest.mark.parametrize(
        "request_",
        [
            {},
            {"state": 5},
            {"state": {"reported": 5}},
            {"state": {"reported": {"a": float("nan")}}},
            {"state": {"reported": {"a": 2}}, "version": "one"},
            {"state": {"reported": {"a": 2}}, "clientToken": "x" * 65},
            {"state": {"reported": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}}},
        ],
    )
    @asynchronous
    async def test_malformed_update_changes_nothing(self, backend: ShadowBackend, thing: str, request_: Any) -> None:
        await backend.update(thing, NAME, {"state": {"reported": {"a": 1}}})
        with pytest.raises(InvalidRequest) as caught:
            await backend.update(thing, NAME, request_)
        assert caught.value.message
        document = await backend.get(thing, NAME)
        assert (document["version"], document["state"]) == (1, {"reported": {"a": 1}})

    @asynchronous
    async def test_names_of_another_form_are_refused(self, backend: ShadowBackend, thing: str) -> None:
        for bad_thing, bad_name in ((thing, "a b"), (thing, "x" * 65), ("a b", NAME), ("x" * 129, NAME)):
            with pytest.raises(InvalidRequest):
                await backend.update(bad_thing, bad_name, {"state": {"reported": {"a": 1}}})

    @asynchronous
    async def test_update_that_makes_the_state_too_large(self, backend: ShadowBackend, thing: str) -> None:
        """No request nor answer of this is large: not everything carries what the cloud may hold."""
        for key in "a", "b":
            await backend.update(thing, NAME, {"state": {"reported": {key: "x" * 3000}}})
        with pytest.raises(TooLarge):
            await backend.update(thing, NAME, {"state": {"reported": {"b": "new", "c": "x" * 6000}}})
        await backend.update(thing, NAME, {"state": {"reported": {"a": "short"}}})
        document = await backend.get(thing, NAME)
        assert (document["version"], document["state"]) == (3, {"reported": {"a": "short", "b": "x" * 3000}})

    @asynchronous
    async def test_deleted_shadow_is_gone_and_can_be_made_anew(self, backend: ShadowBackend, thing: str) -> None:
        await backend.update(thing, NAME, {"state": {"reported": {"a": 1}, "desired": {"a": 2}}})
        answer = await backend.delete(thing, NAME)
        assert {"version", "timestamp"} <= answer.keys()
        with pytest.raises(NotFound):
            await backend.get(thing, NAME)
        assert await backend.named_shadows(thing) == []
        again = await backend.update(thing, NAME, {"state": {"reported": {"b": 1}}})
        assert again["version"] > 1 if self.versions_go_on else again["version"] == 1
        assert (await backend.get(thing, NAME))["state"] == {"reported": {"b": 1}}

    @asynchronous
    async def test_shadows_and_things_are_apart(self, backend: ShadowBackend, thing: str) -> None:
        places = [(thing, "b-shadow"), (thing, "a-shadow"), (f"{thing}-2", "c-shadow")]
        if self.has_classic:
            places.append((thing, CLASSIC))
        for number, (where, name) in enumerate(places):
            await backend.update(where, name, {"state": {"reported": {"n": number}}})
        for number, (where, name) in enumerate(places):
            assert (await backend.get(where, name))["state"] == {"reported": {"n": number}}
        assert await backend.named_shadows(thing) == ["a-shadow", "b-shadow"]
        assert await backend.named_shadows(f"{thing}-2") == ["c-shadow"]

    @asynchronous
    async def test_delta_comes_at_each_update_while_there_is_one(
        self, backend: ShadowBackend, thing: str, deltas: list[Delta]
    ) -> None:
        await backend.update(thing, NAME, {"state": {"reported": {"mode": "On", "n": 1}}})
        await backend.update(thing, NAME, {"state": {"desired": {"mode": "Off"}}})
        await until(lambda: deltas)
        assert all(d == Delta(thing, NAME, {"mode": "Off"}, 2) for d in deltas)
        await backend.update(thing, NAME, {"state": {"reported": {"n": 2}}})
        await until(lambda: any(d == Delta(thing, NAME, {"mode": "Off"}, 3) for d in deltas))
        await backend.update(thing, NAME, {"state": {"reported": {"mode": "Off"}}})
        await backend.update(thing, NAME, {"state": {"desired": {"mode": "On"}}})
        await until(lambda: any(d == Delta(thing, NAME, {"mode": "On"}, 5) for d in deltas))
        assert {d.version for d in deltas} == {2, 3, 5}

    @asynchronous
    async def test_classic_shadow_is_refused_where_it_is_not_kept(self, backend: ShadowBackend, thing: str) -> None:
        if not self.has_classic:
            for asked in (
                backend.get(thing, CLASSIC),
                backend.update(thing, CLASSIC, {"state": {"reported": {"a": 1}}}),
                backend.delete(thing, CLASSIC),
            ):
                with pytest.raises(InvalidRequest):
                    await asked

    @asynchronous
    async def test_watch_ends(self, backend: ShadowBackend, thing: str, deltas: list[Delta]) -> None:
        ended: list[Delta] = []
        backend.watch(ended.append)()
        await backend.update(thing, NAME, {"state": {"desired": {"a": 1}}})
        await until(lambda: deltas)
        assert not ended


class MessengerContract:
    """A subclass gives ``arrived`` too."""

    @asynchronous
    async def test_messages_arrive_as_they_were_and_in_order(self, backend: ShadowBackend, arrived: Arrived) -> None:
        assert isinstance(backend, Messenger)
        topics = "fleet/van/audit", "$aws/rules/audit/van", "fleet/van/get"
        sent = [(topic, f'{{"n":{n},"text":"ä"}}'.encode().ljust(5_000)) for n, topic in enumerate(topics)]
        for topic, payload in sent:
            await backend.publish(topic, payload)
        await until(lambda: len(arrived()) == len(sent))
        assert arrived() == sent

    @asynchronous
    async def test_nothing_is_taken_over_after_the_stop(self, backend: ShadowBackend, arrived: Arrived) -> None:
        assert isinstance(backend, Messenger)
        await backend.stop()
        with pytest.raises(Unavailable):
            await backend.publish("fleet/van/audit", b"{}")
