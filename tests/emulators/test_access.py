"""What a recipe's accessControl allows."""

from __future__ import annotations

import pytest

from tests.emulators.access import IOT_CORE, SECRETS, SHADOWS, TOPICS, Access, Control, covers, fits
from tests.emulators.connection import Failed


@pytest.mark.parametrize(
    ("pattern", "resource", "allowed"),
    [
        ("$aws/things/*/shadow/name/victron-*", "$aws/things/van/shadow/name/victron-battery", True),
        ("$aws/things/*/shadow/name/victron-*", "$aws/things/van/shadow/name/other", False),
        ("$aws/things/*/shadow/name/victron-*", "$aws/things/van/shadow", False),
        ("$aws/things/*/shadow/name/victron-*/update/delta", "$aws/things/van/shadow/name/+/update/delta", False),
        ("a*c", "abbc/c", True),
        ("a.c", "abc", False),
        ("a${*}c", "a*c", True),
        ("a${*}c", "abc", False),
        ("+", "a", False),
        ("*", "", True),
    ],
)
def test_a_star_is_any_text(pattern: str, resource: str, allowed: bool) -> None:
    assert fits(pattern, resource) is allowed


@pytest.mark.parametrize(
    ("wide", "narrow", "allowed"),
    [
        ("$aws/things/+/shadow/name/+/get", "$aws/things/van/shadow/name/victron-battery/get", True),
        ("$aws/things/+/shadow/name/+/get/accepted", "$aws/things/van/shadow/name/+/get/accepted", True),
        ("$aws/things/+/shadow/name/+/get", "$aws/things/van/shadow/name/x/update", False),
        ("$aws/things/van/shadow/name/x/get", "$aws/things/van/shadow/name/+/get", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a/+/#", True),
        ("a/#", "a", True),
        ("a/+", "a/#", False),
        ("a/+", "a/b/c", False),
        ("a/victron-*", "a/victron-battery", False),
    ],
)
def test_wildcards_of_mqtt_cover_narrower_ones(wide: str, narrow: str, allowed: bool) -> None:
    assert covers(wide, narrow) is allowed


CONTROL: Control = {
    SHADOWS: {
        "victron:shadow:1": {"operations": ["aws.greengrass#GetThingShadow"], "resources": ["$aws/things/*/name/v-*"]},
        "victron:shadow:2": {"operations": ["*"], "resources": ["van"]},
    },
    IOT_CORE: {"victron:mqtt:1": {"operations": ["aws.greengrass#PublishToIoTCore"], "resources": ["a/+", "b/v-*/c"]}},
}


def test_a_policy_allows_its_operations_on_its_resources() -> None:
    access = Access(CONTROL, "victron", lite=False)
    access.check(SHADOWS, "GetThingShadow", "$aws/things/van/shadow/name/v-battery")
    access.check(SHADOWS, "ListNamedShadowsForThing", "van")
    access.check(IOT_CORE, "PublishToIoTCore", "a/x")
    access.check(IOT_CORE, "PublishToIoTCore", "b/v-x/c")
    for service, operation, resource in (
        (SHADOWS, "UpdateThingShadow", "$aws/things/van/shadow/name/v-battery"),
        (SHADOWS, "GetThingShadow", "van2"),
        (IOT_CORE, "SubscribeToIoTCore", "a/b"),
        (IOT_CORE, "PublishToIoTCore", "b/x/c"),
        (TOPICS, "SubscribeToTopic", "a/b"),
        (SECRETS, "GetSecretValue", "arn"),
    ):
        with pytest.raises(Failed, match=f"UnauthorizedError: Principal victron .*{operation} on resource"):
            access.check(service, operation, resource)


def test_without_a_control_everything_is_allowed() -> None:
    Access(None, "victron", lite=False).check(SECRETS, "GetSecretValue", "arn")
