"""What goes wrong with a nucleus, as the real SDK's client sees it; and nucleus lite."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.asynchronous import asynchronous, until
from tests.emulators.client import Client, failure, needs_sdk
from tests.emulators.world import REACTOR, World

pytestmark = [pytest.mark.integration, needs_sdk]

BATTERY = {"thing_name": "van", "shadow_name": "victron-battery"}
TOPIC = "$aws/things/van/shadow/name/victron-battery"
#: What the SDK says of a connection that ended: in flight, before the acknowledgement, and of calls after it.
LOST = {"AwsCrtError", "StreamClosedError"}
REFUSED = {"AwsCrtError", "AccessDeniedError"}
CLOSED = {"ConnectionClosedError"}


def update(client: Client, **fields: Any) -> Any:
    return client.call("update_thing_shadow", **BATTERY, payload=json.dumps({"state": {"reported": fields}}).encode())


async def kind(answer: Any) -> str:
    return (await failure(answer))[0]


# The connection.


@asynchronous
async def test_the_sdks_own_connect(world: World) -> None:
    from awsiot import greengrasscoreipc  # type: ignore[import-untyped]  # there are no stubs
    from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2  # type: ignore[import-untyped]

    nucleus = await world.nucleus(configuration={"a": 1})

    def talk() -> Any:
        connection = greengrasscoreipc.connect(ipc_socket=world.path, authtoken="token", timeout=20.0)
        client = GreengrassCoreIPCClientV2(client=connection, executor=None)
        try:
            return client.get_configuration(key_path=["a"]).value
        finally:
            client.close().result(20.0)

    assert await deferToThread(talk) == {"a": 1}
    assert nucleus.connected == 1


@pytest.mark.parametrize("lite", [False, True])
@asynchronous
async def test_a_wrong_token_is_refused(world: World, lite: bool) -> None:
    nucleus = await world.nucleus(lite=lite)
    assert await kind(world.client("wrong").connect()) in REFUSED
    nucleus.token = "wrong"
    await world.client("wrong").connect()
    assert await kind(world.client("token").connect()) in REFUSED


@asynchronous
async def test_it_accepts_and_closes_while_it_refuses(world: World) -> None:
    nucleus = await world.nucleus()
    nucleus.refusing = True
    for _ in range(5):
        assert await kind(world.client().connect()) in REFUSED
    assert nucleus.connected == 5
    nucleus.refusing = False
    await world.client().connect()


@asynchronous
async def test_a_ping_is_answered_and_nothing_ends(world: World) -> None:
    _, client = await world.connected()
    await client.ping()
    await update(client, soc=1)
    assert client.lost == []


@asynchronous
async def test_dropped_calls_fail_and_subscriptions_close(world: World) -> None:
    nucleus, client = await world.connected()
    deltas = await client.subscribe("subscribe_to_topic", topic=f"{TOPIC}/update/delta")
    nucleus.delay = 60.0
    calls = [update(client, soc=number) for number in range(3)]
    await until(lambda: nucleus.in_flight == 3)
    nucleus.drop()
    assert {await kind(call) for call in calls} <= LOST
    await until(lambda: deltas.closed)
    await until(lambda: client.lost)
    assert nucleus.connections == nucleus.in_flight == 0
    with pytest.raises(Exception) as caught:  # noqa: PT011 - synchronously, whatever it is called
        update(client, soc=1)
    assert type(caught.value).__name__ in CLOSED
    nucleus.delay = 0.0
    await client.connect()
    await update(client, soc=2)
    assert nucleus.most_in_flight == 3


@asynchronous
async def test_a_restarted_nucleus_knows_no_streams_but_its_shadows(world: World) -> None:
    nucleus, client = await world.connected()
    await client.subscribe("subscribe_to_component_updates")
    await update(client, soc=1)
    await nucleus.stop()
    assert not os.path.exists(world.path)
    await until(lambda: client.lost)
    with pytest.raises(RuntimeError, match="AWS_ERROR_FILE_INVALID_PATH"):  # at once: there is no file
        client.connect()
    nucleus.token = "new"
    await nucleus.start()
    assert await kind(client.connect()) in REFUSED
    client = world.client("new")
    await client.connect()
    assert await kind(client.call("defer_component_update", deployment_id="d")) == "InvalidArgumentsError"
    assert json.loads((await client.call("get_thing_shadow", **BATTERY)).payload)["version"] == 1


@asynchronous
async def test_a_stalled_nucleus_answers_when_it_goes_on(world: World) -> None:
    nucleus, client = await world.connected()
    deltas = await client.subscribe("subscribe_to_topic", topic=f"{TOPIC}/update/delta")
    nucleus.stalled = True
    call = update(client, mode="On")
    late = world.client()
    connecting = late.connect()
    world.shadows.update("van", "victron-battery", {"state": {"desired": {"mode": "Off"}}})
    await deferLater(REACTOR, 0.1)  # nothing may come meanwhile
    assert not call.called
    assert not connecting.called
    assert deltas.events == nucleus.requests[1:] == []
    nucleus.stalled = False
    await call
    await connecting
    await until(lambda: len(deltas.events) == 2)


@asynchronous
async def test_a_stalled_nucleus_can_stop(world: World) -> None:
    nucleus, client = await world.connected()
    nucleus.stalled = True
    call = update(client, soc=1)
    await nucleus.stop()
    assert await kind(call) in LOST


@asynchronous
async def test_answers_can_be_late(world: World) -> None:
    nucleus, client = await world.connected()
    nucleus.delay = 0.1
    begin = REACTOR.seconds()
    calls = [update(client, soc=number) for number in range(10)]
    for call in calls:
        await call
    assert REACTOR.seconds() - begin >= 0.1
    assert nucleus.most_in_flight > 1
    versions = [json.loads((await call).payload)["version"] for call in [client.call("get_thing_shadow", **BATTERY)]]
    assert versions == [10]


@asynchronous
async def test_a_malformed_frame_ends_the_connection(world: World) -> None:
    nucleus, client = await world.connected()
    nucleus.malform_next()
    assert await kind(update(client, soc=1)) in LOST
    await until(lambda: client.lost)
    await client.connect()
    await update(client, soc=2)


# Errors on demand.


@asynchronous
async def test_each_error_of_the_model_on_demand(world: World) -> None:
    nucleus, client = await world.connected()
    for error in (
        "UnauthorizedError",
        "ResourceNotFoundError",
        "ConflictError",
        "InvalidArgumentsError",
        "ServiceError",
    ):
        nucleus.fail_next("UpdateThingShadow", error, "because", count=2)
        assert await failure(update(client, soc=1)) == (error, "because")
        assert await failure(update(client, soc=1)) == (error, "because")
    nucleus.fail_next("SubscribeToTopic", "UnauthorizedError", "no")
    assert await failure(client.subscribe("subscribe_to_topic", topic="a")) == ("UnauthorizedError", "no")
    await client.subscribe("subscribe_to_topic", topic="a")
    await update(client, soc=1)


@asynchronous
async def test_an_error_without_a_model_closes_the_stream_alone(world: World) -> None:
    nucleus, client = await world.connected()
    nucleus.fail_next("UpdateThingShadow")
    assert await kind(update(client, soc=1)) == "StreamClosedError"
    await update(client, soc=1)
    assert client.lost == []


@asynchronous
async def test_without_shadow_manager_the_stream_is_closed(world: World) -> None:
    _, client = await world.connected(shadow_manager=None)
    assert await kind(update(client, soc=1)) == "StreamClosedError"
    assert await kind(client.call("list_named_shadows_for_thing", thing_name="van")) == "StreamClosedError"
    await client.call("get_configuration")


@asynchronous
async def test_what_the_recipe_does_not_allow_is_unauthorized(world: World) -> None:
    access = {
        "aws.greengrass.ShadowManager": {
            "p:1": {"operations": ["aws.greengrass#UpdateThingShadow"], "resources": ["$aws/things/*/name/victron-*"]}
        },
        "aws.greengrass.ipc.pubsub": {
            "p:2": {"operations": ["*"], "resources": ["$aws/things/*/shadow/name/victron-*/update/delta"]}
        },
        "aws.greengrass.ipc.mqttproxy": {
            "p:3": {"operations": ["aws.greengrass#SubscribeToIoTCore"], "resources": ["$aws/things/+/shadow/name/+/#"]}
        },
    }
    _, client = await world.connected(access=access, secrets={"arn": "x"}, configuration={"a": 1})
    await update(client, soc=1)
    await client.subscribe("subscribe_to_topic", topic=f"{TOPIC}/update/delta")
    await client.subscribe("subscribe_to_iot_core", topic_name="$aws/things/van/shadow/name/+/get/accepted", qos="1")
    await client.call("get_configuration")
    await client.call("update_state", state="RUNNING")
    for answer in (
        client.call("get_thing_shadow", **BATTERY),
        client.call("update_thing_shadow", thing_name="van", shadow_name="other", payload=b"{}"),
        client.call("list_named_shadows_for_thing", thing_name="van"),
        client.subscribe("subscribe_to_topic", topic="$aws/things/van/shadow/name/+/update/delta"),
        client.call("publish_to_topic", topic="a", publish_message=None),
        client.call("publish_to_iot_core", topic_name=f"{TOPIC}/get", qos="1", payload=b""),
        client.subscribe("subscribe_to_iot_core", topic_name="#", qos="1"),
        client.call("get_secret_value", secret_id="arn"),
    ):
        error, message = await failure(answer)
        assert error == "UnauthorizedError"
        assert message is not None
        assert "not authorized" in message


@asynchronous
async def test_subscriptions_to_iot_core_are_lost_without_a_word(world: World) -> None:
    nucleus, client = await world.connected()
    deaf = await client.subscribe("subscribe_to_iot_core", topic_name="history", qos="1")
    nucleus.lose_iot_core_subscriptions()
    again = await client.subscribe("subscribe_to_iot_core", topic_name="history", qos="1")
    await client.call("publish_to_iot_core", topic_name="history", qos="1", payload=b"x")
    await until(lambda: again.events)
    assert deaf.events == []
    assert not deaf.closed


# Nucleus lite.


@asynchronous
async def test_lite_has_no_shadow_manager_no_secrets_and_no_updates(world: World) -> None:
    _, client = await world.connected(lite=True, shadow_manager=None, secrets={"arn": "x"})
    for answer in (
        update(client, soc=1),
        client.call("get_secret_value", secret_id="arn"),
        client.subscribe("subscribe_to_component_updates"),
        client.call("defer_component_update", deployment_id="d"),
        client.call("put_component_metric", metrics=[]),
    ):
        assert await failure(answer) == ("ServiceError", None)
    await client.call("update_state", state="RUNNING")


@asynchronous
async def test_lites_scalars_are_texts(world: World) -> None:
    _, client = await world.connected(lite=True, configuration={"gx": {"port": 8883, "trust": False}, "x": [1.5, "a"]})
    answer = await client.call("get_configuration")
    assert answer.value == {"gx": {"port": "8883", "trust": "false"}, "x": ["1.5", "a"]}
    assert (await client.call("get_configuration", key_path=["gx", "port"])).value == {"port": "8883"}


@asynchronous
async def test_lite_loses_what_does_not_fit_into_its_receive_buffer(world: World) -> None:
    nucleus, client = await world.connected(lite=True)
    heard = await client.subscribe("subscribe_to_iot_core", topic_name="$aws/things/+/shadow/name/+/get/+", qos="1")
    world.cloud.update("van", "victron-battery", {"state": {"reported": {"text": "x" * 4900}}})
    world.cloud.update("van", "small", {"state": {"reported": {"text": "x" * 4700}}})
    for shadow in ("victron-battery", "small"):
        topic = f"$aws/things/van/shadow/name/{shadow}/get"
        await client.call("publish_to_iot_core", topic_name=topic, qos="1", payload=b"")
    await until(lambda: heard.events)
    assert "/small/" in heard.events[0].message.topic_name
    assert len(heard.events) == len(nucleus.proxy.lost) == 1
    assert nucleus.proxy.lost[0].startswith(f"{TOPIC}/get/accepted")


@asynchronous
async def test_lites_frames_have_ten_thousand_bytes(world: World) -> None:
    nucleus, client = await world.connected(lite=True, configuration={"big": "x" * 10_000, "small": "x" * 9_000})
    assert await kind(client.call("get_configuration")) == "ServiceError"
    assert len((await client.call("get_configuration", key_path=["small"])).value["small"]) == 9_000
    publish = {"topic_name": "history", "qos": "1"}
    await client.call("publish_to_iot_core", **publish, payload=bytes(7_000))
    assert await kind(client.call("publish_to_iot_core", **publish, payload=bytes(8_000))) in LOST
    await until(lambda: nucleus.connections == 0)


@asynchronous
async def test_an_event_that_fits_into_no_frame_of_lites_is_lost(world: World) -> None:
    nucleus, client = await world.connected(lite=True)
    heard = await client.subscribe("subscribe_to_topic", topic=f"{TOPIC}/update/delta")
    for size in (7_600, 6_000):
        world.shadows.update("van", "victron-battery", {"state": {"desired": {"text": "x" * size}}})
    await until(lambda: heard.events)
    assert json.loads(heard.events[0].binary_message.message)["version"] == 2
    assert len(heard.events) == len(nucleus.oversized) == 1


@asynchronous
async def test_lite_has_fifty_subscriptions_to_the_cloud_and_its_own_words(world: World) -> None:
    _, client = await world.connected(lite=True, access={"aws.greengrass.ipc.mqttproxy": {
        "p:1": {"operations": ["*"], "resources": ["a/+"]}}})  # fmt: skip
    for number in range(50):
        await client.subscribe("subscribe_to_iot_core", topic_name=f"a/{number}", qos="1")
    assert await kind(client.subscribe("subscribe_to_iot_core", topic_name="a/50", qos="1")) == "ServiceError"
    assert await failure(client.subscribe("subscribe_to_iot_core", topic_name="b", qos="1")) == (
        "UnauthorizedError",
        None,
    )


@asynchronous
async def test_lite_serves_so_many_streams(world: World) -> None:
    _, client = await world.connected(lite=True)
    streams = [await client.subscribe("subscribe_to_topic", topic="a") for _ in range(128)]
    assert await kind(client.subscribe("subscribe_to_topic", topic="a")) == "ServiceError"
    streams[0].operation.close()
    await until(lambda: streams[0].closed)
    await client.subscribe("subscribe_to_topic", topic="a")


@asynchronous
async def test_lite_has_no_spool(world: World) -> None:
    nucleus, client = await world.connected(lite=True)
    world.cloud.online = False
    assert await kind(client.call("publish_to_iot_core", topic_name="a", qos="1", payload=b"")) == "ServiceError"
    world.cloud.online = True
    await client.call("publish_to_iot_core", topic_name="a", qos="1", payload=b"")
    await until(lambda: nucleus.proxy.published)
