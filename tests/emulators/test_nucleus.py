"""The operations of the emulated nucleus, as the real SDK's client sees them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from twisted.internet.defer import DeferredList

from tests.asynchronous import asynchronous, until
from tests.emulators.client import Subscription, failure, needs_sdk
from tests.emulators.world import World

pytestmark = [pytest.mark.integration, needs_sdk]

BATTERY = {"thing_name": "van", "shadow_name": "victron-battery"}
TOPIC = "$aws/things/van/shadow/name/victron-battery"


def reported(**fields: Any) -> bytes:
    return json.dumps({"state": {"reported": fields}}).encode()


def payloads(subscription: Subscription) -> list[Any]:
    """Of messages from IoT Core."""
    return [json.loads(event.message.payload) for event in subscription.events]


def keys(subscription: Subscription) -> list[list[str]]:
    """That changed in the configuration."""
    return [event.configuration_update_event.key_path for event in subscription.events]


# Shadows.


@asynchronous
async def test_shadows_are_written_read_and_deleted(world: World) -> None:
    nucleus, client = await world.connected()
    answer = await client.call("update_thing_shadow", **BATTERY, payload=reported(soc=50.5))
    assert json.loads(answer.payload)["version"] == 1
    document = json.loads((await client.call("get_thing_shadow", **BATTERY)).payload)
    assert document["state"] == {"reported": {"soc": 50.5}}
    assert (await client.call("delete_thing_shadow", **BATTERY)).payload == b""
    error, message = await failure(client.call("get_thing_shadow", **BATTERY))
    assert error == "ResourceNotFoundError"
    assert message
    assert [operation for operation, _ in nucleus.requests] == [
        "UpdateThingShadow", "GetThingShadow", "DeleteThingShadow", "GetThingShadow",
    ]  # fmt: skip
    assert nucleus.requests[0][1] == {
        "thingName": "van", "shadowName": "victron-battery", "payload": reported(soc=50.5),
    }  # fmt: skip


@asynchronous
async def test_the_classic_shadow_has_no_name(world: World) -> None:
    _, client = await world.connected()
    await client.call("update_thing_shadow", thing_name="van", payload=reported(soc=1))
    await client.call("update_thing_shadow", **BATTERY, payload=reported(soc=2))
    document = json.loads((await client.call("get_thing_shadow", thing_name="van", shadow_name="")).payload)
    assert document["state"]["reported"] == {"soc": 1}


@asynchronous
async def test_what_shadow_manager_refuses_is_an_error_of_its_kind(world: World) -> None:
    nucleus, client = await world.connected()
    await client.call("update_thing_shadow", **BATTERY, payload=reported(soc=1))
    conflict = json.dumps({"state": {"reported": {"soc": 2}}, "version": 7}).encode()
    error, message = await failure(client.call("update_thing_shadow", **BATTERY, payload=conflict))
    assert error == "ConflictError"
    assert message
    for payload, kind in ((b"no json", "ServiceError"), (reported(soc="x" * 9000), "InvalidArgumentsError")):
        error, _ = await failure(client.call("update_thing_shadow", **BATTERY, payload=payload))
        assert error == kind
    error, _ = await failure(client.call("get_thing_shadow", shadow_name="victron-battery"))
    assert error == "InvalidArgumentsError"
    assert nucleus.rates_exceeded == 0


@asynchronous
async def test_requests_that_come_too_fast_are_service_errors_and_counted(world: World) -> None:
    nucleus, client = await world.connected()
    await client.call("update_thing_shadow", **BATTERY, payload=reported(soc=1))
    world.shadows.limited = True
    answers = [client.call("get_thing_shadow", **BATTERY) for _ in range(60)]
    results = await DeferredList(answers, consumeErrors=True)
    errors = [result.value for good, result in results if not good]
    assert errors
    assert {(type(error).__name__, error.message) for error in errors} == {("ServiceError", "Too Many Requests")}
    assert nucleus.rates_exceeded == len(errors)
    assert nucleus.most_in_flight > 1


@asynchronous
async def test_names_come_in_pages(world: World) -> None:
    _, client = await world.connected()
    for number in range(30):
        await client.call("update_thing_shadow", thing_name="van", shadow_name=f"s{number:02}", payload=reported(a=1))
    await client.call("update_thing_shadow", thing_name="other", shadow_name="s", payload=reported(a=1))
    page = await client.call("list_named_shadows_for_thing", thing_name="van")
    assert page.results == [f"s{number:02}" for number in range(25)]
    assert isinstance(page.timestamp, datetime)
    page = await client.call("list_named_shadows_for_thing", thing_name="van", next_token=page.next_token)
    assert page.results == [f"s{number:02}" for number in range(25, 30)]
    assert page.next_token is None
    # A page that is full has a token, even if nothing follows.
    page = await client.call("list_named_shadows_for_thing", thing_name="van", page_size=30)
    assert len(page.results) == 30
    page = await client.call("list_named_shadows_for_thing", thing_name="van", next_token=page.next_token)
    assert page.results == []
    for wrong in ({"page_size": 101}, {"page_size": -1}, {"next_token": "rubbish"}):
        error, _ = await failure(client.call("list_named_shadows_for_thing", thing_name="van", **wrong))
        assert error == "InvalidArgumentsError"


@asynchronous
async def test_deltas_come_on_the_local_topic_at_every_update_while_there_is_one(world: World) -> None:
    _, client = await world.connected()
    exact = await client.subscribe("subscribe_to_topic", topic=f"{TOPIC}/update/delta")
    wide = await client.subscribe("subscribe_to_topic", topic="$aws/things/+/shadow/name/+/update/delta")
    deep = await client.subscribe("subscribe_to_topic", topic="#")
    await client.call("update_thing_shadow", **BATTERY, payload=reported(mode="On"))
    world.cloud.update("van", "victron-battery", {"state": {"desired": {"mode": "Off"}}})
    await until(lambda: exact.events)
    await client.call("update_thing_shadow", **BATTERY, payload=reported(soc=1))
    await until(lambda: len(exact.events) == 2)
    message = exact.events[-1].binary_message
    assert message.context.topic == f"{TOPIC}/update/delta"
    assert json.loads(message.message)["state"] == {"mode": "Off"}
    assert json.loads(message.message)["version"] > json.loads(exact.events[0].binary_message.message)["version"]
    await until(lambda: len(wide.events) == len(deep.events) == 2)
    await until(world.shadows.settled)


@asynchronous
async def test_the_cloud_hears_what_is_reported(world: World) -> None:
    _, client = await world.connected()
    await client.call("update_thing_shadow", **BATTERY, payload=reported(soc=1))
    await until(lambda: world.cloud.named("van"))
    assert world.cloud.get("van", "victron-battery")["state"] == {"reported": {"soc": 1}}
    assert world.shadows.lost == []


# Local topics.


@asynchronous
async def test_components_talk_over_local_topics(world: World) -> None:
    from awsiot.greengrasscoreipc import model  # type: ignore[import-untyped]  # there are no stubs

    _, client = await world.connected()
    own = await client.subscribe("subscribe_to_topic", topic="a/b")
    others = await client.subscribe("subscribe_to_topic", topic="a/b", receive_mode="RECEIVE_MESSAGES_FROM_OTHERS")
    wild = await client.subscribe("subscribe_to_topic", topic="a/+")  # from others too, unless it says so
    everything = await client.subscribe("subscribe_to_topic", topic="a/#", receive_mode="RECEIVE_ALL_MESSAGES")

    async def publish(topic: str, **message: Any) -> None:
        await client.call("publish_to_topic", topic=topic, publish_message=model.PublishMessage(**message))

    await publish("a/b", json_message=model.JsonMessage(message={"x": 1}))
    await publish("a/b", binary_message=model.BinaryMessage(message=b"\x00\xff"))
    await publish("a/b/c", binary_message=model.BinaryMessage(message=b"deep"))
    await publish("nobody", binary_message=model.BinaryMessage(message=b""))
    await until(lambda: len(everything.events) == 3)
    assert own.events[0].json_message.message == {"x": 1}
    assert own.events[1].binary_message.message == b"\x00\xff"
    assert own.events[1].binary_message.context.topic == "a/b"
    assert len(own.events) == 2
    assert others.events == wild.events == []
    for topic in ("a/+", "#", "a*"):
        answer = client.call("publish_to_topic", topic=topic, publish_message=model.PublishMessage())
        assert (await failure(answer))[0] == "InvalidArgumentsError"


@asynchronous
async def test_a_closed_stream_gets_nothing(world: World) -> None:
    nucleus, client = await world.connected()
    gone = await client.subscribe("subscribe_to_topic", topic=f"{TOPIC}/update/delta")
    there = await client.subscribe("subscribe_to_topic", topic=f"{TOPIC}/update/delta")
    gone.operation.close()
    await until(lambda: gone.closed)
    await client.call("update_thing_shadow", **BATTERY, payload=b'{"state": {"desired": {"a": 1}}}')
    await until(lambda: there.events)
    assert gone.events == []
    assert not there.closed
    assert nucleus.connections == 1


# IoT Core.


@asynchronous
async def test_shadow_topics_of_the_cloud_through_the_proxy(world: World) -> None:
    nucleus, client = await world.connected(shadow_manager=None)
    accepted = await client.subscribe("subscribe_to_iot_core", topic_name=f"{TOPIC}/+/accepted", qos="1")
    rejected = await client.subscribe("subscribe_to_iot_core", topic_name=f"{TOPIC}/get/rejected", qos="0")
    ask = {"topic_name": f"{TOPIC}/get", "qos": "1"}
    await client.call("publish_to_iot_core", **ask, payload=b'{"clientToken": "t1"}')
    await until(lambda: rejected.events)
    assert payloads(rejected)[0]["code"] == 404
    assert payloads(rejected)[0]["clientToken"] == "t1"
    update = b'{"state": {"reported": {"soc": 1}}, "clientToken": "t2"}'
    await client.call("publish_to_iot_core", topic_name=f"{TOPIC}/update", qos="1", payload=update)
    await client.call("publish_to_iot_core", **ask, payload=b"")
    await until(lambda: len(accepted.events) == 2)
    assert payloads(accepted)[0]["clientToken"] == "t2"
    assert payloads(accepted)[1]["state"] == {"reported": {"soc": 1}}
    assert accepted.events[1].message.topic_name == f"{TOPIC}/get/accepted"
    assert nucleus.proxy.published[1] == (f"{TOPIC}/update", update)


@asynchronous
async def test_other_topics_come_back_and_basic_ingest_does_not(world: World) -> None:
    nucleus, client = await world.connected()
    heard = await client.subscribe("subscribe_to_iot_core", topic_name="#", qos="1")
    dollar = await client.subscribe("subscribe_to_iot_core", topic_name="$aws/rules/#", qos="1")
    await client.call("publish_to_iot_core", topic_name="$aws/rules/history/van", qos="1", payload=b"1")
    await client.call("publish_to_iot_core", topic_name="history/van", qos="0", payload=b"2")
    await until(lambda: heard.events)
    assert [event.message.payload for event in heard.events] == [b"2"]
    assert dollar.events == []
    assert nucleus.proxy.published == [("$aws/rules/history/van", b"1"), ("history/van", b"2")]


@asynchronous
async def test_what_is_wrong_is_refused_by_the_proxy(world: World) -> None:
    _, client = await world.connected()
    for wrong in ({"qos": "1", "payload": b"x"}, {"topic_name": "a", "payload": b"x"}, {"topic_name": "a", "qos": "1"}):
        assert (await failure(client.call("publish_to_iot_core", **wrong)))[0] == "InvalidArgumentsError"
    wrong_qos = client.call("publish_to_iot_core", topic_name="a", qos="2", payload=b"x")
    assert (await failure(wrong_qos))[1] == "Invalid QoS value: 2"


@asynchronous
async def test_while_the_cloud_is_away_messages_wait_in_the_spool(world: World) -> None:
    nucleus, client = await world.connected()
    heard = await client.subscribe("subscribe_to_iot_core", topic_name="history/#", qos="1")
    world.cloud.online = False
    for number in range(3):
        await client.call("publish_to_iot_core", topic_name=f"history/{number}", qos="1", payload=b"x")
    error, message = await failure(client.call("publish_to_iot_core", topic_name="history/q", qos="0", payload=b"x"))
    assert error == "ServiceError"
    assert message is not None
    assert "offline" in message
    mega = bytes(1024 * 1024)
    for _ in range(2):
        await client.call("publish_to_iot_core", topic_name="big", qos="1", payload=mega)
    error, message = await failure(client.call("publish_to_iot_core", topic_name="big", qos="1", payload=mega))
    assert message is not None
    assert "full" in message
    assert nucleus.proxy.published == heard.events == []
    world.cloud.online = True
    await until(lambda: len(heard.events) == 3)
    assert [event.message.topic_name for event in heard.events] == ["history/0", "history/1", "history/2"]
    await until(lambda: len(nucleus.proxy.published) == 5)


@asynchronous
async def test_more_than_ten_requests_in_flight_are_too_many(world: World) -> None:
    nucleus, client = await world.connected()
    nucleus.proxy.round_trip = 0.01
    rejected = await client.subscribe("subscribe_to_iot_core", topic_name=f"{TOPIC}/get/rejected", qos="1")
    world.cloud.online = False
    for number in range(12):
        token = json.dumps({"clientToken": str(number)}).encode()
        await client.call("publish_to_iot_core", topic_name=f"{TOPIC}/get", qos="1", payload=token)
    world.cloud.online = True  # all that waited goes at once
    await until(lambda: len(rejected.events) == 12)
    assert [p["clientToken"] for p in payloads(rejected) if p["code"] == 429] == ["10", "11"]
    assert sum(p["code"] == 404 for p in payloads(rejected)) == 10
    await client.call("publish_to_iot_core", topic_name=f"{TOPIC}/get", qos="1", payload=b"")
    await until(lambda: len(rejected.events) == 13)
    assert payloads(rejected)[-1]["code"] == 404


# Configuration, secrets, life.


@asynchronous
async def test_configuration_is_read_as_a_whole_and_by_key(world: World) -> None:
    own = {"gx": {"host": "venus", "port": 8883, "trust": True}, "include": ["battery", 1]}
    nucleus, client = await world.connected(configuration=own)

    async def get(*path: str) -> Any:
        return (await client.call("get_configuration", key_path=list(path))).value

    assert await get() == (await client.call("get_configuration")).value == own
    assert await get("gx") == own["gx"]
    assert await get("gx", "port") == {"port": 8883}
    assert await get("include") == {"include": ["battery", 1]}
    named = await client.call("get_configuration", component_name=nucleus.component, key_path=["gx", "host"])
    assert named.value == {"host": "venus"}
    assert named.component_name == nucleus.component
    for wrong in ({"key_path": ["gx", "no"]}, {"key_path": ["gx", "host", "no"]}, {"component_name": "other"}):
        assert (await failure(client.call("get_configuration", **wrong)))[0] == "ResourceNotFoundError"


@asynchronous
async def test_each_changed_key_is_an_event_that_names_it(world: World) -> None:
    nucleus, client = await world.connected(configuration={"gx": {"host": "venus", "port": 8883}, "x": 1})
    all_of_it = await client.subscribe("subscribe_to_configuration_update")
    gx = await client.subscribe("subscribe_to_configuration_update", key_path=["gx"])
    host = await client.subscribe("subscribe_to_configuration_update", key_path=["gx", "host"])
    absent = client.subscribe("subscribe_to_configuration_update", key_path=["no"])
    assert (await failure(absent))[0] == "ResourceNotFoundError"
    nucleus.configure({"gx": {"host": "other", "port": 8883, "trust": {"pin": "ab"}}, "x": None})
    await until(lambda: len(all_of_it.events) == 3)
    assert keys(all_of_it) == [["gx", "host"], ["gx", "trust", "pin"], ["x"]]
    assert all_of_it.events[0].configuration_update_event.component_name == nucleus.component
    await until(lambda: len(gx.events) == 2)
    await until(lambda: host.events)
    assert keys(gx) == [["gx", "host"], ["gx", "trust", "pin"]]
    assert keys(host) == [["gx", "host"]]
    assert nucleus.configuration == {"gx": {"host": "other", "port": 8883, "trust": {"pin": "ab"}}}
    nucleus.configure({"gx": {"host": "other"}})
    nucleus.configure({"gx": None})
    await until(lambda: len(all_of_it.events) == 4)
    assert keys(all_of_it)[-1] == ["gx"]


@asynchronous
async def test_secrets_come_from_the_copy_unless_refreshed(world: World) -> None:
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:gx-AbCdEf"
    nucleus, client = await world.connected(secrets={arn: "first"})

    async def get(**arguments: Any) -> Any:
        return (await client.call("get_secret_value", secret_id=arn, **arguments)).secret_value.secret_string

    assert await get() == "first"
    nucleus.secrets[arn] = "second"
    assert await get() == await get(version_stage="AWSCURRENT") == "first"
    assert await get(refresh=True) == await get() == "second"
    world.cloud.online = False
    nucleus.secrets[arn] = "third"
    assert (await failure(client.call("get_secret_value", secret_id=arn, refresh=True)))[0] == "ServiceError"
    assert await get() == "second"
    assert (await failure(client.call("get_secret_value", secret_id="no")))[0] == "ResourceNotFoundError"
    assert (await failure(client.call("get_secret_value")))[0] == "InvalidArgumentsError"


@asynchronous
async def test_states_are_kept(world: World) -> None:
    nucleus, client = await world.connected()
    await client.call("update_state", state="RUNNING")
    await client.call("update_state", state="ERRORED")
    assert (await failure(client.call("update_state", state="FINISHED")))[0] == "InvalidArgumentsError"
    assert nucleus.states == ["RUNNING", "ERRORED"]


@asynchronous
async def test_an_update_is_put_off_and_asked_about_again(world: World) -> None:
    nucleus, client = await world.connected()

    def defer(milliseconds: int) -> Any:
        return client.call("defer_component_update", deployment_id="d1", recheck_after_ms=milliseconds, message="busy")

    assert (await failure(defer(10)))[0] == "InvalidArgumentsError"  # not subscribed
    updates = await client.subscribe("subscribe_to_component_updates")
    assert (await failure(defer(10)))[0] == "ServiceError"  # no update is due
    nucleus.component_update("d1")
    await until(lambda: updates.events)
    event = updates.events[0].pre_update_event
    assert (event.deployment_id, event.is_ggc_restarting) == ("d1", False)
    await defer(20)
    assert nucleus.deferred == [("d1", 20, "busy")]
    await until(lambda: len(updates.events) == 2)
    assert nucleus.updated == []
    await defer(0)
    await until(lambda: len(updates.events) == 3)
    assert updates.events[2].post_update_event.deployment_id == "d1"
    assert nucleus.updated == ["d1"]


@asynchronous
async def test_an_update_of_a_component_that_does_not_ask_goes_on(world: World) -> None:
    nucleus, _ = await world.connected()
    nucleus.component_update("d1")
    assert nucleus.updated == ["d1"]


@asynchronous
async def test_metrics_are_for_components_of_the_nucleus(world: World) -> None:
    _, client = await world.connected()
    assert (await failure(client.call("put_component_metric", metrics=[])))[0] == "UnauthorizedError"
