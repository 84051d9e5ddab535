"""The model of AWS IoT's shadow service: its topics, and its link."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from twisted.internet.task import Clock

from victron_twin.twin.shadow import Refused

from .cloud import Cloud, prefix

THING, NAME = "thing", "victron-battery"
TOPIC = prefix(THING, NAME)


class Service:
    """A cloud on a clock, and what it said."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000.5)
        self.cloud = Cloud(self.clock, Random(1))
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.end = self.cloud.listen(lambda topic, payload: self.said.append((topic, json.loads(payload))))

    def publish(self, topic: str, message: Any) -> list[tuple[str, dict[str, Any]]]:
        """What is said in answer, by what stands behind the shadow's topic."""
        self.said.clear()
        self.cloud.publish(topic, message if isinstance(message, bytes) else json.dumps(message).encode())
        return self.heard()

    def heard(self) -> list[tuple[str, dict[str, Any]]]:
        self.clock.advance(0)
        return self.said


@pytest.fixture
def service() -> Service:
    return Service()


def test_an_update_is_accepted_and_makes_a_delta_while_there_is_a_difference(service: Service) -> None:
    accepted, delta = service.publish(
        f"{TOPIC}/update",
        {"state": {"desired": {"a": {"b": 1}, "c": 2}, "reported": {"c": 2}}, "clientToken": "t-1"},
    )
    times = {"timestamp": 1_700_000_000}
    assert accepted == (
        f"{TOPIC}/update/accepted",
        {
            "state": {"desired": {"a": {"b": 1}, "c": 2}, "reported": {"c": 2}},
            "metadata": {"desired": {"a": {"b": times}, "c": times}, "reported": {"c": times}},
            "version": 1,
            "timestamp": 1_700_000_000,
            "clientToken": "t-1",
        },
    )
    assert delta == (
        f"{TOPIC}/update/delta",
        {
            "state": {"a": {"b": 1}},
            "metadata": {"a": {"b": times}},
            "version": 1,
            "timestamp": 1_700_000_000,
            "clientToken": "t-1",
        },
    )
    assert [t for t, _ in service.publish(f"{TOPIC}/update", {"state": {"reported": {"x": 1}}})] == [
        f"{TOPIC}/update/accepted",
        f"{TOPIC}/update/delta",
    ]
    (accepted,) = service.publish(f"{TOPIC}/update", {"state": {"reported": {"a": {"b": 1}}}})
    assert accepted[1]["version"] == 3
    assert "clientToken" not in accepted[1]


def test_a_document_by_topic(service: Service) -> None:
    service.cloud.update(THING, NAME, {"state": {"reported": {"a": 1}}})
    service.heard()
    (accepted,) = service.publish(f"{TOPIC}/get", {"clientToken": "t"})
    assert accepted == (f"{TOPIC}/get/accepted", service.cloud.get(THING, NAME) | {"clientToken": "t"})
    assert accepted[1]["state"] == {"reported": {"a": 1}}
    (accepted,) = service.publish(f"{TOPIC}/get", b"")
    assert accepted == (f"{TOPIC}/get/accepted", service.cloud.get(THING, NAME))


@pytest.mark.parametrize(
    ("verb", "message", "code"),
    [
        ("get", {"clientToken": "t"}, 404),
        ("delete", {"clientToken": "t"}, 404),
        ("update", {"clientToken": "t"}, 400),
        ("update", {"clientToken": "t", "state": {"reported": {"a": [1, None]}}}, 400),
        ("update", {"clientToken": "t", "state": {}, "version": 7}, 409),
        ("update", {"clientToken": "t", "state": {"reported": {"a": "x" * 8192}}}, 413),
    ],
)
def test_a_refusal_is_told_on_a_topic_of_its_own(service: Service, verb: str, message: Any, code: int) -> None:
    ((topic, answer),) = service.publish(f"{TOPIC}/{verb}", message)
    assert topic == f"{TOPIC}/{verb}/rejected"
    assert answer.pop("message")
    assert answer == {"code": code, "timestamp": 1_700_000_000, "clientToken": "t"}


def test_rubbish_is_rejected_without_a_token(service: Service) -> None:
    ((topic, answer),) = service.publish(f"{TOPIC}/update", b"{")
    assert (topic, answer["code"]) == (f"{TOPIC}/update/rejected", 400)
    assert "clientToken" not in answer
    assert service.publish("some/topic", b"{}") == []


def test_the_classic_shadow_has_topics_without_a_name(service: Service) -> None:
    (accepted,) = service.publish("$aws/things/thing/shadow/update", {"state": {"reported": {"a": 1}}})
    assert accepted[0] == "$aws/things/thing/shadow/update/accepted"
    assert service.cloud.named(THING) == []
    assert service.cloud.shadows() == [(THING, "")]


def test_the_version_goes_on_after_a_delete(service: Service) -> None:
    service.cloud.update(THING, NAME, {"state": {"reported": {"a": 1}}})
    service.heard()
    ((topic, answer),) = service.publish(f"{TOPIC}/delete", b"")
    assert (topic, answer["version"]) == (f"{TOPIC}/delete/accepted", 2)
    with pytest.raises(Refused, match="No shadow exists with name: 'thing~victron-battery'"):
        service.cloud.get(THING, NAME)
    assert service.cloud.named(THING) == []
    assert service.cloud.update(THING, NAME, {"state": {"reported": {"b": 1}}})["version"] == 3
    assert service.cloud.get(THING, NAME)["state"] == {"reported": {"b": 1}}


def test_nothing_comes_through_while_the_link_is_away(service: Service) -> None:
    links: list[bool] = []
    service.cloud.watch_link(lambda: links.append(service.cloud.online))
    service.cloud.update(THING, NAME, {"state": {"desired": {"a": 1}}})
    service.cloud.online = False
    assert service.heard() == []  # it was on its way
    assert service.publish(f"{TOPIC}/update", {"state": {"reported": {"a": 1}}}) == []
    assert service.cloud.get(THING, NAME)["version"] == 1
    assert service.cloud.update(THING, NAME, {"state": {"desired": {"a": 2}}})["version"] == 2
    service.cloud.online = False
    service.cloud.online = True
    assert service.heard() == []
    assert len(service.publish(f"{TOPIC}/get", b"")) == 1
    assert links == [False, True]


def test_whoever_has_ended_hears_no_more(service: Service) -> None:
    service.end()
    assert service.publish(f"{TOPIC}/get", b"") == []


def test_deltas_in_disorder_come_late_and_some_twice(service: Service) -> None:
    service.cloud.disorder = True
    for n in range(30):
        service.cloud.update(THING, NAME, {"state": {"desired": {"a": n}}})
    service.clock.pump([0.1] * 30)
    told = [message["version"] for topic, message in service.said if topic.endswith("accepted")]
    deltas = [message["version"] for topic, message in service.said if topic.endswith("delta")]
    assert told == sorted(told) == list(range(1, 31))
    assert set(deltas) == set(told)
    assert deltas != sorted(deltas)
    assert len(deltas) > 30
