"""What the service says of its life to the nucleus, and what that gives it: updates, configuration, secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.asynchronous import asynchronous, until
from victron_twin.greengrass.configuration import ComponentConfiguration
from victron_twin.greengrass.lifecycle import LONGEST, RECHECK, Lifecycle
from victron_twin.greengrass.secrets import SecretError, Secrets

from .bench import Make, needs_sdk

pytestmark = [pytest.mark.integration, needs_sdk]

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:gx-AbCdEf"


@asynchronous
async def test_running_is_said_again_to_a_nucleus_that_comes_back(make: Make) -> None:
    bench = make()
    await bench.up()
    lifecycle = Lifecycle(bench.clock, bench.link, lambda: False)
    lifecycle.startService()
    lifecycle.running_now()
    await until(lambda: bench.nucleus.states == ["RUNNING"])
    await bench.vanish()
    await bench.appear()
    await until(lambda: bench.nucleus.states == ["RUNNING", "RUNNING"])
    await lifecycle.errored()
    assert bench.nucleus.states[-1] == "ERRORED"
    lifecycle.stopService()


@asynchronous
async def test_an_update_waits_for_a_command_but_not_for_ever(make: Make) -> None:
    bench = make()
    await bench.up()
    busy = [True]
    lifecycle = Lifecycle(bench.clock, bench.link, lambda: busy[0])
    lifecycle.startService()
    await until(lambda: bench.nucleus.answered >= 1)
    bench.nucleus.component_update("one")
    await until(lambda: bench.nucleus.deferred)
    assert bench.nucleus.deferred[0].recheck_after_ms == RECHECK * 1000
    busy[0] = False
    bench.nucleus.component_update("one")
    await until(lambda: bench.nucleus.updated == ["one"])

    busy[0] = True
    began = bench.clock.seconds()
    while "two" not in bench.nucleus.updated:
        bench.nucleus.deferred.clear()
        bench.nucleus.component_update("two")
        await until(lambda: bench.nucleus.deferred)
    assert bench.clock.seconds() - began >= LONGEST
    lifecycle.stopService()


@asynchronous
async def test_configuration_and_its_changes(make: Make) -> None:
    bench = make(configuration={"gx": {"host": "192.0.2.1"}, "accessControl": {}})
    taken: list[Mapping[str, Any]] = []
    configuration = ComponentConfiguration(bench.clock, bench.link, taken.append)
    configuration.startService()
    await bench.up()
    await until(lambda: taken)
    assert taken[0]["gx"] == {"host": "192.0.2.1"}
    bench.nucleus.configure({"gx": {"host": "192.0.2.2"}})
    await until(lambda: len(taken) == 2)
    assert taken[1]["gx"] == {"host": "192.0.2.2"}
    await bench.vanish()
    bench.nucleus.configuration["gx"] = {"host": "192.0.2.3"}
    await bench.appear()
    await until(lambda: len(taken) == 3)
    assert taken[2]["gx"] == {"host": "192.0.2.3"}
    configuration.stopService()


@asynchronous
async def test_a_secret_is_its_text_or_its_password(make: Make) -> None:
    bench = make(secrets={ARN: "plain", f"{ARN}2": '{"username": "x", "password": "inner"}', f"{ARN}3": "[1]"})
    await bench.up()
    secrets = Secrets(bench.link)
    assert (await secrets.password(ARN, False)).reveal() == "plain"
    assert (await secrets.password(f"{ARN}2", False)).reveal() == "inner"
    assert (await secrets.password(f"{ARN}3", True)).reveal() == "[1]"
    bench.nucleus.secrets[ARN] = "changed"
    assert (await secrets.password(ARN, False)).reveal() == "plain"
    assert (await secrets.password(ARN, True)).reveal() == "changed"
    bench.nucleus.secrets[f"{ARN}4"] = '{"user": 1}'
    with pytest.raises(SecretError, match="without the text 'password'"):
        await secrets.password(f"{ARN}4", True)


@asynchronous
async def test_a_secret_that_cannot_be_had_names_the_remedy(make: Make) -> None:
    bench = make(secrets={ARN: "plain"})
    await bench.up()
    bench.nucleus.fail_next("GetSecretValue", "UnauthorizedError", "no", 2)
    with pytest.raises(SecretError, match=r"accessControl for aws\.greengrass\.SecretManager") as caught:
        await Secrets(bench.link).password(ARN, False)
    assert "plain" not in str(caught.value)


@asynchronous
async def test_without_permission_to_read_it_the_configuration_is_empty(make: Make) -> None:
    bench = make()
    bench.nucleus.fail_next("GetConfiguration", "UnauthorizedError", "no")
    taken: list[Mapping[str, Any]] = []
    configuration = ComponentConfiguration(bench.clock, bench.link, taken.append)
    configuration.startService()
    await bench.up()
    await until(lambda: taken)
    assert taken == [{}]
    configuration.stopService()


@asynchronous
async def test_a_nucleus_that_fails_to_give_it_is_not_waited_for_for_ever(make: Make) -> None:
    bench = make()
    bench.nucleus.fail_next("GetConfiguration", "ServiceError", "broken", 3)
    taken: list[Mapping[str, Any]] = []
    configuration = ComponentConfiguration(bench.clock, bench.link, taken.append)
    configuration.startService()
    await bench.up()
    await until(lambda: taken)
    assert taken == [{}]
    bench.nucleus.configure({"thing_name": "van"})
    await until(lambda: len(taken) == 2)
    assert taken[1]["thing_name"] == "van"
    configuration.stopService()
