"""Shadow Manager behind the emulated nucleus, through the real SDK: the contract, and every fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from twisted.internet.defer import CancelledError, Deferred, DeferredList

from tests.asynchronous import asynchronous, until, wait
from tests.conftest import ExpectErrors
from tests.greengrass.bench import REACTOR, Bench, Hasty, needs_sdk
from victron_twin.shadows.backend import (
    CLASSIC,
    Conflict,
    Delta,
    Document,
    InvalidRequest,
    Messenger,
    NotFound,
    ShadowBackend,
    ShadowError,
    Throttled,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from victron_twin.shadows.greengrass import GreengrassBackend
from victron_twin.shadows.pace import Pace

from .backend_contract import NAME, Arrived, BackendContract, MessengerContract

pytestmark = [pytest.mark.integration, needs_sdk]

THING = "van"
TWIN = "victron-twin"
RECIPE = Path(__file__).parents[2] / "recipe.yaml"


def conforms(backend: GreengrassBackend) -> tuple[ShadowBackend, Messenger]:
    """Checked by mypy: the class has the interfaces' form."""
    return backend, backend


class Site(Bench):
    """A nucleus, the link and the backend over it; ``deltas`` and ``missed`` are what a watcher was told."""

    def __init__(self, folder: Path, pace: Pace | None = None, clock: Any = REACTOR, **options: Any) -> None:
        super().__init__(folder, **options)
        self.backend = GreengrassBackend(clock, self.link, pace or Pace(REACTOR, None, None))
        self.deltas: list[Delta] = []
        self.missed = 0
        self.backend.watch(self.deltas.append, self._miss)

    def _miss(self) -> None:
        self.missed += 1

    async def up(self) -> None:
        await super().up()
        await self.backend.start()

    async def down(self) -> None:
        await self.backend.stop()
        await super().down()

    def report(self, thing: str = THING, shadow: str = NAME, **fields: Any) -> Deferred[Document]:
        return self.backend.update(thing, shadow, {"state": {"reported": fields}})

    def desire(self, **fields: Any) -> None:
        """As another component, or the cloud, does."""
        self.shadows.update(THING, NAME, {"state": {"desired": fields}})

    async def heard(self, *versions: int) -> None:
        await until(lambda: [delta.version for delta in self.deltas] == [*versions])

    async def again(self, times: int = 1) -> None:
        await until(lambda: self.missed == times)


Make = Callable[..., Site]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Site] = []

    def make(**options: Any) -> Site:
        made.append(Site(tmp_path, **options))
        return made[-1]

    yield make
    for site in made:
        wait(Deferred.fromCoroutine(site.down()))


class TestContract(BackendContract, MessengerContract):
    versions_go_on = False

    @pytest.fixture
    def there(self, make: Make) -> Site:
        site = make()
        wait(Deferred.fromCoroutine(site.up()))
        return site

    @pytest.fixture
    def backend(self, there: Site) -> ShadowBackend:
        return there.backend

    @pytest.fixture
    def arrived(self, there: Site) -> Arrived:
        return lambda: there.nucleus.proxy.published


# Deltas.


@asynchronous
async def test_deltas_are_heard_from_the_first_request_on(make: Make) -> None:
    site = make()
    await site.up()
    site.desire(mode="On")
    assert (await site.backend.get(THING, NAME))["state"]["delta"] == {"mode": "On"}
    assert not site.deltas
    site.desire(mode="Off")
    await site.heard(2)
    assert site.deltas == [Delta(THING, NAME, {"mode": "Off"}, 2)]
    assert [name for name, _ in site.nucleus.requests] == ["SubscribeToTopic", "GetThingShadow"]


@asynchronous
async def test_a_version_is_told_of_once_and_the_token_of_its_update_with_it(make: Make) -> None:
    site = make()
    await site.up()
    await site.report(mode="On")
    await site.backend.update(THING, NAME, {"state": {"desired": {"mode": "Off"}}, "clientToken": "me"})
    await site.heard(2)
    assert site.deltas[0].client_token == "me"
    late = json.dumps({"state": {"mode": "On"}, "version": 1, "timestamp": 1}).encode()
    for _ in range(2):
        site.nucleus._delta(THING, NAME, late)
    site.desire(mode="Eco")
    await site.heard(2, 3)


@asynchronous
async def test_versions_that_begin_anew_are_heard_whoever_deleted_the_shadow(make: Make) -> None:
    site = make()
    await site.up()
    await site.report(mode="On")
    site.desire(mode="Off")
    await site.heard(2)
    await site.backend.delete(THING, NAME)
    await site.report(mode="Off")
    site.desire(mode="On")
    await site.heard(2, 2)
    assert site.missed == 0


@asynchronous
async def test_a_shadow_that_another_made_anew_is_to_be_read(make: Make) -> None:
    site = make()
    await site.up()
    await site.report(mode="On")
    seen = {"state": {"mode": "Off"}, "version": 7, "timestamp": 100}
    site.nucleus._delta(THING, NAME, json.dumps(seen).encode())
    await site.heard(7)
    anew = {"state": {"mode": "Off"}, "version": 1, "timestamp": 101}
    site.nucleus._delta(THING, NAME, json.dumps(anew).encode())
    await site.heard(7, 1)
    await site.again()


@asynchronous
async def test_what_is_no_delta_is_told_of_and_ignored(make: Make) -> None:
    site = make()
    await site.up()
    await site.report(mode="On")
    for payload in b"rubbish", b"[]", b"{}", b'{"state": {}, "version": null}', b'{"state": 1, "version": 9}':
        site.nucleus._delta(THING, NAME, payload)
    site.desire(mode="Off")
    await site.heard(2)


@asynchronous
async def test_a_watcher_that_fails_disturbs_nobody(make: Make, logged_errors: ExpectErrors) -> None:
    logged_errors("a listener to deltas failed")
    site = make()

    def fails(*_: Any) -> None:
        raise ZeroDivisionError

    unwatch = site.backend.watch(fails, fails)
    site.backend.watch(site.deltas.append)
    await site.up()
    await site.report(mode="On")
    site.desire(mode="Off")
    await site.heard(2, 2)
    site.nucleus.drop()
    await site.again()
    unwatch()
    site.desire(mode="Eco")
    await site.heard(2, 2, 3, 3)


# The connection.


async def kind(answer: Deferred[Any]) -> tuple[type[ShadowError], str]:
    with pytest.raises(ShadowError) as caught:
        await answer
    return type(caught.value), caught.value.message


@asynchronous
async def test_after_a_lost_connection_every_shadow_is_to_be_read_once(make: Make) -> None:
    site = make()
    await site.up()
    names = [f"victron-{number}" for number in range(18)]
    await DeferredList([site.report(shadow=name, a=1) for name in names], fireOnOneErrback=True)
    await site.report(mode="On")
    for times in 1, 2:
        site.nucleus.delay = 2.0
        answer = site.report(b=times)
        await until(lambda: site.nucleus.in_flight)
        site.nucleus.drop()
        site.nucleus.delay = 0.0
        error, message = await kind(answer)
        assert error is Unavailable
        assert site.path in message
        await site.again(times)
    site.desire(mode="Off")
    await site.heard(2)
    assert sum(operation == "SubscribeToTopic" for operation, _ in site.nucleus.requests) == 3 * 19


@asynchronous
async def test_while_the_nucleus_is_away_requests_fail_at_once(make: Make) -> None:
    site = make(clock=Hasty(20.0))
    site.link.startService()
    await site.backend.start()
    for answer in (
        site.report(a=1),
        site.backend.get(THING, NAME),
        site.backend.delete(THING, NAME),
        site.backend.named_shadows(THING),
        site.backend.cloud_document(THING, NAME),
    ):
        assert (await kind(answer))[0] is Unavailable
    await site.appear()
    await site.link.when_connected()
    await site.report(a=1)


@asynchronous
async def test_a_stalled_nucleus_is_unavailable_and_found_again(make: Make) -> None:
    site = make(timeout=30.0)
    await site.up()
    await site.report(a=1)
    site.nucleus.stalled = True
    answers = [site.report(a=number) for number in range(3)]
    assert {(await kind(answer))[0] for answer in answers} == {Unavailable}
    site.nucleus.stalled = False
    await site.again()
    await site.report(b=1)


@asynchronous
async def test_a_slow_nucleus_is_waited_for(make: Make) -> None:
    site = make()
    await site.up()
    site.nucleus.delay = 0.2
    await site.report(a=1)
    assert site.nucleus.connected == 1


@asynchronous
async def test_a_malformed_frame_costs_the_connection_only(make: Make) -> None:
    site = make()
    await site.up()
    await site.report(a=1)
    site.nucleus.malform_next()
    assert (await kind(site.report(b=1)))[0] is Unavailable
    await site.again()
    assert (await site.backend.get(THING, NAME))["state"] == {"reported": {"a": 1, "b": 1}}


@asynchronous
async def test_a_nucleus_that_restarts_with_the_same_token_and_with_another(make: Make) -> None:
    site = make()
    await site.up()
    await site.report(mode="On")
    await site.vanish()
    await site.appear()
    await site.again()
    site.desire(mode="Off")
    await site.heard(2)
    await site.vanish()
    site.nucleus.token = "another"
    await site.appear()
    await until(lambda: site.fatal)
    assert (await kind(site.report(mode="Off")))[0] is Unavailable


@asynchronous
async def test_the_stop_fails_what_is_under_way_and_hears_nothing_more(make: Make) -> None:
    site = make(pace=Pace(REACTOR, 1.0, None))
    await site.up()
    await site.report(mode="On")
    site.nucleus.delay = 20.0
    answers = [site.report(mode="Off"), site.report(mode="Off"), site.backend.cloud_document(THING, NAME)]
    await site.backend.stop()
    for answer in answers:
        assert (await kind(answer))[0] is Unavailable
    error, message = await kind(site.report(mode="Off"))
    assert error is Unavailable
    assert "not open" in message
    site.nucleus.delay = 0.0
    site.desire(mode="Off")
    await site.link.call("get_thing_shadow", thing_name=THING, shadow_name=NAME)
    assert not site.deltas
    await site.backend.start()
    await site.backend.get(THING, NAME)
    site.desire(mode="Eco")
    await site.heard(3)


@asynchronous
async def test_who_cancels_waits_no_longer(make: Make) -> None:
    site = make(pace=Pace(REACTOR, 2.0, None))
    await site.up()
    await site.report(a=1)
    answer = site.report(a=2)
    answer.cancel()
    with pytest.raises(CancelledError):
        await answer
    await site.report(a=3)
    assert sum(operation == "UpdateThingShadow" for operation, _ in site.nucleus.requests) == 2


# Errors.


@asynchronous
async def test_each_error_of_shadow_manager_has_its_kind_and_says_what_to_do(make: Make) -> None:
    site = make()
    await site.up()
    await site.report(a=1)
    for error, message, expected, says in (
        ("UnauthorizedError", "no", Unauthorized, "aws.greengrass#UpdateThingShadow on $aws/things/van/shadow/name/"),
        ("ConflictError", "Version conflict", Conflict, "read it and decide again"),
        ("InvalidArgumentsError", "The payload exceeds the maximum size allowed", TooLarge, "exclude fields"),
        ("InvalidArgumentsError", "Invalid JSON", InvalidRequest, "Invalid JSON"),
        ("ResourceNotFoundError", "No shadow exists with name: x", NotFound, "No shadow"),
        ("ServiceError", "Too Many Requests", Throttled, "cadence.normal"),
        ("ServiceError", "Internal service failure", ShadowError, "Internal service failure"),
        (None, "", Unavailable, "deploy aws.greengrass.ShadowManager"),
    ):
        site.nucleus.fail_next("UpdateThingShadow", error, message)
        kind_, text = await kind(site.report(a=2))
        assert kind_ is expected
        assert says in text
    await site.report(a=3)


@asynchronous
async def test_a_version_of_a_shadow_that_was_deleted_is_a_conflict(make: Make) -> None:
    site = make()
    await site.up()
    await site.report(a=1)
    site.shadows.delete(THING, NAME)
    with pytest.raises(Conflict, match="deleted"):
        await site.backend.update(THING, NAME, {"state": {"reported": {"a": 2}}, "version": 1 + 1})


@asynchronous
async def test_levels_and_names_that_shadow_manager_does_not_take(make: Make) -> None:
    site = make()
    await site.up()
    deep: dict[str, Any] = {"a": {"b": {"c": {"d": {"e": {"f": {}}}}}}}
    with pytest.raises(InvalidRequest, match="nesting"):
        await site.report(**deep)
    with pytest.raises(InvalidRequest, match="pattern"):
        await site.report(shadow="$a", a=1)


@asynchronous
async def test_an_answer_that_is_no_document(make: Make) -> None:
    site = make()
    await site.up()
    site.shadows.get = lambda thing, shadow: {"no": "document"}  # type: ignore[method-assign]  # as no real one does
    with pytest.raises(ShadowError, match="no document"):
        await site.backend.get(THING, NAME)


def allowed(*operations: str, resources: str) -> dict[str, Any]:
    return {"1": {"operations": [f"aws.greengrass#{each}" for each in operations], "resources": [resources]}}


@asynchronous
async def test_what_the_access_control_lacks_is_named(make: Make) -> None:
    site = make(access={})
    await site.up()
    for answer, operation, resource in (
        (site.report(a=1), "UpdateThingShadow", f"$aws/things/{THING}/shadow/name/{NAME}"),
        (site.backend.get(THING, NAME), "GetThingShadow", f"$aws/things/{THING}/shadow/name/{NAME}"),
        (site.backend.delete(THING, NAME), "DeleteThingShadow", f"$aws/things/{THING}/shadow/name/{NAME}"),
        (site.backend.named_shadows(THING), "ListNamedShadowsForThing", THING),
        (
            site.backend.cloud_document(THING, NAME),
            "SubscribeToIoTCore",
            f"$aws/things/{THING}/shadow/name/+/get/accepted",
        ),
    ):
        error, message = await kind(answer)
        assert error is Unauthorized
        assert f"aws.greengrass#{operation} on {resource}" in message
        assert "accessControl" in message


@asynchronous
async def test_the_recipe_allows_all_that_it_does(make: Make) -> None:
    recipe = yaml.safe_load(RECIPE.read_text())
    site = make(access=recipe["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"])
    name = "victron-vebus"
    told: list[Any] = []
    site.backend.on_cloud(lambda *args: told.append(args))
    await site.up()
    assert await site.backend.probe() is True
    await site.report(shadow=name, mode="On")
    await site.report(shadow=TWIN, a=1)
    site.shadows.update(THING, name, {"state": {"desired": {"mode": "Off"}}})
    await site.heard(2)
    assert (await site.backend.get(THING, name))["version"] == 2
    await until(site.shadows.settled)
    assert (await site.backend.cloud_document(THING, name))["state"]["delta"] == {"mode": "Off"}
    await until(lambda: told)
    assert await site.backend.named_shadows(THING) == [TWIN, name]
    await site.backend.delete(THING, name)


@asynchronous
async def test_deltas_that_may_not_be_heard_are_no_reason_not_to_report(make: Make) -> None:
    shadows = allowed("UpdateThingShadow", "GetThingShadow", resources="*")
    site = make(access={"aws.greengrass.ShadowManager": shadows})
    await site.up()
    await site.report(mode="On")
    site.desire(mode="Off")
    assert (await site.backend.get(THING, NAME))["state"]["delta"] == {"mode": "Off"}
    assert not site.deltas


@asynchronous
async def test_the_names_of_many_shadows_come_in_pages(make: Make) -> None:
    site = make()
    await site.up()
    for number in range(200):
        site.shadows.update(THING, f"victron-{number:03}", {"state": {"reported": {"a": 1}}})
    assert await site.backend.named_shadows(THING) == [f"victron-{number:03}" for number in range(200)]


@asynchronous
async def test_requests_keep_below_the_rates_of_shadow_manager(make: Make) -> None:
    site = make(pace=Pace(REACTOR))
    site.shadows.limited = True
    await site.up()
    await DeferredList([site.report(a=number) for number in range(50)], fireOnOneErrback=True)
    assert site.nucleus.rates_exceeded == 0
    assert site.shadows.document(THING, NAME)["version"] == 50


@asynchronous
async def test_too_many_requests_all_the_same_are_a_pause_for_the_thing(make: Make) -> None:
    site = make()
    await site.up()
    await site.report(a=1)
    site.nucleus.fail_next("UpdateThingShadow", "ServiceError", "Too Many Requests")
    with pytest.raises(Throttled):
        await site.report(a=2)
    answer = site.report(a=3)
    await site.backend.get("other", CLASSIC).addErrback(lambda failure: failure.trap(NotFound) and None)
    assert not answer.called
    await answer


# Is Shadow Manager there?


@pytest.mark.parametrize("lite", [False, True])
@asynchronous
async def test_no_shadow_manager(make: Make, lite: bool) -> None:
    site = make(shadow_manager=None, lite=lite)
    await site.up()
    assert await site.backend.probe() is False
    assert site.nucleus.connected == 1


@asynchronous
async def test_shadow_manager_is_there_whatever_it_answers(make: Make) -> None:
    site = make()
    await site.up()
    assert await site.backend.probe() is True
    for error in "UnauthorizedError", "ServiceError":
        site.nucleus.fail_next("GetThingShadow", error, "no")
        assert await site.backend.probe() is True
    site.shadows.update(TWIN, TWIN, {"state": {"reported": {"a": 1}}})
    assert await site.backend.probe() is True


@asynchronous
async def test_a_connection_that_drops_is_no_answer_to_whether_it_is_there(make: Make) -> None:
    site = make()
    site.link.startService()
    there = site.backend.probe()
    await site.appear()
    site.nucleus.delay = 1.0
    for times in 1, 2:
        await until(lambda: site.nucleus.in_flight)
        site.nucleus.drop()
        await dialled(site, times + 1)
        assert not there.called
    site.nucleus.delay = 0.0
    assert await there is True


async def dialled(site: Site, times: int) -> None:
    await until(lambda: site.nucleus.connected >= times)


@asynchronous
async def test_the_end_of_the_link_ends_the_question(make: Make) -> None:
    site = make()
    site.link.startService()
    there = site.backend.probe()
    await site.link.stopService()
    with pytest.raises(Unavailable):
        await there


# The cloud's view.


@asynchronous
async def test_the_clouds_document(make: Make) -> None:
    site = make()
    await site.up()
    with pytest.raises(NotFound):
        await site.backend.cloud_document(THING, NAME)
    site.cloud.update(THING, NAME, {"state": {"reported": {"a": 1}}})
    site.cloud.update(THING, TWIN, {"state": {"reported": {"b": 1}}})
    answers = [site.backend.cloud_document(THING, name) for name in (NAME, TWIN, NAME)]
    documents = [await answer for answer in answers]
    assert [document["state"]["reported"] for document in documents] == [{"a": 1}, {"b": 1}, {"a": 1}]
    assert [document["version"] for document in documents] == [1, 1, 1]
    assert "clientToken" not in documents[0]
    with pytest.raises(InvalidRequest):
        await site.backend.cloud_document(THING, CLASSIC)
    subscribed = [request["topicName"] for name, request in site.nucleus.requests if name == "SubscribeToIoTCore"]
    assert subscribed == [f"$aws/things/{THING}/shadow/name/+/get/{kind}" for kind in ("accepted", "rejected")]


@asynchronous
async def test_a_cloud_that_is_away_or_silent_is_unavailable(make: Make) -> None:
    site = make(clock=Hasty(5.0))
    await site.up()
    site.cloud.online = False
    with pytest.raises(Unavailable, match="no way to the cloud"):
        await site.backend.cloud_document(THING, NAME)
    site.cloud.online = True
    site.nucleus.lose_iot_core_subscriptions()
    with pytest.raises(Unavailable, match="did not answer within 10 s"):
        await site.backend.cloud_document(THING, NAME)
    site.nucleus.drop()
    await until(lambda: site.nucleus.connected == 2 and site.link.connected)
    with pytest.raises(NotFound):
        await site.backend.cloud_document(THING, NAME)


@asynchronous
async def test_the_cloud_tells_when_it_took_an_update_of_victron_twin(make: Make) -> None:
    site = make()
    told: list[tuple[Any, ...]] = []
    end = site.backend.on_cloud(lambda *args: told.append(args))
    await site.up()
    await site.report(shadow=TWIN, a=1)
    await site.report(a=1)
    await until(lambda: told)
    ((thing, shadow, version, timestamp),) = told
    assert (thing, shadow, version) == (THING, TWIN, 1)
    assert timestamp == pytest.approx(REACTOR.seconds(), abs=30)
    end()
    await site.report(shadow=TWIN, a=2)
    await until(site.shadows.settled)
    assert len(told) == 1


# Messages.


@asynchronous
async def test_a_message_waits_in_the_nucleus_while_there_is_no_way_to_the_cloud(make: Make) -> None:
    site = make()
    await site.up()
    site.cloud.online = False
    await site.backend.publish("fleet/audit", b"{}")
    assert site.nucleus.requests[-1] == (
        "PublishToIoTCore",
        {"topicName": "fleet/audit", "qos": "1", "payload": b"{}"},
    )
    assert site.nucleus.proxy.published == []
    site.cloud.online = True
    await until(lambda: site.nucleus.proxy.published == [("fleet/audit", b"{}")])


@asynchronous
async def test_a_spool_that_is_full_takes_no_message(make: Make) -> None:
    site = make()
    await site.up()
    site.nucleus.fail_next("PublishToIoTCore", "ServiceError", "Message spool is full.")
    with pytest.raises(Unavailable, match="Message spool is full"):
        await site.backend.publish("fleet/audit", b"{}")


@asynchronous
async def test_a_topic_needs_an_entry_beside_the_recipes_own(make: Make) -> None:
    control = yaml.safe_load(RECIPE.read_text())["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"]
    entry = {"operations": ["aws.greengrass#PublishToIoTCore"], "resources": ["fleet/*/audit"]}
    control["aws.greengrass.ipc.mqttproxy"]["audit"] = entry
    site = make(access=control)
    await site.up()
    await site.backend.publish("fleet/van/audit", b"{}")
    with pytest.raises(
        Unauthorized, match=r"aws\.greengrass#PublishToIoTCore on audit: .*aws\.greengrass\.ipc\.mqttproxy"
    ):
        await site.backend.publish("audit", b"{}")
