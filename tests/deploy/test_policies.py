"""The policies of AWS IoT and IAM: all that is used is allowed, and next to nothing else."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from fnmatch import translate
from typing import Any

import pytest

from tests.support import CATALOG
from victron_twin.shadows.requests import topic
from victron_twin.shadows.topics import FILTERS

from .parts import COMPONENTS, DEPLOY

POLICIES = DEPLOY / "policies"
VALUES = {"REGION": "eu-central-1", "ACCOUNT": "123456789012", "CORE": "van-7", "THING": "van-7"}
SHADOWS = list(CATALOG.shadows)
#: What Shadow Manager subscribes to for each shadow.
SYNC = ("update/accepted", "delete/accepted")
IOT_POLICY_LIMIT = 2048  # characters besides white space


class Policy:
    """A policy file with its placeholders filled in, as docs/greengrass.md says."""

    def __init__(self, name: str, **values: str) -> None:
        text = (POLICIES / name).read_text()
        for placeholder, value in {**VALUES, **values}.items():
            text = text.replace(placeholder, value)
        self.content: Mapping[str, Any] = json.loads(text)

    def statements(self) -> Iterator[tuple[list[str], list[str]]]:
        """Actions and resources."""
        for statement in self.content["Statement"]:
            assert statement["Effect"] == "Allow"
            assert set(statement) <= {"Sid", "Effect", "Action", "Resource"}
            actions, resources = statement["Action"], statement["Resource"]
            yield (
                actions if isinstance(actions, list) else [actions],
                resources if isinstance(resources, list) else [resources],
            )

    def allows(self, action: str, resource: str) -> bool:
        """``topic/a/b`` and the like are AWS IoT's. In policies only ``*`` and ``?`` are wildcards."""
        if ":" not in resource.partition("/")[0]:
            resource = f"arn:aws:iot:{VALUES['REGION']}:{VALUES['ACCOUNT']}:{resource}"
        return any(
            action in actions and any(re.fullmatch(translate(each.replace("[", "[[]")), resource) for each in resources)
            for actions, resources in self.statements()
        )


@pytest.fixture
def core() -> Policy:
    return Policy("core.json")


@pytest.fixture
def device() -> Policy:
    return Policy("device.json")


@pytest.mark.parametrize("name", sorted(path.name for path in POLICIES.iterdir()))
class TestForm:
    def test_it_is_a_policy(self, name: str) -> None:
        policy = Policy(name, BUCKET="bucket", SECRET="arn:aws:secretsmanager:eu-central-1:123456789012:secret:gx")
        assert policy.content["Version"] == "2012-10-17"
        for actions, resources in policy.statements():
            assert all(re.fullmatch(r"(iot|s3|secretsmanager):[A-Z][A-Za-z]+", action) for action in actions)
            assert all(re.fullmatch(r"arn:aws:[a-z0-9]+:[a-z0-9-]*:\d*:[^*]+.*", each) for each in resources)

    def test_the_guide_names_it_and_its_placeholders(self, name: str) -> None:
        guide = (DEPLOY.parent / "docs" / "greengrass.md").read_text()
        assert f"deploy/policies/{name}" in guide
        placeholders = set(re.findall(r"\b[A-Z]{4,}\b", (POLICIES / name).read_text()))
        assert all(f"`{placeholder}`" in guide for placeholder in placeholders)

    def test_it_is_short_enough_for_long_names(self, name: str) -> None:
        policy = Policy(name, REGION="ap-southeast-1", CORE="x" * 40, THING="x" * 55)
        assert len(re.sub(r"\s", "", json.dumps(policy.content))) <= IOT_POLICY_LIMIT


@pytest.mark.parametrize("name", ["core.json", "device.json", "token-exchange-role.json"])
def test_the_guides_command_fills_in_all_placeholders(name: str) -> None:
    guide = (DEPLOY.parent / "docs" / "greengrass.md").read_text()
    (function,) = re.findall(r"^fill\(\) \{.*?\}$", guide, re.MULTILINE | re.DOTALL)
    command = ["sh", "-c", f"{function}\nfill {name}"]
    filled = subprocess.run(command, cwd=DEPLOY.parent, capture_output=True, text=True, check=True).stdout
    assert json.loads(filled)
    assert not re.search(r"\b[A-Z]{4,}\b", filled)


class TestCore:
    """Beside the minimal policy of every core."""

    def test_the_nucleus_may_open_further_connections(self, core: Policy) -> None:
        assert core.allows("iot:Connect", "client/van-7")
        assert core.allows("iot:Connect", "client/van-7#2")

    def test_shadow_manager_may_sync_each_shadow(self, core: Policy) -> None:
        for shadow in SHADOWS:
            for action in ("iot:GetThingShadow", "iot:UpdateThingShadow", "iot:DeleteThingShadow"):
                assert core.allows(action, f"thing/van-7/{shadow}")
            for each in SYNC:
                assert core.allows("iot:Subscribe", f"topicfilter/{topic('van-7', shadow, each)}")
                assert core.allows("iot:Receive", f"topic/{topic('van-7', shadow, each)}")

    def test_the_twin_may_ask_for_the_clouds_documents(self, core: Policy) -> None:
        for kind in ("accepted", "rejected"):
            assert core.allows("iot:Subscribe", f"topicfilter/{topic('van-7', '+', 'get', kind)}")
        for shadow in SHADOWS:
            assert core.allows("iot:Publish", f"topic/{topic('van-7', shadow, 'get')}")
            assert core.allows("iot:Receive", f"topic/{topic('van-7', shadow, 'get/accepted')}")

    def test_it_may_not_write_over_mqtt(self, core: Policy) -> None:
        assert not core.allows("iot:Publish", f"topic/{topic('van-7', 'victron-battery', 'update')}")
        assert not core.allows("iot:Publish", f"topic/{topic('van-7', 'victron-battery', 'delete')}")


class TestDevice:
    """Of a device without Greengrass, and of a core with nucleus lite."""

    def test_it_connects_under_its_things_name(self, device: Policy) -> None:
        assert device.allows("iot:Connect", "client/van-7")
        assert not device.allows("iot:Connect", "client/van-70")

    def test_it_may_do_all_over_mqtt(self, device: Policy) -> None:
        for each in FILTERS:
            assert device.allows("iot:Subscribe", f"topicfilter/{topic('van-7', '+', each)}")
        for shadow in SHADOWS:
            for operation in ("get", "update", "delete"):
                assert device.allows("iot:Publish", f"topic/{topic('van-7', shadow, operation)}")
            for kind in ("accepted", "rejected"):
                assert device.allows("iot:Subscribe", f"topicfilter/{topic('van-7', shadow, 'delete', kind)}")
            for each in FILTERS:
                assert device.allows("iot:Receive", f"topic/{topic('van-7', shadow, each)}")


@pytest.mark.parametrize("name", ["core.json", "device.json"])
@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("iot:Connect", "client/other"),
        ("iot:UpdateThingShadow", "thing/van-7"),
        ("iot:UpdateThingShadow", "thing/van-7/other"),
        ("iot:UpdateThingShadow", "thing/van-70/victron-battery"),
        ("iot:Publish", f"topic/{topic('van-70', 'victron-battery', 'get')}"),
        ("iot:Publish", f"topic/{topic('van-7', 'other', 'get')}"),
        ("iot:Publish", "topic/$aws/rules/other"),
        ("iot:Subscribe", f"topicfilter/{topic('van-7', '+', 'update/documents')}"),
        ("iot:Subscribe", "topicfilter/$aws/things/van-7/shadow/#"),
        ("iot:Receive", f"topic/{topic('van-7', 'other', 'get/accepted')}"),
    ],
)
def test_other_things_are_not_allowed(name: str, action: str, resource: str) -> None:
    assert not Policy(name).allows(action, resource)


class TestTokenExchangeRole:
    def test_it_reads_the_archives_and_one_secret(self) -> None:
        secret = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:gx-AbCdEf"
        for component in COMPONENTS:
            policy = Policy("token-exchange-role.json", BUCKET="bucket", COMPONENT=component.name, SECRET=secret)
            archive = f"arn:aws:s3:::bucket/{component.name}/0.1.0/victron-twin-amd64.zip"
            assert policy.allows("s3:GetObject", archive)
            assert not policy.allows("s3:PutObject", archive)
            assert not policy.allows("s3:GetObject", "arn:aws:s3:::bucket/org.example.Other/0.1.0/x.zip")
            assert policy.allows("secretsmanager:GetSecretValue", secret)
            assert not policy.allows("secretsmanager:GetSecretValue", secret[:-1])
