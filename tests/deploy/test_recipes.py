"""The recipes: what the format allows, what both nuclei understand, and that they allow what the twin does, no more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import victron_twin
from tests.emulators.access import IOT_CORE, SECRETS, SHADOWS, TOPICS, Access
from tests.emulators.connection import Failed
from tests.support import CATALOG
from victron_twin.config import Config
from victron_twin.shadows.requests import topic
from victron_twin.shadows.topics import FILTERS

from .parts import COMPONENTS, JAVA, LITE, Component, script

SCHEMA = json.loads(Path(__file__).with_name("recipe.schema.json").read_text())
#: What access control knows of each service; all other operations need none for the component itself.
OPERATIONS = {
    SHADOWS: {"GetThingShadow", "UpdateThingShadow", "DeleteThingShadow", "ListNamedShadowsForThing"},
    TOPICS: {"SubscribeToTopic", "PublishToTopic"},
    IOT_CORE: {"SubscribeToIoTCore", "PublishToIoTCore"},
    SECRETS: {"GetSecretValue"},
}

both = pytest.mark.parametrize("component", COMPONENTS, ids=["java", "lite"])


def scripts(component: Component) -> Iterator[tuple[str, str]]:
    for manifest in component.recipe["Manifests"]:
        for step, content in manifest["Lifecycle"].items():
            yield step, content["Script"]


@both
class TestForm:
    def test_it_keeps_the_formats_rules(self, component: Component) -> None:
        jsonschema.Draft202012Validator(SCHEMA).validate(component.recipe)
        assert (component.folder / "recipe.yaml").stat().st_size < 16_000  # what the service takes

    def test_a_brace_in_a_script_begins_a_recipe_variable(self, component: Component) -> None:
        """Elsewhere a nucleus would cut the script there, and run the rest."""
        for _, text in scripts(component):
            assert text.count("{") == text.count("}") == len(re.findall(r"(?<!\$)\{artifacts:decompressedPath\}", text))

    def test_it_runs_the_service_in_the_foreground_without_privileges(self, component: Component) -> None:
        assert {step for step, _ in scripts(component)} == {"install", "run"}
        for manifest in component.recipe["Manifests"]:
            assert manifest["Lifecycle"]["run"] == {
                "RequiresPrivilege": False,
                "Script": "exec venv/bin/twistd --nodaemon --pidfile= victron-twin",
            }
            assert manifest["Lifecycle"]["install"]["Timeout"] == 900

    def test_there_is_a_manifest_with_one_archive_for_each_architecture_that_is_built(
        self, component: Component
    ) -> None:
        archives = {
            manifest["Platform"]["architecture"]: [artifact["Uri"] for artifact in manifest["Artifacts"]]
            for manifest in component.recipe["Manifests"]
        }
        assert archives == {
            architecture: [f"s3://BUCKET_NAME/COMPONENT_NAME/COMPONENT_VERSION/victron-twin-{architecture}.zip"]
            for architecture in script("build.py")["ARCHITECTURES"]
        }

    def test_the_runtime_is_named_for_nucleus_lite_only(self, component: Component) -> None:
        runtimes = {manifest["Platform"].get("runtime") for manifest in component.recipe["Manifests"]}
        assert runtimes == {"aws_nucleus_lite" if component.lite else None}

    def test_gdk_builds_the_same_component(self, component: Component) -> None:
        ((name, gdk),) = component.gdk["component"].items()
        assert (name, gdk["version"]) == (component.name, component.recipe["ComponentVersion"])
        assert gdk["version"] == victron_twin.__version__
        assert gdk["build"]["build_system"] == "custom"
        shell, build = gdk["build"]["custom_build_command"]
        assert shell == "sh"
        assert (component.folder / build).resolve() == JAVA.folder / "deploy" / "build.sh"

    def test_its_default_configuration_is_the_services_own(self, component: Component) -> None:
        options = {"backend": "greengrass-mqtt"} if component.lite else {}
        assert Config.load({}, {}, component.defaults) == Config.load(options, {})


def test_only_java_has_shadow_manager() -> None:
    assert JAVA.recipe["ComponentDependencies"][SHADOWS]["DependencyType"] == "HARD"
    assert "ComponentDependencies" not in LITE.recipe
    assert JAVA.name != LITE.name  # an account can have both


class TestAccess:
    def test_policies_have_names_of_their_own(self) -> None:
        names = [policy.id for component in COMPONENTS for policy in component.policies()]
        assert len(set(names)) == len(names)

    @both
    def test_they_are_the_components(self, component: Component) -> None:
        for policy in component.policies():
            assert re.fullmatch(rf"{re.escape(component.name)}:[a-z]+:\d+", policy.id)

    @both
    def test_operations_exist_and_resources_are_of_one_form(self, component: Component) -> None:
        """In one resource nucleus lite knows the stars of Greengrass or the wildcards of MQTT; it refuses ``?``."""
        for policy in component.policies():
            known = {f"aws.greengrass#{name}" for name in OPERATIONS[policy.service]}
            assert set(policy.operations) <= known
            for resource in policy.resources:
                assert not re.search(r"[?#]|\$\{|\*.*\+|\+.*\*", resource)
                assert policy.operations == ["aws.greengrass#ListNamedShadowsForThing"] or resource.strip("*")

    @both
    def test_a_services_policies_fit_into_lites_memory(self, component: Component) -> None:
        for policies in component.control.values():
            assert len(json.dumps(policies)) < 3000  # of 4,096 bytes

    @pytest.mark.parametrize("thing", ["victron-twin", "van-7", "van-7-c0619ab2d3e4"])
    def test_what_the_greengrass_backend_does_is_allowed(self, thing: str) -> None:
        access = Access(JAVA.control, JAVA.name, lite=False)
        access.check(SHADOWS, "ListNamedShadowsForThing", thing)
        access.check(IOT_CORE, "SubscribeToIoTCore", f"$aws/things/{thing}/shadow/name/victron-twin/update/accepted")
        for kind in ("accepted", "rejected"):
            access.check(IOT_CORE, "SubscribeToIoTCore", f"$aws/things/{thing}/shadow/name/+/get/{kind}")
        for shadow in CATALOG.shadows:
            name = f"$aws/things/{thing}/shadow/name/{shadow}"
            for operation in ("GetThingShadow", "UpdateThingShadow", "DeleteThingShadow"):
                access.check(SHADOWS, operation, name)
            access.check(TOPICS, "SubscribeToTopic", f"{name}/update/delta")
            access.check(IOT_CORE, "PublishToIoTCore", f"{name}/get")

    @pytest.mark.parametrize("thing", ["victron-twin", "van-7", "van-7-c0619ab2d3e4"])
    def test_what_the_greengrass_mqtt_backend_does_is_allowed(self, thing: str) -> None:
        access = Access(LITE.control, LITE.name, lite=True)
        for each in FILTERS:
            access.check(IOT_CORE, "SubscribeToIoTCore", topic(thing, "+", each))
        for shadow in CATALOG.shadows:
            for operation in ("get", "update", "delete"):
                access.check(IOT_CORE, "PublishToIoTCore", topic(thing, shadow, operation))
            for kind in ("accepted", "rejected"):
                access.check(IOT_CORE, "SubscribeToIoTCore", topic(thing, shadow, "delete", kind))

    @both
    @pytest.mark.parametrize(
        ("service", "operation", "resource"),
        [
            (SHADOWS, "UpdateThingShadow", "$aws/things/van/shadow"),
            (SHADOWS, "UpdateThingShadow", "$aws/things/van/shadow/name/other"),
            (TOPICS, "SubscribeToTopic", "$aws/things/van/shadow/name/victron-battery/update/documents"),
            (TOPICS, "SubscribeToTopic", "$aws/things/van/shadow/name/other/update/delta"),
            (TOPICS, "PublishToTopic", "$aws/things/van/shadow/name/victron-battery/update/delta"),
            (IOT_CORE, "PublishToIoTCore", "$aws/things/van/shadow/name/other/get"),
            (IOT_CORE, "PublishToIoTCore", "$aws/things/van/shadow/get"),
            (IOT_CORE, "PublishToIoTCore", "$aws/rules/other"),
            (IOT_CORE, "SubscribeToIoTCore", "$aws/things/+/shadow/name/+/update/documents"),
            (IOT_CORE, "SubscribeToIoTCore", "$aws/things/van/shadow/#"),
            (SECRETS, "GetSecretValue", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:other-AbCdEf"),
        ],
    )
    def test_other_things_are_not(self, component: Component, service: str, operation: str, resource: str) -> None:
        with pytest.raises(Failed, match="UnauthorizedError"):
            Access(component.control, component.name, component.lite).check(service, operation, resource)

    def test_the_cloud_is_only_read_where_shadow_manager_writes(self) -> None:
        access = Access(JAVA.control, JAVA.name, lite=False)
        for operation in ("update", "delete"):
            with pytest.raises(Failed):
                access.check(IOT_CORE, "PublishToIoTCore", topic("van", "victron-battery", operation))


class TestName:
    """The build takes it from gdk-config.json: renaming a component is one line."""

    @both
    def test_the_recipe_takes_another_everywhere(self, component: Component) -> None:
        text = (component.folder / "recipe.yaml").read_text()
        renamed = script("build.py")["filled_in"](text, "org.example.Twin", "2.3.4")
        assert component.name not in renamed
        assert renamed.count("org.example.Twin") == text.count(component.name)
        assert 'ComponentVersion: "2.3.4"\n' in renamed

    @both
    def test_the_same_changes_nothing(self, component: Component) -> None:
        text = (component.folder / "recipe.yaml").read_text()
        version: Mapping[str, Any] = component.recipe
        assert script("build.py")["filled_in"](text, component.name, version["ComponentVersion"]) == text
